"""What requests have set going: it outlives a client that leaves, and ends when the server does."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog

from pilotlight.core.errors import Unavailable

_T = TypeVar("_T")
log = structlog.get_logger()


class Work:
    def __init__(self, *, finish_seconds: float = 5.0) -> None:
        self._finish_seconds = finish_seconds
        self._tasks: set[asyncio.Task[Any]] = set()
        self._scopes: set[asyncio.Timeout] = set()
        self._stopping = False

    async def complete(self, change: Coroutine[Any, Any, _T]) -> _T:
        """Make a change to its end, even when whoever asked for it has gone: half a deploy helps nobody."""
        task = self._begin(change)
        await _wait(task, None)
        return task.result()

    async def complete_within(self, seconds: float, change: Coroutine[Any, Any, _T]) -> _T | None:
        """The same, but None after so many seconds; the change goes on, and the log has it if it fails."""
        task = self._begin(change)
        await _wait(task, seconds)
        return task.result() if task.done() else None

    @asynccontextmanager
    async def until_stopping(self) -> AsyncIterator[None]:
        """A block that would last as long as its client likes; Unavailable ends it when the server stops."""
        try:
            async with asyncio.timeout(0 if self._stopping else None) as scope:
                self._scopes.add(scope)
                try:
                    yield
                finally:
                    self._scopes.discard(scope)
        except TimeoutError:
            if not scope.expired():
                raise
            raise Unavailable("the server is stopping") from None

    async def stop(self, _: object = None) -> None:
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for scope in self._scopes:
            scope.reschedule(now)

    async def close(self, _: object = None) -> None:
        """Changes under way have a last few seconds; then they are cancelled, and the next start sorts it out."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._finish_seconds)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._finish_seconds)

    def _begin(self, change: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.create_task(change)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


async def _wait(task: asyncio.Task[Any], seconds: float | None) -> None:
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.add_done_callback(_log_unheard)


def _log_unheard(task: asyncio.Task[Any]) -> None:
    if task.cancelled():
        log.warning("a change was cut short by the server's end")
    elif (error := task.exception()) is not None:
        log.warning("a change failed after its client had gone", error=str(error))
