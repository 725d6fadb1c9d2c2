"""Rates of counters over time."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pilotlight.autoscale.rate import CounterRate, CpuRate, RateWindow


def test_a_rate_is_what_was_added_in_the_last_seconds() -> None:
    window = RateWindow()
    for second in range(60):
        window.add(second + 1, 3, since=second)
    assert window.per_second(60, over_seconds=10) == pytest.approx(3)
    assert window.per_second(60, over_seconds=60) == pytest.approx(3)
    assert window.per_second(65, over_seconds=10) == pytest.approx(1.5)
    assert window.per_second(130, over_seconds=60) == 0


def test_a_young_counter_counts_over_the_whole_window() -> None:
    window = RateWindow()
    window.add(0.5, 20, since=0)
    assert window.per_second(1, over_seconds=10) == pytest.approx(2)


@pytest.mark.parametrize("every", [0.1, 0.25, 1.0])
def test_a_steady_rate_is_measured_as_it_is_however_often_it_is_read(every: float) -> None:
    counter = CounterRate()
    for reading in range(round(40 / every) + 1):
        counter.read(7.3 + reading * every, reading * every * 30)
        if reading * every > 11:
            assert counter.per_second(7.3 + reading * every, over_seconds=10) == pytest.approx(30)


def test_what_came_after_a_long_silence_came_just_now() -> None:
    counter = CounterRate()
    counter.read(0, 0)
    counter.read(600, 50)
    assert counter.per_second(600, over_seconds=10) == pytest.approx(5)


def test_a_very_long_silence_is_quick_and_only_its_end_counts() -> None:
    window = RateWindow()
    window.add(1e9, 1e9, since=0)
    assert window.per_second(1e9, over_seconds=60) == pytest.approx(1)


def test_processor_time_is_a_rate_over_all_replicas_without_their_starts() -> None:
    cpu = CpuRate()
    cpu.read(0, {"a": 5.0})
    cpu.read(2, {"a": 6.0, "b": 3.0})
    cpu.read(4, {"a": 7.0, "b": 4.0})
    cpu.read(10, {"b": 4.0})
    assert cpu.milli(10, over_seconds=10) == pytest.approx(300)


def test_the_first_reading_of_a_counter_says_nothing() -> None:
    counter = CounterRate()
    counter.read(0, 1000)
    counter.read(1, 1010)
    assert counter.per_second(1, over_seconds=10) == pytest.approx(1)


def test_a_counter_that_begins_again_is_no_load_and_no_fall() -> None:
    counter = CounterRate()
    for now, count in ((0, 100), (1, 110), (2, 5), (3, 15)):
        counter.read(now, count)
    assert counter.per_second(3, over_seconds=10) == pytest.approx(2)


def test_what_was_counted_while_the_counter_was_away_is_not_counted_at_its_return() -> None:
    counter = CounterRate()
    counter.read(0, 100)
    counter.lost()
    counter.read(5, 5000)
    assert counter.per_second(5, over_seconds=10) == 0


@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 100)), max_size=40))
@example([(5e-324, 1.5)])
def test_a_rate_is_never_negative_and_never_more_than_all_of_it(steps: list[tuple[float, float]]) -> None:
    window, now = RateWindow(), 0.0
    for pause, amount in steps:
        now += pause
        window.add(now, amount, since=now - pause)
    total = sum(amount for _, amount in steps)
    assert 0 <= window.per_second(now, over_seconds=10) * 10 <= total + 1e-6
