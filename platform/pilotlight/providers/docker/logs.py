"""A container's log: the engine's frames as lines, and a file of ours once the container is gone.

While a container is there its log is the engine's. When it has ended, what it printed is written as a process' log is
(providers/process/logfiles.py reads both), and the container is removed: nothing of ours piles up in the engine.
"""

import asyncio
import heapq
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path

from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import Engine, FrameStream
from pilotlight.engine.failures import Refused
from pilotlight.providers.base import LogLine
from pilotlight.providers.docker.containers import Record, unix_seconds
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight_runtime.logs import MAX_TEXT_BYTES, NO_CALL, STDERR, STDOUT, SYSTEM, format_record

_STREAMS = {1: "stdout", 2: "stderr"}
_LETTERS = {"stdout": STDOUT, "stderr": STDERR, "system": SYSTEM}
_MARGIN_SECONDS = 0.001
"""The engine is asked for a little more than is wanted: floats and its own rounding."""


def parse_frames(frames: Iterable[tuple[int, bytes]], replica: str) -> Iterator[LogLine]:
    """Each frame is a time, a space and a line. The engine cuts long lines: a frame without a newline goes on in the
    next one of its stream, which has a time again."""
    halves: dict[int, tuple[float, bytes]] = {}
    for stream, frame in frames:
        stamp, _, text = frame.partition(b" ")
        try:
            time = unix_seconds(stamp.decode("ascii"))
        except ValueError:
            continue
        if stream in halves:
            time, before = halves.pop(stream)
            text = before + text
        if text.endswith(b"\n") or len(text) >= MAX_TEXT_BYTES:
            yield _line(time, replica, stream, text.removesuffix(b"\n"))
        else:
            halves[stream] = time, text
    for stream, (time, text) in halves.items():
        yield _line(time, replica, stream, text)


def _line(time: float, replica: str, stream: int, text: bytes) -> LogLine:
    return LogLine(
        time=time, replica=replica, stream=_STREAMS.get(stream, "stdout"), text=text.decode("utf-8", "replace")
    )


def _notes(record: Record) -> Iterator[LogLine]:
    return (LogLine(time=record.created, replica=record.id, stream="system", text=note) for note in record.notes)


class ContainerLogs:
    """Blocking: to be called in threads."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def tail(self, record: Record, count: int) -> list[LogLine]:
        return list(self.lines(record, tail=count, since=None))[-count:] if count else []

    def lines(self, record: Record, *, tail: int | None, since: float | None) -> list[LogLine]:
        """What it has printed; nothing when it is gone. Of several streams in order of time."""
        query = _query(tail=tail, since=since)
        try:
            frames = self._engine.frames(record.container, stdout="1", stderr="1", follow="0", **query)
        except Refused:
            return []
        try:
            found = [*_notes(record), *parse_frames(frames, record.id)]
        finally:
            frames.close()
        return sorted((line for line in found if since is None or line.time >= since), key=attrgetter("time"))

    def follow(self, record: Record, after: float) -> FrameStream | None:
        try:
            return self._engine.frames(
                record.container, stdout="1", stderr="1", follow="1", **_query(tail=None, since=after)
            )
        except Refused:
            return None


def _query(*, tail: int | None, since: float | None) -> dict[str, str]:
    query = {} if tail is None else {"tail": str(tail)}
    return query if since is None else {**query, "since": f"{max(0.0, since - _MARGIN_SECONDS):.6f}"}


def archive(files: LogFiles, making: Path, function: FunctionKey, replica: str, lines: Sequence[LogLine]) -> None:
    """What it printed, as a log of ours; whole or not at all. `making` is a folder of the same file system."""
    path = Path(files.path(function, replica))
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    making.mkdir(mode=0o700, exist_ok=True)
    made = making / path.name
    try:
        with open(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            for line in lines:
                file.write(format_record(round(line.time * 1e6), _LETTERS[line.stream], NO_CALL, line.text.encode()))
        made.rename(path)
    except OSError:
        made.unlink(missing_ok=True)
        raise


def merged(parts: Iterable[Sequence[LogLine]], tail: int | None) -> list[LogLine]:
    lines = list(heapq.merge(*parts, key=attrgetter("time")))
    return lines if tail is None else lines[len(lines) - min(tail, len(lines)) :]


class Follower:
    """Lines of a function's replicas as they come, also of those that start later; one thread for each replica."""

    def __init__(self, left: Callable[["Follower"], None]) -> None:
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[LogLine | None] = asyncio.Queue()
        self._streams: dict[str, FrameStream] = {}
        self._closed = False
        self._in_engine: set[str] = set()
        """Replicas whose lines come from an engine; what is written of them when they have ended is nothing new."""
        self._files: asyncio.Task[None] | None = None

    def add(self, logs: ContainerLogs, record: Record, after: float) -> None:
        """From the line after that time on (0: from the beginning)."""
        self._in_engine.add(record.id)
        threading.Thread(target=self._pump, args=(logs, record, after), name="docker-log", daemon=True).start()

    def add_files(self, lines: AsyncIterator[LogLine]) -> None:
        """Of replicas that write their logs themselves."""
        self._files = self._loop.create_task(self._pump_files(lines))

    async def lines(self) -> AsyncIterator[LogLine]:
        try:
            while (line := await self._queue.get()) is not None:
                yield line
        finally:
            self.close()

    def close(self) -> None:
        self._closed = True
        if self._files is not None:
            self._files.cancel()
        self._queue.put_nowait(None)
        for stream in list(self._streams.values()):
            stream.wake()
        self._left(self)

    async def _pump_files(self, lines: AsyncIterator[LogLine]) -> None:
        async for line in lines:
            if line.replica not in self._in_engine:
                self._queue.put_nowait(line)

    def _pump(self, logs: ContainerLogs, record: Record, after: float) -> None:
        with suppress(Exception):  # the engine went away: what it has is there for the next reader
            stream = logs.follow(record, after)
            if stream is None:
                return
            self._streams[record.id] = stream
            try:
                if not self._closed:
                    self._read(stream, record, after)
            finally:
                stream.close()

    def _read(self, stream: FrameStream, record: Record, after: float) -> None:
        for note in _notes(record) if not after else ():
            self._tell(note)
        for line in parse_frames(stream, record.id):
            if line.time > after:
                self._tell(line)

    def _tell(self, line: LogLine) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._queue.put_nowait, line)
