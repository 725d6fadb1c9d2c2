"""Providers over one data directory each: of processes in a real environment, and of containers on a real engine."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import DockerSettings, Settings
from pilotlight.engine.client import Engine
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.docker import DockerProvider
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.process import ProcessProvider
from tests.engines import docker_engine
from tests.provider_support import Installation, Watch, installed
from tests.provider_support import watch as watch  # a fixture

HANDLERS = {
    "stubborn": "import time\n\ndef handle(event, context):\n    time.sleep(600)\n",
    "parent": (
        "import subprocess\n\nchild = subprocess.Popen(['sleep', '600'])\n\n"
        "def handle(event, context):\n    return str(child.pid)\n"
    ),
    "escapes": (
        "import subprocess\n\nchild = subprocess.Popen(['sleep', '600'], start_new_session=True)\n\n"
        "def handle(event, context):\n    return str(child.pid)\n"
    ),
    "holds": (  # one call into C that lets no other thread run
        "import ctypes\n\ndef handle(event, context):\n"
        "    held = bytearray(b'x') * 300_000_000\n    ctypes.PyDLL(None).sleep(60)\n"
    ),
    "inspect": (
        "import json, os\n\ndef handle(event, context):\n"
        "    folder = os.environ.get('PILOTLIGHT_SECRETS')\n"
        "    return {'uid': os.getuid(), 'groups': os.getgroups(), 'environment': dict(os.environ),\n"
        "            'fds': len(os.listdir('/proc/self/fd')),\n"
        "            'secrets': {n: open(f'{folder}/{n}').read() for n in os.listdir(folder)} if folder else {}}\n"
    ),
    "slow": "import time\n\ndef init():\n    time.sleep(0.5)\n\ndef handle(event, context):\n    return 'slow'\n",
    "greedy": "held = bytearray(b'x' * 300_000_000)\n\ndef handle(event, context):\n    return 'never'\n",
    "exits": "import os\nos._exit(3)\n\ndef handle(event, context):\n    return 'never'\n",
}


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    with installed() as made:
        for name, handler in HANDLERS.items():
            made.add_bundle(name, handler)
        (packages,) = (made.environment_dir("env") / "venv/lib").glob("python3*/site-packages")
        (packages / "ends_the_interpreter.py").write_text(
            "import os, sys\nprint('good bye', file=sys.stderr, flush=True)\nos._exit(5)\n"
        )
        yield made


@pytest.fixture
def data_dir() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="pilotlight-data-"))
    yield path
    shutil.rmtree(path)


Open = Callable[..., Any]


@pytest.fixture
async def open_provider(installation: Installation, data_dir: Path) -> AsyncIterator[Open]:
    """Opens providers over one data directory; the last one ends everything."""
    opened: list[ProcessProvider] = []

    async def open_another(**settings: Any) -> ProcessProvider:
        opened.append(installation.provider(data_dir, **settings))
        await opened[-1].open()
        return opened[-1]

    yield open_another
    if opened and not opened[-1]._closing:
        await opened[-1].close(keep=False)


@pytest.fixture
async def provider(open_provider: Open) -> ProcessProvider:
    provider: ProcessProvider = await open_provider()
    return provider


@pytest.fixture
async def watching(provider: ProcessProvider) -> AsyncIterator[Watch]:
    watch = Watch(provider)
    yield watch
    watch.cancel()


@pytest.fixture
def engine() -> Engine:
    return docker_engine()


@pytest.fixture
async def opened(engine: Engine, installation: Installation, data_dir: Path) -> AsyncIterator[Open]:
    """Opens docker providers over one data directory; the last one ends everything. Nothing of it is left in the engine
    then, or the test fails."""
    made: list[DockerProvider] = []

    async def open_another(**options: Any) -> DockerProvider:
        docker = DockerSettings(**{"pull": "never", "slots": 4, **options})
        settings = Settings(data_dir=data_dir, docker=docker)
        made.append(DockerProvider(settings=settings, bundle_dir=installation.bundle_dir))
        await made[-1].open()
        return made[-1]

    yield open_another
    if made:
        await made[-1].close(keep=False)
    ours = {"label": f"{OWNER}={owner_of(data_dir)}"}
    left = await engine.call(lambda client: client.containers(all=True, filters=ours))
    for each in left:
        await engine.call(lambda client, id=each["Id"]: client.remove_container(id, force=True))  # type: ignore[misc]  # noqa: A006
    networks = await engine.call(lambda client: client.networks(filters=ours))
    for each in networks:
        await engine.call(lambda client, id=each["Id"]: client.remove_network(id))  # type: ignore[misc]  # noqa: A006
    assert (left, networks) == ([], [])
