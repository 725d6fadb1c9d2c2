"""One spec type, whichever JSON it came from."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import InvalidSpec, PilotlightError
from pilotlight.core.spec import FunctionSpec, Scaling, from_openfaas, function_key, parse_spec, split_key, to_openfaas

MINIMAL = {"name": "hello", "image": "bundle/hello@sha256:00"}
OPENFAAS = {"service": "hello", "image": "bundle/hello@sha256:00"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=10,
)
field_names = st.sampled_from([*FunctionSpec.__struct_fields__, "service", "envVars", "x"])


def test_defaults_are_those_of_the_design() -> None:
    spec = parse_spec(MINIMAL)
    assert (spec.namespace, spec.timeout_seconds, spec.queue, spec.scale) == ("openfaas-fn", 60.0, 1000, Scaling())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"name": "Hello"}, "name"),
        ({"name": "a" * 64}, "name"),
        ({"name": 7}, "name"),
        ({"image": ""}, "image"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": "four"}, "concurrency"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"environment": {"1x": "a"}}, "environment"),
        ({"environment": {"A": 1}}, "environment[...]"),
        ({"scale": {"min": 3, "max": 2}}, "scale"),
        ({"scale": {"maxx": 2}}, "scale.maxx"),
        ({"limits": {"memory": "12Q"}}, "memory"),
        ({"concurency": 4}, "concurency"),
    ],
)
def test_a_mistake_is_told_with_its_field(change: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(MINIMAL | change)
    assert caught.value.field == field


def test_a_misspelt_field_names_the_nearest_one() -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_spec(MINIMAL | {"concurency": 4})
    assert "`concurrency`" in caught.value.hint


@given(st.dictionaries(field_names, json_values, max_size=5) | json_values)
def test_no_input_is_more_than_a_spec_or_a_sentence(data: object) -> None:
    for parse in (parse_spec, from_openfaas):
        try:
            spec = parse(data)
        except PilotlightError as error:
            assert error.detail
        else:
            assert parse_spec({"name": spec.name, "image": spec.image}).key == function_key(spec.name)


def test_openfaas_nulls_and_unknown_fields_count_as_absent() -> None:
    given_json = OPENFAAS | {"labels": None, "annotations": None, "network": "x", "registryAuth": "y"}
    assert from_openfaas(given_json) == parse_spec(MINIMAL)


@pytest.mark.parametrize("missing", ["service", "image"])
def test_openfaas_requires_a_service_and_an_image(missing: str) -> None:
    with pytest.raises(InvalidSpec, match=f"validation failed: {missing}: is required"):
        from_openfaas({key: value for key, value in OPENFAAS.items() if key != missing})


def test_openfaas_scale_labels_have_their_meaning() -> None:
    labels = {"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "5", "com.openfaas.scale.zero-duration": "15m"}
    assert from_openfaas(OPENFAAS | {"labels": labels}).scale == Scaling(min=2, max=5, idle_seconds=900, factor=20)


def test_labels_count_in_our_own_json_too_unless_the_field_is_given() -> None:
    labels = {"com.openfaas.scale.min": "2", "com.openfaas.scale.zero": "false"}
    assert parse_spec(MINIMAL | {"labels": labels}).scale.min == 2
    assert parse_spec(MINIMAL | {"labels": labels, "scale": {"max": 7}}).scale == Scaling(max=7)


def test_our_keys_come_as_annotations() -> None:
    spec = from_openfaas(
        OPENFAAS | {"annotations": {"pilotlight.dev/concurrency": "8", "pilotlight.dev/timeout": "5m"}}
    )
    assert (spec.concurrency, spec.timeout_seconds) == (8, 300.0)
    with pytest.raises(InvalidSpec, match="no such key"):
        from_openfaas(OPENFAAS | {"annotations": {"pilotlight.dev/concurency": "8"}})


def test_what_an_openfaas_client_sent_is_echoed() -> None:
    sent = OPENFAAS | {
        "limits": {"memory": "128Mi", "cpu": "100m"},
        "labels": {"team": "a"},
        "annotations": {"topic": "x"},
        "envProcess": "python index.py",
    }
    echoed = to_openfaas(from_openfaas(sent))
    assert echoed["limits"] == {"memory": "128Mi", "cpu": "100m"}
    assert echoed["labels"] == {"faas_function": "hello", "team": "a"}
    assert echoed["annotations"] == {"topic": "x"}
    assert "requests" not in echoed
    assert "secrets" not in echoed


@pytest.mark.parametrize(
    ("address", "parts"),
    [("hello", ("hello", "openfaas-fn")), ("hello.dev", ("hello", "dev")), ("a.b.dev", ("a.b", "dev"))],
)
def test_the_last_dot_splits_an_address(address: str, parts: tuple[str, str]) -> None:
    assert split_key(address) == parts


@pytest.mark.parametrize(
    ("cors", "sentence"),
    [
        ({"origins": [f"https://a{number}.example" for number in range(101)]}, "cors.origins: has 101 entries"),
        ({"origins": ["*"], "expose": ["X" * 301]}, "cors.expose: has an entry of 301 characters"),
    ],
)
def test_what_every_answer_would_repeat_is_bounded(cors: dict[str, object], sentence: str) -> None:
    with pytest.raises(InvalidSpec, match=sentence):
        parse_spec({"name": "f", "image": f"bundle/f@sha256:{'1' * 64}", "cors": cors})
