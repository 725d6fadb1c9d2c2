"""Reads the members of a tar stream, with bounded memory and without goodwill.

`tarfile` reads extended headers of any length into memory, follows them recursively, keeps every member, and takes a
damaged header for the end of the archive. So the standard library parses single header blocks here (`frombuf`:
checksum, numbers, prefix), and the walk from block to block is ours: regular files and folders come out, everything
else is InvalidSource.
"""

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from pilotlight.core.errors import InvalidSource

_BLOCK = tarfile.BLOCKSIZE
_EXTENSION_BYTES = 64 * 1024
"""One extended header: a long name, or pax records."""
_EXTENSIONS = 4
"""In a row, before one member: GNU's long name and long link, and pax's own and global records."""
_PADDING_BYTES = 2**20
"""What may follow the end of the archive; tar pads to its own record size."""

_REFUSED = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}


class Stream(Protocol):
    def read(self, size: int, /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    name: str
    """As it was sent; bytes that are not UTF-8 as surrogates."""
    folder: bool
    size: int
    executable: bool


class TarReader:
    """`members` in the order of the archive; `contents` reads the one that was given last."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0

    def members(self) -> Iterator[Member]:
        while (header := self._header()) is not None:
            yield self._opened(*header)
            for _ in self.contents():
                pass
            self._exactly(self._padding)
        self._drain()

    def contents(self, chunk: int = 256 * 1024) -> Iterator[bytes]:
        while self._left:
            data = self._stream.read(min(self._left, chunk))
            if not data:
                raise _cut_short()
            self._left -= len(data)
            yield data

    def _header(self) -> tuple[tarfile.TarInfo, dict[str, str]] | None:
        """The next member's header block with what extended headers said about it; None at the end."""
        extended: dict[str, str] = {}
        for _ in range(_EXTENSIONS + 1):
            block = self._exactly(_BLOCK)
            if not any(block):
                return None
            info = _parsed(block)
            match info.type:
                case tarfile.GNUTYPE_LONGNAME:
                    extended["path"] = self._extension(info).split(b"\0", 1)[0].decode(errors="surrogateescape")
                case tarfile.GNUTYPE_LONGLINK:
                    self._extension(info)
                case tarfile.XHDTYPE:
                    extended |= _pax_records(self._extension(info))
                case tarfile.XGLTYPE:
                    _check_global(_pax_records(self._extension(info)))
                case _:
                    return info, extended
        raise InvalidSource(f"the archive has more than {_EXTENSIONS} extended headers in a row")

    def _opened(self, info: tarfile.TarInfo, extended: dict[str, str]) -> Member:
        name = extended.get("path", info.name)
        size = _size(extended["size"], name) if "size" in extended else info.size
        if any(key.startswith("GNU.sparse") for key in extended):
            raise _refused(name, "a sparse file")
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
            raise _refused(name, _REFUSED.get(info.type, f"an entry of the unknown type {info.type!r}"))
        if size < 0:
            raise InvalidSource(f"{shown(name)}: a size below zero")
        self._left, self._padding = size, -size % _BLOCK
        return Member(name=name, folder=info.isdir(), size=size, executable=bool(info.mode & 0o100))

    def _extension(self, info: tarfile.TarInfo) -> bytes:
        if not 0 <= info.size <= _EXTENSION_BYTES:
            raise InvalidSource(f"the archive has an extended header of more than {_EXTENSION_BYTES // 1024} KiB")
        return self._exactly(info.size + -info.size % _BLOCK)[: info.size]

    def _exactly(self, count: int) -> bytes:
        parts = []
        while count:
            data = self._stream.read(count)
            if not data:
                raise _cut_short()
            parts.append(data)
            count -= len(data)
        return b"".join(parts)

    def _drain(self) -> None:
        """Read what pads the archive, so that gzip's checksum at the end of the stream is looked at."""
        left = _PADDING_BYTES
        while left > 0 and (data := self._stream.read(min(left, 65536))):
            left -= len(data)


class Inflated:
    """The bytes that a gzip stream holds, inflated a piece at a time."""

    def __init__(self, packed: Stream) -> None:
        self._packed = packed
        self._inflate = zlib.decompressobj(wbits=31)
        self._buffer = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._buffer and not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._packed.read(65536)
            if not packed:
                raise _cut_short()
            try:
                self._buffer = memoryview(self._inflate.decompress(packed, 256 * 1024))
            except zlib.error as error:
                raise InvalidSource(f"the archive's gzip data is damaged ({error})") from error
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return bytes(data)


def shown(name: str) -> str:
    """A member's name for a message: short, on one line, printable."""
    text = name.encode(errors="backslashreplace").decode() if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= 120 else f"{text[:80]}...{text[-30:]}"


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError) as error:
        raise InvalidSource(f"this is no tar archive, or a damaged one ({error})") from error


def _pax_records(data: bytes) -> dict[str, str]:
    """POSIX' records: `LENGTH key=value\\n`, where the length counts the whole record in decimal."""
    records: dict[str, str] = {}
    while data.strip(b"\0"):
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 6 or not len(length) + 1 < int(length) <= len(data):
            raise InvalidSource("the archive has a damaged pax header")
        key, equals, value = data[len(length) + 1 : int(length) - 1].partition(b"=")
        if not equals or data[int(length) - 1 : int(length)] != b"\n":
            raise InvalidSource("the archive has a damaged pax header")
        records[key.decode(errors="surrogateescape")] = value.decode(errors="surrogateescape")
        data = data[int(length) :]
    return records


def _check_global(records: dict[str, str]) -> None:
    """`git archive` notes its commit in one; what would change members is not for all of them at once."""
    for key in records:
        if key in ("path", "size", "linkpath") or key.startswith("GNU.sparse"):
            raise InvalidSource(f"the archive sets {shown(key)} for all of its members at once")


def _size(text: str, name: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise InvalidSource(f"{shown(name)}: {shown(text)} is no size")
    return int(text)


def _refused(name: str, kind: str) -> InvalidSource:
    return InvalidSource(f"{shown(name)}: {kind}; only regular files and folders are taken")


def _cut_short() -> InvalidSource:
    return InvalidSource("the archive is cut short")
