"""Where a function is told to call other functions, and the doors that the routers open for that.

Replicas that share this machine's network use the server's own address. Containers do not reach that while it is on
127.0.0.1, so the routers listen at their network's gateway, too. Which doors there are follows from what runs: after a
start of the control plane they are asked for again before any router hears of routes.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import structlog

from pilotlight.claims import url
from pilotlight.control.links import Links
from pilotlight.core.errors import PilotlightError
from pilotlight.core.spec import split_key
from pilotlight.link.messages import Door
from pilotlight.providers.base import Provider, Running

log = structlog.get_logger(__name__)
OPENED_SECONDS = 2.0
"""A router needs a millisecond to open a door; a start does not wait for one that does not answer."""


class Gateways:
    def __init__(self, provider: Provider, links: Callable[[], Links], port: int) -> None:
        self._provider = provider
        self._links = links
        self._port = port
        self._doors: dict[tuple[str, str], Door] = {}
        """By namespace and node."""
        self._warned: set[str] = set()
        self._lock = asyncio.Lock()

    async def of(self, namespace: str, node: str) -> str | None:
        """The address that functions of the namespace are told; None where they reach no router. Raises what a start
        raises whose network cannot be made."""
        found = await self._provider.gateway(namespace, node)
        if found.door is None:
            if found.url is None:
                self._warn(f"{namespace} on {node}", found.why)
            return found.url
        if self._doors.get((namespace, node)) != found.door:
            async with self._lock:
                await self._open(namespace, node, found.door)
        if (reason := self._links().shut(found.door.address)) is not None:
            self._warn(f"{found.door.address}:{self._port}", reason)
            return None
        return url(found.door.address, self._port)

    async def adopt(self, running: Iterable[Running]) -> None:
        """Replicas that run already were told of doors, which are to be open as soon as there is a router."""
        for namespace, node in {(split_key(one.function)[1], one.node) for one in running}:
            with suppress(PilotlightError):  # it is opened at the next start there
                found = await self._provider.gateway(namespace, node)
                if found.door is not None:
                    await self._open(namespace, node, found.door)

    def keep(self, namespaces: Iterable[str]) -> None:
        """The doors of other namespaces are closed: nothing runs there."""
        kept = set(namespaces)
        self._doors = {key: door for key, door in self._doors.items() if key[0] in kept}
        self._links().listen(self._doors.values())

    async def _open(self, namespace: str, node: str, door: Door) -> None:
        doors = self._doors | {(namespace, node): door}
        links = self._links()
        version = links.listen(doors.values())
        if links.routers:
            await links.applied(version, timeout=OPENED_SECONDS)
        self._doors = self._doors | {(namespace, node): door}

    def _warn(self, where: str, why: str) -> None:
        """Once for each place."""
        if where not in self._warned:
            self._warned.add(where)
            log.warning(
                "functions in containers cannot call functions there (PILOTLIGHT_GATEWAY is not set)",
                where=where,
                reason=why,
                help="set docker.gateway to an address of this server that containers reach",
            )
