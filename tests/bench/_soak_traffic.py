"""The soak's callers: each answer is checked, and each request that failed is held against what was killed."""

import asyncio
import contextlib
import hashlib
import random
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.load import Connection

HANDLER = """
import hashlib, os, time

NAME, KIND, REVISION = os.environ["OPENFAAS_NAME"], os.environ["KIND"], os.environ["REVISION"]

def handle(event, context):
    line = f"{NAME} {REVISION} {os.getpid()} {hashlib.sha256(event.body).hexdigest()}\\n".encode()
    if KIND == "slow":
        time.sleep(0.3)
    if KIND == "raising":
        raise RuntimeError("on purpose")
    if KIND == "stream":
        return {"statusCode": 200, "body": pieces(line)}
    if KIND == "large":
        return {"statusCode": 200, "body": line + event.body}
    return {"statusCode": 418 if KIND == "refusing" else 200, "body": line}

def pieces(line):
    for _ in range(20):
        time.sleep(0.005)
        yield line
"""
KINDS = ("fast", "slow", "stream", "large", "refusing", "raising", "fast", "fast")
STATUS = {"refusing": 418, "raising": 500}
LARGE_BYTES = 512 * 1024
COLD_SHARE = 0.03
CALL_SECONDS = 70.0
CONTROL_PLANE_BACK_SECONDS = 5.0
JUST_BEFORE_SECONDS = 0.25
"""A connection breaks before its user learns of it."""


@dataclass(frozen=True, slots=True)
class Kill:
    at: float
    role: str
    function: str = ""
    """Of a replica."""


@dataclass(slots=True)
class Function:
    name: str
    kind: str
    cold: bool
    """Called now and then only."""
    revision: int = 1
    """The last one that was asked for."""
    acknowledged: int = 1
    pids: set[int] = field(default_factory=set)


@dataclass(slots=True)
class Book:
    """What the callers saw."""

    kills: list[Kill] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    failures: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By what the caller got and its cause; the cause is empty when there is none."""
    samples: dict[tuple[str, str], str] = field(default_factory=dict)
    """What the last one of each kind was told."""
    wrong: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    milliseconds: dict[str, list[float]] = field(default_factory=dict)

    def failed(self, function: Function, what: str, began: float, said: bytes = b"") -> None:
        cause = self._cause(function, what, began)
        self.failures[what, cause] += 1
        self.samples[what, cause] = said[:300].decode("latin-1")
        if not cause:
            self.unexplained.append(f"{function.name} ({function.kind}) at {began:.2f}: {what} {said[:300]!r}")

    def deploy_failed(self, function: Function, what: str, began: float) -> None:
        """It may fail in a control plane, a router or a zygote that is killed, and until the control plane is back."""
        since = began - CONTROL_PLANE_BACK_SECONDS
        cause = next((kill.role for kill in reversed(self.kills) if kill.at >= since and kill.role != "replica"), "")
        self.failures[f"redeploy: {what}", f"{cause} killed" if cause else ""] += 1
        if not cause:
            self.unexplained.append(f"redeploy of {function.name} at {began:.2f}: {what}")

    def _cause(self, function: Function, what: str, began: float) -> str:
        """A request fails only inside of what died: the router with its connection, a replica with a 502 (or a body
        that breaks off), a zygote with the starts that it had under way."""
        for kill in reversed(self.kills):
            if kill.at < began - JUST_BEFORE_SECONDS:
                return ""
            if kill.role == "router" and what == "connection broken":
                return "router killed"
            if kill.role == "replica" and kill.function == function.name and what in ("502", "connection broken"):
                return "its replica killed"
            if kill.role == "zygote" and what == "502":
                return "the zygote that started it killed"
        return ""


class Caller:
    """Sends one request after the other, on a connection that is kept."""

    def __init__(self, url: str, functions: list[Function], book: Book, rng: random.Random) -> None:
        self._url = url
        self._warm = [function for function in functions if not function.cold]
        self._cold = [function for function in functions if function.cold]
        self._book = book
        self._rng = rng
        self._connection: Connection | None = None

    async def run(self, *, rate: float, end: float) -> None:
        """`rate` requests a second at most."""
        while time.monotonic() < end:
            await asyncio.sleep(self._rng.expovariate(rate))
            cold = self._cold and self._rng.random() < COLD_SHARE
            await self._call(self._rng.choice(self._cold if cold else self._warm))
        self._let_go()

    async def _call(self, function: Function) -> None:
        body = self._rng.randbytes(LARGE_BYTES if function.kind == "large" else self._rng.randrange(1, 200))
        oldest, began = function.acknowledged, time.monotonic()
        try:
            async with asyncio.timeout(CALL_SECONDS):
                status, answer = await self._send(f"/function/{function.name}", body)
        except ConnectionRefusedError:
            self._book.failed(function, "connection refused", began)
        except TimeoutError:
            self._book.failed(function, "no answer", began)
        except (OSError, EOFError, ValueError):
            self._book.failed(function, "connection broken", began)
        else:
            _note(function, self._book, status, answer, body, oldest, began)
            return
        self._let_go()

    async def _send(self, path: str, body: bytes) -> tuple[int, bytes]:
        if self._connection is not None and (self._connection.ended or self._connection.closing):
            self._let_go()
        if self._connection is None:
            self._connection = await Connection.open(self._url)
        return await self._connection.call(body, path)

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _note(function: Function, book: Book, status: int, answer: bytes, body: bytes, oldest: int, began: float) -> None:
    kind = function.kind
    if status != STATUS.get(kind, 200):
        book.failed(function, str(status), began, answer)
        return
    book.answers[kind] += 1
    book.milliseconds.setdefault(kind, []).append((time.monotonic() - began) * 1000)
    if complaint := _complaint(function, answer, body, oldest):
        book.wrong.append(f"{function.name} ({kind}): {complaint}")


def _complaint(function: Function, answer: bytes, body: bytes, oldest: int) -> str:
    """What is wrong with the answer; empty when it is right."""
    if function.kind == "raising":
        return "" if b'"call_id"' in answer else f"an error without its call id: {answer[:200]!r}"
    line, _, rest = answer.partition(b"\n")
    expected = {"large": body, "stream": (line + b"\n") * 19}.get(function.kind, b"")
    if rest != expected:
        return f"{len(rest)} bytes follow the first line where {len(expected)} are due, or other ones"
    with contextlib.suppress(ValueError):
        name, revision, pid, digest = line.decode("latin-1").split(" ")
        function.pids.add(int(pid))
        if (name, digest) != (function.name, hashlib.sha256(body).hexdigest()):
            return f"the answer to another request: {line!r}"
        if not oldest <= int(revision) <= function.revision:
            return f"revision {revision} answered, {oldest} to {function.revision} may"
        return ""
    return f"{line[:200]!r}"
