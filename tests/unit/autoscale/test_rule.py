"""OpenFaaS' rule of more than 5 successful calls a second, as a story in time."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.autoscale.decide import NOTHING, Load, decide
from pilotlight.autoscale.rule import Rule, next_rule
from pilotlight.core.scaling import Scaling


def steps(scaling: Scaling, rates: Sequence[tuple[float, float]]) -> list[int]:
    """Replicas that the rule asks for at each moment; they are there at the next."""
    rule: Rule | None = None
    present, answers = 1, []
    for now, rate in rates:
        rule = next_rule(rate, present, scaling, rule, now)
        answers.append(rule.replicas if rule else 0)
        present = max(1, answers[-1])
    return answers


def test_five_seconds_above_five_calls_a_second_make_one_step() -> None:
    assert steps(Scaling(max=20, factor=20), [(0, 6), (4.9, 6), (5, 6), (20, 6)]) == [0, 0, 5, 5]


def test_it_steps_again_each_half_minute_up_to_the_maximum() -> None:
    rates = [(0, 9.0), (5, 9), (34, 9), (35, 9), (65, 9), (95, 9), (125, 9)]
    assert steps(Scaling(max=10, factor=30), rates) == [0, 4, 4, 7, 10, 10, 10]


@pytest.mark.parametrize("rate", [0.0, 5.0])
def test_it_ends_at_once_and_begins_anew(rate: float) -> None:
    rates = [(0, 6.0), (5, 6), (6, rate), (7, 6), (11, 6), (12, 6)]
    assert steps(Scaling(max=20, factor=20), rates) == [0, 5, 0, 0, 0, 5]


@pytest.mark.parametrize(("most", "factor", "step"), [(20, 20, 4), (5, 20, 1), (3, 20, 1), (20, 100, 20), (7, 50, 4)])
def test_a_step_is_that_percentage_of_the_maximum_rounded_up(most: int, factor: int, step: int) -> None:
    rule = next_rule(6, 0, Scaling(max=most, factor=factor), Rule(since=0), 5)
    assert rule is not None
    assert rule.replicas == step


@given(st.floats(0, 1e6), st.integers(0, 30))
def test_a_factor_of_zero_turns_it_off(rate: float, present: int) -> None:
    assert next_rule(rate, present, Scaling(factor=0), Rule(since=0), 60) is None


def test_a_function_goes_back_to_its_minimum_when_the_rule_is_over() -> None:
    scaling = Scaling(min=1, max=20, factor=20)
    memory, replicas, answers = NOTHING, 1, []
    for now, rate in [(0, 8.0), (5, 8), (6, 0.1), (7, 0.1), (8, 0.1)]:
        load = Load(known=True, slots=4, ready=replicas, in_flight=1, successes=rate)
        decision = decide(load, scaling, memory, float(now))
        memory, replicas = decision.memory, decision.replicas
        answers.append((decision.replicas, decision.reason))
    assert answers == [(1, "warm"), (5, "rule"), (2, "warm"), (1, "warm"), (1, "warm")]
