"""A small HTTP load generator for tests and benches: loopback only, bounded in count and time."""

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class Outcome:
    """What came back: statuses by count (0 for a broken connection), times in milliseconds, bodies by count."""

    statuses: Counter[int] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)
    bodies: Counter[bytes] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.statuses.total()

    def failed(self) -> int:
        return self.total - self.statuses[200]

    def add(self, status: int, milliseconds: float, body: bytes) -> None:
        self.statuses[status] += 1
        self.milliseconds.append(milliseconds)
        self.bodies[body[:200]] += 1


async def burst(url: str, count: int, *, body: bytes = b"x", timeout: float = 60) -> Outcome:
    """`count` requests at once, each on a connection of its own."""
    outcome = Outcome()
    connections = [await Connection.open(url) for _ in range(count)]
    try:
        async with asyncio.timeout(timeout):
            await asyncio.gather(*(_one(connection, body, outcome) for connection in connections))
    finally:
        for connection in connections:
            connection.close()
    return outcome


async def steady(
    url: str, *, rate: float, seconds: float, connections: int = 8, body: bytes = b"x", method: str = "POST"
) -> Outcome:
    """`rate` requests a second for `seconds`, spread over keep-alive connections; a request that is late is sent at
    once, so the count is kept. A connection that broke is counted as status 0 and opened anew."""
    outcome = Outcome()
    begin = time.perf_counter()
    total = int(rate * seconds)

    async def work(index: int) -> None:
        connection = await Connection.open(url, method)
        for number in range(index, total, connections):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            if not await _one(connection, body, outcome):
                connection.close()
                connection = await Connection.open(url, method)
        connection.close()

    await asyncio.gather(*(work(index) for index in range(connections)))
    return outcome


async def _one(connection: "Connection", body: bytes, outcome: Outcome) -> bool:
    began = time.perf_counter()
    try:
        status, answer = await connection.call(body)
    except (OSError, EOFError, ValueError) as error:
        outcome.add(0, (time.perf_counter() - began) * 1000, b"")
        outcome.errors.append(repr(error))
        return False
    outcome.add(status, (time.perf_counter() - began) * 1000, answer)
    if status != 200:
        outcome.errors.append(f"{status} {answer[:300]!r}")
    return not connection.closing


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, url: str, method: str) -> None:
        self.reader, self.writer, self._method = reader, writer, method
        self._url = urlsplit(url)
        self.closing = False

    @classmethod
    async def open(cls, url: str, method: str = "POST") -> "Connection":
        parts = urlsplit(url)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(reader, writer, url, method)

    async def call(self, body: bytes, path: str = "") -> tuple[int, bytes]:
        """At its own path, unless another one is given."""
        line = f"{self._method} {path or self._url.path or '/'} HTTP/1.1"
        self.writer.write(f"{line}\r\nHost: {self._url.netloc}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        return await self.answer()

    async def answer(self) -> tuple[int, bytes]:
        """To what was written; EOFError when it breaks off."""
        status = 100
        while status == 100:
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            status = int(head.split(" ", 2)[1])
        self.closing = "connection: close" in head
        if "transfer-encoding: chunked" in head:
            return status, await self._chunks()
        length = int(head.partition("content-length:")[2].split("\r\n", 1)[0] or 0)
        return status, await self.reader.readexactly(length)

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readuntil(b"\r\n")
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        """The other end has closed it while nothing was asked."""
        return self.reader.at_eof() or self.reader.exception() is not None

    def close(self) -> None:
        self.writer.close()
