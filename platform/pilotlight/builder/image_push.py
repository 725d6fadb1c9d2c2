"""From a bundle to a registry: which image a build made, and the engine that has it."""

import asyncio
from collections.abc import Awaitable, Callable

from pilotlight.core.errors import Unsupported
from pilotlight.core.revision import Bundle
from pilotlight.engine.client import Engine
from pilotlight.engine.images import ImageName
from pilotlight.engine.registry import Pushed, Pushes
from pilotlight.engine.registry_logins import Login


class BundlePushes:
    def __init__(self, connect: Callable[[], Awaitable[Engine]], bundle: Callable[[str], Bundle]) -> None:
        """`connect`: asked until there is an engine; `bundle` raises BundleNotFound."""
        self._connect = connect
        self._bundle = bundle
        self._pushes: Pushes | None = None
        self._connecting = asyncio.Lock()

    async def push(
        self,
        digest: str,
        target: ImageName,
        login: Login | None,
        platforms: tuple[str, ...],
        report: Callable[[str, str], None],
    ) -> Pushed:
        image = self._bundle(digest).image
        if image is None:
            raise Unsupported("this was built for processes, so there is no image of it; build it again")
        async with self._connecting:
            if self._pushes is None:
                self._pushes = Pushes(await self._connect())
        await self._pushes.check_platforms(image, platforms)
        report("push", f"to {target.registry}")
        return await self._pushes.push(image, target, login, report)
