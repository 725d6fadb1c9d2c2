"""What goes on by itself while its owner is there: kept until it is done, heard of when it fails, ended with it."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog

from pilotlight.core.errors import PilotlightError

log = structlog.get_logger(__name__)
_T = TypeVar("_T")


class Background:
    """A task that is cancelled before its first step runs no line of its coroutine, no `finally` either. What must be
    undone in any case is therefore done outside of it: before it is spawned, or when the task is done."""

    def __init__(self, owner: str) -> None:
        """`owner`: whose work it is, for the log."""
        self._owner = owner
        self._tasks: set[asyncio.Future[Any]] = set()
        self._left = False

    def spawn(self, work: Coroutine[Any, Any, _T], *, awaited: bool = False) -> asyncio.Task[_T]:
        """Until it is done or the owner leaves; what comes after that is not begun. `awaited`: its failure is raised
        where somebody waits for it, and not logged here."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._awaited if awaited else self._heard)
        if self._left:
            task.cancel()
        return task

    def in_thread(self, work: Callable[..., None], *arguments: object) -> None:
        """For what is short and must be done, also when the owner leaves in this moment."""
        future = asyncio.get_running_loop().run_in_executor(None, work, *arguments)
        future.add_done_callback(self._heard)

    def every(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        """Again and again, also after a step that fails; that is heard of once, until one succeeds."""
        self.spawn(self._repeat(seconds, step))

    async def finish(self) -> None:
        """Wait for all that is under way, and for what that begins; not for an owner with something to do `every` so
        often."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def leave(self) -> None:
        """Let go: what is under way stops where it is."""
        self._left = True
        for task in self._tasks:
            task.cancel()

    async def _repeat(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        said = ""
        while True:
            await asyncio.sleep(seconds)
            try:
                await step()
            except Exception as error:  # whatever it was, it may be over the next time
                if _reason(error) != said:
                    said = _reason(error)
                    self._warn(said)
            else:
                said = ""

    def _heard(self, done: "asyncio.Future[Any]") -> None:
        error = self._awaited(done)
        if error is not None:
            self._warn(_reason(error))

    def _awaited(self, done: "asyncio.Future[Any]") -> BaseException | None:
        """Its failure, taken also for one who was cancelled while he waited for it."""
        self._tasks.discard(done)
        return None if done.cancelled() else done.exception()

    def _warn(self, reason: str) -> None:
        log.warning("failed in the background", owner=self._owner, reason=reason)


def _reason(error: BaseException) -> str:
    return error.detail if isinstance(error, PilotlightError) else str(error) or repr(error)
