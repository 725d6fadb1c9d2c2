"""Which way does a launch become a replica? From its pool, from a paused standby, or as a container of its own."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import replace

import structlog

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.engine.failures import Refused
from pilotlight.engine.registry_logins import for_the_function
from pilotlight.providers.background import Background
from pilotlight.providers.base import Launch
from pilotlight.providers.docker.berths import Claim
from pilotlight.providers.docker.pooled import PooledStarter
from pilotlight.providers.docker.pools import NoPool, Pools
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Common, Site
from pilotlight.providers.docker.spares import Spares
from pilotlight.providers.docker.standbys import Standby, Standbys
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.watchdogs import variables_of
from pilotlight.providers.docker.zygote import ContainerZygote

log = structlog.get_logger(__name__)


class Ways:
    def __init__(
        self,
        site: Site,
        common: Common,
        *,
        pools: Pools,
        spares: Spares,
        standbys: Standbys,
        starter: Starter,
        background: Background,
    ) -> None:
        self._site = site
        self._berths = common.berths
        self._spares = spares
        self._standbys = standbys
        self._starter = starter
        self._background = background
        self._pooled = PooledStarter(site=site, common=common, pools=pools, take=self._take, discard=self._discard)
        self._variables: dict[str, Mapping[str, str]] = {}
        self._in_hand: dict[str, str] = {}
        """Containers that were claimed, by the launches under way that have them."""
        self._closing = False

    @property
    def in_hand(self) -> Collection[str]:
        """Containers that were claimed and are no replicas yet."""
        return self._in_hand.values()

    def done(self, launch: str) -> None:
        """What it had in hand is a replica now, or nobody's."""
        self._in_hand.pop(launch, None)

    async def start(self, launch: Launch) -> tuple[Replica, dict[str, float]]:
        """The replica, and the milliseconds of what was done for it. StartFailed, StorageFull or RevisionFailed."""
        if launch.pool.image is not None and (self._site.options.read_only or not launch.read_only_root):
            try:
                return await self._claimed(launch)
            except NoPool as none:
                if launch.image is None or self._closing:
                    raise StartFailed(f"no replica was started: {none}") from none
                log.info("started without a pool", replica=launch.id, reason=str(none))
        started = await self._unpaused(launch) or await self._starter.start(launch)
        if launch.pool.revision is not None:
            self._standbys.seen(launch)
        return started

    def close(self) -> None:
        """From now on a launch that finds no spare is not started in another way."""
        self._closing = True

    async def _claimed(self, launch: Launch) -> tuple[Replica, dict[str, float]]:
        variables = await self._image_variables(launch.image)
        return await self._pooled.start(replace(launch, secrets=for_the_function(launch.secrets)), variables)

    async def _unpaused(self, launch: Launch) -> tuple[Replica, dict[str, float]] | None:
        began = time.perf_counter()
        standby = self._standbys.take(replace(launch, secrets=for_the_function(launch.secrets)))
        if standby is None:
            return None
        claim = _claim(launch, standby)
        self._in_hand[launch.id] = claim.container
        try:
            await asyncio.to_thread(self._berths.write, claim)
            await self._standbys.unpause(standby)
        except (Refused, PilotlightError, OSError) as error:
            log.warning("standby not unpaused", replica=launch.id, reason=str(error))
            await asyncio.to_thread(self._berths.drop, claim.zygote)  # first: it is nobody's
            self.done(launch.id)
            self._standbys.drop(standby)
            return None
        record = standby.record.claimed(launch.id)
        return Replica(record, claim=claim), {"unpause": (time.perf_counter() - began) * 1000}

    def _take(self, zygote: ContainerZygote) -> None:
        self._in_hand[zygote.replica or ""] = zygote.container

    def _discard(self, zygote: ContainerZygote) -> None:
        self.done(zygote.replica or "")
        self._background.spawn(self._spares.discard(zygote))

    async def _image_variables(self, image: str | None) -> Mapping[str, str]:
        """Those that an image of ours sets. Its name holds its digest, so they are asked for once."""
        if image is None:
            return {}
        if image not in self._variables:
            try:
                found = await self._site.engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
            except (Refused, PilotlightError) as error:
                raise NoPool(f"the engine does not say what {image} is: {error}") from error
            self._variables[image] = variables_of(found["Config"].get("Env") or ())
        return self._variables[image]


def _claim(launch: Launch, standby: Standby) -> Claim:
    return Claim(
        replica=launch.id,
        zygote=standby.record.id,
        container=standby.record.container,
        function=launch.function,
        revision=launch.revision,
        concurrency=standby.record.concurrency,
        paused=True,
        slots=standby.slots or standby.record.concurrency,
    )
