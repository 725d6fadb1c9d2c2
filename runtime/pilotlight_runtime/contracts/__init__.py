"""How a handler is called: the values that every contract shares with the server, and the table of contracts.

A contract turns a module into an `Application`; the server knows nothing else of it.
"""

import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

RawHeaders = list[tuple[bytes, bytes]]
Chunk = str | bytes | bytearray | memoryview
Body = bytes | Iterator[Chunk] | AsyncIterator[Chunk]


@dataclass(frozen=True, slots=True)
class Identity:
    """Whose replica this is."""

    function: str
    namespace: str
    revision: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Request:
    """A whole request as it came over the wire."""

    method: bytes
    target: bytes
    headers: RawHeaders
    body: bytes
    call_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over the wire, but for what frames it; an iterator is streamed."""

    status: int
    headers: RawHeaders = field(default_factory=list)
    body: Body = b""


class BadAnswer(Exception):
    """The handler returned something that is no answer; the sentence names it and says what is allowed."""


class Application(Protocol):
    """A loaded handler."""

    asynchronous: bool
    """Whether `call` gives an awaitable, to be awaited on the event loop; otherwise it runs in a thread."""

    init: Callable[[], Any] | None
    """To be run once before the first request; its result may be awaitable."""

    def call(self, request: Request) -> Any | Awaitable[Any]:
        """The handler's own result."""
        ...

    def answer(self, result: Any) -> Answer:
        """BadAnswer when it is none."""
        ...


class Contract(Protocol):
    """What a module of this package offers."""

    def bind(self, module: ModuleType, identity: Identity) -> Application:
        """LoadFailed when the module does not have what the contract needs."""
        ...


CONTRACTS = ("http",)


def contract_named(name: str) -> Contract:
    """Its module, which a zygote has imported."""
    contract: Contract = importlib.import_module(f"{__name__}.{name}")
    return contract
