"""Progress of work that takes its time, from whichever thread reports it to the stream that its client reads."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from pilotlight.builder.base import Progress

_CANCEL_SECONDS = 30.0
_BACKLOG = 1000


class Feed:
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


async def end(work: asyncio.Task[Any]) -> None:
    """What nobody waits for any more is stopped, and has stopped before what it works on is taken from it."""
    work.cancel()
    with suppress(TimeoutError):
        async with asyncio.timeout(_CANCEL_SECONDS):
            await asyncio.gather(work, return_exceptions=True)
