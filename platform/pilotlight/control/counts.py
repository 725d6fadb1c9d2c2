"""How often each function was called, over every restart of a router and of the control plane.

A run of a router counts from zero and reports its counts whole, so a report that comes twice counts once, and a
control plane that starts anew beside a router that lives finds its stored report replaced by a newer one. A function's
count is the sum over all runs. Runs that are long over are kept as one.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import structlog

from pilotlight.core.errors import StorageFull
from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Level
from pilotlight.store.counts import StoredCount

log = structlog.get_logger(__name__)
SAVE_SECONDS = 2.0
"""What a crash of the router and the control plane together can lose."""
SILENT_SECONDS = 3600.0
"""A run that said nothing for so long, while the control plane ran, is over: a router that lives comes back at once."""
_PAST = ""
"""The epoch under which runs that are over stand together."""


class Run(NamedTuple):
    router: str
    epoch: str


@dataclass(frozen=True, slots=True)
class Counted:
    calls: int = 0
    errors: int = 0
    """Of the calls, those that were answered with a status of 500 or more."""
    strangers: int = 0
    """Of the calls, those that were answered with 401: as a rule by a router, for want of the function's key."""


class CountStore(Protocol):
    async def load(self) -> Sequence[StoredCount]: ...
    async def save(
        self, counts: Iterable[StoredCount], *, removed: Iterable[FunctionKey], ended: Iterable[Run]
    ) -> None:
        """All or nothing; raises StorageFull."""
        ...


class Counts:
    """Without a store they live as long as the control plane."""

    def __init__(self, store: CountStore | None = None) -> None:
        self._store = store
        self._counts: dict[FunctionKey, dict[Run, Mapping[int, int]]] = {}
        self._changed: set[tuple[FunctionKey, Run]] = set()
        self._removed: set[FunctionKey] = set()
        self._ended: set[Run] = set()
        self._heard: set[Run] = set()
        self._is_full = False
        self._hurry = asyncio.Event()

    async def open(self) -> None:
        """Take in what earlier control planes stored."""
        if self._store is None:
            return
        for count in await self._store.load():
            runs = self._counts.setdefault(count.function, {})
            run = Run(count.router, count.epoch)
            runs[run] = {**runs.get(run, {}), count.code: count.calls}

    def report(self, run: Run, level: Level) -> None:
        """What this run answered so far."""
        self._heard.add(run)
        codes = codes_of(level)
        runs = self._counts.get(level.function)
        if codes == (runs.get(run, {}) if runs else {}):
            return
        self._counts.setdefault(level.function, {})[run] = codes
        self._changed.add((level.function, run))

    def forget(self, function: FunctionKey) -> None:
        """It was removed; one that gets its name begins at zero."""
        self._counts.pop(function, None)
        self._changed = {change for change in self._changed if change[0] != function}
        self._removed.add(function)

    def of(self, function: FunctionKey) -> Counted:
        codes = [item for run in self._counts.get(function, {}).values() for item in run.items()]
        return Counted(
            calls=sum(calls for _, calls in codes),
            errors=sum(calls for code, calls in codes if code >= 500),
            strangers=sum(calls for code, calls in codes if code == 401),
        )

    def earlier(self, function: FunctionKey, run: Run) -> dict[int, int]:
        """By status, what other runs of the same router answered."""
        total: Counter[int] = Counter()
        for other, codes in self._counts.get(function, {}).items():
            if other.router == run.router and other != run:
                total.update(codes)
        return dict(total)

    def left(self) -> None:
        """A router is gone: what it counted last is nowhere but here."""
        self._hurry.set()

    def merge_silent(self) -> None:
        """Keep the runs that were stored, and have not been heard since, as one."""
        for function, runs in self._counts.items():
            for run in [run for run in runs if run not in self._heard and run.epoch != _PAST]:
                past = Run(run.router, _PAST)
                runs[past] = dict(Counter(runs.get(past, {})) + Counter(runs.pop(run)))
                self._changed.discard((function, run))
                self._changed.add((function, past))
                self._ended.add(run)

    async def save(self) -> None:
        """Write what changed since the last time. On a full disk it is kept for the next."""
        if self._store is None or not (self._changed or self._removed or self._ended):
            return
        changed, removed, ended = self._changed, self._removed, self._ended
        self._changed, self._removed, self._ended = set(), set(), set()
        try:
            await self._store.save(list(self._rows(changed)), removed=removed, ended=ended)
        except BaseException as error:
            self._changed |= changed
            self._removed |= removed
            self._ended |= ended
            if not isinstance(error, StorageFull):
                raise
            if not self._is_full:
                log.warning("counts not stored", detail=error.detail)
            self._is_full = True
        else:
            self._is_full = False

    async def keep(self) -> None:
        """Store them every few seconds and when a router left, for as long as it runs."""
        loop = asyncio.get_running_loop()
        merge_at: float | None = loop.time() + SILENT_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_SECONDS):
                    await self._hurry.wait()
            self._hurry.clear()
            if merge_at is not None and loop.time() > merge_at:
                merge_at = None
                self.merge_silent()
            try:
                await self.save()
            except Exception:
                log.exception("counts not stored")

    def _rows(self, changed: Iterable[tuple[FunctionKey, Run]]) -> Iterable[StoredCount]:
        for function, run in changed:
            for code, calls in self._counts.get(function, {}).get(run, {}).items():
                yield StoredCount(function=function, router=run.router, epoch=run.epoch, code=code, calls=calls)


def codes_of(level: Level) -> Mapping[int, int]:
    """Calls by status; a router of an older release says only how many were errors."""
    if level.codes or not level.calls:
        return level.codes
    codes = {200: level.calls - level.errors, 500: level.errors}
    return {code: calls for code, calls in codes.items() if calls}
