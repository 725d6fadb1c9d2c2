"""What zygotes and replicas say to the provider, as types. They run users' code: nothing they send is trusted."""

import os
from typing import Annotated, TypeVar

import msgspec

from pilotlight_runtime.launch import Message

_T = TypeVar("_T")
_Word = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
"""What becomes part of a header or the name of a metric; a message with another one is not understood."""


class _Tagged(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    pass


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as its zygote knows it."""

    id: str
    pid: int
    started: int


class ChildEnded(_Tagged, frozen=True, kw_only=True, tag="ended"):
    id: str
    pid: int
    status: int
    """As of waitpid."""
    max_rss_kib: int = 0
    oom: bool = False
    """The kernel killed something in its container for memory."""


class EndedBefore(msgspec.Struct, frozen=True, kw_only=True):
    """An end in a hello: the same, without its type."""

    id: str
    pid: int
    status: int
    max_rss_kib: int = 0


class Hello(_Tagged, frozen=True, kw_only=True, tag="hello"):
    pid: int
    runtime: str = ""
    preimported: tuple[str, ...] = ()
    failed: dict[str, str] = {}
    spares: int = 0
    children: tuple[Child, ...] = ()
    ended: tuple[EndedBefore, ...] = ()


class Launched(_Tagged, frozen=True, kw_only=True, tag="launched"):
    id: str
    pid: int
    started: int
    spare: bool = True


class Refused(_Tagged, frozen=True, kw_only=True, tag="refused"):
    id: str
    why: str


class Spares(_Tagged, frozen=True, kw_only=True, tag="spares"):
    ready: int


class Ready(_Tagged, frozen=True, kw_only=True, tag="ready"):
    slots: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    phases: dict[_Word, float] = {}
    runtime: str = ""


class Failed(_Tagged, frozen=True, kw_only=True, tag="failed"):
    slug: _Word
    detail: str
    file: str | None = None
    line: int | None = None
    column: int | None = None
    source: str | None = None


class Ending(_Tagged, frozen=True, kw_only=True, tag="ending"):
    reason: _Word
    detail: str


FromZygote = Hello | Launched | Refused | ChildEnded | Spares
FromReplica = Ready | Failed | Ending


def from_zygote(message: Message) -> FromZygote | None:
    """None for what is not understood: a newer runtime may say more than we know."""
    found = _convert(message, FromZygote)  # type: ignore[arg-type]
    if isinstance(found, Hello):
        return msgspec.structs.replace(found, ended=tuple(end for end in found.ended if is_an_end(end.status)))
    return None if isinstance(found, ChildEnded) and not is_an_end(found.status) else found


def is_an_end(status: int) -> bool:
    """As waitpid has one: no other number says how a process ended."""
    return 0 <= status <= 0xFFFF and (os.WIFEXITED(status) or os.WIFSIGNALED(status))


def from_replica(message: Message) -> FromReplica | None:
    return _convert(message, FromReplica)  # type: ignore[arg-type]


def _convert(message: Message, kind: type[_T]) -> _T | None:
    try:
        return msgspec.convert(message, kind)
    except msgspec.ValidationError:
        return None
