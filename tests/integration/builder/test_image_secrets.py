"""Build secrets by BuildKit: a step sees them; no layer, history, log or digest does, and the server keeps nothing.

Skipped where Docker's client program has no plugin buildx."""

import asyncio
import base64
import functools
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pilotlight.builder.base import Progress
from pilotlight.builder.docker import Built, ImageBuilder, ImageOrder
from pilotlight.builder.image_buildx import SHARED_MEMORY
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.layer import ensure_layer
from pilotlight.builder.template import load_template, own_dockerfile
from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine
from tests.engines import BASE_IMAGE, docker_engine, missing

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]
TEMPLATES = Path(__file__).parents[3] / "templates"
PASSWORD = "hunter2-of-the-index"
OWNER = f"test{os.getpid()}"
NEW = os.urandom(4).hex()
"""BuildKit remembers steps when their images are gone; one with this in it is run."""


@pytest.fixture
def engine() -> Engine:
    found = docker_engine()
    program = shutil.which("docker")
    if program is None or subprocess.run([program, "buildx", "version"], capture_output=True).returncode != 0:
        missing("buildx", "Docker's client program, or its plugin buildx, is not installed")
    return found


@pytest.fixture
async def images(engine: Engine) -> AsyncIterator[list[str]]:
    names: list[str] = []
    yield names
    for name in reversed(names):
        await engine.call(lambda client, name=name: client.remove_image(name, force=True))  # type: ignore[misc]
    assert list(SHARED_MEMORY.glob(f"pilotlight-build-{OWNER}-*")) == []


class Shop:
    def __init__(self, builder: ImageBuilder, images: list[str]) -> None:
        self.builder = builder
        self.said: list[Progress] = []
        self._images = images

    async def build(self, order: ImageOrder) -> Built:
        built = await self.builder.build(order, self.said.append)
        self._images[:] = dict.fromkeys([*self._images, *filter(None, (built.environment_image, built.image))])
        return built

    def text(self) -> str:
        return "\n".join(each.message for each in self.said)


def shop_of(engine: Engine, images: list[str], runtime: Path, **changes: object) -> Shop:
    index = changes.pop("index", IndexSettings())
    return Shop(ImageBuilder(engine, runtime=runtime, index=index, owner=OWNER, **changes), images)  # type: ignore[arg-type]


def order(folder: Path, dockerfile: str, **secrets: bytes) -> ImageOrder:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(dockerfile)
    return ImageOrder(
        name="test-secret", template=own_dockerfile(), template_dir=None, handler_dir=folder, secrets=secrets
    )


async def facts(engine: Engine, image: str) -> str:
    """All that an image says of itself."""
    return str(
        await engine.call(lambda client: (client.history(image), client.inspect_image(image)))  # type: ignore[no-untyped-call]
    )


async def output(engine: Engine, image: str, command: list[str]) -> str:
    def verb(client: object) -> bytes:
        made = client.create_container(image, command, network_disabled=True)["Id"]  # type: ignore[attr-defined]
        client.start(made)  # type: ignore[attr-defined]
        client.wait(made)  # type: ignore[attr-defined]
        said = bytes(client.logs(made))  # type: ignore[attr-defined]
        client.remove_container(made)  # type: ignore[attr-defined]
        return said

    return (await engine.call(verb)).decode()


async def test_a_step_sees_a_secret_and_nothing_else_does(tmp_path: Path, engine: Engine, images: list[str]) -> None:
    shop = shop_of(engine, images, tmp_path, network="none")
    text = (
        f"FROM {BASE_IMAGE}\n# with-secret: npmrc\nRUN wc -c < /run/secrets/npmrc > /count\n"
        f"RUN --mount=type=secret,id=token rev < /run/secrets/token > /backwards; ls /run/secrets/npmrc || : {NEW}\n"
    )
    built = await shop.build(order(tmp_path / "f", text, token=b"0123", npmrc=PASSWORD.encode()))
    assert await output(engine, built.image, ["cat", "/count", "/backwards"]) == f"{len(PASSWORD)}\n3210"
    assert PASSWORD not in await facts(engine, built.image)
    assert "No such file" in shop.text()
    rotated = await shop.build(order(tmp_path / "f", text, token=b"9876", npmrc=b"another"))
    assert (rotated.image, rotated.built) == (built.image, False)


async def test_a_step_that_fails_is_told_with_its_line(tmp_path: Path, engine: Engine, images: list[str]) -> None:
    shop = shop_of(engine, images, tmp_path, network="none")
    text = f"FROM {BASE_IMAGE} AS one\nRUN true\nFROM one\n\nRUN echo oh no >&2 \\\n && exit 4\n"
    with pytest.raises(PilotlightError) as error:
        await shop.build(order(tmp_path / "f", text, token=b"0123"))
    assert error.value.detail == "Dockerfile:5: RUN echo oh no >&2 && exit 4: exited with code 4\n  oh no"
    with pytest.raises(PilotlightError, match="there is no gone in the build's context"):
        await shop.build(order(tmp_path / "f", f"FROM {BASE_IMAGE}\nCOPY gone /\n"))
    with pytest.raises(PilotlightError, match="Dockerfile:2: unknown instruction: BLAH"):
        await shop.build(order(tmp_path / "f", f"FROM {BASE_IMAGE}\nBLAH gone /\n"))


async def test_a_build_that_nobody_waits_for_ends_in_the_engine_too(
    tmp_path: Path, engine: Engine, images: list[str]
) -> None:
    shop = shop_of(engine, images, tmp_path, network="none")
    seconds = 5000 + os.getpid() % 1000
    given = order(tmp_path / "f", f"FROM {BASE_IMAGE}\nRUN sleep {seconds}\n", token=b"1")
    building = asyncio.create_task(shop.build(given))
    while not sleeping(seconds):
        await asyncio.sleep(0.05)
        assert not building.done()
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    async with asyncio.timeout(30):
        while sleeping(seconds):
            await asyncio.sleep(0.05)


def sleeping(seconds: int) -> bool:
    """BuildKit's steps are no containers that the engine lists."""
    wanted = f"sleep\0{seconds}\0".encode()
    return any(file.read_bytes() == wanted for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists())


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index on loopback that wants a password; its address."""
    from tests.integration.builder.conftest import wheel

    folder = tmp_path / "index"
    (folder / "simple/greet").mkdir(parents=True)
    wheel(folder / "simple/greet", "greet", "1.0", {"greet.py": "word = 'hello'\n"})
    (folder / "simple/greet/index.html").write_text(
        '<a href="greet-1.0-py3-none-any.whl">greet-1.0-py3-none-any.whl</a>'
    )

    class Private(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
            if self.headers.get("Authorization") == f"Basic {wanted}":
                super().do_GET()
            else:
                self.send_response(401)
                self.send_header("WWW-Authenticate", "Basic")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Private, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://me:{PASSWORD}@127.0.0.1:{server.server_port}/simple"
    server.shutdown()
    server.server_close()


async def test_a_private_index_serves_a_build_and_leaves_no_password(
    tmp_path: Path, engine: Engine, images: list[str], index: str
) -> None:
    runtime = await ensure_layer(tmp_path)
    settings = IndexSettings(variables={"UV_DEFAULT_INDEX": index})
    shop = shop_of(engine, images, runtime, network="host", index=settings)
    (tmp_path / "f").mkdir()
    (tmp_path / "f/handler.py").write_text("import greet\n")
    given = ImageOrder(
        name="test-secret",
        template=load_template(TEMPLATES, "python3-http"),
        template_dir=TEMPLATES / "python3-http",
        handler_dir=tmp_path / "f",
        requirements=b"greet==1.0\n",
    )
    built = await shop.build(given)
    python = "/opt/environment/bin/python"
    assert await output(engine, built.image, [python, "-c", "import greet; print(greet.word)"]) == "hello\n"
    assert PASSWORD not in await facts(engine, built.image) + await facts(engine, str(built.environment_image))
    assert PASSWORD not in shop.text()
    found = await output(
        engine, built.image, ["grep", "-rl", PASSWORD, "/opt", "/etc", "/home", "/root", "/run", "/tmp"]
    )
    assert [line for line in found.splitlines() if "Permission denied" not in line] == []
    other = IndexSettings(variables={"UV_DEFAULT_INDEX": index.replace(PASSWORD, "rotated")})
    again = await shop_of(engine, images, runtime, network="host", index=other).build(given)
    assert (again.image, again.built) == (built.image, False)
    wrong = replace(given, requirements=b"greet==1.0\n# another\n")
    with pytest.raises(PilotlightError) as error:
        await shop_of(engine, images, runtime, network="host", index=other).build(wrong)
    assert "rotated" not in error.value.detail
