"""Concurrency over time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.autoscale.window import LoadWindow


def test_what_lasts_is_the_average() -> None:
    window = LoadWindow()
    window.record(0.0, 4)
    assert window.average(60.0, over_seconds=60) == pytest.approx(4)
    assert window.average(60.0, over_seconds=6) == pytest.approx(4)


def test_a_short_burst_counts_for_as_long_as_it_lasted() -> None:
    window = LoadWindow()
    window.record(0.0, 100)
    window.record(0.5, 0)
    assert window.average(6.0, over_seconds=6) == pytest.approx(50 / 6)


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = LoadWindow()
    window.record(0.0, 100)
    window.record(10.0, 0)
    assert window.average(71.0, over_seconds=60) == 0


def test_a_clock_that_stands_still_changes_nothing() -> None:
    window = LoadWindow()
    for level in (3, 5, 7):
        window.record(1.0, level)
    assert window.average(1.0, over_seconds=6) == 0


def test_a_very_long_silence_is_quick() -> None:
    window = LoadWindow()
    window.record(0.0, 2)
    assert window.average(1e9, over_seconds=60) == pytest.approx(2)


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 50)), min_size=1, max_size=30))
def test_an_average_lies_between_nothing_and_the_peak(steps: list[tuple[float, int]]) -> None:
    window, now = LoadWindow(), 0.0
    for pause, level in steps:
        now += pause
        window.record(now, level)
    peak = max(level for _, level in steps)
    assert 0 <= window.average(now + 3, over_seconds=6) <= peak + 1e-9
