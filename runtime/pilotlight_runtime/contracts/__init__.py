"""How a handler is called: the values that every contract shares with the server, and the table of contracts.

A contract turns a module into an `Application`, which answers when it is asked, or a `Conversation`, which speaks by
itself; the server knows nothing else of either.
"""

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, cast

RawHeaders = list[tuple[bytes, bytes]]
Chunk = str | bytes | bytearray | memoryview
Body = bytes | Iterator[Chunk] | AsyncIterator[Chunk]
SYNC_SLOTS, ASYNC_SLOTS = 4, 100


DEFAULT_NAMESPACE = "openfaas-fn"
"""Whose functions are called without naming it."""


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose replica this is, and what it may use."""

    function: str
    namespace: str
    revision: str
    hostname: str
    timeout_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request as it came over the wire."""

    method: bytes
    target: bytes
    headers: RawHeaders
    body: bytes
    call_id: str
    http10: bool = False
    upgrade: bytes | None = None
    """The protocol that is asked for, as `websocket`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire, but for what frames it; an iterator is streamed."""

    status: int
    headers: RawHeaders = field(default_factory=list)
    body: Body = b""


class BadAnswer(Exception):
    """The handler returned something that is no answer; the sentence names it and says what is allowed."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong with a handler in a call, for a contract that has words of its own for it."""

    slug: str
    """handler-raised or bad-answer."""
    error: BaseException
    traceback: str | None
    """There when the function's `debug` allows it to go to a caller."""


class Application(Protocol):
    """A loaded handler that gives an answer to a request."""

    slots: int
    """Requests that a replica takes at once unless `concurrency:` says otherwise."""

    asynchronous: bool
    """Whether `call` gives an awaitable, to be awaited on the event loop; otherwise it runs in a thread."""

    init: Callable[[], Any] | None
    """To be run once before the first request; its result may be awaitable."""

    def call(self, request: Request) -> Any | Awaitable[Any]:
        """The handler's own result."""
        ...

    def answer(self, result: Any, request: Request) -> Answer:
        """BadAnswer when it is none."""
        ...

    def failure(self, request: Request, fault: Fault) -> Answer | None:
        """What a caller is told; None leaves it to the server."""
        ...


class Hearer(Protocol):
    """Where a conversation says its answer."""

    @property
    def gone(self) -> bool:
        """Whether nobody listens any more, because all was said or the client has left."""
        ...

    def begin(self, status: int, headers: RawHeaders, length: int | None) -> None:
        """`length` is that of the body, where it is known. It goes out with the first piece."""
        ...

    async def say(self, piece: bytes, *, last: bool) -> None:
        """Waits for a slow client. OSError when the client has left."""
        ...

    async def left(self) -> None:
        """Returns when nobody listens any more."""
        ...


class Conversation(Protocol):
    """A loaded handler that speaks by itself; its call ends when `run` returns. It is not cancelled when its client
    leaves, only when its time is over."""

    slots: int
    asynchronous: bool
    init: Callable[[], Any] | None

    async def run(self, request: Request, hearer: Hearer) -> None: ...

    async def shutdown(self) -> None:
        """Once, after the last call."""
        ...


def conversation_in(handler: Application | Conversation) -> Conversation | None:
    """The handler, if it is one; not by isinstance, which costs a start 0.1 ms."""
    return cast(Conversation, handler) if hasattr(handler, "run") else None


class Contract(Protocol):
    """What a module of this package offers."""

    def module_of(self, handler: str, identity: Identity) -> str:
        """The module to import, as a rule `handler`, which the bundle names. The function's folder is the working
        directory by now; variables that a handler reads while it is imported are set here."""
        ...

    def bind(self, module: ModuleType, identity: Identity) -> Application | Conversation:
        """LoadFailed when the module does not have what the contract needs."""
        ...


_MODULES = {"http": "http", "lambda": "lambda_", "asgi": "asgi"}
CONTRACTS = tuple(_MODULES)


def contract_named(name: str) -> Contract:
    """Its module, which a zygote has imported."""
    contract: Contract = importlib.import_module(f"{__name__}.{_MODULES[name]}")
    return contract
