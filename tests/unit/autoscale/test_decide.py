"""How many replicas, and why."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.autoscale.decide import Decision, Load, Panic, decide
from pilotlight.core.spec import Scaling

SCALING = Scaling(max=20, idle_seconds=300)


def decided(load: Load, scaling: Scaling = SCALING, panic: Panic | None = None, now: float = 0.0) -> tuple[int, str]:
    decision = decide(load, scaling, panic, now)
    return decision.replicas, decision.reason


@pytest.mark.parametrize(
    ("load", "answer"),
    [
        (Load(known=True, slots=4), (0, "cold")),
        (Load(known=True, slots=4, waiting=1), (1, "waiting")),
        (Load(known=True, slots=4, waiting=17), (5, "waiting")),
        (Load(known=True, slots=4, waiting=17, starting=5), (5, "waiting")),
        (Load(known=True, slots=1, waiting=100), (20, "maximum")),
        (Load(known=True, slots=100, waiting=100), (1, "waiting")),
        (Load(known=True, slots=4, ready=1, in_flight=4, waiting=2), (2, "waiting")),
        (Load(known=True, slots=4, ready=1, idle_for=10), (1, "warm")),
        (Load(known=True, slots=4, ready=1, idle_for=300), (0, "idle")),
        (Load(known=True, slots=4, ready=3, in_flight=6, stable=6.0), (3, "steady")),
        (Load(known=True, slots=4, ready=8, in_flight=1, stable=2.0), (4, "warm")),
        (Load(known=False, slots=4, ready=3), (3, "unknown")),
        (Load(known=True, slots=4, ready=1, idle_for=10, scaled_to=3, scaled_ago=5), (3, "scaled")),
        (Load(known=True, slots=4, ready=3, idle_for=400, scaled_to=3, scaled_ago=301), (0, "idle")),
        (Load(known=True, slots=4, ready=1, idle_for=10, scaled_to=0, scaled_ago=5), (0, "scaled")),
        (Load(known=True, slots=4, waiting=1, scaled_to=0, scaled_ago=5), (1, "waiting")),
        (Load(known=True, slots=1, ready=1, in_flight=1, waiting=4, scaled_to=2, scaled_ago=5), (5, "waiting")),
    ],
)
def test_the_table(load: Load, answer: tuple[int, str]) -> None:
    assert decided(load) == answer


def test_the_minimum_is_kept_when_idle() -> None:
    assert decided(Load(known=True, slots=4, ready=2, idle_for=1e6), Scaling(min=2)) == (2, "idle")


def test_equal_minimum_and_maximum_leave_nothing_to_decide() -> None:
    fixed = Scaling(min=3, max=3)
    assert decided(Load(known=True, slots=1, waiting=50), fixed)[0] == 3
    assert decided(Load(known=True, slots=1), fixed)[0] == 3


def test_in_panic_nothing_shrinks_and_afterwards_it_does() -> None:
    burst = decide(Load(known=True, slots=1, ready=4, in_flight=8, waiting=4, stable=1, panic=8), SCALING, None, 0.0)
    calm = Load(known=True, slots=1, ready=12, in_flight=1, stable=1.0, panic=1.0)
    assert burst.panic is not None
    assert decide(calm, SCALING, burst.panic, 30.0).replicas == 8
    assert decide(calm, SCALING, burst.panic, 61.0).replicas == 6


loads = st.builds(
    Load,
    known=st.booleans(),
    slots=st.integers(1, 100),
    ready=st.integers(0, 30),
    starting=st.integers(0, 30),
    waiting=st.integers(0, 1000),
    in_flight=st.integers(0, 1000),
    stable=st.floats(0, 1000),
    panic=st.floats(0, 1000),
    idle_for=st.floats(0, 1000),
    scaled_to=st.none() | st.integers(0, 30),
    scaled_ago=st.floats(0, 1000),
)


@given(loads, st.integers(0, 5), st.integers(5, 20))
def test_bounds_hold_whatever_the_load(load: Load, low: int, high: int) -> None:
    decision = decide(load, Scaling(min=low, max=high), None, 0.0)
    if load.known and load.scaled_to is None:
        assert low <= decision.replicas <= high


@given(st.integers(1, 1000), st.integers(1, 100))
def test_a_burst_starts_what_its_slots_need_and_no_more(waiting: int, slots: int) -> None:
    decision = decide(Load(known=True, slots=slots, waiting=waiting), Scaling(max=1000), None, 0.0)
    assert decision == Decision(replicas=math.ceil(waiting / slots), reason="waiting")


@given(loads)
def test_whoever_waits_gets_a_replica(load: Load) -> None:
    if load.known and load.waiting:
        assert decide(load, SCALING, None, 0.0).replicas >= 1
