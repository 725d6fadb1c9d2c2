"""Counters in, rates out."""

from hypothesis import given
from hypothesis import strategies as st

from faasctl.rates import BUCKETS, Rates


def test_a_rate_is_what_came_between_two_readings() -> None:
    rates = Rates()
    assert rates.read(100.0, "a", 1000, 5).calls_per_second == 0
    rate = rates.read(102.0, "a", 1040, 7)
    assert (rate.calls_per_second, rate.calls, rate.errors) == (20.0, 40, 2)
    assert rate.trend == "▁▁▁▁▁▁▁█"


def test_what_is_older_than_the_window_is_forgotten() -> None:
    rates = Rates()
    for second in range(100):
        rate = rates.read(float(second), "a", second * 10, 0)
    assert 290 <= rate.calls <= 310
    assert len(set(rate.trend)) <= 2  # a steady load is a level line


def test_a_quiet_function_stays_flat() -> None:
    rates = Rates()
    for second in range(5):
        assert rates.read(float(second), "a", 7, 0).trend == "▁" * BUCKETS


def test_a_counter_that_fell_begins_anew() -> None:
    rates = Rates()
    rates.read(1.0, "a", 1000, 5)
    assert rates.read(2.0, "a", 3, 0).calls_per_second == 0
    assert rates.read(3.0, "a", 5, 0).calls_per_second == 2


def test_functions_that_are_gone_are_forgotten() -> None:
    rates = Rates()
    rates.read(1.0, "a", 1000, 0)
    rates.keep(set())
    assert rates.read(2.0, "a", 2000, 0).calls == 0


@given(steps=st.lists(st.tuples(st.floats(0, 40), st.integers(-10, 1000), st.integers(0, 10)), min_size=1, max_size=40))
def test_no_rate_is_negative_and_every_trend_has_its_width(steps: list[tuple[float, int, int]]) -> None:
    rates, now, calls, errors = Rates(), 0.0, 10_000, 0
    for seconds, more, failed in steps:
        now, calls, errors = now + seconds, calls + more, errors + failed
        rate = rates.read(now, "a", calls, errors)
        assert min(rate.calls_per_second, rate.calls, rate.errors) >= 0
        assert len(rate.trend) == BUCKETS
