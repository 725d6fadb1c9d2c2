"""A push as the API's clients see it: what is checked first, progress, a digest or a reason, and no login anywhere."""

import asyncio
import base64
import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from structlog.testing import capture_logs

from pilotlight.api.server import make_app, serving
from pilotlight.builder.base import Report
from pilotlight.core.errors import BundleNotFound, PushFailed
from pilotlight.engine.images import ImageName
from pilotlight.engine.registry import Pushed
from pilotlight.engine.registry_logins import Login
from tests.integration.api.memory import DIGEST, MemoryControl

REFERENCE = f"bundle/hello@sha256:{DIGEST}"
BODY = {"reference": REFERENCE, "image": "registry.example/team/hello:1"}
DONE = Pushed(image=BODY["image"], digest="sha256:d", reference="registry.example/team/hello@sha256:d")


@dataclass
class Pushing:
    """A registry of the test's making."""

    failure: Exception | None = None
    at_once: Exception | None = None
    """Instead of any progress."""
    gate: asyncio.Event | None = None
    asked: list[tuple[str, ImageName, Login | None, tuple[str, ...]]] = field(default_factory=list)
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def push(
        self, digest: str, target: ImageName, login: Login | None, platforms: tuple[str, ...], report: Report
    ) -> Pushed:
        self.asked.append((digest, target, login, platforms))
        if self.at_once is not None:
            raise self.at_once
        report("push", "1 of 2 layers")
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        if self.failure is not None:
            raise self.failure
        return DONE


@pytest.fixture
def pushing() -> Pushing:
    return Pushing()


@pytest.fixture
async def http(pushing: Pushing) -> AsyncIterator[aiohttp.ClientSession]:
    home = Path(tempfile.mkdtemp(prefix="pl-api-"))
    app = make_app(
        MemoryControl(folder=home),
        credentials=None,
        version="1",
        provider="docker",
        staging_dir=home / "staging",
        upload_limit_mib=1,
        pusher=pushing,
    )
    async with serving(app, home / "api.sock"):
        connector = aiohttp.UnixConnector(str(home / "api.sock"))
        async with aiohttp.ClientSession("http://api", connector=connector) as session:
            yield session
    shutil.rmtree(home)


async def push(http: aiohttp.ClientSession, body: object = BODY, **headers: str) -> tuple[int, list[dict[str, Any]]]:
    async with http.post("/api/v1/images/push", json=body, headers=headers) as answer:
        return answer.status, [msgspec.json.decode(line) async for line in answer.content]


async def test_progress_and_then_the_name_to_deploy_by(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    status, [progress, done] = await push(http, BODY | {"platforms": ["linux/amd64"]})
    assert (status, progress["event"], progress["message"]) == (200, "progress", "1 of 2 layers")
    assert (done["event"], done["reference"], done["digest"]) == ("pushed", DONE.reference, "sha256:d")
    [(digest, target, login, platforms)] = pushing.asked
    assert (digest, str(target), login, platforms) == (DIGEST, BODY["image"], None, ("linux/amd64",))


async def test_a_login_comes_in_a_header_and_is_nowhere_else(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"username": "ada", "password": "s3cret"}).encode()).decode()
    pushing.failure = PushFailed("no")
    with capture_logs() as logs:
        _, events = await push(http, **{"X-Registry-Auth": header})
    assert pushing.asked[0][2] == Login(user="ada", password="s3cret")
    assert "s3cret" not in repr((events, logs, pushing.asked))
    assert header not in repr((events, logs))


@pytest.mark.parametrize("header", ["%", "bm8=", base64.b64encode(b"[]").decode()])
async def test_a_header_that_is_no_login_is_refused_and_not_repeated(
    http: aiohttp.ClientSession, pushing: Pushing, header: str
) -> None:
    status, [problem] = await push(http, **{"X-Registry-Auth": header})
    assert (status, problem["field"]) == (400, "X-Registry-Auth")
    assert header not in json.dumps(problem)
    assert pushing.asked == []


@pytest.mark.parametrize(
    ("body", "status", "slug", "word"),
    [
        ({}, 400, "bad-request", "reference"),
        (BODY | {"reference": "hello:1"}, 400, "bad-request", "reference"),
        (BODY | {"image": "hello:1"}, 400, "image-name", "names no registry"),
        (BODY | {"image": "docker.io/library"}, 400, "image-name", "names no registry"),
        (BODY | {"image": "r.example/Hello:1"}, 400, "image-name", "r.example/hello:1"),
        (BODY | {"image": f"r.example/hello@sha256:{'0' * 64}"}, 400, "image-name", "push to a tag"),
        (BODY | {"image": "https://r.example/hello:1"}, 400, "image-name", "https://"),
    ],
)
async def test_what_can_never_be_pushed_is_refused_before_an_engine_is_asked(
    http: aiohttp.ClientSession, pushing: Pushing, body: object, status: int, slug: str, word: str
) -> None:
    answered, [problem] = await push(http, body)
    assert (answered, problem["type"], pushing.asked) == (status, slug, [])
    assert word in problem["detail"]


async def test_a_failure_before_any_progress_has_a_status(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    pushing.at_once = BundleNotFound("there is no bundle")
    status, [problem] = await push(http)
    assert (status, problem["type"]) == (404, "bundle-not-found")


async def test_a_failure_after_progress_is_the_last_line(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    pushing.failure = PushFailed("denied", slug="push-refused")
    status, [_, failed] = await push(http)
    assert (status, failed["event"], failed["problem"]["type"]) == (200, "failed", "push-refused")
    assert failed["problem"]["hint"]


async def test_a_client_that_leaves_ends_its_push(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    pushing.gate = asyncio.Event()
    async with http.post("/api/v1/images/push", json=BODY) as answer:
        await answer.content.readline()
        answer.close()
    async with asyncio.timeout(10):
        await pushing.cancelled.wait()


async def test_no_more_than_a_few_at_once(http: aiohttp.ClientSession, pushing: Pushing) -> None:
    pushing.gate = asyncio.Event()
    running = [asyncio.create_task(push(http)) for _ in range(4)]
    async with asyncio.timeout(10):
        while len(pushing.asked) < 4:
            await asyncio.sleep(0.01)
    status, [problem] = await push(http)
    assert (status, problem["type"]) == (503, "unavailable")
    pushing.gate.set()
    assert [status for status, _ in await asyncio.gather(*running)] == [200] * 4
