"""Functions' logs: DATA/logs/NAME.NAMESPACE/REPLICA.log and, once that was turned over, REPLICA.1.log before it.

The files are made and read by us; the function has them only as descriptors. runtime/README.md has the format.

To make two files takes longer than to claim a replica when the disk is busy. So a few pairs are kept in
DATA/logs/.spare; a start takes one by its descriptors, and it gets its name afterwards. The replica's record holds the
old name, should we crash in between.
"""

import asyncio
import heapq
import itertools
import os
import secrets
import shutil
import threading
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from operator import attrgetter
from pathlib import Path
from typing import IO

from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import LogLine
from pilotlight_runtime.logs import NO_CALL, ROTATE_BYTES, SYSTEM, format_lines, parse_line

SPARES = 4
FILES, TOTAL_BYTES = 10, 100 * 2**20
"""Kept per function, with all its replicas; files of running ones are never removed."""
GUARD_BYTES, KEPT_BYTES = 4 * ROTATE_BYTES, ROTATE_BYTES
"""A log that its replica does not bound (it hangs, or the file's writer has outlived it) is cut to its last part."""
CHUNK = 64 * 1024
LINE_BYTES = 2**20
"""A log is a file that its function can write what it likes into: a longer line is read in parts."""
BATCH = 1000
POLL_SECONDS = 0.2
CLOCK_SLACK = 1.0
"""Files' times come from a coarser clock than lines' times."""
_STREAMS = {"o": "stdout", "e": "stderr", "s": "system"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A replica's log and the part before it, open; the caller closes the descriptors."""

    log: int
    previous: int
    spare: str = ""
    """The path that they were made under, when that is not theirs yet."""


class LogFiles:
    def __init__(self, root: Path) -> None:
        self._root = root
        self._spares: deque[Pair] = deque()
        self._nameless: dict[str, tuple[str, str]] = {}
        """Spare path and path to come, by replica."""
        self._lock = threading.Lock()

    def open(self, function: FunctionKey, replica: str) -> Pair:
        if self._spares:
            pair = self._spares.popleft()
            self.expect(function, replica, pair.spare)
            return pair
        path = self.path(function, replica)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        return _make(path)

    def expect(self, function: FunctionKey, replica: str, spare: str) -> None:
        """The pair of that spare path is this replica's; `settle` gives it its name."""
        if spare:
            self._nameless[replica] = spare, self.path(function, replica)

    def settle(self) -> None:
        """Name the pairs that were taken, and make new ones."""
        self._name()
        with self._lock, suppress(OSError):  # without a spare a start makes its own, and tells why it cannot
            while len(self._spares) < SPARES:
                self._spares.append(_make(f"{self._spare_dir()}/{secrets.token_hex(6)}.log", spare=True))

    def _name(self) -> None:
        with self._lock:
            for replica, (spare, path) in tuple(self._nameless.items()):
                with suppress(OSError):
                    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                for old, new in ((_before(spare), _before(path)), (spare, path)):
                    with suppress(OSError):  # it may have its name since before a crash
                        os.rename(old, new)
                del self._nameless[replica]

    def begin(self) -> None:
        """Spares of an earlier control plane go, but for those that a replica has."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name()
        shutil.rmtree(self._spare_dir(), ignore_errors=True)
        self.settle()

    def leave(self) -> None:
        """Drop the spares."""
        with self._lock:
            while self._spares:
                pair = self._spares.popleft()
                os.close(pair.log)
                os.close(pair.previous)
                _unlink(pair.spare)
                _unlink(_before(pair.spare))

    def _spare_dir(self) -> str:
        path = f"{self._root}/.spare"
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path

    def path(self, function: FunctionKey, replica: str) -> str:
        return f"{self._root}/{function}/{replica}.log"

    def last_lines(self, function: FunctionKey, replica: str, count: int = 20) -> tuple[str, ...]:
        if replica in self._nameless:
            self.settle()
        path = self.path(function, replica)
        try:
            size = os.stat(path).st_size
        except OSError:
            return ()
        return tuple(line.text for line in _tail(path, size, count, most=CHUNK))

    def note(self, function: FunctionKey, replica: str, text: str) -> None:
        """A line of ours at the log's end, on how a replica ended that could not say so itself."""
        path = self.path(function, replica)
        record = format_lines(SYSTEM, NO_CALL, text.encode())
        with suppress(OSError), open(path, "r+b", buffering=0) as file:  # never a new file
            size = file.seek(0, os.SEEK_END)
            half = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
            file.write(b"\n" + record if half else record)

    def guard(self, paths: Iterable[str]) -> None:
        """Cut those that are much too long; their replicas go on writing to the same files."""
        for path in paths:
            with suppress(OSError):
                if os.stat(path).st_size > GUARD_BYTES:
                    _cut(path)
            with suppress(OSError):
                if os.stat(_before(path)).st_size > GUARD_BYTES:
                    os.truncate(_before(path), 0)

    def prune(self, function: FunctionKey, running: Collection[str]) -> None:
        """Empty files of ended replicas go, then their oldest ones until the rest is within the limits."""
        found = self._files(function)
        files = [file for file in found if file.size]
        for file in found:
            if not file.size and file.replica not in running:
                _unlink(file.path)
        total, count = sum(file.size for file in files), len(files)
        for file in sorted(files, key=attrgetter("modified")):
            if count <= FILES and total <= TOTAL_BYTES:
                return
            if file.replica not in running:
                _unlink(file.path)
                total, count = total - file.size, count - 1

    def forget(self, function: FunctionKey) -> None:
        shutil.rmtree(self._root / function, ignore_errors=True)

    async def read(
        self, function: FunctionKey, *, tail: int | None, since: float | None, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Lines of all replicas in order of time; with `follow` those to come, as they come."""
        ends = await self.ends(function, whole_lines=follow)
        async for line in self.written(function, ends, tail=tail, since=since):
            yield line
        if follow:
            async for line in self.new_lines(function, ends):
                yield line

    async def ends(self, function: FunctionKey, *, whole_lines: bool) -> dict[str, int]:
        """What is written now: up to where each file is read at first."""
        await asyncio.to_thread(self.settle)
        return await asyncio.to_thread(self._ends, function, whole_lines=whole_lines)

    async def written(
        self, function: FunctionKey, ends: dict[str, int], *, tail: int | None, since: float | None
    ) -> AsyncIterator[LogLine]:
        """The lines before those ends, in order of time."""
        lines = await asyncio.to_thread(self._written, function, tail, since, ends)
        while batch := await asyncio.to_thread(list, itertools.islice(lines, BATCH)):
            for line in batch:
                yield line

    async def new_lines(self, function: FunctionKey, ends: dict[str, int]) -> AsyncIterator[LogLine]:
        """The lines after those ends, as they come, without an end."""
        places = _Places(self, ends)
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for line in await asyncio.to_thread(places.new_lines, function):
                yield line

    def _ends(self, function: FunctionKey, *, whole_lines: bool) -> dict[str, int]:
        """Up to where each file is read at first."""
        return {f.path: _last_newline(f.path, f.size) if whole_lines else f.size for f in self._files(function)}

    def _written(
        self, function: FunctionKey, tail: int | None, since: float | None, ends: dict[str, int]
    ) -> Iterator[LogLine]:
        files = [
            f for f in self._files(function) if f.path in ends and (since is None or f.modified + CLOCK_SLACK >= since)
        ]
        if tail is None:
            lines = heapq.merge(*(_lines(file.path, ends[file.path]) for file in files), key=attrgetter("time"))
            return lines if since is None else (line for line in lines if line.time >= since)
        last = sorted((ln for file in files for ln in _tail(file.path, ends[file.path], tail)), key=attrgetter("time"))
        last = [line for line in last if since is None or line.time >= since]
        return iter(last[len(last) - min(tail, len(last)) :])

    def _files(self, function: FunctionKey) -> list["_File"]:
        """Older parts come before newer ones."""
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._root / function):
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append(_File(entry.path, _replica_of(entry.name), status.st_size, status.st_mtime))
        return sorted(found, key=lambda file: (not file.path.endswith(".1.log"), file.path))


@dataclass(frozen=True, slots=True)
class _File:
    path: str
    replica: str
    size: int
    modified: float


class _Places:
    """How far a follower has read each file."""

    def __init__(self, files: LogFiles, read: dict[str, int]) -> None:
        self._files = files
        self._read = read

    def new_lines(self, function: FunctionKey) -> list[LogLine]:
        lines: list[LogLine] = []
        for file in self._files._files(function):
            if file.path.endswith(".1.log"):
                continue
            begin = self._read.get(file.path, 0)
            if file.size < begin:  # turned over: what we have not read yet lies at the same place of the part before
                lines += self._take(_before(file.path), begin, None)
                begin = 0
            if file.size > begin:
                lines += self._take(file.path, begin, file.path)
        return sorted(lines, key=attrgetter("time"))

    def _take(self, path: str, begin: int, noted_as: str | None) -> list[LogLine]:
        """Whole lines only: one that is being written is read next time."""
        with suppress(FileNotFoundError), open(path, "rb") as file:
            file.seek(begin)
            data = file.read(16 * 2**20)
            end = data.rfind(b"\n") + 1
            if noted_as is not None:
                self._read[noted_as] = begin + end
            return list(_parsed(_split(data[:end]), _replica_of(path), os.fstat(file.fileno()).st_mtime))
        return []


def _make(path: str, *, spare: bool = False) -> Pair:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    log = os.open(path, flags, 0o600)
    try:
        return Pair(log, os.open(_before(path), flags, 0o600), path if spare else "")
    except BaseException:
        os.close(log)
        raise


def _cut(path: str) -> None:
    """As the runtime does when it turns a log over: what was read last of it lies in the part before."""
    with open(path, "rb", buffering=0) as log, open(_before(path), "r+b", buffering=0) as previous:
        size = os.fstat(log.fileno()).st_size
        part = os.pread(log.fileno(), KEPT_BYTES, size - KEPT_BYTES)
        previous.truncate(0)
        previous.write(part)
    os.truncate(path, 0)


def _lines(path: str, end: int) -> Iterator[LogLine]:
    with suppress(FileNotFoundError), open(path, "rb") as file:
        yield from _parsed(_until(file, end), _replica_of(path), os.fstat(file.fileno()).st_mtime)


def _until(file: IO[bytes], end: int) -> Iterator[bytes]:
    while (rest := end - file.tell()) > 0 and (line := file.readline(min(rest, LINE_BYTES))):
        yield line


def _split(data: bytes) -> list[bytes]:
    """By newlines alone: a carriage return is a part of its line."""
    return data.removesuffix(b"\n").split(b"\n") if data else []


def _last_newline(path: str, size: int) -> int:
    """The end of the last whole line; of a line that is longer than a chunk the end as it is."""
    begin = max(0, size - CHUNK)
    with suppress(FileNotFoundError), open(path, "rb") as file:
        end = os.pread(file.fileno(), size - begin, begin).rfind(b"\n")
        return begin + end + 1 if end >= 0 else begin and size
    return 0


def _tail(path: str, end: int, count: int, *, most: int = TOTAL_BYTES) -> list[LogLine]:
    """The last lines before `end` of one file, reading backwards; of at most so many bytes."""
    if count <= 0:
        return []
    with suppress(FileNotFoundError), open(path, "rb") as file:
        data, begin, step = b"", end, CHUNK
        while begin > 0 and data.count(b"\n") <= count and len(data) < most:
            begin, step = max(0, begin - step), step * 2
            data = os.pread(file.fileno(), end - begin, begin)
        lines = _split(data)[-count:]
        return list(_parsed(lines, _replica_of(path), os.fstat(file.fileno()).st_mtime))
    return []


def _parsed(lines: Iterable[bytes], replica: str, modified: float) -> Iterator[LogLine]:
    """Lines without a time of their own have that of the line before; those before the first, that of the first."""
    time: float | None = None
    early: list[LogLine] = []
    for raw in lines:
        record = parse_line(raw)
        if record.microseconds is not None:
            time = record.microseconds / 1e6
            yield from (replace(line, time=time) for line in early)
            early.clear()
        line = LogLine(
            time=time or modified,
            replica=replica,
            stream=_STREAMS[record.stream],
            text=record.text,
            call_id=record.call_id,
        )
        if time is None and len(early) < 1000:
            early.append(line)
        else:
            yield line
    yield from early


def _before(path: str) -> str:
    return f"{path.removesuffix('.log')}.1.log"


def _replica_of(name: str) -> str:
    return os.path.basename(name).removesuffix(".log").removesuffix(".1")


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
