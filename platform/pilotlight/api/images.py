"""POST /api/v1/images/push: what a build made goes to a registry, with progress line by line and a digest at the end.

The login for the registry comes in a header and is for this one request: it is neither kept nor logged.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Protocol

import msgspec
from aiohttp import web

from pilotlight.api.answers import Problem
from pilotlight.api.builds import FailedEvent, ProgressEvent
from pilotlight.api.endpoints import Endpoint, Stream
from pilotlight.api.feed import Feed, end
from pilotlight.api.problems import as_problem
from pilotlight.api.reading import read_as
from pilotlight.api.streams import Lines, ndjson
from pilotlight.api.work import Work
from pilotlight.builder.base import Report, reporter
from pilotlight.builder.reference import parse_reference
from pilotlight.core.checks import told
from pilotlight.core.errors import BundleNotFound, InvalidInput, PushFailed, StartFailed, Unavailable, Unsupported
from pilotlight.engine.images import ImageName, parse_image
from pilotlight.engine.registry import Pushed, checked_target
from pilotlight.engine.registry_logins import Login, parse_header

LOGIN_HEADER = "X-Registry-Auth"
AT_ONCE = 4
PATH = "/api/v1/images/push"


class PushBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    reference: Annotated[str, told(minLength=1)]
    """What a build answered: `bundle/NAME@sha256:...`."""
    image: Annotated[str, told(minLength=1)]
    """Where to: `REGISTRY/PATH/NAME:TAG`."""
    platforms: tuple[str, ...] = ()
    """Such as `linux/amd64`; none means the engine's own, and no other can be had."""


class PushedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="pushed"):
    image: str
    """`REGISTRY/PATH/NAME:TAG`."""
    digest: str
    reference: str
    """`REGISTRY/PATH/NAME@sha256:...`: these bytes for ever, on any server."""
    seconds: float


class Pusher(Protocol):
    """What the API needs of an engine."""

    def push(
        self, digest: str, target: ImageName, login: Login | None, platforms: tuple[str, ...], report: Report
    ) -> Coroutine[Any, Any, Pushed]:
        """Of a bundle's digest. Raises BundleNotFound, Unsupported for other platforms, StartFailed without an engine,
        and what `push_failure` says."""
        ...


Events = AsyncGenerator[ProgressEvent | PushedEvent, None]


class Images:
    def __init__(self, pusher: Pusher, work: Work) -> None:
        self._pusher = pusher
        self._work = work
        self._under_way = 0

    def endpoints(self) -> list[Endpoint]:
        login = (
            "A login for the registry, as Docker's engine takes it: base64 of JSON with `username` and `password`, or "
            "`identitytoken`."
        )
        return [
            Endpoint(
                method="POST",
                path=PATH,
                handler=self.push_image,
                summary="Push the image of a build to a registry. The last line is `pushed`, with the name to deploy "
                "it by anywhere, or `failed`.",
                request=PushBody,
                headers={LOGIN_HEADER: login},
                answers={200: Stream(of=ProgressEvent | PushedEvent | FailedEvent)},
                errors=(BundleNotFound, PushFailed, StartFailed, Unsupported),
            )
        ]

    async def push_image(self, request: web.Request) -> web.StreamResponse:
        """As with builds: an ordinary problem before the first line, the stream's last line after it. A client that
        goes away ends its push."""
        body = await read_as(request, PushBody)
        found = parse_reference(body.reference)
        if found is None:
            raise InvalidInput(f"reference: {body.reference!r} is not what a build answers", field="reference")
        target = checked_target(parse_image(body.image))
        login = _login(request)
        if self._under_way >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} pushes are under way already")
        self._under_way += 1
        try:
            return await self._answer(
                request, self._push(partial(self._pusher.push, found.digest, target, login, body.platforms))
            )
        finally:
            self._under_way -= 1

    async def _answer(self, request: web.Request, pushing: Events) -> web.StreamResponse:
        async with aclosing(pushing) as events:
            async with self._work.until_stopping():
                first = await anext(events)
            async with ndjson(request) as lines:
                await lines.write(first)
                await self._forward(events, request, lines)
        return lines.response

    async def _forward(self, events: Events, request: web.Request, lines: Lines) -> None:
        try:
            async with self._work.until_stopping():
                async for event in events:
                    await lines.write(event)
        except Exception as raised:
            await lines.write(FailedEvent(problem=msgspec.convert(as_problem(request, raised).problem(), Problem)))

    async def _push(self, push: Callable[[Report], Coroutine[Any, Any, Pushed]]) -> Events:
        began = time.monotonic()
        feed = Feed()
        pushing = asyncio.create_task(push(reporter(feed.put)))
        pushing.add_done_callback(feed.close)
        try:
            async for line in feed:
                yield ProgressEvent(step=line.step, message=line.message, seconds=line.seconds)
            done = await pushing
            seconds = time.monotonic() - began
            yield PushedEvent(image=done.image, digest=done.digest, reference=done.reference, seconds=seconds)
        finally:
            await end(pushing)


def _login(request: web.Request) -> Login | None:
    value = request.headers.get(LOGIN_HEADER)
    if not value:
        return None
    try:
        return parse_header(value)
    except ValueError as error:
        raise InvalidInput(f"{LOGIN_HEADER}: {error}", field=LOGIN_HEADER) from None
