"""The worlds that a provider lives in: one per backend, with the same few things that can happen in each.

A test opens providers, lets them crash, and makes replicas print, die or fail to load, without knowing which it has.
A new backend adds one world here and no test.
"""

import json
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from pilotlight.config import Settings
from pilotlight.providers.base import Ended, Launch, Pool, Provider
from pilotlight.providers.fake import FakeBackend, FakeProvider
from pilotlight.providers.process import ProcessProvider
from tests.provider_support import Installation, Watch, a_launch, call, installed


class World(Protocol):
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


@dataclass
class FakeWorld:
    backend: FakeBackend = field(default_factory=FakeBackend)
    provider: FakeProvider | None = None
    script: dict[str, Any] = field(default_factory=dict)

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
class ProcessWorld:
    installation: Installation
    data_dir: Path
    provider: ProcessProvider | None = None

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


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with installed() as made:
        yield made


WORLDS: dict[str, Callable[[pytest.FixtureRequest], World]] = {
    "fake": lambda _request: FakeWorld(),
    "process": lambda request: ProcessWorld(request.getfixturevalue("installation"), _data_dir()),
}


def _data_dir() -> Path:
    return Path(tempfile.mkdtemp(prefix="pilotlight-data-"))


@pytest.fixture(params=WORLDS)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    made = WORLDS[request.param](request)
    yield made
    await made.close()


@pytest.fixture
async def provider(world: World) -> Provider:
    return await world.open()


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[Provider], Watch]]:
    made: list[Watch] = []

    def start(provider: Provider) -> Watch:
        made.append(Watch(provider))
        return made[-1]

    yield start
    for each in made:
        each.cancel()
