"""Templates of other people: from a git repository, an archive, or a folder, into `template/` of the project.

A source is what its sender made it: nothing of it is run here, links and paths that lead outside are refused, and what
was there before stays unless it may be replaced.
"""

import os
import re
import shutil
import stat
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from faasctl.errors import CliError, failed
from faasctl.pack import is_ignored
from faasctl.templates import A_NAME, FOLDER, NAME, Template, is_template, read_template
from faasctl.words import plural

if TYPE_CHECKING:
    from urllib.request import Request

ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
UNPACKED_LIMIT_BYTES = 100 * 2**20
FILES_LIMIT = 20_000
FETCH_SECONDS = 300.0
SILENCE_SECONDS = 30.0
_BLOCK_BYTES = 1 << 16
_MADE_OF = "a template is made of files and folders"
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A place with templates, as it was typed."""

    text: str
    place: str
    """Without the reference."""
    reference: str | None
    """A branch, a tag or a commit of a git repository: what follows `#`."""

    @property
    def is_archive(self) -> bool:
        return urlsplit(self.place).path.endswith(ARCHIVES) if self.is_url else self.place.endswith(ARCHIVES)

    @property
    def is_url(self) -> bool:
        return "://" in self.place or re.match(r"[\w.-]+@[\w.-]+:", self.place) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulled:
    names: tuple[str, ...]
    commit: str | None


def parse_source(text: str) -> Source:
    place, _, reference = text.partition("#")
    if not place or place.startswith("-") or reference.startswith("-"):
        raise failed("usage", f"`{text}` is no address and no path of templates")
    return Source(text=text, place=place, reference=reference or None)


def pull(source: Source, project: Path, *, overwrite: bool, only: str | None = None) -> Pulled:
    """The source's templates, or the one called `only`, in `project`/template. All of them or, on an error, none."""
    with tempfile.TemporaryDirectory(prefix="faasctl-") as made:
        root, commit = _fetched(source, Path(made))
        found = {template.name: template for template in _found(root, source)}
        if only is not None:
            if only not in found:
                raise _without(source, f"has no template `{only}`; it has: {', '.join(found)}")
            found = {only: found[only]}
        _install(list(found.values()), project / FOLDER, source, commit, overwrite=overwrite)
    return Pulled(names=tuple(found), commit=commit)


def _fetched(source: Source, made: Path) -> tuple[Path, str | None]:
    """The folder with what the source holds, and its commit."""
    if not source.is_url:
        path = Path(source.place).expanduser()
        if path.is_file() and source.is_archive:
            return _unpacked(path, made / "unpacked", source), None
        if path.is_dir() and source.reference is None and not (path / "HEAD").is_file():
            return path.resolve(), None
        if not path.exists():
            raise _without(source, "is not there", "template-unreachable")
        if path.is_file():
            raise _without(source, f"is no archive: its name must end with {', '.join(ARCHIVES)}")
    elif source.is_archive:
        return _unpacked(_downloaded(source, made), made / "unpacked", source), None
    return _cloned(source, made / "cloned")


# From the network


def _downloaded(source: Source, made: Path) -> Path:
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import urlopen

    url = urlsplit(source.place)
    if url.scheme != "https" and not (url.scheme == "http" and url.hostname in _LOOPBACK):
        raise _without(source, "must be an https:// address: what comes over another one can be changed on its way")
    path = made / Path(url.path).name
    try:
        with urlopen(_request(source), timeout=SILENCE_SECONDS) as answer, path.open("wb") as file:  # noqa: S310 (looked at above)
            _copy(answer, file, source)
    except HTTPError as error:
        raise _unreachable(source, f"it answered {error.code} {error.reason}") from None
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise _unreachable(source, str(getattr(reason, "strerror", None) or reason)) from None
    return path


def _request(source: Source) -> "Request":
    """A user and password in the address go where they belong."""
    from base64 import b64encode
    from urllib.parse import unquote
    from urllib.request import Request

    url = urlsplit(source.place)
    user, found, _ = url.netloc.rpartition("@")
    request = Request(_redacted(source.place))  # noqa: S310
    if found:
        token = b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _copy(answer: IO[bytes], file: IO[bytes], source: Source) -> None:
    size = 0
    while block := answer.read(_BLOCK_BYTES):
        size += len(block)
        if size > UNPACKED_LIMIT_BYTES:
            raise _too_large(source)
        file.write(block)


def _cloned(source: Source, into: Path) -> tuple[Path, str]:
    if shutil.which("git") is None:
        raise failed(
            "git-missing",
            f"{source.place} is a git repository, and there is no git here",
            "Install git, or give an archive of it: https://... that ends with .zip or .tar.gz",
        )
    shallow = ["clone", "--quiet", "--depth=1"]
    branch = [] if source.reference is None else [f"--branch={source.reference}"]
    ran = _git(*shallow, *branch, "--", source.place, str(into))
    if ran.returncode != 0 and source.reference is not None and _COMMIT.fullmatch(source.reference):
        shutil.rmtree(into, ignore_errors=True)  # a commit has no name that a shallow clone could ask for
        ran = _git("clone", "--quiet", "--no-checkout", "--", source.place, str(into))
        if ran.returncode == 0:
            ran = _git("-C", str(into), "checkout", "--quiet", "--detach", source.reference)
    if ran.returncode != 0:
        raise _unreachable(source, _last_words(ran.stderr))
    commit = _git("-C", str(into), "rev-parse", "HEAD").stdout.strip()
    return into, commit


def _git(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """It may ask nobody anything, and use no way that runs a program of the address's choice."""
    asking = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true", "GIT_SSH_COMMAND": "ssh -o BatchMode=yes"}
    command = ["git", "-c", "protocol.ext.allow=never", *arguments]
    try:
        return subprocess.run(
            command, env=asking | os.environ | {"LC_ALL": "C"}, capture_output=True, text=True, errors="replace",
            stdin=subprocess.DEVNULL, timeout=FETCH_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"git was not done within {FETCH_SECONDS:g} s")


def _last_words(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [line for line in lines if line.startswith(("ssh:", "fatal:", "error:", "ERROR"))] or lines
    return (told[0] if told else "git failed without a word").removeprefix("fatal: ")


# From an archive


def _unpacked(archive: Path, into: Path, source: Source) -> Path:
    into.mkdir()
    total = files = 0
    try:
        with closing(_members(archive, source)) as members:
            for name, mode, stream in members:
                files += 1
                path = into.joinpath(*_parts(name, source))
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as file:
                    while block := stream.read(_BLOCK_BYTES):
                        total += len(block)
                        if total > UNPACKED_LIMIT_BYTES or files > FILES_LIMIT:
                            raise _too_large(source)
                        file.write(block)
                path.chmod(0o755 if mode & 0o100 else 0o644)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _without(source, f"is no archive that can be read: {error}") from None
    except FileExistsError as error:
        raise _without(source, f"holds {Path(error.filename).name} twice") from None
    except OSError as error:
        raise _without(source, f"cannot be unpacked: {error.strerror or error}") from None
    return into


def _members(archive: Path, source: Source) -> Generator[tuple[str, int, IO[bytes]]]:
    """Name, mode and content of each file; links are refused."""
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(archive) as packed:
            for info in packed.infolist():
                mode = info.external_attr >> 16
                if stat.S_ISLNK(mode):
                    raise _without(source, f"holds a link, {info.filename}; {_MADE_OF}")
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, mode, stream
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.issym() or member.islnk() or member.isdev():
                raise _without(source, f"holds a link or device, {member.name}; {_MADE_OF}")
            if member.isfile() and (content := tar.extractfile(member)) is not None:
                with content:
                    yield member.name, member.mode, content


def _parts(name: str, source: Source) -> tuple[str, ...]:
    parts = tuple(part for part in PurePosixPath(name).parts if part != ".")
    if (
        not parts
        or name.startswith("/")
        or ".." in parts
        or "\\" in name
        or "\0" in name
        or re.match(r"[A-Za-z]:", name)
    ):
        raise _without(source, f"holds a path that leads outside: {name!r}")
    return parts


# What is in it


def _found(root: Path, source: Source) -> list[Template]:
    """Those under template/, as OpenFaaS' repositories have them, or the folder itself when it is one."""
    tops = [root, *(path for path in _entries(root) if path.is_dir())]
    for top in tops:
        folders = _entries(top / FOLDER)
        if not folders and top.name == FOLDER:
            folders = _entries(top)
        found = [folder for folder in folders if folder.is_dir() and _looks_like_one(folder)]
        if found:
            return [_checked(folder, folder.name, source) for folder in found]
    for top in tops if source.is_archive else [root]:
        if is_template(top):
            name = top.name if top.name != "unpacked" else _stem(source)
            return [_checked(top, name if top.name != "cloned" else _stem(source), source)]
    raise _without(source, "has no template: no folder `template/NAME` with a template.yml")


def _looks_like_one(folder: Path) -> bool:
    return is_template(folder) or (folder / "function" / "Dockerfile").is_file()


def _checked(folder: Path, name: str, source: Source) -> Template:
    if NAME.fullmatch(name) is None:
        raise _without(source, f"has a template called `{name}`; a template's name is {A_NAME}")
    template = read_template(folder, local=True)
    if not any((place / "Dockerfile").is_file() for place in (folder, template.start)):
        detail = f"{source.text}: its template {name} has no Dockerfile, so no image can be made of it"
        raise failed("template-wrong", detail)
    for path in folder.rglob("*"):
        if path.is_symlink():
            raise _without(source, f"holds a link, {path.relative_to(folder)}; {_MADE_OF}")
    return Template(name=name, folder=folder, local=True, handler_folder=template.handler_folder)


def _stem(source: Source) -> str:
    name = source.place.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    for suffix in (*ARCHIVES, ".git"):
        name = name.removesuffix(suffix)
    return name


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_ignored(path.name))


# Into the project


def _install(templates: list[Template], into: Path, source: Source, commit: str | None, *, overwrite: bool) -> None:
    taken = [template.name for template in templates if (into / template.name).exists()]
    if taken and not overwrite:
        shown = ", ".join(f"{into}/{name}" for name in taken)
        verb = "is" if len(taken) == 1 else "are"
        raise failed("template-exists", f"{shown} {verb} there already", "Replace what is there: --overwrite")
    with _writing(into):
        into.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".pull-", dir=into))
        try:
            for template in templates:
                made = staging / template.name
                shutil.copytree(template.folder, made, ignore=_leftovers, symlinks=True)
                (made / "meta.json").write_text(_meta(source, commit), encoding="utf-8")
            for template in templates:
                if (into / template.name).exists():
                    (into / template.name).rename(staging / f"{template.name}.before")
                (staging / template.name).rename(into / template.name)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _leftovers(_folder: str, names: list[str]) -> set[str]:
    return {name for name in names if is_ignored(name) or name == "meta.json"}


def _meta(source: Source, commit: str | None) -> str:
    """Where it came from, as OpenFaaS' client notes it. Without a time: the same source makes the same folder."""
    import json

    facts = {"repository": _redacted(source.place), "ref_name": source.reference, "sha": commit}
    return json.dumps({name: value for name, value in facts.items() if value}, indent=2) + "\n"


def _redacted(place: str) -> str:
    url = urlsplit(place)
    if "@" not in url.netloc:
        return place
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl()


@contextmanager
def _writing(into: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise failed("cannot-write", f"cannot write {error.filename or into}: {why}", "Look at its rights.") from None


def _without(source: Source, why: str, slug: str = "template-source") -> CliError:
    return failed(slug, f"{_redacted(source.text)} {why}")


def _unreachable(source: Source, why: str) -> CliError:
    secret = urlsplit(source.place).netloc.rpartition("@")[0]
    told = why.replace(f"{secret}@", "") if secret else why
    return failed("template-unreachable", f"{_redacted(source.text)} cannot be fetched: {told}")


def _too_large(source: Source) -> CliError:
    limit = f"{plural(FILES_LIMIT, 'file')} or {UNPACKED_LIMIT_BYTES >> 20} MiB"
    return _without(source, f"holds more than {limit}")
