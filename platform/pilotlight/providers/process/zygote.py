"""One zygote as the provider sees it: the conversation on its control socket, and the watch over its process."""

import asyncio
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import structlog

from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import Pool
from pilotlight.providers.process import procfs
from pilotlight.providers.process.ends import Status
from pilotlight.providers.process.messages import ChildEnded, Hello, Launched, Refused, Spares, from_zygote
from pilotlight.providers.process.records import ZygoteRecord
from pilotlight.providers.process.wire import Wire
from pilotlight_runtime.launch import Message

log = structlog.get_logger(__name__)

LAUNCH_SECONDS = 10.0
"""A fork of a zygote that holds gigabytes takes tens of milliseconds; one that needs this long is stuck."""
LAUNCHES_AT_ONCE = 16
"""The kernel bounds the descriptors that are under way between processes; later launches wait here."""
END_SECONDS = 2.0


class ZygoteGone(Exception):
    """It ended, or was ended for not answering, before it did what was asked."""


class LaunchRefused(Exception):
    """It lives and started nothing; its reason is the text."""


class Zygote:
    """`ended(zygote, replica)` tells that `take_status` knows a status, `gone(zygote)` that its process has ended."""

    def __init__(
        self,
        record: ZygoteRecord,
        process: procfs.Process,
        control: socket.socket,
        *,
        ended: Callable[["Zygote", str], None],
        gone: Callable[["Zygote"], None],
    ) -> None:
        loop = asyncio.get_running_loop()
        self.record = record
        self.pool: Pool = record.pool
        self.process = process
        self.children: set[str] = set()
        """Replicas that it has, and launches under way."""
        self.retiring = False
        self.spares_ready = 0
        """As it told last."""
        self._killed = False
        self.began = loop.time()
        self._tell_ended = ended
        self._tell_gone = gone
        self._hello: asyncio.Future[Hello] = loop.create_future()
        self._pending: dict[str, asyncio.Future[Launched]] = {}
        self._statuses: dict[str, Status] = {}
        self._room = asyncio.Semaphore(LAUNCHES_AT_ONCE)
        self._ended = asyncio.Event()
        self._loop = loop
        self._wire = Wire(control, self._message, self._silent)
        loop.add_reader(process.fd, self._process_ended)

    @property
    def alive(self) -> bool:
        return not self._ended.is_set()

    def covers(self, pool: Pool) -> bool:
        """Whether a launch of that pool may come from it; the caller compares environment, namespace and variables."""
        return (
            self.alive and not self._killed and not self.retiring and set(pool.preimports) <= set(self.pool.preimports)
        )

    @property
    def greeted(self) -> bool:
        """Whether it said hello: it came up, whatever happened to it afterwards."""
        return self._hello.done() and not self._hello.cancelled() and self._hello.exception() is None

    async def hello(self, seconds: float) -> Hello:
        """What it says first, once it has imported everything. One that does not say it is ended."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._hello)
        except TimeoutError:
            self.kill()
            raise ZygoteGone(f"it did not get ready within {seconds:g} s") from None

    async def launch(self, replica: str, function: FunctionKey, revision: str, fds: Sequence[int]) -> Launched:
        """Give a spare these descriptors; ZygoteGone when it cannot be known whether that happened: then no child of
        it lives, since a child that was not told `keep` dies with its zygote."""
        self.children.add(replica)
        async with self._room:
            if not self.alive:
                raise ZygoteGone("it has ended")
            answer: asyncio.Future[Launched] = self._loop.create_future()
            self._pending[replica] = answer
            message = {"type": "launch", "id": replica, "function": function, "revision": revision}
            self._wire.send(message, fds)
            try:
                async with asyncio.timeout(LAUNCH_SECONDS):
                    return await answer
            except TimeoutError:
                log.warning("zygote does not answer and is killed", zygote=self.record.id)
                self.kill()
                raise ZygoteGone(f"it did not answer a launch within {LAUNCH_SECONDS:g} s") from None
            finally:
                self._pending.pop(replica, None)

    def take_status(self, replica: str) -> Status | None:
        return self._statuses.get(replica)

    def forget(self, replica: str) -> None:
        """Its end was told: the zygote need not keep it."""
        self.children.discard(replica)
        self._statuses.pop(replica, None)
        self._wire.send({"type": "forget", "ids": [replica]})

    def keep_spares(self, count: int) -> None:
        self._wire.send({"type": "spares", "count": count})

    def retire(self) -> None:
        """No more spares and launches; it ends when it is childless."""
        if not self.retiring:
            self.retiring = True
            self._wire.send({"type": "retire"})

    def kill(self) -> None:
        """Its spares die with it; replicas live on."""
        self._killed = True
        self.process.kill_group()

    async def end(self, seconds: float = END_SECONDS) -> None:
        """Ask it to end, insist, and wait until it has."""
        self.retiring = True
        self.process.signal(signal.SIGTERM)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._ended.wait()
                return
        self.kill()
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await self._ended.wait()

    def leave(self) -> None:
        """Let it run, and let go of it."""
        self._wire.close()
        self._loop.remove_reader(self.process.fd)
        self._abort(ZygoteGone("the provider was closed"))
        self.process.close()

    def _message(self, message: Message) -> None:
        match from_zygote(message):
            case Hello() as hello:
                self._greeted(hello)
            case Launched(id=replica) as launched:
                answer = self._pending.get(replica)
                if answer is not None and not answer.done():
                    answer.set_result(launched)
            case Refused(id=replica, why=why):
                refused = self._pending.get(replica)
                if refused is not None and not refused.done():
                    refused.set_exception(LaunchRefused(why))
            case Spares(ready=ready):
                self.spares_ready = ready
            case ChildEnded() as end:
                self._child_ended(end.id, end.status, end.max_rss_kib)

    def _greeted(self, hello: Hello) -> None:
        self.spares_ready = hello.spares
        for end in hello.ended:
            self._child_ended(end.id, end.status, end.max_rss_kib)
        if not self._hello.done():
            self._hello.set_result(hello)

    def _child_ended(self, replica: str, status: int, max_rss_kib: int) -> None:
        self._statuses[replica] = Status(code=status, max_rss_mib=max_rss_kib // 1024)
        self._tell_ended(self, replica)

    def _silent(self) -> None:
        """It closed the conversation: it is ending, or it is broken. Either way its replicas are better off with
        nobody than with half a parent."""
        self.kill()

    def _process_ended(self) -> None:
        self._wire.drain()  # its last words: ends of children
        self._wire.close()
        self._loop.remove_reader(self.process.fd)
        with suppress(ChildProcessError):  # an adopted one is init's child
            os.waitpid(self.process.pid, os.WNOHANG)
        self.process.kill_group()
        self.process.close()
        self._ended.set()
        self._abort(ZygoteGone("it has ended"))
        self._tell_gone(self)

    def _abort(self, error: ZygoteGone) -> None:
        waiting: list[asyncio.Future[Any]] = [self._hello, *self._pending.values()]
        for answer in waiting:
            if not answer.done():
                answer.set_exception(error)
                answer.exception()  # not everyone waits for a hello
