"""Paused standbys: for images without our runtime, a container of a revision that has started, and was then stopped
while it did nothing. Unpausing it takes milliseconds where a start takes hundreds.

It is made like a replica, with the variables and secrets of the last start of its revision, and becomes one by a claim.
A secret that was changed since, or another variable, makes it worthless: it is removed, and the start is a plain one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import structlog

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.providers.base import Launch
from pilotlight.providers.docker.berths import new_standby_id
from pilotlight.providers.docker.containers import Record, launch_variables, record_of
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.probe import until_ready
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.usage import read_usage
from pilotlight.providers.docker.watchdogs import variables_of

log = structlog.get_logger(__name__)

READY_SECONDS = 120.0
LATER_SECONDS = 1.0
"""From a start to the making of the next standby: what was started has the processor to itself first."""
UNCLAIMED_SECONDS = 300.0
"""An adopted one that nobody wants within this time goes."""
AGAIN_SECONDS = 60.0
"""After one that could not be made."""


@dataclass(slots=True, eq=False)
class Standby:
    record: Record
    slots: int | None
    memory_mib: float
    variables: Mapping[str, str]


class Standbys:
    def __init__(
        self,
        *,
        engine: Engine,
        starter: Starter,
        folders: Folders,
        budget_mib: float,
        discard: Callable[[str, str], Awaitable[None]],
    ) -> None:
        """`budget_mib`: memory of all that wait here, 0 for none at all. `discard(container, id)`: it goes, with all
        that belongs to it."""
        self._budget_mib = budget_mib
        self._too_large: dict[str, float] = {}
        """Revisions whose standby would not fit by itself, with its MiB."""
        self._adopted: dict[str, float] = {}
        """Revisions of standbys that an earlier control plane made, since when, until somebody wants them."""
        self._engine = engine
        self._starter = starter
        self._folders = folders
        self._discard = discard
        self._wanted: dict[str, int] = {}
        """By revision."""
        self._patterns: dict[str, Launch] = {}
        """The last launch of each wanted revision: the next one will be like it."""
        self._ready: dict[str, Standby] = {}
        self._making: dict[str, asyncio.Task[None]] = {}
        self.busy: set[str] = set()
        """Ids of those that are being made."""
        self._dying: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()
        self._closed = self._left = False

    def prepare(self, revision: str, count: int) -> None:
        self._adopted.pop(revision, None)
        if count:
            self._wanted[revision] = count
            self._refill(revision)
            return
        self._wanted.pop(revision, None)
        self._patterns.pop(revision, None)
        self._too_large.pop(revision, None)
        if revision in self._making:
            self._making[revision].cancel()
        if (found := self._ready.pop(revision, None)) is not None:
            self._drop(found)

    def seen(self, launch: Launch) -> None:
        """One was started; the next one may be started like it."""
        if launch.revision in self._wanted:
            self._patterns[launch.revision] = launch
            self._loop.call_later(LATER_SECONDS, self._refill, launch.revision)

    def take(self, launch: Launch) -> Standby | None:
        """One that is as the launch wants it; the caller unpauses it."""
        found = self._ready.pop(launch.revision, None)
        if found is None:
            return None
        wanted = launch_variables(launch, with_secrets=bool(launch.secrets))
        same = all(found.variables.get(name) == value for name, value in wanted.items())
        if same and self._folders.holds(found.record.id, launch.secrets):
            return found
        self._drop(found)
        return None

    async def unpause(self, standby: Standby) -> None:
        """Raises Refused when it is gone."""
        await self._engine.call(lambda client: client.unpause(standby.record.container))

    def adopt(self, inspected: Mapping[str, Any]) -> bool:
        """One of an earlier control plane. False: it is of no use."""
        record = record_of(inspected)
        if record is None or not inspected["State"].get("Paused") or record.revision in self._ready:
            return False
        if not self._budget_mib:
            return False
        self._adopted[record.revision] = self._loop.time()
        note = self._folders.ready(record.id)
        variables = variables_of(inspected["Config"].get("Env") or ())
        self._ready[record.revision] = Standby(record, note.slots if note else None, 0.0, variables)
        return True

    def died(self, container: str) -> bool:
        """True if it was one of these."""
        for revision, standby in self._ready.items():
            if standby.record.container == container:
                del self._ready[revision]
                self._drop(standby)
                self._loop.call_later(LATER_SECONDS, self._refill, revision)
                return True
        return False

    def of(self, revision: str) -> Standby | None:
        return self._ready.get(revision)

    def ids(self) -> set[str]:
        return {standby.record.id for standby in self._ready.values()}

    def containers(self) -> set[str]:
        return {standby.record.container for standby in self._ready.values()}

    def why_not(self, revision: str) -> str:
        """Why there is none."""
        if not self._budget_mib:
            return "the server is set to keep none (docker.standbys)"
        if (mib := self._too_large.get(revision)) is not None:
            return f"it would take {mib:.0f} MiB of the {self._budget_mib:.0f} for all (docker.standby_memory_mib)"
        return "its standby is made after its next start"

    def settle(self) -> None:
        """To be called now and then: what was adopted and nobody wants goes."""
        for revision, since in tuple(self._adopted.items()):
            if self._loop.time() - since > UNCLAIMED_SECONDS:
                self.prepare(revision, 0)

    def leave(self) -> None:
        self._closed = self._left = True
        for task in (*self._making.values(), *self._dying):
            task.cancel()

    async def stop(self) -> None:
        """No more are made; what is under way is given up."""
        self._closed = True
        tasks = (*self._making.values(), *self._dying)
        for task in self._making.values():
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _refill(self, revision: str) -> None:
        pattern = self._patterns.get(revision)
        if self._closed or pattern is None or revision not in self._wanted:
            return
        if not {revision}.intersection((*self._ready, *self._making, *self._too_large)):
            task = self._making[revision] = self._loop.create_task(self._make(revision, pattern))
            task.add_done_callback(lambda _done: self._making.pop(revision, None))

    async def _make(self, revision: str, pattern: Launch) -> None:
        id_ = new_standby_id()
        record: Record | None = None
        self.busy.add(id_)
        starting = self._loop.create_task(self._starter.start(replace(pattern, id=id_), standby=True))
        try:
            replica, _phases = await asyncio.shield(starting)
            record = replica.record
            async with asyncio.timeout(READY_SECONDS):
                found = await until_ready(record.asked)
            usage = await self._engine.call(lambda client: read_usage(client, replica.record.container))
            await self._engine.call(lambda client: client.pause(replica.record.container))
            if revision not in self._wanted:
                raise asyncio.CancelledError
            variables = launch_variables(pattern, with_secrets=bool(pattern.secrets))
            made = Standby(record, found.slots, usage.memory_mib if usage else 0.0, variables)
            self._ready[revision] = made
            self._keep_within_budget(revision, made)
        except (PilotlightError, Refused, TimeoutError, OSError) as error:
            log.warning("no standby", function=pattern.function, reason=str(error) or "it was not ready in time")
            self._loop.call_later(AGAIN_SECONDS, self._refill, revision)
            if record is not None:
                with suppress(PilotlightError, Refused):
                    await self._discard(record.container, id_)
        except asyncio.CancelledError:
            if not self._left:
                await asyncio.shield(self._undo(starting, id_))
        finally:
            self.busy.discard(id_)

    def _keep_within_budget(self, revision: str, made: Standby) -> None:
        """The one that was made longest ago goes first; one that is too large by itself is not made again."""
        if made.memory_mib > self._budget_mib:
            self._too_large[revision] = made.memory_mib
            self._drop(self._ready.pop(revision))
        while sum(each.memory_mib for each in self._ready.values()) > self._budget_mib:
            self._drop(self._ready.pop(next(iter(self._ready))))

    async def _undo(self, starting: "asyncio.Task[tuple[Replica, dict[str, float]]]", id_: str) -> None:
        """An engine finishes what it has begun, so only afterwards can it be removed."""
        with suppress(PilotlightError, Refused):
            replica, _phases = await starting
            await self._discard(replica.record.container, id_)

    def _drop(self, standby: Standby) -> None:
        self._spawn(self._gone(standby))

    async def _gone(self, standby: Standby) -> None:
        with suppress(PilotlightError, Refused):
            await self._discard(standby.record.container, standby.record.id)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._dying.add(task)
        task.add_done_callback(self._dying.discard)
