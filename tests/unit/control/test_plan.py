"""From what is there to what is wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.control.plan import Drain, Start, TakeBack, backoff_seconds, grants, plan
from pilotlight.core.replica import Replica, ReplicaState
from pilotlight.core.spec import function_key

S = ReplicaState


def replicas(*states: ReplicaState, revision: str = "v2") -> list[Replica]:
    return [
        Replica(id=f"{revision}-{i}", function=function_key("f"), revision=revision, node="local", state=state)
        for i, state in enumerate(states)
    ]


def test_nothing_there_and_some_wanted_starts_them() -> None:
    assert plan("v2", 3, []) == [Start(3)]


def test_starting_ones_count() -> None:
    assert plan("v2", 3, replicas(S.STARTING, S.READY)) == [Start(1)]


def test_draining_ones_are_taken_back_first() -> None:
    assert plan("v2", 3, replicas(S.READY, S.DRAINING)) == [TakeBack("v2-1"), Start(1)]


def test_the_youngest_drain_first() -> None:
    assert plan("v2", 1, replicas(S.READY, S.READY, S.READY)) == [Drain("v2-1"), Drain("v2-2")]


def test_starting_ones_are_left_alone() -> None:
    assert plan("v2", 0, replicas(S.STARTING, S.READY)) == [Drain("v2-1")]


def test_an_older_revision_drains_once_the_new_one_is_ready() -> None:
    old = replicas(S.READY, revision="v1")
    assert plan("v2", 1, [*old, *replicas(S.STARTING)]) == []
    assert plan("v2", 1, [*old, *replicas(S.READY)]) == [Drain("v1-0")]


def test_what_is_wanted_is_no_action() -> None:
    assert plan("v2", 2, replicas(S.READY, S.READY, S.STOPPING)) == []


@given(st.lists(st.sampled_from(list(S)), max_size=12), st.integers(0, 12))
def test_the_plan_leads_to_what_is_wanted(states: list[ReplicaState], wanted: int) -> None:
    present = sum(s in (S.READY, S.STARTING) for s in states)
    for action in plan("v2", wanted, replicas(*states)):
        match action:
            case Start(count=count):
                present += count
            case TakeBack():
                present += 1
            case Drain():
                present -= 1
    assert present == wanted or (present > wanted and present == states.count(S.STARTING))


@pytest.mark.parametrize(("failures", "seconds"), [(0, 0), (1, 0), (2, 1), (3, 2), (7, 32), (8, 60), (1000, 60)])
def test_pauses_grow_to_a_minute(failures: int, seconds: float) -> None:
    assert backoff_seconds(failures) == seconds


@given(st.integers(1, 1000), st.integers(1, 20))
def test_grants_share_the_slots_and_leave_no_router_without(slots: int, routers: int) -> None:
    shares = grants(slots, routers)
    assert sum(shares) == max(slots, routers)
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1
