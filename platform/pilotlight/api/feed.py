"""Work that takes its time, as an answer: progress line by line, and at the end what came of it, or why nothing did.

What goes wrong before the first line is an ordinary problem with its status; after that it is the stream's last line. A
client that goes away ends its work.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager, suppress
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from pilotlight.api.answers import Problem
from pilotlight.api.problems import as_problem
from pilotlight.api.streams import ndjson
from pilotlight.api.work import Work
from pilotlight.builder.base import Progress
from pilotlight.core.errors import Unavailable

_CANCEL_SECONDS = 30.0
_BACKLOG = 1000
_T = TypeVar("_T")


class ProgressEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="progress"):
    step: str
    message: str
    seconds: float


class FailedEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="event", tag="failed"):
    problem: Problem


class Places:
    """For so many at once; Unavailable for one more."""

    def __init__(self, count: int, what: str) -> None:
        self._count = count
        self._what = what
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        if self._taken >= self._count:
            raise Unavailable(f"{self._count} {self._what} are under way already")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1


async def answer_with_progress(
    request: web.Request,
    work: Work,
    begin: Callable[[Callable[[Progress], None]], Coroutine[Any, Any, _T]],
    done: Callable[[_T, float], object],
) -> web.StreamResponse:
    """`begin` takes where to report to, from any thread; `done` makes the last line of what came of it and the seconds
    that it took."""
    async with aclosing(_events(begin, done)) as events:
        async with work.until_stopping():
            first = await anext(events)
        async with ndjson(request) as lines:
            await lines.write(first)
            try:
                async with work.until_stopping():
                    async for event in events:
                        await lines.write(event)
            except Exception as raised:
                problem = as_problem(request, raised).problem()
                await lines.write(FailedEvent(problem=msgspec.convert(problem, Problem)))
    return lines.response


async def _events(
    begin: Callable[[Callable[[Progress], None]], Coroutine[Any, Any, _T]], done: Callable[[_T, float], object]
) -> AsyncGenerator[object, None]:
    began = time.monotonic()
    feed = _Feed()
    task = asyncio.create_task(begin(feed.put))
    task.add_done_callback(feed.close)
    try:
        async for line in feed:
            yield ProgressEvent(step=line.step, message=line.message, seconds=line.seconds)
        yield done(await task, time.monotonic() - began)
    finally:
        await _end(task)


class _Feed:
    """Progress from work, which may report from any thread, to its stream. Of a client too slow to take it all
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


async def _end(work: asyncio.Task[Any]) -> None:
    """What nobody waits for any more is stopped, and has stopped before what it works on is taken from it."""
    work.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(work, return_exceptions=True)
