"""Builds by an engine's own builder, which every engine has: the context goes up in pieces, its log comes back."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from pilotlight.builder.image_context import Context
from pilotlight.builder.image_failures import build_failure
from pilotlight.builder.image_log import ClassicLog
from pilotlight.engine.client import Engine, LineStream
from pilotlight.engine.failures import Refused

_ENDING_SECONDS = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One image to be made by whatever builds."""

    context: Context
    dockerfile: str
    image: str
    """The name that it gets."""
    target: str | None = None
    """The stage to end with; None for the last."""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)


Say = Callable[[str], Any]


class Maker(Protocol):
    async def make(self, job: Job, say: Say) -> None:
        """Each line goes to `say`, in the loop. Raises what build_failure gives; a cancelled call ends the build in
        the engine, too."""
        ...


class EngineMaker:
    def __init__(self, engine: Engine, *, network: str | None) -> None:
        self._engine = engine
        self._network = network

    async def make(self, job: Job, say: Say) -> None:
        loop = asyncio.get_running_loop()
        log = ClassicLog(job.dockerfile, lambda line: loop.call_soon_threadsafe(say, line))
        run = _Run(self._engine, job, self._query(job), log)
        task = asyncio.ensure_future(self._engine.call(lambda _client: run(), slow=True))
        try:
            await asyncio.shield(task)
        except Refused as refused:  # a Dockerfile that it cannot read
            raise build_failure(log.step, refused.said) from refused
        finally:
            if not task.done():
                run.leave()
                await asyncio.wait([task], timeout=_ENDING_SECONDS)  # it reads files that are removed next
            if task.done():
                with suppress(BaseException):  # raised above, or of no interest
                    task.result()
        await asyncio.sleep(0)  # what the thread has reported comes first
        if log.error is not None:
            raise build_failure(log.step, log.error)

    def _query(self, job: Job) -> dict[str, str]:
        query = {"t": job.image, "rm": "true", "forcerm": "true", "buildargs": json.dumps(dict(job.context.arguments))}
        query |= {} if job.target is None else {"target": job.target}
        return query | ({} if self._network is None else {"networkmode": self._network})


class _Left(Exception):
    """Nobody waits for this build any more."""


class _Run:
    """One build, in a thread of its own; any other may end it by `leave`."""

    def __init__(self, engine: Engine, job: Job, query: Mapping[str, str], log: ClassicLog) -> None:
        self._engine = engine
        self._job = job
        self._query = query
        self._log = log
        self._left = threading.Event()
        self._stream: LineStream | None = None

    def __call__(self) -> None:
        self._stream = self._engine.lines("/build", self._pieces(), self._query)
        try:
            self._check()
            for message in self._stream:
                self._log.take(message)
                self._check()
        finally:
            self._stream.close()

    def leave(self) -> None:
        """The engine ends a build whose client hangs up."""
        self._left.set()
        if self._stream is not None:
            self._stream.wake()

    def _pieces(self) -> Iterator[bytes]:
        for piece in self._job.context.tar():
            self._check()
            yield piece

    def _check(self) -> None:
        if self._left.is_set():
            raise _Left
