"""Images from the template python3-http on a real engine: built once, shared, run, and explained when they fail."""

import asyncio
import os
import shutil
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.builder.archive import ArchiveLimits
from pilotlight.builder.base import Progress
from pilotlight.builder.docker import ImageBuilder, ImageOrder
from pilotlight.builder.image_functions import ImageFunctions
from pilotlight.builder.image_pool import BUILD, FUNCTION_DIR, Workbench
from pilotlight.builder.index import index_settings
from pilotlight.builder.layer import ensure_layer
from pilotlight.builder.template import load_template
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.errors import InvalidRequirements, InvalidSource, PilotlightError, RevisionFailed, Unavailable
from pilotlight.engine.client import Engine
from tests.engines import BASE_IMAGE, context, docker_engine
from tests.integration.builder.conftest import forget
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
    return ImageBuilder(engine, runtime=layer, index=index_settings(os.environ), network="host")


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


@pytest.fixture(autouse=True)
async def no_names_left(engine: Engine, tmp_path: Path) -> AsyncIterator[None]:
    yield
    await engine.call(lambda client: forget(client, tmp_path / "data"))


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
    assert layers[0][:-1] == layers[1][:-1]
    await engine.call(lambda client: client.remove_image(second.image, force=True))


async def test_a_requirement_that_does_not_exist_is_named(builder: ImageBuilder, folder: Path) -> None:
    lines = Lines()
    with pytest.raises((InvalidRequirements, PilotlightError)) as error:
        await builder.build(order(folder, requirements=b"pilotlight-no-such-package-anywhere==1\n"), lines.append)
    if error.value.slug == "index-unreachable":
        pytest.skip("no package index can be reached from a container here")
    assert error.value.slug == "requirement-not-found"
    assert "`pilotlight-no-such-package-anywhere`" in error.value.detail
    assert "build: ERROR: No matching distribution found" in lines.text()


async def test_a_syntax_error_is_told_with_its_place(builder: ImageBuilder, folder: Path, tmp_path: Path) -> None:
    (folder / "handler.py").write_text("def handle(event, context:\n    pass\n")
    built = functions(tmp_path / "data", builder)
    tar = packed(folder, tmp_path / "source.tar")
    with pytest.raises(RevisionFailed) as error:
        await built.build(name="test-hello", template="python3-http", tar=tar, progress=Lines().append)
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


def functions(data_dir: Path, builder: ImageBuilder, **settings: float) -> ImageFunctions:
    async def images() -> ImageBuilder:
        return builder

    data_dir.mkdir()
    return ImageFunctions(
        images=images,
        settings=BuildSettings(**settings),  # type: ignore[arg-type]
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


async def test_a_bundle_has_what_a_pool_needs_of_its_image(
    builder: ImageBuilder, folder: Path, tmp_path: Path, engine: Engine, started: list[str]
) -> None:
    (folder / "handler.py").write_text("import wsgiref.util\nfrom . import more\n" + HELLO)
    (folder / "more.py").write_text("import decimal\n")
    built = functions(tmp_path / "data", builder)
    lines = Lines()
    tar = packed(folder, tmp_path / "source.tar")
    bundle = await built.build(name="test-hello", template="python3-http", tar=tar, progress=lines.append)
    assert bundle.environment_image is not None
    assert {"wsgiref.util", "decimal"} <= set(bundle.preimports)
    assert "preimport: decimal, sys, wsgiref (tried in " in lines.text()
    assert bundle.image is not None
    there = await listed(engine, bundle.image, started)
    kept = built.bundle_dir(bundle.digest) / "function"
    assert there == {
        (str(path.relative_to(kept)), f"{path.stat().st_mode & 0o777:o}", path.stat().st_size if path.is_file() else 0)
        for path in kept.rglob("*")
    }
    assert "__pycache__/handler.cpython-311.pyc" in {path for path, _, _ in there}
    zygote = ["-P", "/opt/pilotlight/runtime/pilotlight_runtime/bootstrap.py", "none"]
    said = await printed(engine, bundle.environment_image, ["/opt/environment/bin/python", *zygote], started)
    assert said == b"bootstrap.py: there is no program 'none'\n"
    own = await engine.call(lambda client: client.containers(all=True, filters={"label": BUILD}))
    assert [each for each in own if each["Image"] in (bundle.image, bundle.environment_image)] == []


async def test_a_module_that_does_not_survive_a_fork_is_left_out_and_the_answer_is_kept(
    builder: ImageBuilder, folder: Path, tmp_path: Path
) -> None:
    (folder / "handler.py").write_text("import nothing_there_at_all, wsgiref.util\n" + HELLO)
    built = functions(tmp_path / "data", builder)
    lines, again = Lines(), Lines()
    tar = packed(folder, tmp_path / "source.tar")
    bundle = await built.build(name="test-hello", template="python3-http", tar=tar, progress=lines.append)
    assert bundle.preimports == ("sys", "wsgiref.util")
    assert "preimport: nothing_there_at_all cannot be imported: ModuleNotFoundError" in lines.text()
    (folder / "handler.py").write_text("import nothing_there_at_all, wsgiref.util\n\n" + HELLO)
    tar = packed(folder, tmp_path / "source.tar")
    await built.build(name="test-hello", template="python3-http", tar=tar, progress=again.append)
    assert "preimport: sys, wsgiref" in again.text().splitlines()


async def test_a_handler_that_hangs_is_tried_for_a_bounded_time_and_leaves_no_container(
    builder: ImageBuilder, folder: Path, tmp_path: Path, engine: Engine
) -> None:
    (folder / "handler.py").write_text("import decimal, time\ntime.sleep(3600)\n" + HELLO)
    built = functions(tmp_path / "data", builder, trial_seconds=4)
    lines = Lines()
    tar = packed(folder, tmp_path / "source.tar")
    bundle = await built.build(name="test-hello", template="python3-http", tar=tar, progress=lines.append)
    assert bundle.preimports == ("decimal", "sys", "time")
    assert "preimport: the handler does not load by itself" in lines.text()
    own = await engine.call(lambda client: client.containers(all=True, filters={"label": BUILD}))
    assert [each for each in own if each["Image"] == bundle.image] == []


async def test_what_a_killed_server_left_is_removed(engine: Engine) -> None:
    bench = Workbench(engine, "test-sweep")
    body = {"Image": BASE_IMAGE, "Cmd": ["sleep", "1000"], "Labels": {BUILD: "test-sweep"}}
    left = (await engine.call(engine.post("/containers/create", body)))["Id"]
    await engine.call(lambda client: client.start(left))
    await bench.sweep()
    async with asyncio.timeout(20):
        while await engine.call(lambda client: client.containers(all=True, filters={"id": left})):
            await asyncio.sleep(0.1)


async def test_a_link_in_the_image_keeps_a_function_out_of_the_pool(
    builder: ImageBuilder, folder: Path, tmp_path: Path, engine: Engine
) -> None:
    image = "pilotlight-test-link:1"
    dockerfile = f"FROM {BASE_IMAGE}\nRUN mkdir -p {FUNCTION_DIR} && ln -s /etc {FUNCTION_DIR}/l\n".encode()
    await engine.call(
        lambda client: b"".join(
            client.build(
                fileobj=context({"Dockerfile": dockerfile}),
                custom_context=True,
                tag=image,
                rm=True,
                network_mode="none",
            )
        )
    )
    with pytest.raises(InvalidSource, match="function/l: a symbolic link"):
        await Workbench(engine, "test").copy_function(image, tmp_path, ArchiveLimits(unpacked_bytes=2**20, files=10))
    await engine.call(lambda client: client.remove_image(image, force=True))


async def test_an_image_without_the_folder_or_an_engine_without_the_image_is_told(
    engine: Engine, tmp_path: Path
) -> None:
    bench, limits = Workbench(engine, "test"), ArchiveLimits(unpacked_bytes=2**20, files=10)
    with pytest.raises(InvalidSource, match="there is no such folder"):
        await bench.copy_function(BASE_IMAGE, tmp_path, limits)
    with pytest.raises(Unavailable, match="ran no container of pilotlight-test-gone:1"):
        await bench.run("pilotlight-test-gone:1", ["true"], 1)


async def listed(engine: Engine, image: str, started: list[str]) -> set[tuple[str, str, int]]:
    """Path, mode and size of all in the function's folder, as the image's own interpreter sees them."""
    program = (
        "import os, pathlib as p, sys\n"
        f"root = p.Path({FUNCTION_DIR!r})\n"
        "for f in root.rglob('*'):\n"
        "    s = f.stat()\n"
        "    print(f.relative_to(root), f'{s.st_mode & 0o777:o}', s.st_size if f.is_file() else 0, sep='|')\n"
    )
    said = await printed(engine, image, ["/opt/environment/bin/python", "-c", program], started)
    rows = [line.split("|") for line in said.decode().splitlines()]
    return {(path, mode, int(size)) for path, mode, size in rows}


async def printed(engine: Engine, image: str, command: list[str], started: list[str]) -> bytes:
    def verb(client: object) -> bytes:
        made = client.create_container(image, command, user="10001:10001", network_disabled=True)["Id"]  # type: ignore[attr-defined]
        started.append(made)
        client.start(made)  # type: ignore[attr-defined]
        client.wait(made)  # type: ignore[attr-defined]
        return bytes(client.logs(made))  # type: ignore[attr-defined]

    return await engine.call(verb)
