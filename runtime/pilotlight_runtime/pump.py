"""A sync iterator, pulled in its own thread, for somebody who awaits its pieces on the event loop."""

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any

AHEAD = 4
"""Pieces that the iterator may be ahead of whoever takes them."""


class Pump:
    """`run` in a thread, everything else on the loop; whoever iterates must `aclose` it, which waits for the thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, source: Iterator[Any]) -> None:
        self._loop = loop
        self._source = source
        self._room = threading.Semaphore(AHEAD)
        self._stopped = False
        self._pieces: deque[Any] = deque()
        self._finished = False
        self._error: BaseException | None = None
        self._news: asyncio.Future[None] | None = None

    def run(self) -> None:
        """Pull until the end, or until somebody closes."""
        error: BaseException | None = None
        try:
            while not self._stopped:
                piece = next(self._source)
                self._loop.call_soon_threadsafe(self._put, piece)
                self._room.acquire()
        except StopIteration:
            pass
        except BaseException as raised:  # whatever it is, it belongs to whoever iterates
            error = raised
        if (close := getattr(self._source, "close", None)) is not None:
            with contextlib.suppress(BaseException):  # or nobody would hear of the end
                close()
        self._loop.call_soon_threadsafe(self._finish, error)

    def __aiter__(self) -> "Pump":
        return self

    async def __anext__(self) -> Any:
        while not self._pieces:
            if self._error is not None:
                error, self._error = self._error, None
                raise error
            if self._finished:
                raise StopAsyncIteration
            await self._wait()
        self._room.release()
        return self._pieces.popleft()

    async def aclose(self) -> None:
        """No further piece is pulled; returns when the thread has left the iterator."""
        self._stopped = True
        self._room.release()
        while not self._finished:
            await self._wait()

    async def _wait(self) -> None:
        self._news = self._loop.create_future()
        await self._news

    def _put(self, piece: Any) -> None:
        self._pieces.append(piece)
        self._tell()

    def _finish(self, error: BaseException | None) -> None:
        self._finished = True
        self._error = error
        self._tell()

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
