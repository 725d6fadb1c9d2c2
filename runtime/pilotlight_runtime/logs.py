"""What a function prints, as records: one per line, with its time, its stream and the call it was printed under.

The log is a file, so no reader's death can block or fail whoever prints. A record is a whole line: what is printed
without a newline waits for the rest of its line, per call (or per thread, outside of calls), until the newline, the
call's end or the process' end; `flush` does not cut a line in two. Lines over 64 KiB become several records.

`parse_line` is the other direction, for whoever reads the log.
"""

import io
import os
import sys
import threading
import time
from contextvars import ContextVar
from typing import Any, NamedTuple

RECORD_START = b"\x1e"
MAX_TEXT_BYTES = 64 * 1024
ROTATE_BYTES = 10 * 2**20
_COPY_BYTES = 4 * 2**20
NO_CALL = "-"
STDOUT, STDERR, SYSTEM = "o", "e", "s"

current_call: ContextVar[str] = ContextVar("pilotlight_call", default=NO_CALL)
"""The id of the call that runs here, in async handlers and in the threads of sync ones."""


class Record(NamedTuple):
    """A line of a log. A line that was written to the descriptor directly has neither time nor call."""

    microseconds: int | None
    stream: str
    call_id: str | None
    text: str


def format_record(microseconds: int, stream: str, call_id: str, text: bytes) -> bytes:
    """`text` has no newline, `call_id` no space."""
    return b"\x1e%d %b %b %b\n" % (microseconds, stream.encode(), call_id.encode(), text)


def format_lines(stream: str, call_id: str, lines: bytes) -> bytes:
    """Records of this moment for one or several lines, the last one without its newline."""
    now = time.time_ns() // 1000
    if len(lines) <= MAX_TEXT_BYTES and b"\n" not in lines:
        return format_record(now, stream, call_id, lines)
    pieces = (piece for line in lines.split(b"\n") for piece in _pieces(line))
    return b"".join([format_record(now, stream, call_id, piece) for piece in pieces])


def parse_line(line: bytes) -> Record:
    """One line, with or without its newline; whatever is no record was written to the descriptor and is stderr."""
    line = line.removesuffix(b"\n")
    if line.startswith(RECORD_START):
        fields = line[1:].split(b" ", 3)
        if len(fields) == 4 and _is_stamp(fields[0]) and fields[1] in (b"o", b"e", b"s"):
            call_id = _decode(fields[2])
            return Record(
                int(fields[0]), fields[1].decode(), None if call_id == NO_CALL else call_id, _decode(fields[3])
            )
    return Record(None, STDERR, None, _decode(line))


def is_call_id(text: str) -> bool:
    """Whether it can stand in a record (and in a header): visible ASCII, not too long."""
    return 0 < len(text) <= 128 and text.isascii() and text.isprintable() and " " not in text


def _is_stamp(digits: bytes) -> bool:
    return 0 < len(digits) <= 20 and digits.isdigit()


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "backslashreplace")


class LogFile:
    """The append-only file that everything goes to; it is turned over when it is over 10 MiB.

    Turning over copies and truncates through the two descriptors that the replica was given: both files keep their
    inodes, and no path is opened. A line that another process writes within that moment can be lost.
    """

    def __init__(self, descriptor: int, previous: int, *, rotate_bytes: int = ROTATE_BYTES) -> None:
        self._descriptor = descriptor
        self._previous = previous
        self._rotate_bytes = rotate_bytes
        self._unchecked = 0
        self.lock = threading.RLock()  # a signal handler may print while its own thread holds it
        self._owner = os.getpid()
        os.register_at_fork(after_in_child=self._renew_lock)

    def write(self, records: bytes) -> None:
        """Never raises: a full disk costs lines, not requests."""
        with self.lock:
            try:
                os.write(self._descriptor, records)
            except OSError:
                return
            self._unchecked += len(records)
            if self._unchecked > self._rotate_bytes // 16:
                self.rotate_when_large()

    def rotate_when_large(self) -> bool:
        """To be called now and then as well: what is written to descriptors 1 and 2 directly passes nobody. Whether it
        was large; then again soon."""
        if os.getpid() != self._owner:
            return False  # a process that the function forked; its parent does it
        with self.lock:
            self._unchecked = 0
            try:
                size = os.fstat(self._descriptor).st_size
                if size > self._rotate_bytes:
                    self._rotate(size)
            except OSError:
                return False
        return size > self._rotate_bytes

    def _rotate(self, size: int) -> None:
        """The same offsets in both files, unless a flood made the log much too large: then its last part is kept."""
        offset = 0 if size <= 2 * self._rotate_bytes else size - self._rotate_bytes
        most = offset + 3 * self._rotate_bytes  # somebody may write faster than we copy
        part = os.pread(self._descriptor, _COPY_BYTES, offset)
        os.ftruncate(self._previous, 0)
        os.lseek(self._previous, 0, os.SEEK_SET)
        while part and offset < most:
            os.write(self._previous, part)
            offset += len(part)
            part = os.pread(self._descriptor, _COPY_BYTES, offset)
        os.ftruncate(self._descriptor, 0)

    def _renew_lock(self) -> None:
        self.lock = threading.RLock()


class RecordStream(io.RawIOBase):
    """What lies under `sys.stdout` or `sys.stderr`: bytes in, records out."""

    def __init__(self, log: LogFile, stream: str, descriptor: int) -> None:
        self._log = log
        self._stream = stream
        self._descriptor = descriptor
        self.name = {STDOUT: "<stdout>", STDERR: "<stderr>"}[stream]
        self._begun: dict[str | int, bytearray] = {}
        """Lines that lack their newline, by call or thread."""

    def write(self, data: Any) -> int:
        call_id = current_call.get()
        key: str | int = threading.get_ident() if call_id == NO_CALL else call_id
        new = bytes(data)
        with self._log.lock:
            begun = self._begun.pop(key, None) or bytearray()
            begun += new
            end = new.rfind(b"\n")
            if end >= 0:
                end += len(begun) - len(new)
                self._emit(call_id, bytes(begun[:end]))
                del begun[: end + 1]
            if len(begun) > MAX_TEXT_BYTES:
                *full, rest = _pieces(bytes(begun))
                self._emit(call_id, b"\n".join(full))
                begun = bytearray(rest)
            if begun:
                self._begun[key] = begun
        return len(new)

    def end_line(self) -> None:
        """Write what was begun under the current call (or thread) as the line that it is."""
        if self._begun:
            call_id = current_call.get()
            self._end(threading.get_ident() if call_id == NO_CALL else call_id)

    def end_all_lines(self) -> None:
        for key in list(self._begun):
            self._end(key)

    def _end(self, key: str | int) -> None:
        with self._log.lock:
            begun = self._begun.pop(key, None)
            if begun:
                self._emit(key if isinstance(key, str) else NO_CALL, bytes(begun))

    def _emit(self, call_id: str, lines: bytes) -> None:
        self._log.write(format_lines(self._stream, call_id, lines))

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor


class StandInStream(io.RawIOBase):
    """What lies under a zygote's `sys.stdout` or `sys.stderr`. A module that it imports may keep them (handlers of
    `logging` do): in a replica they then lead to the replica's records."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.name = {1: "<stdout>", 2: "<stderr>"}[descriptor]
        self.target: RecordStream | None = None

    def write(self, data: Any) -> int:
        if self.target is not None:
            return self.target.write(data)
        return os.write(self._descriptor, data)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor


def stand_in() -> None:
    """In a zygote, before it imports anything of others."""
    sys.stdout, sys.stderr = _text_over(StandInStream(1)), _text_over(StandInStream(2))


def _pieces(line: bytes) -> list[bytes]:
    """At most 64 KiB each, cut between characters."""
    pieces = []
    while len(line) > MAX_TEXT_BYTES:
        cut = MAX_TEXT_BYTES
        while cut > MAX_TEXT_BYTES - 4 and line[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(line[:cut])
        line = line[cut:]
    return [*pieces, line]


class Logs:
    """A replica's log: the two streams, and the runtime's own lines."""

    def __init__(self, log: LogFile) -> None:
        self.file = log
        self._streams = (RecordStream(log, STDOUT, 1), RecordStream(log, STDERR, 2))

    def install(self) -> None:
        """Let `print` and everything else that writes to `sys.stdout` and `sys.stderr` write records."""
        for name, stream in zip(("stdout", "stderr"), self._streams, strict=True):
            under = getattr(getattr(sys, name), "buffer", None)
            if isinstance(under, StandInStream):
                under.target = stream
            else:
                setattr(sys, name, _text_over(stream))

    def system(self, text: str, call_id: str = NO_CALL) -> None:
        """What the runtime itself has to say, to the function's user."""
        self._write(SYSTEM, text, call_id)

    def error(self, text: str, call_id: str = NO_CALL) -> None:
        """What the function would have said on stderr: its tracebacks."""
        self._write(STDERR, text, call_id)

    def end_line(self) -> None:
        for stream in self._streams:
            stream.end_line()

    def end_all_lines(self) -> None:
        for stream in self._streams:
            stream.end_all_lines()

    def _write(self, stream: str, text: str, call_id: str) -> None:
        self.file.write(format_lines(stream, call_id, text.rstrip("\n").encode("utf-8", "backslashreplace")))


def _text_over(stream: RecordStream | StandInStream) -> io.TextIOWrapper:
    return io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="\n", write_through=True)
