"""A whole control plane over the fake provider, a real store and a real link; the test plays the router."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotlight.builder.base import Choices, Progress
from pilotlight.config import ControlSettings, Settings, claim_private_dir
from pilotlight.control.plane import ControlPlane
from pilotlight.core.errors import BundleNotFound
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionKey, FunctionSpec, Scaling, function_key
from pilotlight.link.messages import (
    Applied,
    Change,
    Door,
    Drained,
    Endpoint,
    Hello,
    Level,
    Levels,
    Route,
    Snapshot,
    Welcome,
    encode,
    read_down,
)
from pilotlight.providers.fake import FakeBackend, FakeProvider
from pilotlight.store.sql import Store

HELLO = function_key("hello")


class KnownBundles:
    """Every digest of these is a bundle; building is not what is tested here."""

    digests = {"1" * 64, "2" * 64, "3" * 64}

    async def build(
        self, *, name: str, template: str, tar: Path, choices: Choices, progress: Callable[[Progress], None]
    ) -> Bundle:
        raise NotImplementedError

    def bundle(self, digest: str) -> Bundle:
        if digest not in self.digests:
            raise BundleNotFound(f"no bundle {digest}")
        return Bundle(digest=digest, environment="e" * 64, template="python3-http", contract="http")

    async def sweep(self) -> None:
        return None


@dataclass
class PlayedRouter:
    """Applies what it is told at once, and reports what the test says."""

    path: Path
    routes: dict[FunctionKey, Route] = field(default_factory=dict)
    version: int = 0
    auto_drain: bool = True
    doors: tuple[Door, ...] = ()
    shut: dict[str, str] = field(default_factory=dict)
    """What it says of doors that it cannot open."""
    _writer: asyncio.StreamWriter | None = None
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def run(self, epoch: str = "r1") -> None:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        self._writer = writer
        writer.write(encode(Hello(epoch=epoch, router="main")))
        try:
            while True:
                match await read_down(reader):
                    case Snapshot(version=version, routes=routes, doors=doors):
                        self.doors = doors
                        await self._apply(version, {route.function: route for route in routes})
                        self.report(full=True)
                    case Change(version=version, routes=routes, removed=removed, doors=changed):
                        assert version == self.version + 1
                        self.doors = self.doors if changed is None else changed
                        kept = {key: route for key, route in self.routes.items() if key not in removed}
                        await self._apply(version, kept | {route.function: route for route in routes})
                    case Welcome():
                        pass
        except (EOFError, ConnectionError):
            pass
        finally:
            writer.close()

    def report(self, function: FunctionKey = HELLO, *, full: bool = False, **level: Any) -> None:
        assert self._writer is not None
        self._writer.write(encode(Levels(levels=(Level(function=function, **level),), full=full)))

    async def leave(self) -> None:
        """Its process ends; the control plane hears of it."""
        assert self._writer is not None
        self._writer.close()
        await self._writer.wait_closed()

    def endpoints(self, function: FunctionKey = HELLO) -> tuple[Endpoint, ...]:
        return self.routes[function].endpoints if function in self.routes else ()

    async def until(self, condition: Callable[[], object], *, seconds: float = 5) -> None:
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    def drained(self, replica: str) -> None:
        assert self._writer is not None
        self._writer.write(encode(Drained(replica=replica, version=self.version)))

    async def _apply(self, version: int, routes: dict[FunctionKey, Route]) -> None:
        assert self._writer is not None
        async with self._changed:
            self.version, self.routes = version, routes
            self._changed.notify_all()
        self._writer.write(encode(Applied(version=version, shut=self.shut)))
        if self.auto_drain:
            for endpoint in [e for route in routes.values() for e in route.endpoints if e.draining]:
                self.drained(endpoint.replica)


@dataclass
class Scene:
    """Crash it by leaving `plane()`; the backend, the store's file and the socket's path stay."""

    folder: Path
    backend: FakeBackend = field(default_factory=FakeBackend)
    settings: ControlSettings = field(
        default_factory=lambda: ControlSettings(tick_seconds=0.02, drain_seconds=1.0, kill_grace_seconds=0.2)
    )

    @asynccontextmanager
    async def plane(self, **provider: Any) -> AsyncIterator[tuple[ControlPlane, PlayedRouter, FakeProvider]]:
        """A control plane that runs, a router that has joined it, and the provider under it."""
        settings = Settings(data_dir=self.folder, control=self.settings)
        claim_private_dir(settings.run_dir)
        store = await Store.open(self.folder / "store.db")
        fake = FakeProvider(self.backend, **provider)
        plane = ControlPlane(settings=settings, store=store, provider=fake, builder=KnownBundles())
        router = PlayedRouter(settings.link_socket)
        try:
            async with plane.running():
                task = asyncio.create_task(router.run())
                await router.until(lambda: router.version)
                yield plane, router, fake
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        finally:
            await fake.close(keep=True)
            await store.close()


def hello(version: int = 1, **changes: Any) -> FunctionSpec:
    """The spec of `hello` with the version's bundle; it stays warm for a minute unless told otherwise."""
    changes.setdefault("scale", Scaling(max=20, idle_seconds=60))
    return FunctionSpec(name="hello", image=f"bundle/hello@sha256:{str(version) * 64}", **changes)
