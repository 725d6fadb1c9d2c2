"""Making and removing the containers of a pool."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pilotlight.config import DockerSettings
from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, start_failure
from pilotlight.providers.base import Pool
from pilotlight.providers.docker.berths import Berth, Berths
from pilotlight.providers.docker.logs import parse_frames
from pilotlight.providers.docker.pool_containers import name_of_spare, spare_creation
from pilotlight.providers.docker.starting import lost_network
from pilotlight.providers.docker.surroundings import Images, Networks
from pilotlight.providers.docker.zygote import ContainerZygote
from pilotlight.providers.process.messages import ChildEnded

LAST_LINES = 3


class Spares:
    def __init__(
        self,
        *,
        engine: Engine,
        node: str,
        owner: str,
        images: Images,
        networks: Networks,
        berths: Berths,
        options: DockerSettings,
        idle_end_seconds: float,
        greeted: Callable[[ContainerZygote], None],
        ended: Callable[[ContainerZygote, ChildEnded], None],
    ) -> None:
        self._engine = engine
        self._node = node
        self._owner = owner
        self._images = images
        self._networks = networks
        self._berths = berths
        self._options = options
        self._idle_end_seconds = idle_end_seconds
        self._greeted = greeted
        self._ended = ended
        self._making: set[str] = set()

    def is_making(self, zygote: str) -> bool:
        return zygote in self._making

    async def make(self, zygote: str, pool: Pool) -> ContainerZygote:
        """A container that runs. StartFailed or RevisionFailed; then nothing of it is left."""
        self._making.add(zygote)
        try:
            return await self._make(zygote, pool)
        finally:
            self._making.discard(zygote)

    async def _make(self, zygote: str, pool: Pool) -> ContainerZygote:
        try:
            berth = await asyncio.to_thread(self._berths.make, zygote)
        except OSError as error:
            raise StartFailed(f"no spare container was made: {error.strerror or error}") from error
        try:
            made = self.meet(berth, pool)
        except OSError as error:
            await asyncio.to_thread(self._berths.drop, zygote)
            raise StartFailed(f"no spare container was made: {error.strerror or error}") from error
        try:
            try:
                made.container = await self._create(berth, pool)
                await self._run(made)
            except Refused as refused:
                if not lost_network(refused):
                    raise
                self._networks.forget()  # it was pruned since we made it
                await self._remove(name_of_spare(self._owner, zygote))
                made.container = await self._create(berth, pool)
                await self._run(made)
        except BaseException as error:
            await asyncio.shield(self.discard(made))
            if isinstance(error, Refused):
                raise start_failure(pool.image or "", error) from error
            raise
        return made

    def meet(self, berth: Berth, pool: Pool) -> ContainerZygote:
        """Somebody who listens at the container's socket."""
        return ContainerZygote(berth, pool, greeted=self._greeted, ended=self._ended)

    async def discard(self, zygote: ContainerZygote) -> None:
        """It goes, with all that belongs to it. An engine that is away has it removed when it is back: nobody knows it
        then."""
        zygote.close()
        with suppress(PilotlightError):
            await self._remove(zygote.container or name_of_spare(self._owner, zygote.id))
        await asyncio.to_thread(self._berths.drop, zygote.id)

    def last_words(self, zygote: ContainerZygote) -> str:
        """The end of what it printed, in one line. Blocks."""
        frames = self._engine.frames(zygote.container, stdout="1", stderr="1", follow="0", tail="10")
        try:
            lines = [line.text.strip() for line in parse_frames(frames, "") if line.text.strip()]
        finally:
            frames.close()
        return " | ".join(lines[-LAST_LINES:])[:500]

    async def _create(self, berth: Berth, pool: Pool) -> str:
        image = await self._images.ensure(pool.image or "")
        network, _published = await self._networks.ensure(pool.namespace)
        body = spare_creation(
            pool,
            berth,
            image,
            owner=self._owner,
            node=self._node,
            network=network,
            idle_end_seconds=self._idle_end_seconds,
            options=self._options,
        )
        made = await self._engine.call(
            self._engine.post("/containers/create", body, name=name_of_spare(self._owner, berth.id))
        )
        return str(made["Id"])

    async def _run(self, zygote: ContainerZygote) -> None:
        def verb(client: Any) -> int:
            client.start(zygote.container)
            return int(client.inspect_container(zygote.container)["State"]["Pid"])

        zygote.first_pid = await self._engine.call(verb)

    async def _remove(self, container: str) -> None:
        with suppress(Refused):  # there is none, or it is being removed
            await self._engine.call(lambda client: client.remove_container(container, force=True, v=True))
