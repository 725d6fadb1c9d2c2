"""POST /api/v1/builds: source in, progress out line by line, and at the end a reference that can be deployed."""

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import msgspec
from aiohttp import web

from pilotlight.api.answers import Problem
from pilotlight.api.endpoints import Endpoint, Stream, Upload
from pilotlight.api.problems import as_problem
from pilotlight.api.reading import parse_query
from pilotlight.api.streams import Lines, ndjson
from pilotlight.api.uploads import receive, staging
from pilotlight.api.work import Work
from pilotlight.builder.base import Progress
from pilotlight.builder.reference import reference
from pilotlight.control.views import Control
from pilotlight.core.checks import told
from pilotlight.core.errors import InvalidInput, InvalidSource, StorageFull, Unavailable
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import A_NAME, DEFAULT_NAMESPACE, is_name

AT_ONCE = 16
"""Uploads and builds together; the builder runs fewer at once, the others wait there with their file on the disk."""
_CANCEL_SECONDS = 30.0
_BACKLOG = 1000
_TEMPLATE = re.compile(r"[a-z0-9][-._a-z0-9]{0,62}")


class BuildQuery(msgspec.Struct, frozen=True, kw_only=True):
    name: Annotated[str, A_NAME]
    template: Annotated[str, told(pattern=f"^{_TEMPLATE.pattern}$")]
    namespace: Annotated[str, A_NAME] = DEFAULT_NAMESPACE


class ProgressEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    step: str
    message: str
    seconds: float


class BuiltEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="built"):
    reference: str
    environment: str
    seconds: float


class FailedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    problem: Problem


Events = AsyncGenerator[ProgressEvent | BuiltEvent, None]


class Builds:
    def __init__(self, control: Control, work: Work, *, staging_dir: Path, upload_limit_mib: int) -> None:
        self._control = control
        self._work = work
        self._staging_dir = staging_dir
        self._limit_bytes = upload_limit_mib * 2**20
        self._under_way = 0

    def endpoints(self) -> list[Endpoint]:
        return [
            Endpoint(
                method="POST",
                path="/api/v1/builds",
                handler=self.create_build,
                summary="Build a source. The last line is `built`, with the reference to deploy, or `failed`.",
                query=BuildQuery,
                request=Upload(media_type="application/x-tar", about="A tar of the handler's folder; gzip is taken."),
                answers={200: Stream(of=ProgressEvent | BuiltEvent | FailedEvent)},
                errors=(InvalidSource, StorageFull),
            )
        ]

    async def create_build(self, request: web.Request) -> web.StreamResponse:
        """What goes wrong before the first line of progress is an ordinary problem with its status; after that it is
        the stream's last line. A client that goes away cancels its build."""
        query = _checked(parse_query(request, BuildQuery))
        with self._place():
            async with staging(self._staging_dir) as tar:
                async with self._work.until_stopping():
                    await receive(request, tar, limit=self._limit_bytes)
                return await self._answer(request, query, tar)

    async def _answer(self, request: web.Request, query: BuildQuery, tar: Path) -> web.StreamResponse:
        async with aclosing(self._build(query, tar)) as events:
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

    async def _build(self, query: BuildQuery, tar: Path) -> Events:
        began = time.monotonic()
        feed = _Feed()
        build = asyncio.create_task(
            self._control.build(name=query.name, template=query.template, tar=tar, progress=feed.put)
        )
        build.add_done_callback(feed.close)
        try:
            async for line in feed:
                yield ProgressEvent(step=line.step, message=line.message, seconds=line.seconds)
            yield _built(query.name, await build, time.monotonic() - began)
        finally:
            await _end(build)

    @contextmanager
    def _place(self) -> Iterator[None]:
        if self._under_way >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} builds are under way already")
        self._under_way += 1
        try:
            yield
        finally:
            self._under_way -= 1


class _Feed:
    """Progress from a build, which may report from any thread, to its stream. Of a client too slow to take it all
    the oldest lines are lost: they only tell how far it was."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lines: deque[Progress] = deque(maxlen=_BACKLOG)
        self._changed = asyncio.Event()
        self._closed = False

    def put(self, line: Progress) -> None:
        self._loop.call_soon_threadsafe(self._put, line)

    def close(self, _: object) -> None:
        self._closed = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[Progress]:
        while True:
            while self._lines:
                yield self._lines.popleft()
            if self._closed:
                return
            self._changed.clear()
            await self._changed.wait()

    def _put(self, line: Progress) -> None:
        self._lines.append(line)
        self._changed.set()


async def _end(build: asyncio.Task[Any]) -> None:
    """A build that nobody waits for any more is stopped, and has stopped before its source is taken from it."""
    build.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(build, return_exceptions=True)


def _built(name: str, bundle: Bundle, seconds: float) -> BuiltEvent:
    return BuiltEvent(reference=reference(name, bundle.digest), environment=bundle.environment, seconds=seconds)


def _checked(query: BuildQuery) -> BuildQuery:
    for field in ("name", "namespace"):
        value = getattr(query, field)
        if not is_name(value):
            raise InvalidInput(
                f"{field}: {value!r} must be a DNS label: a-z, 0-9 and -, at most 63 characters", field=field
            )
    if _TEMPLATE.fullmatch(query.template) is None:
        raise InvalidInput(f"template: {query.template!r} is no template's name", field="template")
    return query
