"""POST /api/v1/images/push: what a build made goes to a registry, with progress line by line and a digest at the end.

The login for the registry comes in a header and is for this one request: it is neither kept nor logged.
"""

from collections.abc import Coroutine
from functools import partial
from typing import Annotated, Any, Protocol

import msgspec
from aiohttp import web

from pilotlight.api.endpoints import Endpoint, Stream
from pilotlight.api.feed import FailedEvent, Places, ProgressEvent, answer_with_progress
from pilotlight.api.reading import read_as
from pilotlight.api.work import Work
from pilotlight.builder.base import Report, reporter
from pilotlight.builder.reference import parse_reference
from pilotlight.core.checks import told
from pilotlight.core.errors import BundleNotFound, InvalidInput, PushFailed, StartFailed, Unsupported
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


class Images:
    def __init__(self, pusher: Pusher, work: Work) -> None:
        self._pusher = pusher
        self._work = work
        self._places = Places(AT_ONCE, "pushes")

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
        body = await read_as(request, PushBody)
        found = parse_reference(body.reference)
        if found is None:
            raise InvalidInput(f"reference: {body.reference!r} is not what a build answers", field="reference")
        target = checked_target(parse_image(body.image))
        push = partial(self._pusher.push, found.digest, target, _login(request), body.platforms)
        with self._places.one():
            return await answer_with_progress(request, self._work, lambda report: push(reporter(report)), _pushed)


def _pushed(done: Pushed, seconds: float) -> PushedEvent:
    return PushedEvent(image=done.image, digest=done.digest, reference=done.reference, seconds=seconds)


def _login(request: web.Request) -> Login | None:
    value = request.headers.get(LOGIN_HEADER)
    if not value:
        return None
    try:
        return parse_header(value)
    except ValueError as error:
        raise InvalidInput(f"{LOGIN_HEADER}: {error}", field=LOGIN_HEADER) from None
