"""What is made in the engine before a container: its image is fetched, its namespace has a network."""

import asyncio
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from typing import Any

import psutil

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, image_missing, pull_failure
from pilotlight.engine.images import pull
from pilotlight.providers.docker.containers import OWNER


class Images:
    """Images by the name that a function gives; a pull that several starts need is made once."""

    def __init__(self, engine: Engine, policy: str) -> None:
        self._engine = engine
        self._policy = policy
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def ensure(self, image: str) -> Mapping[str, Any]:
        """What the engine says of it, once it is there. RevisionFailed when it cannot be had, StartFailed when its
        registry cannot be reached."""
        found = await self._inspect(image) if self._policy != "always" else None
        if found is not None:
            return found
        if self._policy == "never":
            raise image_missing(image)
        try:
            await self._pull(image)
        except PilotlightError:
            found = await self._inspect(image)  # a registry that is away is no harm to what is here already
            if found is None:
                raise
            return found
        found = await self._inspect(image)
        if found is None:
            raise pull_failure(image, "the engine pulled it and has it no more")
        return found

    async def _inspect(self, image: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = await self._engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
        except Refused as refused:
            if refused.status == 404:
                return None
            raise pull_failure(image, refused.said) from refused
        return found

    async def _pull(self, image: str) -> None:
        """Not cancelled with one of those who wait for it."""
        task = self._pulls.get(image)
        if task is None:
            task = self._pulls[image] = asyncio.get_running_loop().create_task(self._pulled(image))
            task.add_done_callback(lambda _done: self._pulls.pop(image, None))
        await asyncio.shield(task)

    async def _pulled(self, image: str) -> None:
        if said := await pull(self._engine, image):
            raise pull_failure(image, said)


_APART = {"com.docker.network.bridge.enable_icc": "false"}


class Networks:
    """A bridge for each namespace. Containers on it reach the world and not each other: functions are called through
    the router, which knows who may."""

    def __init__(self, engine: Engine, owner: str, reach: str) -> None:
        self._engine = engine
        self._owner = owner
        self._reach = reach
        self._published: dict[str, bool] = {}
        self._lock = asyncio.Lock()

    async def ensure(self, namespace: str) -> tuple[str, bool]:
        """Its name, and whether ports must be published to be reached."""
        name = self._name(namespace)
        async with self._lock:
            if name not in self._published:
                self._published[name] = await self._decide(await self._made(name))
        return name, self._published[name]

    async def remove(self) -> None:
        """Those that nothing is attached to."""
        async with self._lock:
            self._published.clear()
            found = await self._engine.call(lambda client: client.networks(filters={"label": f"{OWNER}={self._owner}"}))
            for network in found:
                with suppress(Refused):
                    await self._engine.call(partial(_remove, network["Id"]))

    async def drop(self, namespace: str) -> None:
        """The network of a namespace in which nothing runs."""
        name = self._name(namespace)
        async with self._lock:
            self._published.pop(name, None)
            with suppress(Refused):
                await self._engine.call(lambda client: client.remove_network(name))

    def forget(self) -> None:
        """They may be gone: the engine was away."""
        self._published.clear()

    def _name(self, namespace: str) -> str:
        return f"pilotlight-{self._owner}-{namespace}"

    async def _made(self, name: str) -> Mapping[str, Any]:
        for network in await self._engine.call(lambda client: client.networks(names=[f"^{name}$"])):
            if network["Name"] == name:
                found: Mapping[str, Any] = network
                return found
        try:
            await self._engine.call(
                lambda client: client.create_network(
                    name, driver="bridge", options=_APART, labels={OWNER: self._owner}, check_duplicate=True
                )
            )
        except Refused as refused:
            if refused.status != 409:
                raise StartFailed(
                    f"the Docker engine made no network for the function: {refused.said}",
                    hint="Remove networks that nothing uses (docker network prune), or give the engine more address"
                    " pools (default-address-pools in daemon.json).",
                ) from refused
        made: Mapping[str, Any] = await self._engine.call(lambda client: client.inspect_network(name))
        return made

    async def _decide(self, network: Mapping[str, Any]) -> bool:
        if self._reach != "auto":
            return self._reach == "published"
        own = {address.address for found in psutil.net_if_addrs().values() for address in found}
        return not _is_gateway(network, own)


def _remove(network: str, client: Any) -> None:
    client.remove_network(network)


def _is_gateway(network: Mapping[str, Any], own: set[str]) -> bool:
    for part in (network.get("IPAM") or {}).get("Config") or []:
        with suppress(ValueError):
            if str(ipaddress.ip_address(part.get("Gateway", ""))) in own:
                return True
    return False
