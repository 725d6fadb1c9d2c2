"""What an image is built from: files by name, and a tar and a digest of them that depend on nothing else.

A function may bring hundreds of megabytes, so that files of a folder stay there: their digests are known from the
unpacking, and the tar is made a piece at a time while the engine takes it.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pilotlight.builder.archive import IGNORED, SourceFile
from pilotlight.core.errors import InvalidInput
from pilotlight.core.naming import digest_of

_FORMAT = b"image 2"
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
"""Engines know these arguments and keep them out of what they cache by; they decide where, not what."""
_PIECE_BYTES = 2**20
BYTE_CODE = "__pycache__"
"""Of what the platform has compiled: it follows from the source, though not to the last bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    digest: str
    """SHA-256 of its contents."""
    size: int
    executable: bool = False
    data: bytes | None = None
    """Its contents, or None for those of `path`."""
    path: Path | None = None

    def pieces(self) -> Iterator[bytes]:
        if self.path is None:
            yield self.data or b""
            return
        with self.path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece


def held(data: bytes, *, executable: bool = False) -> ContextFile:
    return ContextFile(digest=hashlib.sha256(data).hexdigest(), size=len(data), executable=executable, data=data)


def on_disk(path: Path, known: SourceFile | None = None) -> ContextFile:
    """`known`: what the unpacking has found out."""
    if known is not None:
        return ContextFile(digest=known.digest, size=known.size, executable=known.executable, path=path)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    found = path.stat()
    return ContextFile(digest=digest, size=found.st_size, executable=bool(found.st_mode & 0o100), path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The files of one build by their paths, and its arguments."""

    files: Mapping[str, ContextFile]
    arguments: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    """The engine's ids of the images that it begins with."""
    sources: str = ""
    """Where packages come from, credentials left out, as far as no argument says it."""
    secrets: frozenset[str] = frozenset()
    """Their ids: that there is one may change what is built, what it says must not."""

    @property
    def digest(self) -> str:
        arguments = [f"{k}={v}" for k, v in sorted(self.arguments.items()) if k.lower() not in _PROXIES]
        facts = [self.base, "\0".join(arguments), self.sources, "\0".join(sorted(self.secrets))]
        files = [
            f"{path}\0{int(each.executable)}\0{each.digest}"
            for path, each in sorted(self.files.items())
            if BYTE_CODE not in path.split("/")
        ]
        return digest_of([_FORMAT, *(part.encode() for part in (*facts, *files))])

    @property
    def size(self) -> int:
        return sum(each.size for each in self.files.values())

    def tar(self) -> Iterator[bytes]:
        """The same bytes for the same files, whoever packs them and when, a piece at a time."""
        for folder in sorted(_folders(self.files)):
            yield _header(folder, tarfile.DIRTYPE, 0o755, 0)
        for path, file in sorted(self.files.items()):
            yield _header(path, tarfile.REGTYPE, 0o755 if file.executable else 0o644, file.size)
            yield from file.pieces()
            yield bytes(-file.size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)


def _header(path: str, kind: bytes, mode: int, size: int) -> bytes:
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, mode, size
    return info.tobuf(tarfile.PAX_FORMAT)


def _folders(files: Mapping[str, ContextFile]) -> set[str]:
    return {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}


def read_folder(
    folder: Path,
    *,
    below: str = "",
    skip: frozenset[str] = IGNORED,
    skip_top: frozenset[str] = frozenset(),
    known: Sequence[SourceFile] = (),
) -> dict[str, ContextFile]:
    """All regular files of a folder of ours, without what tools leave in it; links are refused by name. `known`: those
    whose digest was taken before."""
    digests = {each.path: each for each in known}
    found: dict[str, ContextFile] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if skip.intersection(inside.parts) or inside.parts[0] in skip_top:
            continue
        if path.is_symlink():
            raise InvalidInput(f"{folder.name}/{inside}: a link; an image is made of files and folders only")
        if path.is_file():
            name = f"{below}/{inside}" if below else str(inside)
            found[name] = on_disk(path, digests.get(str(inside)))
    return found


def without_ignored(files: Mapping[str, ContextFile]) -> dict[str, ContextFile]:
    """What .dockerignore at the top leaves; the engine itself obeys it only in part."""
    from docker.utils.build import PatternMatcher

    file = files.get(".dockerignore")
    if file is None:
        return dict(files)
    lines = b"".join(file.pieces()).decode("utf-8", "replace").splitlines()
    patterns = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    matcher = PatternMatcher(patterns)
    kept = ("Dockerfile", ".dockerignore")
    return {path: each for path, each in files.items() if path in kept or not matcher.matches(path)}  # type: ignore[arg-type]
