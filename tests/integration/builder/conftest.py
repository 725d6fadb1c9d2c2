"""A data directory that the functions' user can reach, and a package index made by hand: no network, no downloads."""

import base64
import hashlib
import io
import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pilotlight.builder.base import Progress
from pilotlight.builder.builder import Builder
from pilotlight.builder.index import IndexSettings
from pilotlight.builder.interpreter import Interpreter, choose_interpreter
from pilotlight.config import BuildSettings, Sandbox, Settings, sandbox_user
from pilotlight.core.revision import Bundle
from pilotlight.engine.image_tags import owner_of

TEMPLATES = Path(__file__).parents[3] / "templates"
HANDLER = "def handle(event, context):\n    return 'hello'\n"


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """pytest's own temporary directories are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="pilotlight-test-"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def sandbox(data_dir: Path) -> Sandbox:
    return sandbox_user(Settings(data_dir=data_dir))


@pytest.fixture
async def interpreter(sandbox: Sandbox) -> Interpreter:
    return await choose_interpreter(None, sandbox)


@pytest.fixture
def links(data_dir: Path) -> Path:
    """A folder of packages: greet 1.0 and 2.0, polite (which needs greet<2), trouble (which cannot be built)."""
    folder = data_dir / "links"
    folder.mkdir()
    for version in ("1.0", "2.0"):
        wheel(folder, "greet", version, {"greet/__init__.py": f"version = {version!r}\n"})
    wheel(folder, "polite", "1.0", {"polite.py": "import greet\n"}, requires="greet<2")
    source_distribution(folder, "trouble", "raise SystemExit('the frobnicator is missing')\n")
    return folder


def source_distribution(folder: Path, name: str, backend: str) -> None:
    """A package that brings its own build backend, whose code this is."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "b"\nbackend-path = ["."]\n',
        "b.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
    }
    write_tar(folder / f"{name}-1.0.tar.gz", {f"{name}-1.0/{path}": text for path, text in files.items()})


def write_tar(path: Path, contents: dict[str, str]) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
        for name, text in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            tar.addfile(info, io.BytesIO(text.encode()))
    return path


def wheel(folder: Path, name: str, version: str, files: dict[str, str], requires: str = "") -> Path:
    """The smallest valid wheel with these files."""
    info = f"{name}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    files = files | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    hashes = {path: hashlib.sha256(text.encode()).digest() for path, text in files.items()}
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(digest).decode().rstrip('=')},\n" for path, digest in hashes.items()
    )
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in (files | {f"{info}/RECORD": f"{record}{info}/RECORD,,\n"}).items():
            archive.writestr(member, text)
    return path


@dataclass
class Workshop:
    """A builder with what it said."""

    builder: Builder
    data_dir: Path
    said: list[Progress] = field(default_factory=list)

    async def build(self, files: dict[str, str] | None = None, *, handler: str = "handler", **more: str) -> Bundle:
        """Build these files; `requirements` and `source` (of handler.py) for short."""
        short = {"requirements": "requirements.txt", "source": "handler.py"}
        contents = {"handler.py": HANDLER} if files is None else dict(files)
        contents |= {short[name]: text for name, text in more.items()}
        return await self.builder.build(
            name="hello", template="python3-http", tar=self.tar(contents), handler=handler, progress=self.said.append
        )

    def tar(self, contents: dict[str, str]) -> Path:
        return write_tar(self.data_dir / "source.tar", contents)

    def leftovers(self) -> list[Path]:
        return list((self.data_dir / "staging").iterdir())


Make = Callable[..., Awaitable[Workshop]]


@pytest.fixture
def make_workshop(data_dir: Path, links: Path, interpreter: Interpreter, sandbox: Sandbox) -> Make:
    async def make(index: IndexSettings | None = None, settings: BuildSettings | None = None) -> Workshop:
        local = IndexSettings(variables={"UV_FIND_LINKS": str(links)}, no_index=True)
        builder = Builder(
            settings=settings or BuildSettings(trial_seconds=5),
            data_dir=data_dir,
            templates_dir=TEMPLATES,
            python=interpreter.path,
            sandbox=sandbox,
            index=index or local,
        )
        return Workshop(builder=builder, data_dir=data_dir)

    return make


@pytest.fixture
async def workshop(make_workshop: Make) -> Workshop:
    return await make_workshop()


def forget(client: object, data_dir: Path) -> None:
    """Take away the names by which a server of this data directory says that it uses images."""
    for image in client.images(f"pilotlight-{owner_of(data_dir)}/*"):  # type: ignore[attr-defined]
        for tag in image["RepoTags"]:
            if tag.startswith(f"pilotlight-{owner_of(data_dir)}/"):
                client.remove_image(tag)  # type: ignore[attr-defined]
