"""Keeps what can be made again within the disk's budget: looks now and then and after builds, never for a request.

What is referenced is asked of the store (live revisions and those being proven), of the provider (whatever still runs)
and of the machine's processes. A deploy that comes in between is safe: it marks its bundle, or the image on the engine
that is asked for it, as used before it stores anything, and what was used since it was looked at is not taken. A
further engine pulls an image again that went there meanwhile.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

import structlog

from pilotlight.builder.base import Disk, Kept
from pilotlight.builder.shelf import BUNDLES, ENVIRONMENTS, IMAGES, LOCKS, TRIALS
from pilotlight.config import DiskSettings
from pilotlight.control.retention import Wants, judge
from pilotlight.core.errors import PilotlightError
from pilotlight.core.revision import RevisionState
from pilotlight.core.spec import FunctionKey
from pilotlight.engine import Refused
from pilotlight.providers.base import Provider
from pilotlight.store.sql import Reference, Store

log = structlog.get_logger(__name__)

ROLLBACK_REVISIONS = 3
"""So many of a function's earlier revisions are kept before all else that nobody refers to."""
SOON_SECONDS = 5.0
"""From a wake to a look, so that many builds in a row are one reason to look."""
FREE_PART = 20
"""Of a small disk this part (one in so many) is to stay free, instead of the setting."""
_NEEDED = (RevisionState.LIVE, RevisionState.PROVING)


class Shelf(Protocol):
    """What is collected from; see builder.shelf and builder.image_shelf. All but `open` blocks."""

    @property
    def place(self) -> str:
        """Its disk's name, as its things have it."""
        ...

    @property
    def budget(self) -> str:
        """The name of the budget that its things are kept within, together with those of others of this name."""
        ...

    async def open(self) -> None:
        """Raises PilotlightError while it cannot be looked at."""
        ...

    def everything(self) -> list[Kept]: ...

    def in_use(self) -> set[str]:
        """Of what `everything` found last."""
        ...

    def used(self, names: set[str]) -> None: ...

    def take(self, kept: Kept) -> bool: ...

    def disk(self) -> Disk | None:
        """None where that is not known."""
        ...


class Collector:
    def __init__(
        self,
        *,
        store: Store,
        provider: Provider,
        shelves: Sequence[Shelf],
        settings: DiskSettings,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._provider = provider
        self._shelves = tuple(shelves)
        self._settings = settings
        self._clock = clock
        self._wake = asyncio.Event()
        self._over: set[str] = set()
        """The budgets of which that was told already."""
        self._unseen: set[Shelf] = set()
        """Those of which it was told already that they cannot be looked at."""

    def wake(self) -> None:
        """Something was built, or there was no room for it."""
        self._wake.set()

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._settings.interval_seconds):
                    await self._wake.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(min(SOON_SECONDS, self._settings.interval_seconds))
            self._wake.clear()
            await self._collect_safely()

    async def collect(self) -> list[str]:
        """One look; the names of what was removed. What needs no room on the disk comes first."""
        replicas = await self._provider.list()
        removed = await self._clear({each.revision for each in replicas}) if self._shelves else []
        await self._store.abandon(self._clock() - self._settings.min_age_seconds)
        await self._forget_removed({each.function for each in replicas})
        return removed

    async def _clear(self, running: set[str]) -> list[str]:
        references = await self._store.references()
        if not running <= {reference.revision for reference in references}:
            # Of a function that was removed: nobody knows its bundle any more, but it ends within its grace.
            log.info("nothing collected", reason="a replica runs whose revision is gone")
            return []
        shelves = [shelf for shelf in self._shelves if await _is_open(shelf)]
        return await asyncio.to_thread(self._collect, shelves, references, running)

    async def _forget_removed(self, running: Collection[FunctionKey]) -> None:
        """Functions that were removed: their logs, once nothing of theirs writes any more."""
        for function in await self._store.removed():
            if function not in running:
                await self._provider.forget(function)
                await self._store.forgotten(function)

    async def _collect_safely(self) -> None:
        try:
            await self.collect()
        except PilotlightError as error:  # the store on a full disk, for example
            log.warning("nothing collected", reason=error.detail)
        except Exception:
            log.exception("collecting failed")

    def _collect(self, shelves: Sequence[Shelf], references: Sequence[Reference], running: set[str]) -> list[str]:
        needed = _names(each for each in references if each.state in _NEEDED or each.revision in running)
        rollback = _for_rollback(references)
        needed |= _names(each for each in rollback if each.image is not None)
        wants = Wants(referenced=frozenset(needed), preferred=frozenset(_names(rollback)))
        looks = [look for shelf in shelves if (look := self._look(shelf, needed)) is not None]
        freed: Counter[int] = Counter()
        return [
            name
            for budget in dict.fromkeys(look.shelf.budget for look in looks)
            for name in self._within(budget, [look for look in looks if look.shelf.budget == budget], wants, freed)
        ]

    def _look(self, shelf: Shelf, needed: set[str]) -> "_Look | None":
        """None where it went away at this moment, or its engine refuses: the others are collected from nevertheless."""
        try:
            look = _look(shelf, needed)
        except (PilotlightError, Refused) as error:
            if shelf not in self._unseen:
                self._unseen.add(shelf)
                reason = error.detail if isinstance(error, PilotlightError) else error.said
                log.warning("nothing collected until it can be looked at", reason=reason, **_where(shelf.budget))
            return None
        self._unseen.discard(shelf)
        return look

    def _within(self, budget: str, looks: Sequence["_Look"], wants: Wants, freed: Counter[int]) -> list[str]:
        """The names of what was removed to keep within one budget. `freed`: bytes by device, of this look's budgets
        before it; those of this one are added."""
        things = [each for look in looks for each in look.things]
        small = {each.name for each in things if each.name.startswith((LOCKS, TRIALS))}
        wants = Wants(
            referenced=wants.referenced.union(*(look.in_use for look in looks)),
            preferred=wants.preferred | small,
        )
        short = self._short(looks, freed)
        budget_bytes = self._settings.budget_mib * 2**20
        verdicts = judge(
            things,
            wants,
            budget_bytes=budget_bytes,
            short_bytes=short,
            min_age_seconds=self._settings.min_age_seconds,
            now=self._clock(),
        )
        removed = _take([verdict.kept for verdict in verdicts if verdict.remove], looks)
        device_of = {look.shelf.place: look.disk.device for look in looks if look.disk is not None}
        for kept in removed:
            if kept.disk in device_of:
                freed[device_of[kept.disk]] += kept.bytes
        self._tell(budget, things, removed, min(budget_bytes, _bytes(things) - short.get("", 0)))
        return [kept.name for kept in removed]

    def _short(self, looks: Iterable["_Look"], freed: Mapping[int, int]) -> Mapping[str, int]:
        """What is not free on each disk and should be."""
        return {
            look.shelf.place: min(self._settings.free_mib * 2**20, look.disk.size_bytes // FREE_PART)
            - look.disk.free_bytes
            - freed[look.disk.device]
            for look in looks
            if look.disk is not None
        }

    def _tell(self, budget: str, things: Iterable[Kept], removed: Sequence[Kept], budget_bytes: int) -> None:
        left = _bytes(things) - _bytes(removed)
        where = _where(budget)
        if removed:
            log.info("collected", removed=len(removed), freed_mib=_bytes(removed) >> 20, kept_mib=left >> 20, **where)
        if left <= budget_bytes:
            self._over.discard(budget)
        elif budget not in self._over:
            self._over.add(budget)
            log.warning("over the disk's budget", kept_mib=left >> 20, budget_mib=max(0, budget_bytes) >> 20, **where)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """One shelf at one moment."""

    shelf: Shelf
    things: Sequence[Kept]
    in_use: Collection[str]
    disk: Disk | None


async def _is_open(shelf: Shelf) -> bool:
    with suppress(PilotlightError):  # a container engine that is away: its things stay meanwhile
        await shelf.open()
        return True
    return False


def _look(shelf: Shelf, needed: set[str]) -> _Look:
    """What is needed is marked first, so that the last use of what nobody needs any more is when it was needed last."""
    shelf.used(needed)
    things = shelf.everything()
    in_use = shelf.in_use()
    shelf.used(in_use)
    return _Look(shelf=shelf, things=things, in_use=in_use, disk=shelf.disk())


def _take(chosen: Iterable[Kept], looks: Iterable[_Look]) -> list[Kept]:
    """What went. What somebody has used since it was looked at stays, and so does what that needs."""
    shelf_of = {each.name: look.shelf for look in looks for each in look.things}
    needs = {each.name: each.needs for look in looks for each in look.things}
    stays: set[str] = set()
    removed = []
    for kept in chosen:
        gone = False
        with suppress(PilotlightError):
            gone = kept.name not in stays and shelf_of[kept.name].take(kept)
        if gone:
            removed.append(kept)
        elif (need := needs[kept.name]) is not None:
            stays.add(need)
    return removed


def _names(references: Iterable[Reference]) -> set[str]:
    names = set()
    for each in references:
        names |= {f"{BUNDLES}/{each.bundle}", f"{ENVIRONMENTS}/{each.environment}"}
        names |= {f"{IMAGES}/{image}" for image in (each.image, each.environment_image) if image is not None}
    return names


def _for_rollback(references: Iterable[Reference]) -> list[Reference]:
    """Of each function the last revisions that were live; `references` are in this order."""
    seen: Counter[FunctionKey] = Counter()
    chosen = []
    for each in references:
        if each.state == RevisionState.RETIRED and seen[each.function] < ROLLBACK_REVISIONS:
            seen[each.function] += 1
            chosen.append(each)
    return chosen


def _where(budget: str) -> Mapping[str, str]:
    """For a line of the log; the data directory's budget has no name."""
    return {"node": budget} if budget else {}


def _bytes(things: Iterable[Kept]) -> int:
    return sum(each.bytes for each in things)
