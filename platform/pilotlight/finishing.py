"""What must be over before one goes on, or be done in any case, though whoever waits for it is cancelled."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

_T = TypeVar("_T")


async def surely(work: Coroutine[Any, Any, object]) -> None:
    """It is done, also when whoever waits is cancelled: a thread's would be taken out of the queue for a thread."""
    await asyncio.shield(asyncio.ensure_future(work))


async def to_its_end(work: Coroutine[Any, Any, _T]) -> _T:
    """Whoever is cancelled meanwhile goes on when it has ended, so that it does not meet what is then taken from it,
    and what was made is there to be undone."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        with suppress(BaseException):  # nobody hears it any more
            task.result()
        raise
