"""How many replicas, and why."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pilotlight.autoscale.decide import NOTHING, Decision, Load, Memory, decide, scale_call_is_over
from pilotlight.core.scaling import Scaling

SCALING = Scaling(max=20, idle_seconds=300)
KEPT_TO_ZERO = Scaling(min=2, zero=True)
FIXED = Scaling(min=3, max=3)


def decided(load: Load, scaling: Scaling = SCALING, memory: Memory = NOTHING, now: float = 0.0) -> tuple[int, str]:
    decision = decide(load, scaling, memory, now)
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
        (Load(known=False, slots=4, scaled_to=0), (0, "unknown")),
        (Load(known=True, slots=4, ready=8, in_flight=1, adopted_ago=59), (8, "adopted")),
        (Load(known=True, slots=4, ready=8, in_flight=1, adopted_ago=61), (4, "warm")),
        (Load(known=True, slots=4, ready=8, idle_for=301, adopted_ago=59), (0, "idle")),
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


@pytest.mark.parametrize(
    ("load", "answer"),
    [
        (Load(known=True, slots=1, waiting=50), (3, "fixed")),
        (Load(known=True, slots=1), (3, "fixed")),
        (Load(known=True, slots=1, ready=3, idle_for=1e6), (3, "fixed")),
        (Load(known=False, slots=1, ready=1), (3, "fixed")),
        (Load(known=False, slots=1, ready=5, scaled_to=5), (5, "unknown")),
        (Load(known=False, slots=1, scaled_to=0), (0, "unknown")),
        (Load(known=True, slots=1, ready=5, idle_for=10, scaled_to=5, scaled_ago=10), (5, "scaled")),
        (Load(known=True, slots=1, ready=5, idle_for=400, scaled_to=5, scaled_ago=400), (3, "fixed")),
        (Load(known=True, slots=1, idle_for=10, scaled_to=0, scaled_ago=10), (0, "scaled")),
    ],
)
def test_equal_minimum_and_maximum_leave_nothing_to_decide(load: Load, answer: tuple[int, str]) -> None:
    assert decided(load, FIXED) == answer


@pytest.mark.parametrize(
    ("load", "scaling", "answer"),
    [
        (Load(known=True, slots=4, ready=2, idle_for=299), KEPT_TO_ZERO, (2, "minimum")),
        (Load(known=True, slots=4, ready=2, idle_for=300), KEPT_TO_ZERO, (0, "idle")),
        (Load(known=True, slots=4, idle_for=1), KEPT_TO_ZERO, (0, "cold")),
        (Load(known=False, slots=4), KEPT_TO_ZERO, (0, "unknown")),
        (Load(known=True, slots=4, waiting=1), KEPT_TO_ZERO, (2, "minimum")),
        (Load(known=True, slots=4, waiting=9), KEPT_TO_ZERO, (3, "waiting")),
        (Load(known=True, slots=4, ready=1, idle_for=1), KEPT_TO_ZERO, (2, "minimum")),
        (Load(known=True, slots=4, idle_for=1), Scaling(min=3, max=3, zero=True), (0, "cold")),
        (Load(known=True, slots=4, waiting=1), Scaling(min=3, max=3, zero=True), (3, "fixed")),
        (Load(known=True, slots=4, ready=3, idle_for=300), Scaling(min=3, max=3, zero=True), (0, "idle")),
        (Load(known=True, slots=4, ready=1, idle_for=1e6), Scaling(zero=False), (1, "idle")),
        (Load(known=True, slots=4, idle_for=1), Scaling(zero=False), (1, "minimum")),
        (Load(known=True, slots=4, ready=1, idle_for=1e6), Scaling(zero=False, max=1), (1, "fixed")),
    ],
)
def test_who_goes_to_zero_and_comes_back_to_what(load: Load, scaling: Scaling, answer: tuple[int, str]) -> None:
    assert decided(load, scaling) == answer


RPS, CPU = Scaling(type="rps"), Scaling(type="cpu", target=500)
CAPACITY = Scaling(type="capacity", target=10)
ONE = Scaling(type="rps", min=1, max=1)


@pytest.mark.parametrize(
    ("load", "scaling", "answer"),
    [
        (Load(known=True, slots=4, ready=1, in_flight=1, measured=45), RPS, (1, "warm")),
        (Load(known=True, slots=4, ready=1, in_flight=1, measured=46), RPS, (2, "rps")),
        (Load(known=True, slots=4, ready=3, in_flight=1, measured=300), RPS, (7, "rps")),
        (Load(known=True, slots=4, ready=3, in_flight=1, measured=9000), RPS, (20, "maximum")),
        (Load(known=True, slots=4, ready=3, in_flight=1, measured=9000), ONE, (1, "fixed")),
        (Load(known=True, slots=4, ready=1, waiting=36, in_flight=4, measured=1), RPS, (10, "waiting")),
        (Load(known=True, slots=4, ready=9, in_flight=30, measured=1), RPS, (8, "busy")),
        (Load(known=True, slots=4, ready=8, in_flight=1, measured=46), RPS, (4, "rps")),
        (Load(known=True, slots=4, ready=1, idle_for=300, measured=900), RPS, (0, "idle")),
        (Load(known=True, slots=100, ready=1, in_flight=25, measured=25), CAPACITY, (3, "capacity")),
        (Load(known=True, slots=100, ready=2, in_flight=1, measured=1300), CPU, (3, "cpu")),
        (Load(known=True, slots=4, ready=1, in_flight=1), Scaling(type="queue"), (1, "warm")),
        (Load(known=True, slots=4, waiting=9), Scaling(type="queue"), (3, "waiting")),
    ],
)  # fmt: skip
def test_types_of_openfaas(load: Load, scaling: Scaling, answer: tuple[int, str]) -> None:
    """Beside what waits: ceil(load of all replicas / (target * proportion))."""
    assert decided(load, scaling) == answer


def test_only_concurrency_panics() -> None:
    burst = Load(known=True, slots=1, ready=4, in_flight=8, panic=8)
    assert decide(burst, SCALING, NOTHING, 0.0).memory.panic is not None
    assert decide(burst, CAPACITY, NOTHING, 0.0).memory.panic is None


def test_in_panic_nothing_shrinks_and_afterwards_it_does() -> None:
    burst = decide(Load(known=True, slots=1, ready=4, in_flight=8, waiting=4, stable=1, panic=8), SCALING, NOTHING, 0.0)
    calm = Load(known=True, slots=1, ready=12, in_flight=1, stable=1.0, panic=1.0)
    assert burst.memory.panic is not None
    assert decide(calm, SCALING, burst.memory, 30.0).replicas == 8
    assert decide(calm, SCALING, burst.memory, 61.0).replicas == 6


def test_replicas_go_down_to_the_most_that_the_down_window_wanted() -> None:
    slow = Scaling(type="rps", target_proportion=1, target=10, down_window_seconds=60)
    memory, answers = NOTHING, []
    for now, rate in ((0, 80.0), (20, 60.0), (50, 10.0), (61, 10.0), (79, 10.0), (81, 10.0)):
        load = Load(known=True, slots=4, ready=1, in_flight=1, measured=rate)
        decision = decide(load, slow, memory, float(now))
        memory = decision.memory
        answers.append((decision.replicas, decision.reason))
    assert answers == [(8, "rps"), (8, "window"), (8, "window"), (6, "window"), (6, "window"), (1, "warm")]


def test_nobody_is_kept_by_the_down_window_once_the_function_is_idle() -> None:
    slow = Scaling(down_window_seconds=300, idle_seconds=5)
    busy = decide(Load(known=True, slots=1, ready=9, in_flight=9, stable=9), slow, NOTHING, 0.0)
    assert decided(Load(known=True, slots=1, ready=9, idle_for=5), slow, busy.memory, 6.0) == (0, "idle")


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
    measured=st.floats(0, 100_000),
    successes=st.floats(0, 1000),
    idle_for=st.floats(0, 1000),
    scaled_to=st.none() | st.integers(0, 30),
    scaled_ago=st.floats(0, 1000),
)
scalings = st.builds(
    Scaling,
    min=st.integers(0, 5),
    max=st.integers(5, 20),
    zero=st.sampled_from([None, True, False]),
    type=st.sampled_from(["concurrency", "rps", "capacity", "cpu", "queue"]),
    target=st.none() | st.floats(1, 1000),
    target_proportion=st.none() | st.floats(0.01, 1),
    down_window_seconds=st.sampled_from([0.0, 60.0]),
)
by_the_rule = st.builds(Scaling, min=st.integers(0, 5), max=st.integers(5, 20), factor=st.integers(0, 100))
moments = st.lists(st.tuples(loads, st.floats(0, 100)), min_size=1, max_size=8)


@given(moments, scalings | by_the_rule)
def test_bounds_hold_whatever_the_load_and_whatever_was_before(
    moments: list[tuple[Load, float]], scaling: Scaling
) -> None:
    memory, now = NOTHING, 0.0
    for load, pause in moments:
        now += pause
        decision = decide(load, scaling, memory, now)
        memory = decision.memory
        if load.known and load.scaled_to is None:
            least = 0 if scaling.zero else scaling.min
            assert least <= decision.replicas <= scaling.max


@given(st.integers(1, 1000), st.integers(1, 100))
def test_a_burst_starts_what_its_slots_need_and_no_more(waiting: int, slots: int) -> None:
    decision = decide(Load(known=True, slots=slots, waiting=waiting), Scaling(max=1000), NOTHING, 0.0)
    assert decision == Decision(replicas=math.ceil(waiting / slots), reason="waiting")


@given(loads, scalings | by_the_rule)
def test_whoever_waits_gets_a_replica(load: Load, scaling: Scaling) -> None:
    if load.known and load.waiting:
        assert decide(load, scaling, NOTHING, 0.0).replicas >= max(1, scaling.min if load.scaled_to is None else 0)


@given(loads, scalings | by_the_rule, st.sampled_from(["waiting", "in_flight", "stable", "measured", "panic"]))
def test_more_load_never_means_fewer_replicas(load: Load, scaling: Scaling, which: str) -> None:
    assume(load.known)
    more = replace(load, **{which: getattr(load, which) * 2 + 1})
    assert decide(more, scaling, NOTHING, 0.0).replicas >= decide(load, scaling, NOTHING, 0.0).replicas


@given(loads, scalings)
def test_the_same_is_decided_again_at_the_same_moment(load: Load, scaling: Scaling) -> None:
    first = decide(load, scaling, NOTHING, 5.0)
    again = decide(load, scaling, first.memory, 5.0)
    assert again.replicas == first.replicas


@given(loads, scalings | by_the_rule)
def test_a_reason_is_one_word(load: Load, scaling: Scaling) -> None:
    assert decide(load, scaling, NOTHING, 0.0).reason.isalpha()


@pytest.mark.parametrize(
    ("load", "over"),
    [
        (Load(known=True, slots=4, ready=3, idle_for=400, scaled_to=3, scaled_ago=301), True),
        (Load(known=True, slots=4, ready=3, idle_for=400, scaled_to=3, scaled_ago=299), False),
        (Load(known=True, slots=4, ready=3, in_flight=1, scaled_to=3, scaled_ago=400), False),
        (Load(known=False, slots=4, ready=3, idle_for=400, scaled_to=3, scaled_ago=400), False),
        (Load(known=True, slots=4, idle_for=400, scaled_to=0, scaled_ago=400), False),
        (Load(known=True, slots=4, idle_for=400, scaled_ago=400), False),
    ],
)
def test_a_scale_call_is_over_once_the_function_was_idle(load: Load, over: bool) -> None:
    assert scale_call_is_over(load, SCALING) is over
