"""What an image is built from: files by name, and a tar and a digest of them that depend on nothing else. Pure."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pilotlight.builder.archive import IGNORED
from pilotlight.core.errors import InvalidInput
from pilotlight.core.naming import digest_of

_FORMAT = b"image 1"
_PROXIES = frozenset({"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"})
"""Engines know these arguments and keep them out of what they cache by; they decide where, not what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextFile:
    data: bytes
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The files of one build by their paths, and its arguments."""

    files: Mapping[str, ContextFile]
    arguments: Mapping[str, str] = field(default_factory=dict)
    base: str = ""
    """The engine's ids of the images that it begins with."""

    @property
    def digest(self) -> str:
        arguments = [f"{k}={v}" for k, v in sorted(self.arguments.items()) if k.lower() not in _PROXIES]
        return digest_of([_FORMAT, self.base.encode(), "\0".join(arguments).encode(), *self._parts()])

    def tar(self) -> bytes:
        """The same bytes for the same files, whoever packed them and when."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for folder in sorted(_folders(self.files)):
                info = tarfile.TarInfo(folder)
                info.type, info.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(info)
            for path, file in sorted(self.files.items()):
                info = tarfile.TarInfo(path)
                info.size, info.mode = len(file.data), 0o755 if file.executable else 0o644
                tar.addfile(info, io.BytesIO(file.data))
        return packed.getvalue()

    def _parts(self) -> Iterator[bytes]:
        for path, file in sorted(self.files.items()):
            yield path.encode()
            yield b"x" if file.executable else b"-"
            yield file.data


def _folders(files: Mapping[str, ContextFile]) -> set[str]:
    return {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}


def read_folder(folder: Path, *, below: str = "", skip: frozenset[str] = IGNORED) -> dict[str, ContextFile]:
    """All regular files of a folder of ours, without what tools leave in it; links are refused by name."""
    found: dict[str, ContextFile] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if skip.intersection(inside.parts):
            continue
        if path.is_symlink():
            raise InvalidInput(f"{folder.name}/{inside}: a link; an image is made of files and folders only")
        if path.is_file():
            name = f"{below}/{inside}" if below else str(inside)
            found[name] = ContextFile(data=path.read_bytes(), executable=bool(path.stat().st_mode & 0o100))
    return found


def base_images(dockerfile: str, arguments: Mapping[str, str]) -> list[str]:
    """The images that a Dockerfile begins with, its own stages apart; arguments before the first FROM count."""
    known: dict[str, str] = {}
    stages: set[str] = set()
    found: list[str] = []
    for line, _ in instructions(dockerfile):
        words = line.split()
        if words[0].upper() == "ARG" and not found and not stages:
            for word in words[1:]:
                name, _, default = word.partition("=")
                known[name] = arguments.get(name, default.strip("\"'"))
        if words[0].upper() == "FROM":
            names = [_filled(word, known) for word in words[1:] if not word.startswith("--")]
            if names and names[0] not in stages and names[0] != "scratch":
                found.append(names[0])
            if len(names) == 3 and names[1].upper() == "AS":
                stages.add(names[2])
            stages.add("")
    return list(dict.fromkeys(found))


def _filled(word: str, known: Mapping[str, str]) -> str:
    for name, value in known.items():
        word = word.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return word


def instructions(dockerfile: str) -> list[tuple[str, int]]:
    """Each instruction on one line, with the number of the line that it begins on (from 1)."""
    found: list[tuple[str, int]] = []
    parts: list[str] = []
    begin = 0
    for number, raw in enumerate(dockerfile.splitlines(), 1):
        line = raw.strip()
        if line.startswith("#") or (not line and not parts):
            continue
        begin = begin or number
        parts.append(line.removesuffix("\\").rstrip())
        if not line.endswith("\\"):
            text = " ".join(part for part in parts if part)
            if text:
                found.append((text, begin))
            parts, begin = [], 0
    return found
