"""What is said about the number of replicas: our `scale`, and OpenFaaS' labels with their meaning."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import InvalidSpec
from pilotlight.core.scaling import Scaling, from_scale_labels
from pilotlight.core.spec import FunctionSpec, from_openfaas, parse_spec, to_openfaas

MINIMAL = {"name": "hello", "image": "bundle/hello@sha256:00"}
OPENFAAS = {"service": "hello", "image": "bundle/hello@sha256:00"}


def labels(**words: str) -> dict[str, str]:
    return {f"com.openfaas.scale.{word.replace('_', '-')}": text for word, text in words.items()}


@pytest.mark.parametrize(
    ("given_labels", "scaling"),
    [
        (labels(min="2"), Scaling(min=2, factor=20)),
        (labels(max="5"), Scaling(max=5, factor=20)),
        (labels(zero="true"), Scaling(zero=True, factor=20)),
        (labels(zero="false"), Scaling(min=1, zero=False, factor=20)),
        (labels(zero="false", min="0"), Scaling(min=1, zero=False, factor=20)),
        (labels(zero="True", min="2"), Scaling(min=2, zero=True, factor=20)),
        (labels(zero_duration="15m"), Scaling(idle_seconds=900, factor=20)),
        (labels(zero_duration="90"), Scaling(idle_seconds=90, factor=20)),
        (labels(factor="0"), Scaling(factor=0)),
        (labels(factor="50"), Scaling(factor=50)),
        (labels(type="rps"), Scaling(type="rps")),
        (labels(type="capacity", target="10", target_proportion="1"),
         Scaling(type="capacity", target=10, target_proportion=1)),
        (labels(type="cpu", target="500"), Scaling(type="cpu", target=500)),
        (labels(type="queue"), Scaling(type="queue")),
        (labels(target="100"), Scaling(type="rps", target=100)),
        (labels(type="rps", factor="50"), Scaling(type="rps")),
        (labels(target_proportion="0.5"), Scaling(target_proportion=0.5, factor=20)),
        ({"com.openfaas.scale.down.window": "2m"}, Scaling(down_window_seconds=120, factor=20)),
    ],
)  # fmt: skip
def test_openfaas_labels_have_their_meaning(given_labels: dict[str, str], scaling: Scaling) -> None:
    assert from_scale_labels(given_labels) == scaling
    assert from_scale_labels(None, given_labels) == scaling


@pytest.mark.parametrize(
    ("word", "text", "expected"),
    [
        ("min", "two", "a whole number from 0 to 1000, not 'two'"),
        ("min", "-1", "a whole number from 0 to 1000"),
        ("max", "0", "a whole number from 1 to 1000"),
        ("max", "1.5", "a whole number from 1 to 1000"),
        ("zero", "yes", "true or false, not 'yes'"),
        ("zero-duration", "soon", 'as "15m"'),
        ("zero-duration", "0s", 'as "15m"'),
        ("factor", "120", "from 0 to 100"),
        ("type", "memory", "one of concurrency, rps, capacity, cpu, queue"),
        ("target", "0", "a number of more than 0"),
        ("target", "nan", "a number of more than 0"),
        ("target-proportion", "90", "from 0.01 to 1"),
        ("down.window", "1h", "at most 5 minutes"),
    ],
)
def test_a_wrong_value_is_told_with_its_label(word: str, text: str, expected: str) -> None:
    label = f"com.openfaas.scale.{word}"
    with pytest.raises(InvalidSpec) as caught:
        from_openfaas(OPENFAAS | {"labels": {label: text}})
    assert caught.value.field == label
    assert caught.value.detail.startswith(f"{label}: ")
    assert expected in caught.value.detail


def test_a_misspelt_scaling_label_names_the_nearest_one() -> None:
    with pytest.raises(InvalidSpec) as caught:
        from_openfaas(OPENFAAS | {"labels": {"com.openfaas.scale.mim": "1"}})
    assert "`com.openfaas.scale.min`" in caught.value.hint


def test_scaling_by_a_prometheus_query_is_refused_with_what_there_is_instead() -> None:
    with pytest.raises(InvalidSpec, match="query to Prometheus") as caught:
        from_scale_labels(labels(type="custom"))
    assert "concurrency, rps, capacity, cpu, queue" in caught.value.hint


def test_a_minimum_above_the_default_maximum_says_which_label_raises_it() -> None:
    with pytest.raises(InvalidSpec, match=r"30 is more than 20 \(the default; com.openfaas.scale.max raises it\)"):
        from_scale_labels(labels(min="30"))
    with pytest.raises(InvalidSpec, match="3 is more than 2"):
        from_scale_labels(labels(min="3", max="2"))


def test_a_label_wins_over_the_annotation_of_the_same_name() -> None:
    assert from_scale_labels(labels(min="2"), labels(min="3", max="9")) == Scaling(min=2, max=9, factor=20)


def test_without_scaling_labels_nothing_is_said() -> None:
    assert from_scale_labels({"team": "a"}, {"topic": "x"}) is None
    assert from_openfaas(OPENFAAS).scale == Scaling()


def test_scaling_labels_are_echoed_as_given() -> None:
    given_labels = {"com.openfaas.scale.min": " 02", "com.openfaas.scale.zero": "T"}
    echoed = to_openfaas(from_openfaas(OPENFAAS | {"labels": given_labels}))
    assert echoed["labels"] == {"faas_function": "hello"} | given_labels


def test_our_own_field_replaces_the_labels() -> None:
    spec = parse_spec(MINIMAL | {"labels": labels(min="2"), "scale": {"max": 7}})
    assert spec.scale == Scaling(max=7)


@pytest.mark.parametrize(
    ("scale", "field"),
    [
        ({"min": 3, "max": 2}, "scale"),
        ({"min": -1}, "scale"),
        ({"max": 1001}, "scale.max"),
        ({"idle_seconds": 0}, "scale.idle_seconds"),
        ({"target": -1}, "scale.target"),
        ({"target": 0}, "scale.target"),
        ({"target_proportion": 1.5}, "scale.target_proportion"),
        ({"down_window_seconds": 301}, "scale.down_window_seconds"),
        ({"factor": 101}, "scale.factor"),
        ({"factor": 20, "type": "rps"}, "scale.factor"),
        ({"factor": 20, "target": 5}, "scale.factor"),
        ({"type": "custom"}, "scale.type"),
        ({"targett": 5}, "scale.targett"),
    ],
)
def test_a_mistake_in_our_own_field_is_told_with_its_member(scale: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(MINIMAL | {"scale": scale})
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("scaling", "slots", "load"),
    [
        (Scaling(), 10, 7.0),
        (Scaling(target=5), 10, 3.5),
        (Scaling(target=50), 10, 7.0),
        (Scaling(target_proportion=1), 10, 10.0),
        (Scaling(type="rps"), 4, 45.0),
        (Scaling(type="capacity", target=10, target_proportion=0.5), 4, 5.0),
    ],
)
def test_a_replica_should_carry_its_target_times_the_proportion(scaling: Scaling, slots: int, load: float) -> None:
    assert scaling.per_replica(slots) == pytest.approx(load)


def test_a_stored_spec_whose_target_is_a_share_keeps_its_meaning() -> None:
    def stored(target: float) -> Scaling:
        text = f'{{"name":"a","image":"b","scale":{{"min":0,"max":20,"idle_seconds":300.0,"target":{target}}}}}'
        return msgspec.json.decode(text, type=FunctionSpec).scale

    assert stored(0.7) == Scaling()
    assert stored(0.5) == Scaling(target_proportion=0.5)


@given(st.dictionaries(st.sampled_from(sorted(labels(min="", max="", zero="", type="", target=""))), st.text()))
def test_any_text_is_a_scaling_or_a_sentence(given_labels: dict[str, str]) -> None:
    try:
        scaling = from_scale_labels(given_labels)
    except InvalidSpec as error:
        assert error.detail.startswith("com.openfaas.scale.")
    else:
        assert scaling is None or 0 <= scaling.min <= scaling.max
