"""A real server on a unix socket over a control plane in memory, and real clients."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from pilotlight.api.auth import Credentials
from pilotlight.api.server import make_app, serving
from pilotlight.core.spec import FunctionSpec
from tests.integration.api.memory import CREDENTIALS, DIGEST, Api, MemoryControl, Start, basic


@pytest.fixture
def home() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="pl-api-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def start(home: Path) -> Start:
    @asynccontextmanager
    async def run(*, credentials: Credentials | None = None, close_seconds: float = 2.0) -> AsyncIterator[Api]:
        control, socket, staging = MemoryControl(folder=home), home / "api.sock", home / "staging"
        app = make_app(
            control,
            credentials=credentials,
            version="1.2.3",
            provider="process",
            staging_dir=staging,
            upload_limit_mib=2,
            public_url="http://127.0.0.1:8080",
        )
        async with serving(app, socket, close_seconds=close_seconds):
            headers = {} if credentials is None else basic(credentials.user, credentials.password)
            connector = aiohttp.UnixConnector(str(socket))
            async with aiohttp.ClientSession(connector=connector, headers=headers) as http:
                yield Api(control=control, socket=socket, staging=staging, http=http)

    return run


@pytest.fixture
async def api(start: Start) -> AsyncIterator[Api]:
    async with start() as running:
        yield running


@pytest.fixture
async def guarded(start: Start) -> AsyncIterator[Api]:
    async with start(credentials=CREDENTIALS) as running:
        yield running


@pytest.fixture
async def hello(api: Api) -> FunctionSpec:
    """A function that is there."""
    spec = FunctionSpec(name="hello", image=f"bundle/hello@sha256:{DIGEST}")
    await api.control.deploy(spec)
    return spec
