"""From a launch to a container that runs: image, network, secrets, container; or nothing of it."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from pilotlight.core.errors import PilotlightError, StartFailed, Unsupported
from pilotlight.core.spec import split_key
from pilotlight.engine.failures import Refused, start_failure
from pilotlight.engine.registry_logins import for_the_function
from pilotlight.providers.base import Launch
from pilotlight.providers.docker.containers import OWNER, REPLICA, Place, creation, name_of, record_of
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Site

TRIES = 10
BUSY_SECONDS = 0.2


class _Foreign(StartFailed):
    """Its place is taken by somebody else's container, which is to stay."""


class Starter:
    def __init__(self, site: Site, folders: Folders) -> None:
        self._site = site
        self._folders = folders

    async def start(self, launch: Launch, *, standby: bool = False) -> tuple[Replica, dict[str, float]]:
        """The replica, and the milliseconds of what was done for it. StartFailed or RevisionFailed otherwise.
        `standby`: it will be nobody's for a while."""
        secrets, launch = launch.secrets, replace(launch, secrets=for_the_function(launch.secrets))
        if launch.image is None:
            raise Unsupported("the docker provider runs images; this revision is a bundle", field="image")
        engine = self._site.engine
        began = time.perf_counter()
        image = await self._site.images.ensure(launch.image, secrets)
        pulled = time.perf_counter()

        async def run() -> tuple[str, float]:
            container = await self._create(launch, image, standby)
            created = time.perf_counter()
            await engine.call(lambda client: client.start(container))
            return container, created

        try:
            container, created = await self._site.in_network(run, lambda: self._clear(launch.id))
            inspected = await engine.call(lambda client: client.inspect_container(container))
        except Refused as refused:
            await self._clear(launch.id)
            raise start_failure(launch.image, refused) from refused
        except _Foreign:
            await asyncio.to_thread(self._folders.drop, launch.id)
            raise
        except Exception:
            await self._clear(launch.id)
            raise
        record = record_of(inspected)
        if record is None:  # somebody else's, under our name
            raise StartFailed(f"the container {self._name(launch.id)} is not one of ours")
        ended = time.perf_counter()
        phases = {"create": created - pulled, "start": ended - created}
        if pulled - began > 0.1:
            phases = {"pull": pulled - began, **phases}
        return Replica(record), {name: seconds * 1000 for name, seconds in phases.items()}

    async def _create(self, launch: Launch, image: Mapping[str, Any], standby: bool) -> str:
        network, published = await self._site.networks.ensure(split_key(launch.function)[1])
        if launch.secrets and not self._site.engine.is_local:
            raise StartFailed("a remote Docker engine cannot be given secrets: they are files of this machine's memory")
        place = Place(
            owner=self._site.owner,
            network=network,
            published=published,
            init=self._site.has_init,
            secrets_dir=await asyncio.to_thread(self._folders.store_secrets, launch.id, launch.secrets),
            standby=standby,
        )
        body = creation(launch, image, place, self._site.options)
        for _ in range(TRIES):
            try:
                return await self._site.create(self._name(launch.id), body)
            except Refused as refused:
                if refused.status != 409:
                    raise
            if (found := await self._there_already(launch)) is not None:
                return found
        raise StartFailed(f"the engine did not let go of the container {self._name(launch.id)}")

    async def _there_already(self, launch: Launch) -> str | None:
        """The container of this launch, made before a crash or by a call that was given up. One that has ended was
        another life of the same id, and goes."""
        name = self._name(launch.id)
        try:
            found = await self._site.engine.call(lambda client: client.inspect_container(name))
            labels = found["Config"].get("Labels") or {}
            if (labels.get(OWNER), labels.get(REPLICA)) != (self._site.owner, launch.id):
                raise _Foreign(f"there is a container {name} already, which is not ours")
            if found["State"]["Status"] in ("created", "running"):
                return str(found["Id"])
            await self._site.engine.call(lambda client: client.remove_container(found["Id"], force=True, v=True))
        except Refused:
            await asyncio.sleep(BUSY_SECONDS)  # it is being removed
        return None

    async def _clear(self, replica: str) -> None:
        """Nothing of a start that failed is left."""
        with suppress(PilotlightError):  # the engine is away: it is swept when that is back
            await self._site.remove(self._name(replica))
        await asyncio.to_thread(self._folders.drop, replica)

    def _name(self, replica: str) -> str:
        return name_of(self._site.owner, replica)
