"""A replica's states as a table; every transition is kept with its reason.

A replica is STARTING when a provider was asked for it, READY when it may get requests, DRAINING when it may get no
more, STOPPING when it was told to end. It leaves the table by ENDED.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType

from pilotlight.core.spec import FunctionKey


class ReplicaState(StrEnum):
    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    STOPPING = "stopping"
    ENDED = "ended"


_S = ReplicaState
TRANSITIONS: MappingProxyType[ReplicaState, frozenset[ReplicaState]] = MappingProxyType(
    {
        _S.STARTING: frozenset({_S.READY, _S.STOPPING, _S.ENDED}),
        _S.READY: frozenset({_S.DRAINING, _S.STOPPING, _S.ENDED}),
        _S.DRAINING: frozenset({_S.READY, _S.STOPPING, _S.ENDED}),
        _S.STOPPING: frozenset({_S.ENDED}),
        _S.ENDED: frozenset(),
    }
)
STORY_LENGTH = 8


class IllegalTransition(AssertionError):
    """A bug of ours: the message holds the replica's story."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """One running instance of a revision, as the control plane sees it."""

    id: str
    function: FunctionKey
    revision: str
    node: str
    state: ReplicaState = ReplicaState.STARTING
    address: str = ""
    slots: int = 0
    phases: dict[str, float] = field(default_factory=dict)
    """Milliseconds of each phase of its start, in order."""
    reuse_idle_seconds: float = 300.0
    """An idle connection to it is not used again after this long."""
    story: tuple[str, ...] = ()

    def to(self, new: ReplicaState, why: str, **changes: object) -> "Replica":
        """The replica in its next state; IllegalTransition for a step that is not in the table."""
        if new not in TRANSITIONS[self.state]:
            raise IllegalTransition(f"{self.id}: {self.state} -> {new} ({why}); {self.story}")
        story = (*self.story, f"{self.state}->{new}: {why}")[-STORY_LENGTH:]
        return replace(self, state=new, story=story, **changes)  # type: ignore[arg-type]
