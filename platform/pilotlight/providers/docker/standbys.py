"""Paused standbys: for images without our runtime, a container of a revision that has started, and was then stopped
while it did nothing. Unpausing it takes milliseconds where a start takes hundreds.

It is made like a replica, with the variables and secrets of the last start of its revision, and becomes one by a claim.
A secret that was changed since, or another variable, makes it worthless: it is removed, and the start is a plain one.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import structlog

from pilotlight.config import DockerSettings
from pilotlight.core.errors import PilotlightError
from pilotlight.engine.failures import Refused
from pilotlight.providers.background import Background
from pilotlight.providers.base import Launch, Warm
from pilotlight.providers.docker.berths import new_standby_id
from pilotlight.providers.docker.containers import Record, launch_variables, record_of
from pilotlight.providers.docker.probe import until_ready
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Common, Site
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.usage import read_usage
from pilotlight.providers.docker.watchdogs import variables_of

log = structlog.get_logger(__name__)
Starting: TypeAlias = "asyncio.Task[tuple[Replica, dict[str, float]]]"

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
    def __init__(self, site: Site, common: Common, starter: Starter, *, node_memory_mib: int) -> None:
        self._site = site
        self._folders = common.folders
        self._berths = common.berths
        self._starter = starter
        self._budget_mib = budget_mib(site.options, node_memory_mib)
        self._too_large: dict[str, float] = {}
        """Revisions whose standby would not fit by itself, with its MiB."""
        self._adopted: dict[str, float] = {}
        """Revisions of standbys that an earlier control plane made, since when, until somebody wants them."""
        self._wanted: set[str] = set()
        """Revisions."""
        self._patterns: dict[str, Launch] = {}
        """The last launch of each wanted revision: the next one will be like it."""
        self._ready: dict[str, Standby] = {}
        self._making: dict[str, asyncio.Task[None]] = {}
        self.busy: set[str] = set()
        """Ids of those that are being made."""
        self._background = Background("the standbys")
        self._loop = asyncio.get_running_loop()
        self._closed = False

    def prepare(self, revision: str, *, wanted: bool) -> None:
        self._adopted.pop(revision, None)
        if wanted:
            self._wanted.add(revision)
            self._refill(revision)
            return
        self._wanted.discard(revision)
        self._patterns.pop(revision, None)
        self._too_large.pop(revision, None)
        if revision in self._making:
            self._making[revision].cancel()
        if (found := self._ready.pop(revision, None)) is not None:
            self.drop(found)

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
        self.drop(found)
        return None

    async def unpause(self, standby: Standby) -> None:
        """Raises Refused when it is gone."""
        await self._site.engine.call(lambda client: client.unpause(standby.record.container))

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
                self.drop(standby)
                self._loop.call_later(LATER_SECONDS, self._refill, revision)
                return True
        return False

    def of(self, revision: str) -> Standby | None:
        return self._ready.get(revision)

    def ids(self) -> set[str]:
        return {standby.record.id for standby in self._ready.values()}

    def containers(self) -> set[str]:
        return {standby.record.container for standby in self._ready.values()}

    def warm(self, revision: str | None) -> Warm:
        """None: of no revision in particular."""
        standby = None if revision is None else self._ready.get(revision)
        if standby is not None:
            return Warm(kind="paused", ready=1, memory_mib=standby.memory_mib)
        kind = "paused" if self._site.options.standbys else "none"
        return Warm(kind=kind, why="" if revision is None else self._why_not(revision))

    def settle(self) -> None:
        """To be called now and then: what was adopted and nobody wants goes."""
        for revision, since in tuple(self._adopted.items()):
            if self._loop.time() - since > UNCLAIMED_SECONDS:
                self.prepare(revision, wanted=False)

    def drop(self, standby: Standby) -> None:
        """It goes, with all that belongs to it."""
        self._background.spawn(self._discard(standby.record.container, standby.record.id))

    def leave(self) -> None:
        self._closed = True
        self._background.leave()

    async def stop(self) -> None:
        """No more are made; what is under way is given up."""
        self._closed = True
        for task in self._making.values():
            task.cancel()
        await self._background.finish()

    def _why_not(self, revision: str) -> str:
        if not self._budget_mib:
            return "the server is set to keep none (docker.standbys)"
        if (mib := self._too_large.get(revision)) is not None:
            return f"it would take {mib:.0f} MiB of the {self._budget_mib:.0f} for all (docker.standby_memory_mib)"
        return "its standby is made after its next start"

    def _refill(self, revision: str) -> None:
        pattern = self._patterns.get(revision)
        if self._closed or pattern is None or revision not in self._wanted:
            return
        if not {revision}.intersection((*self._ready, *self._making, *self._too_large)):
            task = self._making[revision] = self._background.spawn(self._make(revision, pattern))
            task.add_done_callback(lambda _done: self._making.pop(revision, None))

    async def _make(self, revision: str, pattern: Launch) -> None:
        id_ = new_standby_id()
        self.busy.add(id_)
        launch = replace(pattern, id=id_)
        starting = self._background.spawn(self._starter.start(launch, standby=True), awaited=True)
        try:
            made = await self._until_paused(starting, launch)
        except Exception as error:  # whatever it was: it is tried again
            log.warning("no standby", function=pattern.function, reason=str(error) or "it was not ready in time")
            self._loop.call_later(AGAIN_SECONDS, self._refill, revision)
            self._give_up(starting, id_)
        except asyncio.CancelledError:
            self._give_up(starting, id_)
            raise
        else:
            self.busy.discard(id_)
            self._ready[revision] = made
            self._keep_within_budget(revision, made)

    async def _until_paused(self, starting: Starting, launch: Launch) -> Standby:
        replica, _phases = await asyncio.shield(starting)
        container = replica.record.container
        async with asyncio.timeout(READY_SECONDS):
            found = await until_ready(replica.record.asked)
        usage = await self._site.engine.call(lambda client: read_usage(client, container))
        await self._site.engine.call(lambda client: client.pause(container))
        variables = launch_variables(launch, with_secrets=bool(launch.secrets))
        return Standby(replica.record, found.slots, usage.memory_mib if usage else 0.0, variables)

    def _keep_within_budget(self, revision: str, made: Standby) -> None:
        """The one that was made longest ago goes first; one that is too large by itself is not made again."""
        if made.memory_mib > self._budget_mib:
            self._too_large[revision] = made.memory_mib
            self.drop(self._ready.pop(revision))
        while sum(each.memory_mib for each in self._ready.values()) > self._budget_mib:
            self.drop(self._ready.pop(next(iter(self._ready))))

    def _give_up(self, starting: Starting, id_: str) -> None:
        undoing = self._background.spawn(self._undo(starting, id_))
        undoing.add_done_callback(lambda _done: self.busy.discard(id_))

    async def _undo(self, starting: Starting, id_: str) -> None:
        """An engine finishes what it has begun, so only afterwards can it be removed."""
        with suppress(PilotlightError, Refused, OSError):
            replica, _phases = await starting
            await self._discard(replica.record.container, id_)

    async def _discard(self, container: str, id_: str) -> None:
        with suppress(PilotlightError):  # an engine that is away has it removed when it is back
            await self._site.remove(container)
        await asyncio.to_thread(self._folders.drop, id_)
        await asyncio.to_thread(self._berths.drop, id_)


def budget_mib(options: DockerSettings, node_memory_mib: int) -> float:
    """Of all standbys of a node together; 0 for none at all."""
    if not options.standbys:
        return 0.0
    return node_memory_mib / 4 if options.standby_memory_mib is None else options.standby_memory_mib
