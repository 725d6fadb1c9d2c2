"""What tests of providers share: a place with an environment and bundles, launches, and an ear for events."""

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import Sandbox, Settings, sandbox_user
from pilotlight.core.spec import function_key
from pilotlight.engine.client import Engine
from pilotlight.providers.base import Event, Launch, Pool, Provider
from pilotlight.providers.process import ProcessProvider
from pilotlight.providers.process.cgroups import Groups
from tests.engines import TEST_IMAGE

HELLO = function_key("hello", "test")
POOL = Pool(environment="env", namespace="test")

HANDLERS = {
    "hello": "import sys\n\ndef handle(event, context):\n    print(event.body.decode())\n    return 'hello'\n",
    "eval": "import os\n\ndef handle(event, context):\n    return repr(eval(event.body.decode(), {'os': os}))\n",
    "broken": "def handle(event, context:\n    return 'never'\n",
}


@dataclass
class Installation:
    """What a builder would have made, at a place that the functions' user can reach."""

    root: Path
    sandbox: Sandbox

    @property
    def layer(self) -> Path:
        return self.root / "layer"

    def environment_dir(self, digest: str) -> Path:
        return self.root / "environments" / digest

    def bundle_dir(self, digest: str) -> Path:
        return self.root / "bundles" / digest

    def add_bundle(self, name: str, handler: str) -> None:
        folder = self.bundle_dir(name) / "function"
        folder.mkdir(parents=True)
        (folder / "handler.py").write_text(handler)

    def processes(self) -> dict[int, str]:
        """Pids and command lines of everything that was started with what is installed here."""
        found = {}
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                if str(self.root) in command and int(path.name) != os.getpid():
                    found[int(path.name)] = command
        return found

    def provider(self, data_dir: Path, *, groups: Groups | None = None, **settings: Any) -> ProcessProvider:
        return ProcessProvider(
            settings=Settings(data_dir=data_dir, **settings),
            sandbox=self.sandbox,
            layer=self.layer,
            environment_dir=self.environment_dir,
            bundle_dir=self.bundle_dir,
            groups=groups,
        )


@contextmanager
def installed() -> Iterator[Installation]:
    """Once for a whole session: a virtual environment takes a while."""
    root = Path(tempfile.mkdtemp(prefix="pilotlight-test-"))
    root.chmod(0o711)
    made = Installation(root, sandbox_user(Settings(data_dir=root)))
    for package in ("pilotlight_runtime", "uvloop", "httptools"):
        spec = find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        shutil.copytree(Path(spec.origin).parent, made.layer / package)
    venv = made.environment_dir("env") / "venv"
    subprocess.run([_base_python(), "-m", "venv", "--without-pip", venv], check=True)
    for name, handler in HANDLERS.items():
        made.add_bundle(name, handler)
    try:
        yield made
    finally:
        shutil.rmtree(root)


def _base_python() -> str:
    """One that the functions' user can reach: as root ours may lie in a home directory."""
    return "/usr/bin/python3" if os.getuid() == 0 else str(Path(sys.base_prefix) / "bin" / "python3")


def a_launch(replica: str, **changes: Any) -> Launch:
    launch = Launch(id=replica, function=HELLO, revision="1", bundle="hello", pool=POOL, image=TEST_IMAGE)
    return replace(launch, **changes)


class Watch:
    """What a provider tells, from now on."""

    def __init__(self, provider: Provider) -> None:
        self.events: list[Event] = []
        self._new = asyncio.Event()
        self._task = asyncio.create_task(self._watch(provider))

    async def until(self, kind: type[Any], replica: str, seconds: float = 10.0) -> Any:
        """The first event of that kind about that replica."""
        async with asyncio.timeout(seconds):
            while True:
                found = [event for event in self.events if isinstance(event, kind) and event.id == replica]
                if found:
                    return found[0]
                self._new.clear()
                await self._new.wait()

    def count(self, kind: type[Any], replica: str) -> int:
        return sum(isinstance(event, kind) and event.id == replica for event in self.events)

    def cancel(self) -> None:
        self._task.cancel()

    async def _watch(self, provider: Provider) -> None:
        async for event in provider.events():
            self.events.append(event)
            self._new.set()


@pytest.fixture
async def watch() -> AsyncIterator[Callable[[Provider], Watch]]:
    """For a conftest to import: ears for any number of providers, until the test ends."""
    made: list[Watch] = []

    def start(provider: Provider) -> Watch:
        made.append(Watch(provider))
        return made[-1]

    yield start
    for each in made:
        each.cancel()


async def inspected(engine: Engine, container: str) -> Any:
    """By its id or name."""
    return await engine.call(lambda client: client.inspect_container(container))


async def eventually(holds: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)


async def call(address: str, body: str = "", path: str = "/") -> str:
    """One request to a replica; the body of its answer, which must be a 200."""
    async with asyncio.timeout(10):
        if address.startswith("tcp:"):
            reader, writer = await asyncio.open_connection(*address.removeprefix("tcp:").rsplit(":", 1))
        else:
            reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write((head + body).encode())
        answer = (await reader.read()).decode()
        writer.close()
    assert answer.startswith("HTTP/1.1 200"), answer
    return answer.partition("\r\n\r\n")[2]
