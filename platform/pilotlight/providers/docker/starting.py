"""From a launch to a container that runs: image, network, secrets, container; or nothing of it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pilotlight.config import DockerSettings
from pilotlight.core.errors import PilotlightError, StartFailed, Unsupported
from pilotlight.core.spec import split_key
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, start_failure
from pilotlight.engine.registry_logins import for_the_function
from pilotlight.providers.base import Launch
from pilotlight.providers.docker.containers import OWNER, REPLICA, Place, creation, name_of, record_of
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.surroundings import Images, Networks

TRIES = 10
BUSY_SECONDS = 0.2


class Starter:
    def __init__(
        self,
        *,
        engine: Engine,
        owner: str,
        options: DockerSettings,
        images: Images,
        networks: Networks,
        folders: Folders,
        init: bool,
    ) -> None:
        self._engine = engine
        self._owner = owner
        self._options = options
        self._images = images
        self._networks = networks
        self._folders = folders
        self._init = init

    async def start(self, launch: Launch, *, standby: bool = False) -> tuple[Replica, dict[str, float]]:
        """The replica, and the milliseconds of what was done for it. StartFailed or RevisionFailed otherwise.
        `standby`: it will be nobody's for a while."""
        secrets, launch = launch.secrets, replace(launch, secrets=for_the_function(launch.secrets))
        if launch.image is None:
            raise Unsupported("the docker provider runs images; this revision is a bundle", field="image")
        began = time.perf_counter()
        image = await self._images.ensure(launch.image, secrets)
        pulled = time.perf_counter()
        try:
            try:
                container = await self._create(launch, image, standby)
                created = time.perf_counter()
                await self._engine.call(lambda client: client.start(container))
            except Refused as refused:
                if not lost_network(refused):
                    raise
                self._networks.forget()  # it was pruned since we made it
                await self._clear(launch.id)
                container = await self._create(launch, image, standby)
                created = time.perf_counter()
                await self._engine.call(lambda client: client.start(container))
            inspected = await self._engine.call(lambda client: client.inspect_container(container))
        except Refused as refused:
            await self._clear(launch.id)
            raise start_failure(launch.image, refused) from refused
        except Exception:
            await self._clear(launch.id)
            raise
        record = record_of(inspected)
        if record is None:  # somebody else's, under our name
            raise StartFailed(f"the container {name_of(self._owner, launch.id)} is not one of ours")
        ended = time.perf_counter()
        phases = {"create": created - pulled, "start": ended - created}
        if pulled - began > 0.1:
            phases = {"pull": pulled - began, **phases}
        return Replica(record), {name: seconds * 1000 for name, seconds in phases.items()}

    async def _create(self, launch: Launch, image: Mapping[str, Any], standby: bool) -> str:
        network, published = await self._networks.ensure(split_key(launch.function)[1])
        if launch.secrets and not self._engine.is_local:
            raise StartFailed("a remote Docker engine cannot be given secrets: they are files of this machine's memory")
        place = Place(
            owner=self._owner,
            network=network,
            published=published,
            init=self._init,
            secrets_dir=await asyncio.to_thread(self._folders.store_secrets, launch.id, launch.secrets),
            standby=standby,
        )
        body = creation(launch, image, place, self._options)
        for _ in range(TRIES):
            try:
                made = await self._engine.call(
                    self._engine.post("/containers/create", body, name=name_of(self._owner, launch.id))
                )
                return str(made["Id"])
            except Refused as refused:
                if refused.status != 409:
                    raise
            if (found := await self._there_already(launch)) is not None:
                return found
        raise StartFailed(f"the engine did not let go of the container {name_of(self._owner, launch.id)}")

    async def _there_already(self, launch: Launch) -> str | None:
        """The container of this launch, made before a crash or by a call that was given up. One that has ended was
        another life of the same id, and goes."""
        name = name_of(self._owner, launch.id)
        try:
            found = await self._engine.call(lambda client: client.inspect_container(name))
            labels = found["Config"].get("Labels") or {}
            if (labels.get(OWNER), labels.get(REPLICA)) != (self._owner, launch.id):
                raise StartFailed(f"there is a container {name} already, which is not ours")
            if found["State"]["Status"] in ("created", "running"):
                return str(found["Id"])
            await self._engine.call(lambda client: client.remove_container(found["Id"], force=True, v=True))
        except Refused:
            await asyncio.sleep(BUSY_SECONDS)  # it is being removed
        return None

    async def _clear(self, replica: str) -> None:
        """Nothing of a start that failed is left."""
        try:
            name = name_of(self._owner, replica)
            await self._engine.call(lambda client: client.remove_container(name, force=True, v=True))
        except (Refused, PilotlightError):
            pass  # there is none, or the engine is away: it is swept when that is back
        await asyncio.to_thread(self._folders.drop, replica)


def lost_network(refused: Refused) -> bool:
    return refused.status == 404 and "network" in refused.said.lower()
