"""Requests that can be told apart: each has an id, its answer says who gave it, and the handler notes every execution.

So a test can say which requests were lost, which were done twice, and which revision answered when.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Self
from urllib.parse import urlsplit

from tests.harness import Server, wait_for

HANDLER = """
import asyncio
import json
import os
import time

def init(context):
    time.sleep(float(os.environ.get("INIT_SECONDS", "0")))

async def handle(event, context):
    with open(os.environ["EXECUTED"], "ab", buffering=0) as file:
        file.write(event.headers["X-Id"].encode() + b"\\n")
    await asyncio.sleep(float(event.headers["X-Sleep"]))
    return json.dumps({"revision": int(os.environ["REVISION"]), "pid": os.getpid()})
"""
RECONNECT_SECONDS = 20.0
"""A connection that is refused (nobody listens: the supervisor is gone) is tried again for so long."""

_numbers = count(1)


@dataclass(frozen=True, slots=True)
class Asked:
    """One request and what came of it; times are perf_counter's."""

    id: str
    method: str
    sent: float
    done: float
    status: int
    """0 when the connection broke before the answer was whole."""
    text: str

    @property
    def ok(self) -> bool:
        return self.status == 200

    @property
    def revision(self) -> int:
        return int(json.loads(self.text)["revision"])

    @property
    def pid(self) -> int:
        return int(json.loads(self.text)["pid"])


class Witnessed:
    """A deployed function whose requests are witnessed. Its revisions differ in a variable, so one build does."""

    def __init__(self, server: Server, name: str, **spec: object) -> None:
        self.server = server
        self.name = name
        self.url = ""
        self._notes = server.folder / f"{name}.executed"
        self._notes.touch()
        self._notes.chmod(0o666)
        self._spec = spec
        self._revision = 0
        self._image = ""

    def build(self) -> Self:
        stack = self.server.write_function(self.name, HANDLER)
        ran = self.server.faasctl("build", "-f", str(stack), "--json")
        assert ran.code == 0, ran
        self._image = _reference(ran.out)
        return self

    def deploy(self, *, init_seconds: float = 0.0) -> tuple[int, int]:
        """A new revision; its number, as its answers have it, and the status of the deploy's answer (0: none)."""
        self._revision += 1
        environment = {"REVISION": str(self._revision), "EXECUTED": str(self._notes), "INIT_SECONDS": str(init_seconds)}
        spec = self._spec | {"image": self._image, "environment": environment}
        try:
            return self._revision, self.server.api("PUT", f"/api/v1/functions/{self.name}", spec).status
        except (OSError, EOFError, ValueError):
            return self._revision, 0

    def scale(self, replicas: int) -> None:
        """Returns when so many are there and no others."""
        wait_for(lambda: self._scale(replicas), what="the scale call's answer")
        wait_for(lambda: self._has_just(replicas), what=f"{replicas} ready replicas of {self.name}")

    def ask_to_scale(self, replicas: int) -> None:
        assert self._scale(replicas)

    def executions(self) -> Counter[str]:
        return Counter(self._notes.read_text().split())

    def caller(self) -> "Caller":
        return Caller(self.server.url, self.name)

    def _scale(self, replicas: int) -> bool:
        path = f"/api/v1/functions/{self.name}/scale"
        return self.server.api("POST", path, {"replicas": replicas}).status in (200, 202)

    def _has_just(self, replicas: int) -> bool:
        states = [replica["state"] for replica in self.server.function(self.name)["replicas_detail"]]
        return states == ["ready"] * replicas


class Caller:
    """A keep-alive connection that is opened anew after it broke."""

    def __init__(self, url: str, name: str) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 0
        self._path = f"/function/{name}"
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, *, sleep: float = 0.0) -> Asked:
        request = f"{method[0]}{next(_numbers)}"
        sent = time.perf_counter()
        try:
            reader, writer = await self._connected()
            head = f"{method} {self._path} HTTP/1.1\r\nHost: {self._host}\r\nX-Id: {request}\r\nX-Sleep: {sleep}\r\n"
            writer.write(f"{head}Content-Length: {len(request)}\r\n\r\n{request}".encode())
            status, text, keep = await _answer(reader)
        except (OSError, EOFError) as error:
            status, text, keep = 0, repr(error), False
        if not keep:
            self.close()
        return Asked(request, method, sent, time.perf_counter(), status, text)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is not None and self._streams[0].at_eof():
            self.close()
        deadline = time.monotonic() + RECONNECT_SECONDS
        while self._streams is None:
            try:
                self._streams = await asyncio.open_connection(self._host, self._port)
            except ConnectionRefusedError:
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.02)
        return self._streams


async def steadily(
    function: Witnessed, *, rate: float, seconds: float, callers: int = 8, sleep: float = 0.0
) -> list[Asked]:
    """`rate` requests a second, every fourth a GET, the others POSTs; one that is late is sent at once."""
    begin, total = time.perf_counter(), int(rate * seconds)

    async def work(first: int) -> list[Asked]:
        caller, asked = function.caller(), []
        for number in range(first, total, callers):
            await asyncio.sleep(max(0.0, begin + number / rate - time.perf_counter()))
            asked.append(await caller.ask(_method(number // callers), sleep=sleep))
        caller.close()
        return asked

    return _flat(await asyncio.gather(*(work(first) for first in range(callers))))


async def at_once(function: Witnessed, requests: int, *, sleep: float = 0.0) -> list[Asked]:
    """So many requests, each on a connection of its own."""

    async def one(number: int) -> Asked:
        caller = function.caller()
        try:
            return await caller.ask(_method(number), sleep=sleep)
        finally:
            caller.close()

    return list(await asyncio.gather(*(one(number) for number in range(requests))))


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length:")[2].split("\r\n", 1)[0])
    text = (await reader.readexactly(length)).decode()
    return int(head.split(" ", 2)[1]), text, "connection: close" not in head


def _method(number: int) -> str:
    return "GET" if number % 4 == 0 else "POST"


def _flat(lists: Iterable[list[Asked]]) -> list[Asked]:
    return [asked for each in lists for asked in each]


def _reference(printed: str) -> str:
    [built] = json.loads(printed)["functions"]
    return str(built["reference"])
