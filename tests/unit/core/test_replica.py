"""A replica's states."""

import pytest

from pilotlight.core.replica import STORY_LENGTH, TRANSITIONS, IllegalTransition, Replica, ReplicaState
from pilotlight.core.spec import function_key

REPLICA = Replica(id="r1", function=function_key("hello"), revision="v1", node="local")


def test_a_transition_is_kept_with_its_reason() -> None:
    ready = REPLICA.to(ReplicaState.READY, "deployed", slots=4)
    assert (ready.state, ready.slots, ready.story) == (ReplicaState.READY, 4, ("starting->ready: deployed",))


@pytest.mark.parametrize("state", list(ReplicaState))
def test_only_steps_of_the_table_are_possible(state: ReplicaState) -> None:
    replica = Replica(id="r1", function=function_key("hello"), revision="v1", node="local", state=state)
    for new in set(ReplicaState) - TRANSITIONS[state]:
        with pytest.raises(IllegalTransition):
            replica.to(new, "test")
    for new in TRANSITIONS[state]:
        assert replica.to(new, "test").state is new


def test_every_state_leads_to_the_end() -> None:
    assert all(ReplicaState.ENDED in TRANSITIONS[s] for s in ReplicaState if s is not ReplicaState.ENDED)


def test_the_story_is_bounded() -> None:
    replica = REPLICA.to(ReplicaState.READY, "x")
    for _ in range(STORY_LENGTH):
        replica = replica.to(ReplicaState.DRAINING, "x").to(ReplicaState.READY, "y")
    assert len(replica.story) == STORY_LENGTH
