"""Unpacks an uploaded tar below one directory: what a stranger wrote, checked name by name.

Every folder is opened relative to its parent without following links, every file is made anew, and bytes are counted
while they are written. Modes and times are normalised, so that what is unpacked depends on names and contents alone.
"""

import hashlib
import os
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from pilotlight.builder.files import FILE_MODE, FOLDER_MODE, PROGRAM_MODE, SOURCE_TIME_NS, storage_errors
from pilotlight.builder.tar import Inflated, Member, Stream, TarReader, shown
from pilotlight.core.errors import InvalidSource, TooLarge

IGNORED = frozenset({"__pycache__", ".git", ".venv", "node_modules", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
"""Folders that tools leave beside a handler, at any depth. They are large, differ from machine to machine (and would
make a new digest of unchanged source), and stale byte code would hide the code that was sent."""

_PATH_BYTES = 1024
_NAME_BYTES = 255
_DEPTH = 32

Parts = tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveLimits:
    unpacked_bytes: int
    files: int
    """Files and folders, ignored ones too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    path: str
    size: int
    executable: bool
    digest: str
    """SHA-256 of its contents."""


def unpack(archive: Path, directory: Path, limits: ArchiveLimits) -> tuple[SourceFile, ...]:
    """Unpack a tar (plain or gzip) into an empty directory of the platform's own; its files sorted by path.

    InvalidSource names the member that is refused and says why; `directory` then holds what came before it."""
    with archive.open("rb") as raw:
        gzipped = raw.read(2) == b"\x1f\x8b"  # the magic number decides, not the sender's word
        raw.seek(0)
        stream: Stream = Inflated(raw) if gzipped else raw
        files = unpack_stream(stream, directory, limits)
    if not files:
        raise InvalidSource("the archive holds no file; it must hold the files of the handler's folder")
    return files


def unpack_stream(
    stream: Stream, directory: Path, limits: ArchiveLimits, *, ignored: frozenset[str] = IGNORED
) -> tuple[SourceFile, ...]:
    """The same of a plain tar as it comes, which may hold no file."""
    with storage_errors():
        writer = _Writer(directory, limits, ignored)
        try:
            writer.take_all(TarReader(stream))
        finally:
            writer.close()
    return tuple(sorted(writer.files, key=lambda file: file.path))


def parts_of(name: str) -> Parts:
    """A member's path below the directory; () for the directory itself. InvalidSource for what could lead elsewhere."""
    try:
        length = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidSource(f"{shown(name)}: the name is not valid UTF-8") from None
    _check(not name.startswith("/"), name, "an absolute path; paths are relative to the handler's folder")
    _check(length <= _PATH_BYTES, name, f"a path of more than {_PATH_BYTES} bytes")
    _check(
        all(unicodedata.category(letter) not in ("Cc", "Zl", "Zp") for letter in name),
        name,
        "a control character in the name",
    )
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    _check(".." not in parts, name, "`..` in the path, which leads out of the handler's folder")
    _check(len(parts) <= _DEPTH, name, f"more than {_DEPTH} folders deep")
    _check(all(len(part.encode()) <= _NAME_BYTES for part in parts), name, f"a name of more than {_NAME_BYTES} bytes")
    return parts


class _Writer:
    def __init__(self, directory: Path, limits: ArchiveLimits, ignored: frozenset[str]) -> None:
        self.files: list[SourceFile] = []
        self._ignored = ignored
        self._limits = limits
        self._root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._is_folder: dict[Parts, bool] = {(): True}
        self._members = 0
        self._bytes = 0

    def take_all(self, tar: TarReader) -> None:
        for member in tar.members():
            self._members += 1
            if self._members > self._limits.files:
                raise TooLarge(f"the archive holds more than {self._limits.files} files and folders")
            self._take(tar, member)

    def close(self) -> None:
        os.close(self._root)

    def _take(self, tar: TarReader, member: Member) -> None:
        parts = parts_of(member.name)
        if not self._ignored.isdisjoint(parts):
            for chunk in tar.contents():
                self._count(chunk)
        elif member.folder:
            _check(member.size == 0, member.name, "a folder with contents")
            self._make_folders(parts)
        else:
            _check(bool(parts), member.name, "a file without a name")
            _check(parts not in self._is_folder, member.name, "the archive has this path twice")
            self._make_folders(parts[:-1])
            self._is_folder[parts] = False
            self._write(tar, member, parts)

    def _make_folders(self, parts: Parts) -> None:
        for depth in range(1, len(parts) + 1):
            folder = parts[:depth]
            known = self._is_folder.get(folder)
            _check(known is not False, "/".join(parts), f"{'/'.join(folder)} is a file in this archive")
            if known is None:
                self._is_folder[folder] = True
                parent = self._open_folder(folder[:-1])
                try:
                    os.mkdir(folder[-1], FOLDER_MODE, dir_fd=parent)
                    os.chmod(folder[-1], FOLDER_MODE, dir_fd=parent)
                finally:
                    os.close(parent)

    def _write(self, tar: TarReader, member: Member, parts: Parts) -> None:
        parent = self._open_folder(parts[:-1])
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(parts[-1], flags, 0o600, dir_fd=parent)
        finally:
            os.close(parent)
        with os.fdopen(fd, "wb") as file:
            digest = hashlib.sha256()
            for chunk in tar.contents():
                self._count(chunk)
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fchmod(fd, PROGRAM_MODE if member.executable else FILE_MODE)
            os.utime(fd, ns=(SOURCE_TIME_NS, SOURCE_TIME_NS))
        path = "/".join(parts)
        self.files.append(
            SourceFile(path=path, size=member.size, executable=member.executable, digest=digest.hexdigest())
        )

    def _open_folder(self, parts: Parts) -> int:
        fd = os.dup(self._root)
        for part in parts:
            try:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
            finally:
                os.close(fd)
            fd = below
        return fd

    def _count(self, chunk: bytes) -> None:
        self._bytes += len(chunk)
        if self._bytes > self._limits.unpacked_bytes:
            raise TooLarge(f"the archive unpacks to more than {self._limits.unpacked_bytes // 2**20} MiB")


def _check(holds: bool, name: str, why: str) -> None:
    if not holds:
        raise InvalidSource(f"{shown(name)}: {why}")
