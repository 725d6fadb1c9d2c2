"""A function that scales by calls a second, as a story in seconds: what it measures and what it decides, together."""

from collections.abc import Callable

from pilotlight.autoscale.decide import NOTHING, SHORT_SECONDS, STABLE_SECONDS, Load, decide
from pilotlight.autoscale.rate import CounterRate
from pilotlight.core.scaling import Scaling


def story(rate: Callable[[int], float], seconds: int, scaling: Scaling) -> list[int]:
    """Replicas at the end of each second; what is wanted is there at the next."""
    counter, count, memory, replicas = CounterRate(), 0.0, NOTHING, 1
    counter.read(0.0, 0.0)
    answers = []
    for second in range(1, seconds + 1):
        count += rate(second)
        counter.read(float(second), count)
        measured = max(counter.per_second(second, over_seconds=over) for over in (SHORT_SECONDS, STABLE_SECONDS))
        load = Load(known=True, slots=100, ready=replicas, in_flight=1, measured=measured)
        decision = decide(load, scaling, memory, float(second))
        memory, replicas = decision.memory, decision.replicas
        answers.append(replicas)
    return answers


SCALING = Scaling(type="rps")
"""45 calls a second for each replica."""


def test_a_steady_load_is_met_within_ten_seconds_and_never_overshot() -> None:
    answers = story(lambda _: 300, 120, SCALING)
    assert answers == sorted(answers[:10]) + [7] * 110
    assert answers[9] == 7


def test_a_fall_counts_when_it_has_lasted_a_minute() -> None:
    answers = story(lambda second: 300 if second <= 100 else 90, 200, SCALING)
    assert min(answers[10:110]) > 4
    assert answers[161:] == [2] * 39


def test_a_pause_of_a_few_seconds_lets_half_of_them_stay() -> None:
    answers = story(lambda second: 0 if 100 < second <= 110 else 300, 130, SCALING)
    assert min(answers[10:]) >= 6
    assert answers[-1] == 7


def test_with_a_down_window_even_that_pause_is_not_seen() -> None:
    slow = Scaling(type="rps", down_window_seconds=60)
    answers = story(lambda second: 0 if 100 < second <= 110 else 300, 130, slow)
    assert answers[10:] == [7] * 120
