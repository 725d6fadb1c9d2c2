"""Answers that grow line by line (ndjson): each line is sent when it is written."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

import msgspec
from aiohttp import web

from pilotlight.api.work import Work
from pilotlight.core.errors import Unavailable

Line = TypeVar("Line")
_encoder = msgspec.json.Encoder()


class Lines:
    def __init__(self) -> None:
        self.response = web.StreamResponse(
            headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-cache"}
        )

    async def write(self, record: object) -> None:
        await self.response.write(_encoder.encode(record) + b"\n")


@asynccontextmanager
async def ndjson(request: web.Request) -> AsyncIterator[Lines]:
    """The answer's head goes out at once; its end only when the block ended well, so that a cut shows."""
    lines = Lines()
    await lines.response.prepare(request)
    yield lines
    await lines.response.write_eof()


async def stream_logs(
    request: web.Request, source: AsyncIterator[Line], work: Work, record: Callable[[Line], object | None]
) -> web.StreamResponse:
    """Log lines until there are no more, the client goes or the server stops; `record` may drop one (None)."""
    async with closing(source), ndjson(request) as lines:
        with suppress(Unavailable):
            async with work.until_stopping():
                async for line in source:
                    if (said := record(line)) is not None:
                        await lines.write(said)
    return lines.response


@asynccontextmanager
async def closing(source: AsyncIterator[Line]) -> AsyncIterator[AsyncIterator[Line]]:
    """An async generator that is left in the middle gives its files back now, not when it is collected."""
    try:
        yield source
    finally:
        if (close := getattr(source, "aclose", None)) is not None:
            await close()
