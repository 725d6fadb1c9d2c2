"""From what is there to what is wanted, as a list of actions. Pure; perform.py does them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilotlight.core.replica import Replica, ReplicaState

BACKOFF_FIRST_SECONDS = 1.0
BACKOFF_MAX_SECONDS = 60.0
FREE_FAILURES = 1
"""So many failed starts in a row are tried again at once: a node's hiccup is not a crash loop."""


@dataclass(frozen=True, slots=True)
class Start:
    count: int


@dataclass(frozen=True, slots=True)
class Drain:
    replica: str


@dataclass(frozen=True, slots=True)
class TakeBack:
    """It was draining and is wanted again."""

    replica: str


Action = Start | Drain | TakeBack


def plan(revision: str, wanted: int, replicas: Iterable[Replica]) -> list[Action]:
    """What leads to `wanted` replicas of `revision` and to none of any other.

    Draining replicas are taken back before new ones are started; the youngest drain first, since the older ones have
    warm caches. Starting ones are left alone: they are claimed already, and idle soon if they are not needed. Replicas
    of other revisions drain once one of this revision can take their place.
    """
    mine = [r for r in replicas if r.revision == revision]
    others = [r for r in replicas if r.revision != revision]
    ready = _in_state(mine, ReplicaState.READY)
    present = len(ready) + len(_in_state(mine, ReplicaState.STARTING))
    actions: list[Action] = []
    if present < wanted:
        back = _in_state(mine, ReplicaState.DRAINING)[: wanted - present]
        actions += [TakeBack(replica.id) for replica in back]
        if missing := wanted - present - len(back):
            actions.append(Start(missing))
    elif surplus := min(present - wanted, len(ready)):
        actions += [Drain(replica.id) for replica in ready[-surplus:]]
    if ready or wanted == 0:
        actions += [Drain(replica.id) for replica in _in_state(others, ReplicaState.READY)]
    return actions


def backoff_seconds(failures: int) -> float:
    """The pause after so many failed starts in a row: none, then 1 s, doubling up to a minute."""
    if failures <= FREE_FAILURES:
        return 0.0
    return float(min(BACKOFF_MAX_SECONDS, BACKOFF_FIRST_SECONDS * 2 ** min(failures - FREE_FAILURES - 1, 16)))


def grants(slots: int, routers: int) -> tuple[int, ...]:
    """How many of a replica's slots each router may use: together never more than there are, but at least one each.

    With fewer slots than routers a router that was given none would wait for ever, so they try, and the replica refuses
    what it has no room for."""
    if routers == 0:
        return ()
    share, rest = divmod(slots, routers)
    return tuple(max(1, share + (1 if index < rest else 0)) for index in range(routers))


def _in_state(replicas: Sequence[Replica], state: ReplicaState) -> list[Replica]:
    """In order of their start, which is the order they are given in."""
    return [replica for replica in replicas if replica.state is state]
