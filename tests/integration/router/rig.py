"""The router's real program between a scripted control plane and real replicas on unix sockets."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pilotlight.config import RouterSettings, Settings
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link import messages
from pilotlight.link.messages import (
    Applied,
    Change,
    Door,
    Drained,
    Endpoint,
    Hello,
    Level,
    Levels,
    Route,
    Snapshot,
    Welcome,
)
from pilotlight_runtime.http1 import ResponseHead, ResponseParser, chunk

T = TypeVar("T")
PATIENCE = 10.0

ROUTER = RouterSettings(
    read_timeout_seconds=1.0,
    keep_alive_seconds=2.0,
    hold_without_routes_seconds=1.0,
    header_limit_bytes=8192,
    buffer_bytes=64 * 1024,
    connections=64,
    api_seconds=0.6,
)


async def until(condition: Callable[[], T | None]) -> T:
    """What the condition says once that is true."""
    async with asyncio.timeout(PATIENCE):
        while not (found := condition()):
            await asyncio.sleep(0.005)
    return found


# A replica: whatever a test makes of one request.


@dataclass
class Request:
    line: str
    headers: dict[str, str]
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, body: bytes = b"", status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()


Handler = Callable[[Request], Awaitable[None]]


async def hello(request: Request) -> None:
    await request.answer(b"hello", headers="Content-Type: text/plain\r\n")


@dataclass
class Replica:
    """An HTTP server on a unix socket that writes down what it was asked."""

    path: Path
    handler: Handler = hello
    read_body: bool = True
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    open: int = 0
    half_closed: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def address(self) -> str:
        return f"unix:{self.path}"

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        """As a kill does it: nobody listens, and all connections break."""
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        self.path.unlink(missing_ok=True)

    def drop_connections(self) -> None:
        for writer in tuple(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                request = await self._read(reader, writer)
                self.requests.append(request)
                await self.handler(request)
        self.half_closed.set()
        self._writers.discard(writer)
        writer.close()

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:-2])}
        body = b""
        if self.read_body and "content-length" in headers:
            body = await reader.readexactly(int(headers["content-length"]))
        elif self.read_body and "transfer-encoding" in headers:
            while size := int(await reader.readline(), 16):
                body += (await reader.readexactly(size + 2))[:-2]
            await reader.readline()
        return Request(head[0], headers, body, reader, writer)


# A control plane: a link that says what a test tells it to, and an API.


class Link:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.said: list[messages.Up] = []
        self.hellos: list[Hello] = []
        self.version = 0
        self.routes: dict[FunctionKey, Route] = {}
        self.doors: tuple[Door, ...] = ()
        self.with_snapshot = True
        self._server: asyncio.AbstractServer | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._writer is not None:
            self._writer.close()
        self.path.unlink(missing_ok=True)

    async def route(self, *routes: Route) -> None:
        """Send a change, and wait until the router says that it took effect."""
        self.send(self._change(*routes))
        await self.applied()

    async def route_in_one_breath(self, *routes: Route) -> None:
        """Each as a change of its own, which the router reads together."""
        self.send(*map(self._change, routes))
        await self.applied()

    async def remove(self, key: FunctionKey) -> None:
        del self.routes[key]
        self.version += 1
        self.send(Change(version=self.version, removed=(key,)))
        await self.applied()

    async def listen(self, *doors: Door) -> dict[str, str]:
        """What the router says of the doors that could not be opened."""
        self.doors = doors
        self.version += 1
        self.send(Change(version=self.version, doors=doors))
        await self.applied()
        return next(m.shut for m in reversed(self.said) if isinstance(m, Applied))

    async def applied(self) -> None:
        await until(lambda: any(isinstance(m, Applied) and m.version == self.version for m in self.said))

    def send(self, *together: messages.Down) -> None:
        assert self._writer is not None
        self._writer.write(b"".join(map(messages.encode, together)))

    def _change(self, *routes: Route) -> Change:
        self.routes |= {route.function: route for route in routes}
        self.version += 1
        return Change(version=self.version, routes=routes)

    def snapshot(self) -> None:
        self.send(Snapshot(version=self.version, routes=tuple(self.routes.values()), doors=self.doors))

    def levels(self, key: FunctionKey) -> list[Level]:
        return [level for m in self.said if isinstance(m, Levels) for level in m.levels if level.function == key]

    def drained(self, replica: str) -> list[Drained]:
        return [m for m in self.said if isinstance(m, Drained) and m.replica == replica]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, EOFError):
            first = await messages.read_up(reader)
            assert isinstance(first, Hello)
            self.hellos.append(first)
            self._writer = writer
            self.version += 1
            self.send(Welcome(epoch="test"))
            if self.with_snapshot:
                self.snapshot()
            while True:
                self.said.append(await messages.read_up(reader))
        writer.close()


# A caller.


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes = b""
    whole: bool = False
    interim: list[int] = field(default_factory=list)

    def json(self) -> Any:
        import json

        return json.loads(self.body)


class Caller:
    """One connection to the router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._interim: list[int] = []
        self._answer: Answer | None = None

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> None:
        lines = [f"{method} {path} HTTP/1.1", "Host: faas.test"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        self.write("\r\n".join([*lines, "", ""]).encode() + (body or b""))

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, to_head: bool = False) -> Answer:
        """The next response; `whole` is False when the connection ended in the middle of it."""
        parser = ResponseParser()
        parser.begin(self, to_head=to_head)
        self._answer = None
        async with asyncio.timeout(PATIENCE):
            while self._answer is None or not self._answer.whole:
                data = await self._some(parser)
                if not data:
                    break
        if self._answer is None:
            raise ConnectionError("closed without an answer")
        return self._answer

    async def _some(self, parser: ResponseParser) -> bytes:
        """No more than belongs to this response: byte by byte where nothing says how much that is."""
        length = None if self._answer is None else self._answer.headers.get("content-length")
        left = int(length) - len(self._answer.body) if length and self._answer else 1
        data = await self.reader.read(left)
        if data:
            parser.feed(data)
        return data

    async def closed(self) -> bytes:
        """What still comes until the router closes the connection."""
        async with asyncio.timeout(PATIENCE):
            return await self.reader.read()

    def close(self) -> None:
        self.writer.transport.abort()

    def on_interim(self, head: ResponseHead) -> None:
        self._interim.append(head.status)

    def on_response(self, head: ResponseHead) -> None:
        fields = [*head.headers, *head.noted.items()]
        headers = {name.decode().lower(): value.decode() for name, value in fields}
        self._answer = Answer(head.status, headers, interim=self._interim)
        self._interim = []

    def on_body(self, data: bytes) -> None:
        assert self._answer is not None
        self._answer.body += data

    def on_end(self) -> None:
        assert self._answer is not None
        self._answer.whole = True


# All of it together.


class Rig:
    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings
        self.link = Link(settings.link_socket)
        self.host = "127.0.0.1"
        self.port = 0
        self.metrics_port = 0
        self.shelf = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.process: asyncio.subprocess.Process
        self.lifeline = -1
        self._replicas: list[Replica] = []
        self._callers: list[Caller] = []

    async def replica(self, handler: Handler = hello, *, read_body: bool = True) -> Replica:
        replica = Replica(self.folder / f"r{len(self._replicas)}.sock", handler, read_body)
        await replica.start()
        self._replicas.append(replica)
        return replica

    async def function(
        self, handler: Handler = hello, *, slots: int = 4, read_body: bool = True, **route: Any
    ) -> Replica:
        """A function called `f` with one replica."""
        replica = await self.replica(handler, read_body=read_body)
        await self.link.route(self.route(replica, slots=slots, **route))
        return replica

    def route(self, *replicas: Replica, name: str = "f", slots: int = 4, draining: bool = False, **route: Any) -> Route:
        endpoints = tuple(
            Endpoint(replica=replica.path.stem, address=replica.address, slots=slots, draining=draining)
            for replica in replicas
        )
        return Route(function=function_key(name), endpoints=endpoints, **route)

    async def caller(self, host: str = "127.0.0.1", local: str | None = None) -> Caller:
        source = None if local is None else (local, 0)
        caller = Caller(*await asyncio.open_connection(host, self.port, local_addr=source))
        self._callers.append(caller)
        return caller

    async def call(
        self, path: str = "/function/f", method: str = "GET", body: bytes | None = None, **headers: str
    ) -> Answer:
        caller = await self.caller()
        caller.send(method, path, body, **headers)
        return await caller.answer(to_head=method == "HEAD")

    async def metrics(self) -> str:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
        caller = Caller(reader, writer)
        caller.send("GET", "/metrics")
        text = (await caller.answer()).body.decode()
        caller.close()
        return text

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    async def start(self) -> None:
        read_end, self.lifeline = os.pipe()
        six = ":" in self.host
        family = socket.AF_INET6 if six else socket.AF_INET
        public = socket.create_server((self.host, self.port), family=family, backlog=128, dualstack_ipv6=six)
        metrics = socket.create_server(("127.0.0.1", 0))
        self.port, self.metrics_port = public.getsockname()[1], metrics.getsockname()[1]
        shelf = tuple(end.fileno() for end in self.shelf)
        fds = (public.fileno(), metrics.fileno(), read_end, *shelf)
        names = ("--public-fd", "--metrics-fd", "--lifeline-fd")
        flags = [text for name, fd in zip(names, fds, strict=False) for text in (name, str(fd))]
        flags += ["--shelf-fds", *map(str, shelf)]
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pilotlight.router", *flags, "--settings-json", self.settings.to_json(), pass_fds=fds
        )
        public.close()
        metrics.close()
        os.close(read_end)

    async def stop(self) -> None:
        for caller in self._callers:
            caller.close()
        for replica in self._replicas:
            await replica.stop()
        await self.link.stop()
        if self.process.returncode is None:
            self.process.terminate()
            async with asyncio.timeout(PATIENCE):
                await self.process.wait()
        if self.lifeline >= 0:
            os.close(self.lifeline)
        for end in self.shelf:
            end.close()


async def slowly(request: Request) -> None:
    """Answers after a moment."""
    await asyncio.sleep(0.3)
    await request.answer(b"slow")


async def stream(request: Request) -> None:
    """Three chunks."""
    request.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (b"one", b"two", b"three"):
        request.writer.write(chunk(piece))
        await request.writer.drain()
    request.writer.write(b"0\r\n\r\n")
