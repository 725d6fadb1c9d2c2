"""The worlds that a provider lives in: one per backend, with the same few things that can happen in each.

A test opens providers, lets them crash, and makes replicas print, die or fail to load, without knowing which it has.
A new backend adds one world here and no test.
"""

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import pytest

from pilotlight.config import DockerSettings, Settings
from pilotlight.engine.client import Engine
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.base import Ended, Launch, Pool, Provider
from pilotlight.providers.docker import DockerProvider
from pilotlight.providers.docker.berths import Berths
from pilotlight.providers.docker.containers import name_of
from pilotlight.providers.fake import FakeBackend, FakeProvider
from pilotlight.providers.process import ProcessProvider
from tests.engines import docker_engine, environment_image
from tests.provider_support import POOL, Installation, a_launch, call, installed
from tests.provider_support import watch as watch  # a fixture


class World(Protocol):
    phases: tuple[str, ...]
    """The last ones of a start."""

    @property
    def pool(self) -> Pool: ...

    def launch(self, replica: str, **changes: Any) -> Launch: ...

    async def open(self, **changes: Any) -> Provider: ...

    def crash(self, provider: Provider) -> None:
        """The control plane dies; what runs goes on."""

    async def kill(self, replica: str) -> None:
        """The replica dies of something."""

    async def say(self, replica: str, text: str) -> None:
        """The replica prints a line."""

    def broken(self, replica: str) -> Launch:
        """A launch of a function that cannot be loaded."""

    def impossible(self, replica: str) -> Launch:
        """A launch that the backend cannot start."""

    async def close(self) -> None: ...


class _OwnPool:
    """A world whose launches are those of everybody."""

    pool: Pool = POOL

    def launch(self, replica: str, **changes: Any) -> Launch:
        return a_launch(replica, pool=self.pool, **changes)


@dataclass
class FakeWorld(_OwnPool):
    backend: FakeBackend = field(default_factory=FakeBackend)
    provider: FakeProvider | None = None
    script: dict[str, Any] = field(default_factory=dict)
    phases: tuple[str, ...] = ("load", "init", "listen")

    async def open(self, **changes: Any) -> Provider:
        self.provider = FakeProvider(self.backend, start_delay=0.001, **self.script, **changes)
        await self.provider.open()
        return self.provider

    def crash(self, provider: Provider) -> None:
        assert isinstance(provider, FakeProvider)
        provider.vanish()

    async def kill(self, replica: str) -> None:
        assert self.provider is not None
        self.provider.crash(replica, signal=9, detail="killed by signal 9 (SIGKILL)")

    async def say(self, replica: str, text: str) -> None:
        assert self.provider is not None
        self.provider.say(replica, text)

    def broken(self, replica: str) -> Launch:
        assert self.provider is not None
        self.provider.load_failure = Ended(
            id="", reason="load-failed", detail="invalid syntax", slug="handler-syntax", file="handler.py", line=1
        )
        return a_launch(replica)

    def impossible(self, replica: str) -> Launch:
        assert self.provider is not None
        self.provider.fail_starts = 1
        return a_launch(replica)

    async def close(self) -> None:
        if self.provider is not None:
            await self.provider.close(keep=False)


@dataclass
class ProcessWorld(_OwnPool):
    installation: Installation
    data_dir: Path
    provider: ProcessProvider | None = None
    phases: tuple[str, ...] = ("load", "init", "listen")

    async def open(self, **changes: Any) -> Provider:
        self.provider = self.installation.provider(self.data_dir, **changes)
        await self.provider.open()
        return self.provider

    def crash(self, provider: Provider) -> None:
        assert isinstance(provider, ProcessProvider)
        provider._leave()

    async def kill(self, replica: str) -> None:
        (record,) = [each for each in self.records() if each["id"] == replica]
        os.kill(record["pid"], signal.SIGKILL)

    def records(self) -> list[dict[str, Any]]:
        """Of replicas, as the provider wrote them; also when none is open."""
        folder = Settings(data_dir=self.data_dir).run_dir / "records"
        return [json.loads(path.read_text()) for path in folder.glob("replica-*.json")]

    async def say(self, replica: str, text: str) -> None:
        (path,) = [each["socket"] for each in self.records() if each["id"] == replica]
        await call(path, text)

    def broken(self, replica: str) -> Launch:
        return a_launch(replica, bundle="broken")

    def impossible(self, replica: str) -> Launch:
        return a_launch(replica, pool=Pool(environment="not-built", namespace="test"))

    async def close(self) -> None:
        if self.provider is not None and not self.provider._closing:
            await self.provider.close(keep=False)
        shutil.rmtree(self.data_dir)


@dataclass
class DockerWorld(_OwnPool):
    """Containers of an image that is not ours."""

    engine: Engine
    data_dir: Path
    provider: DockerProvider | None = None
    phases: tuple[str, ...] = ("create", "start", "listen")

    async def open(self, **changes: Any) -> Provider:
        docker = DockerSettings(pull="never", slots=4)
        self.provider = DockerProvider(settings=Settings(data_dir=self.data_dir, docker=docker, **changes))
        await self.provider.open()
        return self.provider

    def crash(self, provider: Provider) -> None:
        assert isinstance(provider, DockerProvider)
        provider._leave()

    async def kill(self, replica: str) -> None:
        await self.engine.call(lambda client: client.kill(self._name(replica)))

    async def say(self, replica: str, text: str) -> None:
        """Until the engine has heard it, too: its log is not written by the one who prints."""
        found = await self.engine.call(lambda client: client.inspect_container(self._name(replica)))
        (network,) = found["NetworkSettings"]["Networks"].values()
        await call(f"tcp:{network['IPAddress']}:8080", text)
        async with asyncio.timeout(10):
            while text.encode() not in await self.engine.call(lambda client: client.logs(self._name(replica))):
                await asyncio.sleep(0.005)

    def broken(self, replica: str) -> Launch:
        pytest.skip("an image that is not ours says nothing of files and lines")

    def impossible(self, replica: str) -> Launch:
        return a_launch(replica, node="elsewhere")

    async def close(self) -> None:
        if self.provider is not None and not self.provider._closing:
            await self.provider.close(keep=False)
        shutil.rmtree(self.data_dir)

    def _name(self, replica: str) -> str:
        return name_of(owner_of(self.data_dir), replica)


@dataclass
class DockerPoolWorld(DockerWorld):
    """Containers of an environment of ours, claimed from a pool."""

    phases: tuple[str, ...] = ("load", "init", "listen")
    installation: Installation | None = None

    async def open(self, **changes: Any) -> Provider:
        assert self.installation is not None
        self.provider = DockerProvider(
            settings=Settings(data_dir=self.data_dir, docker=DockerSettings(pull="never"), **changes),
            bundle_dir=self.installation.bundle_dir,
        )
        await self.provider.open()
        return self.provider

    @property
    def pool(self) -> Pool:  # type: ignore[override]
        return Pool(environment="env", namespace="test", image=environment_image())

    def launch(self, replica: str, **changes: Any) -> Launch:
        return super().launch(replica, image=None, **changes)

    async def kill(self, replica: str) -> None:
        """The replica itself, not its container's first process."""
        container = self._container(replica)
        found = await self.engine.call(lambda client: client.top(container, ps_args="-o pid,ppid"))
        first = (await self.engine.call(lambda client: client.inspect_container(container)))["State"]["Pid"]
        (pid,) = [int(pid) for pid, parent in found["Processes"] if int(parent) == first]
        os.kill(pid, signal.SIGKILL)

    async def say(self, replica: str, text: str) -> None:
        (running,) = [each for each in await self._provider().list() if each.id == replica]
        await call(running.address.removeprefix("unix:"), text)

    def broken(self, replica: str) -> Launch:
        return self.launch(replica, bundle="broken")

    def impossible(self, replica: str) -> Launch:
        return replace(self.launch(replica), node="elsewhere")

    def _provider(self) -> DockerProvider:
        assert self.provider is not None
        return self.provider

    def _container(self, replica: str) -> str:
        """As it was written down; also when no provider is open."""
        settings = Settings(data_dir=self.data_dir)
        (claim,) = [c for c in Berths(settings.run_dir, self.data_dir).claims() if c.replica == replica]
        return claim.container


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with installed() as made:
        yield made


WORLDS: dict[str, Callable[[pytest.FixtureRequest], World]] = {
    "fake": lambda _request: FakeWorld(),
    "process": lambda request: ProcessWorld(request.getfixturevalue("installation"), _data_dir()),
    "docker": lambda _request: DockerWorld(docker_engine(), _data_dir()),
    "docker-pool": lambda request: DockerPoolWorld(
        docker_engine(), _data_dir(), installation=request.getfixturevalue("installation")
    ),
}
_DOCKER = (pytest.mark.docker, pytest.mark.xdist_group("docker"))
MARKS = {"docker": _DOCKER, "docker-pool": _DOCKER}


def _data_dir() -> Path:
    return Path(tempfile.mkdtemp(prefix="pilotlight-data-"))


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in WORLDS])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = WORLDS[request.param](request)
    yield made
    await made.close()


@pytest.fixture
async def provider(world: World) -> Provider:
    return await world.open()
