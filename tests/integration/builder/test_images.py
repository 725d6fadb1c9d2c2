"""Images from the template python3-http on a real engine: built once, shared, run, and explained when they fail."""

import asyncio
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.builder.base import Progress
from pilotlight.builder.docker import ImageBuilder, ImageOrder
from pilotlight.builder.image_functions import ImageFunctions
from pilotlight.builder.index import index_settings
from pilotlight.builder.layer import ensure_layer
from pilotlight.builder.template import load_template
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.errors import InvalidRequirements, InvalidSource, PilotlightError, RevisionFailed
from pilotlight.engine.client import Engine
from tests.engines import docker_engine
from tests.provider_support import call

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]
TEMPLATES = Path(__file__).parents[3] / "templates"
HELLO = "import sys\n\ndef handle(event, context):\n    print('said', event.body.decode())\n    return 'hello'\n"


@pytest.fixture(scope="module")
def layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(ensure_layer(tmp_path_factory.mktemp("layer")))


@pytest.fixture
def engine() -> Engine:
    return docker_engine()


@pytest.fixture
def builder(engine: Engine, layer: Path) -> ImageBuilder:
    return ImageBuilder(engine, runtime=layer, index=index_settings(os.environ))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(TEMPLATES / "python3-http" / "function", tmp_path / "hello")
    (tmp_path / "hello" / "handler.py").write_text(HELLO)
    return tmp_path / "hello"


def order(folder: Path, **changes: object) -> ImageOrder:
    return ImageOrder(
        name="test-hello",
        template=load_template(TEMPLATES, "python3-http"),
        template_dir=TEMPLATES / "python3-http",
        handler_dir=folder,
        **changes,  # type: ignore[arg-type]
    )


class Lines(list[Progress]):
    def text(self) -> str:
        return "\n".join(f"{each.step}: {each.message}" for each in self)


@pytest.fixture
async def started(engine: Engine) -> AsyncIterator[list[str]]:
    names: list[str] = []
    yield names
    for name in names:
        await engine.call(lambda client, name=name: client.remove_container(name, force=True))  # type: ignore[misc]


async def run(engine: Engine, image: str, started: list[str]) -> str:
    """A container of it, as strict as the provider makes one; its address."""

    def verb(client: object) -> str:
        host = client.create_host_config(  # type: ignore[attr-defined]
            read_only=True, tmpfs={"/tmp": ""}, cap_drop=["ALL"], security_opt=["no-new-privileges:true"]
        )
        made = client.create_container(image, host_config=host)["Id"]  # type: ignore[attr-defined]
        started.append(made)
        client.start(made)  # type: ignore[attr-defined]
        found = client.inspect_container(made)  # type: ignore[attr-defined]
        return f"tcp:{found['NetworkSettings']['IPAddress']}:8080"

    return await engine.call(verb)


async def answers(address: str, body: str) -> str:
    async with asyncio.timeout(20):
        while True:
            try:
                return await call(address, body)
            except (OSError, AssertionError):
                await asyncio.sleep(0.05)


async def test_an_image_serves_its_function_and_is_built_once(
    builder: ImageBuilder, folder: Path, engine: Engine, started: list[str]
) -> None:
    lines = Lines()
    first = await builder.build(order(folder), lines.append)
    again = Lines()
    second = await builder.build(order(folder), again.append)
    assert (second.image, second.id, second.built) == (first.image, first.id, False)
    assert again[-1].message.endswith("nothing has changed")
    address = await run(engine, first.image, started)
    assert await answers(address, "this") == "hello"
    await engine.call(lambda client: client.stop(started[0], timeout=10))
    log = await engine.call(lambda client: client.logs(started[0]))
    assert log == b"said this\n"
    state = (await engine.call(lambda client: client.inspect_container(started[0])))["State"]
    assert state["ExitCode"] == 0


async def test_a_changed_handler_makes_another_image_on_the_same_environment(
    builder: ImageBuilder, folder: Path, engine: Engine
) -> None:
    first = await builder.build(order(folder), Lines().append)
    (folder / "handler.py").write_text(HELLO.replace("hello", f"hello {os.urandom(4).hex()}"))
    lines = Lines()
    second = await builder.build(order(folder), lines.append)
    assert second.built
    assert second.image != first.image
    assert "environment: " not in lines.text()
    layers = [
        (await engine.call(lambda client, id=each.id: client.inspect_image(id)))["RootFS"]["Layers"]  # type: ignore[misc]  # noqa: A006
        for each in (first, second)
    ]
    assert layers[0][:-2] == layers[1][:-2]
    await engine.call(lambda client: client.remove_image(second.image, force=True))


async def test_a_requirement_that_does_not_exist_is_named(builder: ImageBuilder, folder: Path) -> None:
    lines = Lines()
    with pytest.raises((InvalidRequirements, PilotlightError)) as error:
        await builder.build(order(folder, requirements=b"pilotlight-no-such-package-anywhere==1\n"), lines.append)
    if error.value.slug == "index-unreachable":
        pytest.skip("no package index can be reached from a container here")
    assert error.value.slug == "requirement-not-found"
    assert "`pilotlight-no-such-package-anywhere`" in error.value.detail
    assert "build: Step " in lines.text()


async def test_a_syntax_error_is_told_with_its_place(builder: ImageBuilder, folder: Path) -> None:
    (folder / "handler.py").write_text("def handle(event, context:\n    pass\n")
    with pytest.raises(RevisionFailed) as error:
        await builder.build(order(folder), Lines().append)
    assert error.value.slug == "handler-syntax"
    assert error.value.location is not None
    assert (error.value.location.file, error.value.location.line) == ("handler.py", 1)


async def test_a_step_of_ones_own_dockerfile_that_fails_is_told_with_its_line(
    builder: ImageBuilder, folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    (own / "Dockerfile").write_text("FROM python:3.11-slim\nCOPY function /f\n\nRUN echo oh no >&2 \\\n && exit 4\n")
    wrong = ImageOrder(
        name="test-own", template=load_template(TEMPLATES, "python3-http"), template_dir=own, handler_dir=folder
    )
    with pytest.raises(InvalidSource) as error:
        await builder.build(wrong, Lines().append)
    assert error.value.slug == "image-build-failed"
    assert error.value.detail == "Dockerfile:4: RUN echo oh no >&2 && exit 4: exited with code 4\n  oh no"


async def test_a_template_without_a_dockerfile_makes_no_image(
    builder: ImageBuilder, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    wrong = ImageOrder(
        name="x", template=load_template(TEMPLATES, "python3-http"), template_dir=tmp_path / "empty", handler_dir=folder
    )
    with pytest.raises(PilotlightError, match="it has no Dockerfile"):
        await builder.build(wrong, Lines().append)


def packed(folder: Path, made: Path) -> Path:
    with tarfile.open(made, "w") as tar:
        for path in sorted(folder.iterdir()):
            tar.add(path, path.name)
    return made


def functions(data_dir: Path, builder: ImageBuilder) -> ImageFunctions:
    async def images() -> ImageBuilder:
        return builder

    data_dir.mkdir()
    return ImageFunctions(
        images=images,
        settings=BuildSettings(),
        data_dir=data_dir,
        templates_dir=TEMPLATES,
        python=Path(sys.executable),
        sandbox=Sandbox(),
    )


async def test_an_upload_becomes_a_bundle_that_names_its_image(
    builder: ImageBuilder, folder: Path, tmp_path: Path
) -> None:
    built = functions(tmp_path / "data", builder)
    tar = packed(folder, tmp_path / "source.tar")
    first = await built.build(name="test-hello", template="python3-http", tar=tar, progress=Lines().append)
    assert first.image is not None
    assert first.image.startswith("pilotlight/test-hello:")
    again = await built.build(name="test-hello", template="python3-http", tar=tar, progress=Lines().append)
    assert again == first == built.bundle(first.digest)


async def test_a_template_that_is_like_another_has_its_dockerfile(
    builder: ImageBuilder, folder: Path, tmp_path: Path, engine: Engine, started: list[str]
) -> None:
    (folder / "handler.py").write_text(
        "def handler(event, context):\n    return {'statusCode': 200, 'body': 'lambda'}\n"
    )
    built = functions(tmp_path / "data", builder)
    tar = packed(folder, tmp_path / "source.tar")
    bundle = await built.build(name="test-hello", template="python3-lambda", tar=tar, progress=Lines().append)
    assert bundle.contract == "lambda"
    assert bundle.image is not None
    assert await answers(await run(engine, bundle.image, started), "") == "lambda"
