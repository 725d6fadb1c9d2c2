"""Making and removing the containers of a pool."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.engine.failures import Refused, start_failure
from pilotlight.providers.base import Pool
from pilotlight.providers.docker.berths import Berth, Berths
from pilotlight.providers.docker.logs import parse_frames
from pilotlight.providers.docker.pool_containers import name_of_spare, spare_creation
from pilotlight.providers.docker.site import Site
from pilotlight.providers.docker.usage import read_usage
from pilotlight.providers.docker.zygote import ContainerZygote
from pilotlight.providers.process.messages import ChildEnded

LAST_LINES = 3


class Spares:
    def __init__(
        self,
        site: Site,
        berths: Berths,
        *,
        greeted: Callable[[ContainerZygote], None],
        ended: Callable[[ContainerZygote, ChildEnded], None],
    ) -> None:
        """Both are passed on from zygotes, see there."""
        self._site = site
        self._berths = berths
        self._greeted = greeted
        self._ended = ended

    async def make(self, zygote: str, pool: Pool) -> ContainerZygote:
        """A container that runs. StartFailed or RevisionFailed; then nothing of it is left."""
        try:
            berth = await asyncio.to_thread(self._berths.make, zygote)
            made = self.meet(berth, pool)
        except OSError as error:
            await asyncio.to_thread(self._berths.drop, zygote)
            raise StartFailed(f"no spare container was made: {error.strerror or error}") from error
        try:
            await self._site.in_network(lambda: self._run(made), lambda: self._site.remove(self._name(zygote)))
        except asyncio.CancelledError:  # the provider leaves; the next one finds what there is of it
            made.close()
            raise
        except Exception as error:
            await self.discard(made)
            if isinstance(error, Refused):
                raise start_failure(pool.image or "", error) from error
            raise
        return made

    def meet(self, berth: Berth, pool: Pool) -> ContainerZygote:
        """Somebody who listens at the container's socket."""
        return ContainerZygote(berth, pool, greeted=self._greeted, ended=self._ended)

    def discard(self, zygote: ContainerZygote) -> Coroutine[Any, Any, None]:
        """It goes: its sockets at once, all else that belongs to it when this is awaited. An engine that is away has it
        removed when it is back: nobody knows it then."""
        zygote.close()
        return self._discard(zygote)

    async def measure(self, zygote: ContainerZygote) -> None:
        """Once, since it does nothing; an engine may take a second to say it."""
        with suppress(Refused, PilotlightError):
            usage = await self._site.engine.call(lambda client: read_usage(client, zygote.container), slow=True)
            zygote.memory_mib = 0.0 if usage is None else usage.memory_mib

    def last_words(self, zygote: ContainerZygote) -> str:
        """The end of what it printed, in one line. Blocks."""
        frames = self._site.engine.frames(zygote.container, stdout="1", stderr="1", follow="0", tail="10")
        try:
            lines = [line.text.strip() for line in parse_frames(frames, "") if line.text.strip()]
        finally:
            frames.close()
        return " | ".join(lines[-LAST_LINES:])[:500]

    async def _discard(self, zygote: ContainerZygote) -> None:
        with suppress(PilotlightError):
            await self._site.remove(zygote.container or self._name(zygote.id))
        await asyncio.to_thread(self._berths.drop, zygote.id)

    async def _run(self, zygote: ContainerZygote) -> None:
        zygote.container = await self._create(zygote)

        def verb(client: Any) -> int:
            client.start(zygote.container)
            return int(client.inspect_container(zygote.container)["State"]["Pid"])

        zygote.first_pid = await self._site.engine.call(verb)
        zygote.began = asyncio.get_running_loop().time()

    async def _create(self, zygote: ContainerZygote) -> str:
        site, pool = self._site, zygote.pool
        image = await site.images.ensure(pool.image or "")
        network, _published = await site.networks.ensure(pool.namespace)
        body = spare_creation(
            pool,
            zygote.berth,
            image,
            owner=site.owner,
            node=site.node,
            network=network,
            idle_end_seconds=site.idle_end_seconds,
            options=site.options,
        )
        return await site.create(self._name(zygote.id), body)

    def _name(self, zygote: str) -> str:
        return name_of_spare(self._site.owner, zygote)
