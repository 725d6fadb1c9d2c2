"""Kubernetes quantities and Go durations."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.core.errors import InvalidSpec
from pilotlight.core.quantity import parse_cpu_milli, parse_duration_seconds, parse_memory_mib


@pytest.mark.parametrize(
    ("text", "mib"),
    [
        ("128Mi", 128),
        ("1Gi", 1024),
        ("1G", 954),
        ("1048576", 1),
        ("1", 1),
        ("0.5Gi", 512),
        ("1e9", 954),
        ("1E6", 1),
        ("1Ti", 2**20),
        ("1Pi", 2**30),
        ("1Ei", 2**40),
        ("128974848000m", 123),
        (".5Mi", 1),
    ],
)
def test_memory(text: str, mib: int) -> None:
    assert parse_memory_mib(text) == mib


@pytest.mark.parametrize(
    ("text", "milli"), [("100m", 100), ("0.5", 500), ("2", 2000), ("0.0001", 1), ("1e-1", 100), ("100000u", 100)]
)
def test_cpu(text: str, milli: int) -> None:
    assert parse_cpu_milli(text) == milli


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1m30s", 90), ("250ms", 0.25), ("1h", 3600), ("1.5s", 1.5)])
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration_seconds(text) == pytest.approx(seconds)


@pytest.mark.parametrize("parse", [parse_memory_mib, parse_cpu_milli, parse_duration_seconds])
@given(text=st.text(max_size=12))
def test_any_text_is_a_value_or_a_sentence(parse: object, text: str) -> None:
    assert callable(parse)
    try:
        assert parse(text) >= 0
    except InvalidSpec as error:
        assert repr(text) in error.detail
