"""One start from a pool, in order: a spare, its bundle and secrets, a listening socket, a channel, two log files, the
launch, a claim on record.

This is the path that a waiting request waits for: no call of the engine, nothing that syncs to disk. Whatever dies in
between, no replica lives on without a claim: the next control plane removes a container that a launch, a bundle or a
secret has reached, and that has none.
"""

import asyncio
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Launch
from pilotlight.providers.docker.berths import Claim
from pilotlight.providers.docker.containers import FUNCTION_DIR, MIN_POOLED_MEMORY_MIB, SECRETS_DIR, bounds
from pilotlight.providers.docker.pools import Pools
from pilotlight.providers.docker.replica import Channel, Replica, pooled_record
from pilotlight.providers.docker.site import Common, Site
from pilotlight.providers.docker.zygote import ContainerZygote, NotLaunched
from pilotlight.providers.process.handover import Parts, launch_message, start_failure
from pilotlight_runtime.launch import Message, encode

log = structlog.get_logger(__name__)

TRIES = 3
PROCESSES = 1_000_000
"""By rlimit they are counted over all containers of a user; the engine bounds each container's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledStarter:
    site: Site
    common: Common
    pools: Pools
    take: Callable[[ContainerZygote], object]
    """It is claimed; until its replica is known, or it is discarded, nobody else may think that it is left over."""
    discard: Callable[[ContainerZygote], object]

    async def start(self, launch: Launch, variables: Mapping[str, str]) -> tuple[Replica, dict[str, float]]:
        """The replica, and the milliseconds of what was done for it. `variables`: those of its image. NoPool when there
        is no spare, StartFailed (or StorageFull) otherwise; then nothing of it is left."""
        for left in reversed(range(TRIES)):
            began = time.perf_counter()
            zygote, waited = await self.pools.claim(launch.pool, launch.id)
            self.take(zygote)
            had_spare = time.perf_counter()
            try:
                replica = await self._launch(launch, zygote, variables)
            except BaseException as error:
                self.common.berths.unlink_socket(launch.id)  # at once: the next try listens under the same name
                self.discard(zygote)
                if isinstance(error, NotLaunched) and left:
                    log.warning("spare not launched", replica=launch.id, reason=str(error))
                    continue
                raise _as_start_failure(error) from error
            phases = {"spare": (had_spare - began) * 1000} if waited else {}
            phases["claim"] = (time.perf_counter() - had_spare) * 1000
            return replica, phases
        raise AssertionError("the last try returns or raises")

    async def _launch(self, launch: Launch, zygote: ContainerZygote, variables: Mapping[str, str]) -> Replica:
        berths = self.common.berths
        bundle = self.common.bundle_dir(launch.bundle) / "function"
        await asyncio.to_thread(berths.fill, zygote.berth, bundle, launch.secrets)
        socket_path = berths.replica_socket(launch.id)
        with Parts(socket_path, self.common.files, launch) as parts:
            frame = encode(self._message(launch, variables))
            unsent = frame[parts.channel.send(frame) :]  # what is larger than the socket's buffer waits for its reader
            await zygote.launch(launch.function, launch.revision, parts.theirs)
            given = bounds(launch, self.site.options, least_mib=MIN_POOLED_MEMORY_MIB)
            claim = Claim(
                replica=launch.id,
                zygote=zygote.id,
                container=zygote.container,
                function=launch.function,
                revision=launch.revision,
                concurrency=launch.concurrency or 0,
                cpu_milli=given.cpu_milli,
                memory_mib=given.memory_mib,
                notes=given.notes,
                spare_log=parts.logs.spare,
            )
            berths.write(claim)
            record = pooled_record(claim, socket_path, launch.node)
            return Replica(record, claim=claim, zygote=zygote, channel=Channel(parts.take_channel(), unsent))

    def _message(self, launch: Launch, variables: Mapping[str, str]) -> Message:
        return launch_message(
            launch,
            bundle=os.path.dirname(FUNCTION_DIR),
            variables={**variables, **launch.variables},
            secrets_dir=SECRETS_DIR if launch.secrets else None,
            memory_mib=None if self.site.limits_memory else launch.limits.memory_mib,
            processes=PROCESSES,
            idle_end_seconds=self.site.idle_end_seconds,
        )


def _as_start_failure(error: BaseException) -> BaseException:
    if isinstance(error, OSError):
        return start_failure(error)
    return StartFailed(f"no replica was started: {error}") if isinstance(error, NotLaunched) else error
