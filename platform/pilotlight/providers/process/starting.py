"""One start, in order: a zygote, a listening socket, two log files and a channel, the launch, a record, `keep`.

Whatever dies in between, nothing lives on that has no record: until `keep` a replica dies with its zygote, and a new
control plane ends the children of zygotes that it finds no record of. This is the path that a waiting request waits
for: nothing here syncs to disk, starts a thread or a program.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pilotlight.config import Settings
from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Launch
from pilotlight.providers.process import procfs
from pilotlight.providers.process.cgroups import Group, Groups
from pilotlight.providers.process.handover import Parts, launch_message, start_failure
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.messages import Launched
from pilotlight.providers.process.pools import Pools
from pilotlight.providers.process.records import ReplicaRecord, RunDir
from pilotlight.providers.process.replica import Replica
from pilotlight.providers.process.zygote import LaunchRefused, Zygote, ZygoteGone
from pilotlight_runtime.launch import Message, encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    run: RunDir
    logs: LogFiles
    pools: Pools
    bundle_dir: Callable[[str], Path]
    settings: Settings
    groups: Groups | None
    """None: replicas watch their memory themselves."""
    make: Callable[[ReplicaRecord, procfs.Process | None, Zygote], Replica]
    """Makes the replica known, so that its end is told."""

    async def start(self, launch: Launch) -> Replica:
        """StartFailed (or StorageFull) when it could not be; then nothing of it is left."""
        try:
            return await self._try_twice(launch)
        except BaseException as error:
            self.run.drop_start(launch.id)
            if not isinstance(error, OSError):
                raise
            raise start_failure(error) from error

    async def _try_twice(self, launch: Launch) -> Replica:
        """A zygote may die, or be told to retire, between the moment it is chosen and its answer."""
        try:
            return await self._try(launch)
        except (ZygoteGone, LaunchRefused):
            pass
        try:
            return await self._try(launch)
        except (ZygoteGone, LaunchRefused) as error:
            raise StartFailed(f"no replica was started: its zygote said twice that {error}") from error

    async def _try(self, launch: Launch) -> Replica:
        began = time.perf_counter()
        waited = not self.pools.has(launch.pool)
        zygote = await self.pools.zygote_for(launch.pool)
        had_zygote = time.perf_counter()
        with Parts(self.run.replica_socket(launch.id), self.logs, launch) as parts:
            group = await self._make_group(launch)
            try:
                frame = encode(self._message(launch, limited=group is not None))
                # What is larger than the socket's buffer waits for its reader, and all of it for the group.
                unsent = frame if group else frame[parts.channel.send(frame) :]
                launched = await zygote.launch(launch.id, launch.function, launch.revision, parts.theirs)
                process = procfs.find(launched.pid, launched.started, parent=zygote.process.pid)
                if group is not None and process is not None:
                    await asyncio.to_thread(group.add, process.pid)
            except BaseException:
                zygote.children.discard(launch.id)
                if group is not None:
                    await asyncio.shield(asyncio.to_thread(group.remove))
                raise
            phases = {"zygote": (had_zygote - began) * 1000} if waited else {}
            phases["claim" if launched.spare else "fork"] = (time.perf_counter() - had_zygote) * 1000
            return self._keep(launch, launched, process, zygote, phases, parts, unsent)

    async def _make_group(self, launch: Launch) -> Group | None:
        if self.groups is None or launch.limits.memory_mib is None:
            return None
        return await asyncio.to_thread(self.groups.make, launch.id, launch.limits.memory_mib)

    def _keep(
        self,
        launch: Launch,
        launched: Launched,
        process: procfs.Process | None,
        zygote: Zygote,
        phases: dict[str, float],
        parts: Parts,
        unsent: bytes,
    ) -> Replica:
        record = ReplicaRecord(
            id=launch.id,
            function=launch.function,
            revision=launch.revision,
            zygote=zygote.record.id,
            pid=launched.pid,
            started=launched.started,
            socket=self.run.replica_socket(launch.id),
            spare_log=parts.logs.spare,
            phases=phases,
            memory_mib=self._watched_limit(launch),
            inherited_mib=procfs.anonymous_mib(launched.pid),
        )
        try:
            self.run.write(record)
        except BaseException:
            if process is not None:
                process.kill_group()
                process.close()
            raise
        replica = self.make(record, process, zygote)
        replica.listen(parts.take_channel(), unsent)
        return replica

    def _watched_limit(self, launch: Launch) -> int:
        return 0 if self.groups is not None else launch.limits.memory_mib or 0

    def _message(self, launch: Launch, *, limited: bool) -> Message:
        """`limited`: by a control group, so that it need not watch its memory."""
        return launch_message(
            launch,
            bundle=str(self.bundle_dir(launch.bundle)),
            variables=dict(launch.variables),
            secrets_dir=self.run.store_secrets(launch.id, launch.secrets),
            memory_mib=None if limited else launch.limits.memory_mib,
            processes=launch.limits.processes,
            idle_end_seconds=self.settings.pool.idle_end_seconds,
        )
