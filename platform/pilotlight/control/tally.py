"""How functions' replicas started and ended, by outcome and by reason, since this control plane began."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from pilotlight.control.views import LastEnd
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import Ended


@dataclass(slots=True, weakref_slot=True, eq=False)
class Tally:
    """Of one function."""

    starts: Counter[str] = field(default_factory=Counter)
    """`ready`, or the slug of why not."""
    ends: Counter[str] = field(default_factory=Counter)
    """The provider's word: stopped, killed, exit, signal, out-of-memory, load-failed, stuck, lost."""
    last_killed: LastEnd | None = None
    """The last one that was asked to stop and would not."""


class Tallies:
    """One for each function that somebody holds the tally of, or that has a replica: a removed one's goes by itself."""

    def __init__(self, unix: Callable[[], float] = time.time) -> None:
        self._unix = unix
        self._functions: WeakValueDictionary[FunctionKey, Tally] = WeakValueDictionary()
        self._replicas: dict[str, Tally] = {}

    def of(self, function: FunctionKey) -> Tally:
        tally = self._functions.get(function)
        if tally is None:
            tally = self._functions[function] = Tally()
        return tally

    def expect_end(self, function: FunctionKey, replica: str) -> Tally:
        """Its end will be told."""
        return self._replicas.setdefault(replica, self.of(function))

    def expect_no_end(self, replica: str) -> None:
        """It never began."""
        self._replicas.pop(replica, None)

    def ended(self, event: Ended) -> None:
        tally = self._replicas.pop(event.id, None)
        if tally is None:
            return
        tally.ends[event.reason] += 1
        if event.reason == "killed":
            tally.last_killed = LastEnd(
                at=self._unix(),
                replica=event.id,
                reason=event.reason,
                detail=event.detail,
                last_lines=event.last_lines,
            )
