"""Numbers in words, and words in numbers."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasctl.words import ago, did_you_mean, milliseconds, parse_duration, size, to_unix


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1400, "1.4 kB"), (12_345, "12 kB"), (999_600, "1.0 MB"), (5e9, "5.0 GB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("value", "text"), [(8.44, "8.4 ms"), (124, "124 ms"), (1240, "1.24 s"), (125_000, "2 m 5 s")])
def test_milliseconds(value: float, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0 s ago"), (59, "59 s ago"), (200, "3 m ago"), (90_000, "1 d ago")])
def test_ago(seconds: float, text: str) -> None:
    assert ago(1000.0, now=1000.0 + seconds) == text


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(text=st.text(max_size=20))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (12.5, 12.5),
        ("1970-01-01T00:00:01Z", 1.0),
        ("1970-01-01T01:00:01.123456789+01:00", 1.123456),
        ("soon", None),
        (None, None),
        (True, None),
    ],
)
def test_times_of_an_api(value: object, expected: float | None) -> None:
    assert to_unix(value) == expected


def test_near_names_are_at_most_three() -> None:
    assert did_you_mean("helo", ["hello"]) == "did you mean `hello`?"
    assert did_you_mean("helo", ["hell", "hello", "helot", "help"]) is not None
    assert str(did_you_mean("helo", ["hell", "hello", "helot", "help"])).count("`") == 6
    assert did_you_mean("helo", ["resize"]) is None
