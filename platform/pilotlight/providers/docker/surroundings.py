"""What is made in the engine before a container: its image is fetched, its namespace has a network."""

import asyncio
import ipaddress
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

import psutil

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.naming import is_built_here
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused, image_gone, image_missing, image_unbuilt, pull_failure
from pilotlight.engine.images import ImageName, digest_now, fetch, fixed, inspected, mark_used, parse_image
from pilotlight.engine.registry_logins import is_login
from pilotlight.link.messages import Door
from pilotlight.providers.docker.containers import OWNER

NOTHING: Mapping[str, bytes] = MappingProxyType({})


class Images:
    """Images by the name that a function gives; a pull that several starts need is made once."""

    def __init__(self, engine: Engine, policy: str) -> None:
        self._engine = engine
        self._policy = policy
        self._pulls: dict[str, asyncio.Task[None]] = {}

    async def pin(self, image: str, secrets: Mapping[str, bytes] = NOTHING) -> str:
        """For a deploy: the name with the digest of what it stands for now, so that every later start runs those bytes,
        whatever becomes of the tag. They are marked as used where they are there. `secrets` may hold logins.
        InvalidInput for what is no name, else as `ensure`."""
        name = parse_image(image)
        if not name.is_fixed:
            if self._policy == "always":
                name = replace(name, digest=await digest_now(self._engine, name, secrets))
            else:
                name = fixed(name, await self.ensure(image, secrets))
        await mark_used(self._engine, name)
        return str(name)

    async def has(self, image: str) -> bool:
        """Whether the engine has something under this name. InvalidInput for what is no name."""
        return await self._held(parse_image(image)) is not None

    async def ensure(self, image: str, secrets: Mapping[str, bytes] = NOTHING) -> Mapping[str, Any]:
        """What the engine says of it, once it is there; no registry is asked for what is. RevisionFailed when it cannot
        be had, StartFailed when its registry cannot be reached."""
        name = parse_image(image)
        if (found := await self._held(name)) is not None:
            return found
        if self._policy == "never":
            raise image_missing(image)
        if name.id is not None:
            raise image_gone(name.tagged)
        if is_built_here(image):
            raise image_unbuilt(image)
        try:
            await self._pull(name.canonical, secrets)
        except PilotlightError as error:
            if name.is_fixed:
                error.detail = f"the engine does not have this image, and {error.detail}"
            raise
        found = await self._held(name)
        if found is None:
            raise pull_failure(image, "the engine pulled it and has it no more")
        return found

    async def _held(self, name: ImageName) -> Mapping[str, Any] | None:
        image = name.id or name.canonical
        try:
            return await inspected(self._engine, image)
        except Refused as refused:
            raise pull_failure(image, refused.said) from refused

    async def _pull(self, image: str, secrets: Mapping[str, bytes]) -> None:
        """Not cancelled with one of those who wait for it. Who brings logins of its own waits for nobody else's."""
        logins = {name: value for name, value in secrets.items() if is_login(name)}
        if logins:
            await fetch(self._engine, image, logins)
            return
        task = self._pulls.get(image)
        if task is None:
            task = self._pulls[image] = asyncio.get_running_loop().create_task(fetch(self._engine, image))
            task.add_done_callback(lambda _done: self._pulls.pop(image, None))
        await asyncio.shield(task)


_APART = {"com.docker.network.bridge.enable_icc": "false"}


class Networks:
    """A bridge for each namespace. Containers on it reach the world and not each other: functions are called through
    the router, which knows who may."""

    def __init__(self, engine: Engine, owner: str, reach: str) -> None:
        self._engine = engine
        self._owner = owner
        self._reach = reach
        self._published: dict[str, bool] = {}
        self._doors: dict[str, Door | None] = {}
        self._lock = asyncio.Lock()

    async def ensure(self, namespace: str) -> tuple[str, bool]:
        """Its name, and whether ports must be published to be reached."""
        name = self._name(namespace)
        async with self._lock:
            if name not in self._published:
                door = self._doors[name] = door_of(await self._made(name), self._own_addresses())
                self._published[name] = door is None if self._reach == "auto" else self._reach == "published"
        return name, self._published[name]

    async def gateway(self, namespace: str) -> Door | None:
        """Where containers of the namespace reach this machine; None where it is not their network's gateway."""
        name, _published = await self.ensure(namespace)
        return self._doors.get(name)

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

    def _own_addresses(self) -> set[str]:
        """An engine elsewhere may well have a network with an address that is also one of ours."""
        if not self._engine.is_local:
            return set()
        return {address.address for found in psutil.net_if_addrs().values() for address in found}


def _remove(network: str, client: Any) -> None:
    client.remove_network(network)


def door_of(network: Mapping[str, Any], own: set[str]) -> Door | None:
    """The network's gateway, where that is this machine: it is not when the engine is on another one, or in a virtual
    machine."""
    for part in (network.get("IPAM") or {}).get("Config") or []:
        with suppress(ValueError, KeyError):
            gateway = str(ipaddress.ip_address(part["Gateway"]))
            if gateway in own:
                return Door(address=gateway, network=str(ipaddress.ip_network(part["Subnet"])))
    return None
