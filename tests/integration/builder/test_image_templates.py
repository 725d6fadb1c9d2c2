"""Templates as OpenFaaS has them, and folders with a Dockerfile of their own, on a real engine and as its users send
them: a tar with the template beside the function."""

import asyncio
import io
import os
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.builder.base import Choices, Progress
from pilotlight.builder.builder import Builder
from pilotlight.builder.docker import ImageBuilder
from pilotlight.builder.image_functions import ImageFunctions
from pilotlight.builder.index import IndexSettings, index_settings
from pilotlight.config import BuildSettings, Sandbox
from pilotlight.core.errors import PilotlightError
from pilotlight.core.revision import Bundle
from pilotlight.engine.client import Engine
from tests.engines import BASE_IMAGE, docker_engine
from tests.integration.builder.conftest import forget

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(240)]
TEMPLATES = Path(__file__).parents[3] / "templates"
TEMPLATE_YML = """\
language: cowsay
fprocess: python3 index.py
handler_folder: src
toolchain: theirs
build_options:
  - name: dev
    packages: [make, gcc]
"""
DOCKERFILE = f"""\
ARG PYTHON_VERSION=3.11
FROM --platform=${{TARGETPLATFORM:-linux/amd64}} {BASE_IMAGE.replace("3.11", "${PYTHON_VERSION}")} AS build
ARG ADDITIONAL_PACKAGE
ARG WORD=none
ENV fprocess="python3 index.py" packages="$ADDITIONAL_PACKAGE" word="$WORD"
WORKDIR /home/app
COPY index.py .
COPY src/ src/
CMD ["python3", "/home/app/index.py"]
"""
TEMPLATE = {
    "template/template.yml": TEMPLATE_YML,
    "template/Dockerfile": DOCKERFILE,
    "template/index.py": "import os\nprint(os.environ['packages'], os.environ['word'], sorted(os.listdir('src')))\n",
    "template/src/handler.txt": "the template's own",
    "template/src/base.txt": "stays beneath",
}
COWSAY = TEMPLATE | {"handler/handler.txt": "the function's", "handler/build/x": "no", "handler/template/x": "no"}


@pytest.fixture
def engine() -> Engine:
    return docker_engine()


@pytest.fixture
async def started(engine: Engine, tmp_path: Path) -> AsyncIterator[list[str]]:
    """Containers and images that go after the test, with the names that its server gave them."""
    names: list[str] = []
    yield names
    for name in reversed(names):
        remove = "remove_image" if "/" in name else "remove_container"
        await engine.call(lambda client, name=name, remove=remove: getattr(client, remove)(name, force=True))  # type: ignore[misc]
    await engine.call(lambda client: forget(client, tmp_path / "data"))


class Shop:
    """A builder with what it said."""

    def __init__(self, builder: Builder, folder: Path, started: list[str]) -> None:
        self.builder = builder
        self.said: list[Progress] = []
        self._folder = folder
        self._started = started

    async def build(self, template: str, files: dict[str, str], **choices: object) -> Bundle:
        bundle = await self.builder.build(
            name="test-theirs",
            template=template,
            tar=packed(self._folder / f"{os.urandom(4).hex()}.tar", files),
            choices=Choices(**choices),  # type: ignore[arg-type]
            progress=self.said.append,
        )
        if bundle.image is not None and bundle.image not in self._started:
            self._started.append(bundle.image)
        return bundle

    def text(self) -> str:
        return "\n".join(f"{each.step}: {each.message}" for each in self.said)


def packed(place: Path, files: dict[str, str]) -> Path:
    with tarfile.open(place, "w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return place


def facts(data_dir: Path, templates_dir: Path = TEMPLATES) -> dict[str, object]:
    data_dir.mkdir()
    return {
        "settings": BuildSettings(),
        "data_dir": data_dir,
        "templates_dir": templates_dir,
        "python": Path(sys.executable),
        "sandbox": Sandbox(),
    }


def shop_of(
    tmp_path: Path,
    engine: Engine,
    started: list[str],
    *,
    index: IndexSettings | None = None,
    templates_dir: Path = TEMPLATES,
    **changes: object,
) -> Shop:
    layer = tmp_path / "layer"
    (layer / "pilotlight_runtime").mkdir(parents=True)
    (layer / "pilotlight_runtime/watchdog.py").write_text("print('a runtime')\n")
    images = ImageBuilder(
        engine,
        runtime=layer,
        index=index or index_settings(os.environ),
        network="none",
        **changes,  # type: ignore[arg-type]
    )

    async def connected() -> ImageBuilder:
        return images

    builder = ImageFunctions(images=connected, **facts(tmp_path / "data", templates_dir))  # type: ignore[arg-type]
    return Shop(builder, tmp_path, started)


@pytest.fixture
def shop(tmp_path: Path, engine: Engine, started: list[str]) -> Shop:
    return shop_of(tmp_path, engine, started, buildkit=False)


async def printed(engine: Engine, image: str | None, started: list[str]) -> str:
    def verb(client: object) -> bytes:
        made = client.create_container(image, network_disabled=True)["Id"]  # type: ignore[attr-defined]
        started.append(made)
        client.start(made)  # type: ignore[attr-defined]
        client.wait(made)  # type: ignore[attr-defined]
        return bytes(client.logs(made))  # type: ignore[attr-defined]

    return (await engine.call(verb)).decode().strip()


async def test_an_openfaas_template_is_laid_out_as_its_client_does(
    shop: Shop, engine: Engine, started: list[str]
) -> None:
    choices = {"uploaded_template": True, "options": ("dev",), "arguments": {"WORD": "moo", "ADDITIONAL_PACKAGE": "x"}}
    bundle = await shop.build("cowsay_2.0", COWSAY, **choices)
    assert (bundle.contract, bundle.environment_image, bundle.preimports) == ("http", None, ())
    assert "pool: " not in shop.text()
    assert await printed(engine, bundle.image, started) == "make gcc x moo ['base.txt', 'handler.txt']"
    assert (await shop.build("cowsay_2.0", COWSAY, **choices)) == bundle
    assert "nothing has changed" in shop.said[-1].message
    other = await shop.build("cowsay_2.0", COWSAY | {"template/index.py": "print(1)"}, **choices)
    assert other.image != bundle.image


async def test_of_a_template_of_the_server_no_starting_file_is_left_between(
    tmp_path: Path, engine: Engine, started: list[str]
) -> None:
    for path, text in TEMPLATE.items():
        file = tmp_path / "templates" / path.replace("template/", "cowsay/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    shop = shop_of(tmp_path, engine, started, buildkit=False, templates_dir=tmp_path / "templates")
    bundle = await shop.build("cowsay", {"handler.txt": "the function's"})
    assert await printed(engine, bundle.image, started) == "none ['handler.txt']"


async def test_functions_built_at_once_share_an_environment_that_is_built_once(
    tmp_path: Path, engine: Engine, started: list[str]
) -> None:
    (tmp_path / "templates/twin").mkdir(parents=True)
    (tmp_path / "templates/twin/template.yml").write_text("language: twin\n")
    dockerfile = f"FROM {BASE_IMAGE} AS environment\nRUN echo {os.urandom(6).hex()} > /made\n"
    dockerfile += 'FROM environment\nCOPY function/ /f/\nCMD ["cat", "/made", "/f/x"]\n'
    (tmp_path / "templates/twin/Dockerfile").write_text(dockerfile)
    shop = shop_of(tmp_path, engine, started, buildkit=False, templates_dir=tmp_path / "templates")
    bundles = await asyncio.gather(shop.build("twin", {"x": "1"}), shop.build("twin", {"x": "2"}))
    assert len([each for each in shop.said if each.step == "environment"]) == 1
    said = [await printed(engine, bundle.image, started) for bundle in bundles]
    assert said[0][:-1] == said[1][:-1]
    assert [text[-1] for text in said] == ["1", "2"]
    (made,) = {bundle.environment for bundle in bundles}
    started.insert(0, f"pilotlight/environment:{made[:16]}")


async def test_our_own_arguments_stay_away_from_other_peoples_templates(shop: Shop) -> None:
    """ARG PYTHON_VERSION is in many of them, and means their own."""
    files = COWSAY | {"template/Dockerfile": DOCKERFILE.replace("=3.11", "=9.99", 1)}
    with pytest.raises(PilotlightError) as error:
        await shop.build("cowsay", files, uploaded_template=True)
    assert error.value.detail.startswith("Dockerfile:2: ")
    assert "python:9.99-slim" in error.value.detail  # in other words where Docker Hub can be asked


async def test_a_folder_with_a_dockerfile_is_its_own_context(shop: Shop, engine: Engine, started: list[str]) -> None:
    files = {
        "Dockerfile": f'FROM {BASE_IMAGE}\nCOPY . /x/\nCMD ["sh", "-c", "cd /x && ls -A"]\n',
        ".dockerignore": "*.log\n",
        "a.log": "",
        "b": "",
    }
    bundle = await shop.build("dockerfile", files)
    assert await printed(engine, bundle.image, started) == ".dockerignore\nDockerfile\nb"
    again = await shop.build(
        "dockerfile", {f"handler/{path}": text for path, text in files.items()}, uploaded_template=True
    )
    assert again.image == bundle.image


async def test_a_dockerfile_that_wants_our_runtime_has_it_in_its_context(
    shop: Shop, engine: Engine, started: list[str]
) -> None:
    dockerfile = (
        f"ARG PYTHON_VERSION=9\nFROM {BASE_IMAGE.replace('3.11', '${PYTHON_VERSION}')}\nCOPY pilotlight/runtime/ /r/\n"
        'CMD ["python3", "/r/pilotlight_runtime/watchdog.py"]\n'
    )
    bundle = await shop.build("dockerfile", {"Dockerfile": dockerfile})
    assert await printed(engine, bundle.image, started) == "a runtime"


@pytest.mark.parametrize(
    ("template", "files", "choices", "slug", "says"),
    [
        ("dockerfile", {"app.py": ""}, {}, "dockerfile-missing", "its folder has no Dockerfile"),
        ("cowsay", {"handler/x": ""}, {"uploaded_template": True}, "invalid-template", "it has no template.yml"),
        (
            "cowsay",
            {"handler/x": "", "template/template.yml": "language: x"},
            {"uploaded_template": True},
            "template-without-dockerfile",
            "it has no Dockerfile",
        ),
        ("cowsay", TEMPLATE, {"uploaded_template": True}, "invalid-source", "no file in handler/"),
        ("cowsay", COWSAY | {"more/x": ""}, {"uploaded_template": True}, "invalid-source", "more/x: beside handler/"),
        (
            "cowsay",
            COWSAY,
            {"uploaded_template": True, "options": ("prod",)},
            "invalid-build-option",
            "template cowsay has no option 'prod'",
        ),
        ("dockerfile", {"Dockerfile": "FROM x\n"}, {"secrets": {"npmrc": b"x"}}, "buildkit-missing", "secrets (npmrc)"),
        ("dockerfile", {"Dockerfile": "FRM x\n"}, {}, "image-build-failed", "Dockerfile:1: unknown instruction: FRM"),
        (
            "dockerfile",
            {"Dockerfile": f"FROM {BASE_IMAGE}\n\nCOPY gone /x\n"},
            {},
            "image-build-failed",
            "Dockerfile:3: COPY gone /x: there is no gone in the build's context",
        ),
        (
            "dockerfile",
            {"Dockerfile": f"FROM {BASE_IMAGE}\nRUN --mount=type=secret,id=x true\n"},
            {},
            "buildkit-missing",
            "needs BuildKit",
        ),
    ],
)
async def test_what_cannot_be_built_says_why(
    shop: Shop, template: str, files: dict[str, str], choices: dict[str, object], slug: str, says: str
) -> None:
    with pytest.raises(PilotlightError) as error:
        await shop.build(template, files, **choices)
    assert error.value.slug == slug
    assert says in error.value.detail


async def test_a_private_index_is_no_argument_and_is_not_needed_where_nothing_is_installed(
    tmp_path: Path, engine: Engine, started: list[str]
) -> None:
    index = IndexSettings(variables={"UV_DEFAULT_INDEX": "https://me:secret@index.example/simple"})
    shop = shop_of(tmp_path, engine, started, index=index, buildkit=False)
    bundle = await shop.build("python3-http", {"handler.py": "def handle(event, context):\n    pass\n"})
    with pytest.raises(PilotlightError) as error:
        await shop.build("python3-http", {"handler.py": "def handle(event, context): ...", "requirements.txt": "six\n"})
    assert (error.value.slug, "secret" in error.value.detail.replace("secrets", "")) == ("buildkit-missing", False)
    files = {"Dockerfile": f"FROM {BASE_IMAGE}\nARG PIP_INDEX_URL\nRUN true\n"}
    with pytest.raises(PilotlightError, match="has a password"):
        await shop.build("dockerfile", files)
    history = await engine.call(lambda client: client.history(bundle.image))  # type: ignore[no-untyped-call]
    assert "secret@" not in str(history)


async def test_a_build_that_nobody_waits_for_ends_in_the_engine_too(shop: Shop, engine: Engine) -> None:
    sleeper = f"sleep {3000 + os.getpid() % 1000}"
    building = asyncio.create_task(shop.build("dockerfile", {"Dockerfile": f"FROM {BASE_IMAGE}\nRUN {sleeper}\n"}))
    while not await running(engine, sleeper):
        await asyncio.sleep(0.05)
        assert not building.done()
    building.cancel()
    await asyncio.gather(building, return_exceptions=True)
    async with asyncio.timeout(30):
        while await running(engine, sleeper):
            await asyncio.sleep(0.05)


async def test_a_build_has_a_deadline(tmp_path: Path, engine: Engine, started: list[str]) -> None:
    shop = shop_of(tmp_path, engine, started, buildkit=False, timeout_seconds=2.0)
    sleeper = f"sleep {4000 + os.getpid() % 1000}"
    with pytest.raises(PilotlightError) as error:
        await shop.build("dockerfile", {"Dockerfile": f"FROM {BASE_IMAGE}\nRUN {sleeper}\n"})
    assert (error.value.slug, error.value.detail) == ("build-timeout", "the image was not built within 2 seconds")


async def running(engine: Engine, command: str) -> bool:
    found = await engine.call(lambda client: client.containers())
    return any(command in each["Command"] for each in found)


async def test_processes_are_made_of_no_image_template(tmp_path: Path) -> None:
    shop = Shop(Builder(**facts(tmp_path / "data")), tmp_path, [])  # type: ignore[arg-type]
    for template, files, choices in (
        ("cowsay", COWSAY, {"uploaded_template": True}),
        ("dockerfile", {"Dockerfile": "FROM x"}, {}),
    ):
        with pytest.raises(PilotlightError) as error:
            await shop.build(template, files, **choices)
        assert error.value.slug == "template-needs-images"
        assert "this server runs functions as processes" in error.value.detail
