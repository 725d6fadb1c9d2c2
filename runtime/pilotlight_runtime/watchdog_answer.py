"""What the watchdog's parts say to each other about one request: its body on the way in, its answer on the way out."""

import asyncio
import sys
import time
from collections.abc import Iterable
from typing import Any, Protocol

from pilotlight_runtime.http1 import RequestHead
from pilotlight_runtime.watchdog_config import Config

HELD_BYTES = 256 * 1024
"""Of a body that nobody has read yet; then its sender waits."""
PIECE_BYTES = 64 * 1024
Header = tuple[bytes, bytes]


class TooSlow(Exception):
    """A request's bytes, or its client's taking of the answer, took longer than they may."""


class Body:
    """A request's body on its way to whoever reads it; its sender waits while much of it was not read."""

    def __init__(self, transport: Any, *, read_timeout: float) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._more = asyncio.Event()
        self._timeout = read_timeout
        self._waited = 0.0
        self.ended = False

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        self._more.set()
        if self._bytes > HELD_BYTES:
            self._transport.pause_reading()

    def end(self) -> None:
        self.ended = True
        self._more.set()

    async def take(self) -> bytes:
        """What has come since the last time; empty at the end. TooSlow when its sender took too long."""
        while not self._pieces and not self.ended:
            self._more.clear()
            await self._wait()
        data, self._pieces, self._bytes = b"".join(self._pieces), [], 0
        self._transport.resume_reading()
        return data

    async def whole(self) -> bytes:
        pieces = []
        while data := await self.take():
            pieces.append(data)
        return b"".join(pieces)

    async def _wait(self) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(self._timeout - self._waited if self._timeout else None):
                await self._more.wait()
        except TimeoutError:
            raise TooSlow(f"the request was not whole after {self._timeout:g} s (read_timeout)") from None
        finally:
            self._waited += time.monotonic() - began


class Answer(Protocol):
    """One request's way out. Every verb may be used when the client has left; then nothing happens."""

    @property
    def begun(self) -> bool:
        """Whether its head went out, so that its status can no longer be another one."""

    def begin(self, status: int, headers: Iterable[Header], length: int | None) -> None:
        """The head; `length` is the body's, None where it is not known."""

    async def piece(self, data: bytes) -> None:
        """Of the body; waits for a slow client, and raises TooSlow for one that is too slow."""

    def finish(self) -> None: ...
    def cut(self) -> None:
        """Nothing can be said any more but that the answer is not whole."""

    def say(self, status: int, body: bytes, *headers: Header) -> None:
        """All of it at once."""


class Runner(Protocol):
    """Who answers requests: programs, a server of its own, or files."""

    leaves_with_client: bool
    """Whether a request whose client has left is given up; else it runs to its end."""

    @property
    def words(self) -> str:
        """What it does, for the log."""

    async def run(self) -> str:
        """For as long as it can answer; returns why it no longer can."""

    async def is_ready(self) -> bool: ...
    async def respond(self, head: RequestHead, body: Body, answer: Answer, timeout: float) -> None:
        """`timeout` in seconds; 0: as long as it takes."""


class Log:
    """Lines on standard error, as OpenFaaS' watchdogs print them."""

    def __init__(self, config: Config) -> None:
        self._prefix = config.prefix_logs
        self._line_bytes = config.log_line_bytes

    def say(self, text: str, *, prefix: str = "") -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S ") if self._prefix else ""
        print(f"{stamp}{prefix if self._prefix else ''}{text}", file=sys.stderr, flush=True)

    async def say_lines(self, stream: asyncio.StreamReader, prefix: str) -> None:
        """What a program writes, to its end; overlong lines as several."""
        rest = b""
        while piece := await stream.read(PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self.say_text(line, prefix)
            while len(rest) > self._line_bytes:
                self.say_text(rest[: self._line_bytes], prefix)
                rest = rest[self._line_bytes :]
        if rest:
            self.say_text(rest, prefix)

    def say_text(self, text: bytes, prefix: str) -> None:
        for line in text.split(b"\n"):
            for begin in range(0, len(line) or 1, self._line_bytes):
                self.say(line[begin : begin + self._line_bytes].decode("utf-8", "backslashreplace"), prefix=prefix)


def target_of(head: RequestHead) -> tuple[str, str]:
    """Path and query."""
    path, _, query = head.target.decode("latin-1").partition("?")
    return path, query
