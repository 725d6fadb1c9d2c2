"""`pilotlight.dev/KEY` annotations: the words of a stack file, through a client that does not know them."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.annotations import ANNOTATION_PREFIX, fields_of_annotations
from pilotlight.core.errors import InvalidSpec
from pilotlight.core.spec import Cors, Scaling, from_openfaas


def fields(**annotations: str) -> dict[str, object]:
    return fields_of_annotations({f"{ANNOTATION_PREFIX}{key}": text for key, text in annotations.items()})


def test_every_key_of_ours_has_its_meaning() -> None:
    given = {
        "concurrency": "8",
        "timeout": "1m30s",
        "queue": "5",
        "body_limit": "32Mi",
        "contract": "asgi",
        "scale": "{min: 1, max: 4, idle: 30s, zero: true, down_window: 2m}",
        "cors": "{origins: https://a.example, headers: [X-A], credentials: yes, max_age: 5m}",
        "auth": "key",
        "debug": "true",
        "readonly_root_filesystem": "false",
    }
    annotations = {f"{ANNOTATION_PREFIX}{key}": text for key, text in given.items()}
    spec = from_openfaas({"service": "hello", "image": "x", "annotations": annotations | {"topic": "a"}})
    assert (spec.concurrency, spec.timeout_seconds, spec.queue, spec.body_limit_mib) == (8, 90.0, 5, 32.0)
    assert (spec.contract, spec.auth, spec.debug, spec.readonly_root_filesystem) == ("asgi", "key", True, False)
    assert spec.scale == Scaling(min=1, max=4, idle_seconds=30.0, zero=True, down_window_seconds=120.0)
    assert spec.cors == Cors(origins=("https://a.example",), headers=("X-A",), credentials=True, max_age_seconds=300)
    assert spec.annotations == annotations | {"topic": "a"}


def test_a_block_of_yaml_is_taken_too() -> None:
    assert fields(cors="origins:\n  - https://a.example\n  - https://b.example\n") == {
        "cors": {"origins": ["https://a.example", "https://b.example"]}
    }


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("concurency", "8", "no such key"),
        ("concurrency", "eight", "whole number"),
        ("concurrency", "[8]", "a single value"),
        ("timeout", "soon", "no duration"),
        ("body_limit", "big", "no amount of memory"),
        ("debug", "maybe", "true or false"),
        ("scale", "3", "a mapping"),
        ("scale", "{minn: 3}", "scale.minn: no such key"),
        ("scale", "{min: [1]}", "scale.min: must be a single value"),
        ("scale", "{target: high}", "must be a number"),
        ("cors", "{origins: {a: b}}", "a single value"),
        ("scale", "{min: &a 1, max: *a}", "not YAML"),
        ("scale", "{", "not YAML"),
        ("scale", "[" * 2000, "not YAML"),
        ("scale", "x" * 5000, "at most 4096"),
        ("gpu", "1", "not there yet"),
    ],
)
def test_a_mistake_names_the_annotation(key: str, text: str, expected: str) -> None:
    with pytest.raises(InvalidSpec, match=expected) as caught:
        fields(**{key: text})
    assert str(caught.value.field).startswith(f"{ANNOTATION_PREFIX}{key}")


def test_a_misspelt_key_names_the_nearest_one() -> None:
    with pytest.raises(InvalidSpec) as caught:
        fields(body_limt="1Mi")
    assert "`body_limit`" in caught.value.hint


@given(key=st.sampled_from(["scale", "cors", "timeout", "debug", "queue"]), text=st.text(max_size=40))
def test_any_text_is_a_field_or_a_sentence(key: str, text: str) -> None:
    with suppress(InvalidSpec):
        fields(**{key: text})
