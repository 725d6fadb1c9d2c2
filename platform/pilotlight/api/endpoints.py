"""What /api/v1 offers, declared once: each endpoint's route comes from here, and so does its OpenAPI description.

An endpoint says what it takes and what it answers as types. `route` is all that the server needs of it; `openapi` reads
the rest.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web

from pilotlight.core.errors import PilotlightError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """An answer of one JSON object per line (ndjson), each of the type `of`, sent as they come."""

    of: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A body of bytes of this media type, with a word on what is in it."""

    media_type: str
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A JSON body of the type `of`, of which `optional` members may be left out because the address says them."""

    of: Any
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One method on one path.

    `request` is a type (JSON), a Body, an Upload or None; `answers` maps each good status to a type (JSON), a Stream or
    None (no body). `errors` are those that this endpoint can meet beyond what any can: 400, 401, 403, 405 and, with a
    body, 408 and 413 are everybody's. `parameters` says what the path's variables are."""

    method: str
    path: str
    handler: Handler
    summary: str
    answers: Mapping[int, Any]
    query: type[msgspec.Struct] | None = None
    request: Any = None
    errors: tuple[type[PilotlightError], ...] = ()
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers of its own that it reads, each with a word on what is in it; all may be left out."""
    is_open: bool = False
    """Whether it answers without credentials."""

    @property
    def name(self) -> str:
        """The operation's id: how clients that are generated call it."""
        return self.handler.__name__

    def route(self) -> web.RouteDef:
        streams = any(isinstance(answer, Stream) for answer in self.answers.values())
        options = {"allow_head": False} if self.method == "GET" and streams else {}
        return web.RouteDef(self.method, self.path, self.handler, options)
