"""One replica as the provider sees it: its channel, its process, and the one telling of its end."""

import asyncio
import math
import signal
import socket
from collections.abc import Callable
from contextlib import suppress

import msgspec

from pilotlight.providers.base import BecameReady, Ended, Running
from pilotlight.providers.process import procfs
from pilotlight.providers.process.cgroups import Group, Overuse
from pilotlight.providers.process.ends import Status, how_it_ended, out_of_memory
from pilotlight.providers.process.messages import Ending, Failed, Ready, from_replica
from pilotlight.providers.process.records import ReplicaRecord
from pilotlight.providers.process.wire import Wire
from pilotlight.providers.process.zygote import Zygote
from pilotlight_runtime.launch import Message

STATUS_SECONDS = 2.0
"""How long the zygote's word about an end is awaited once the process is gone."""
FAILED_SECONDS = 5.0
"""A replica that said that it failed, or that it ends, must be gone after this."""
KILL_SECONDS = 10.0
"""SIGKILL works at once, unless the process hangs in the kernel."""


class Replica:
    """`ready(replica)` and `ended(replica, end)` are called once at most; the end last."""

    def __init__(
        self,
        record: ReplicaRecord,
        process: procfs.Process | None,
        zygote: Zygote | None,
        *,
        group: Group | None = None,
        ready: Callable[["Replica"], None],
        ended: Callable[["Replica", Ended], None],
    ) -> None:
        self.record = record
        self.zygote = zygote
        self.group = group
        self.is_ready = False
        self.has_ended = asyncio.Event()
        self._process = process
        self._channel: Wire | None = None
        self._tell_ready = ready
        self._tell_ended = ended
        self._stopping = False
        self._insisted_after: float | None = None
        self._cause: Failed | Ending | None = None
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._process_gone = process is None
        if process is not None:
            self._loop.add_reader(process.fd, self._process_ended)

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def alive(self) -> bool:
        return not self._process_gone

    @property
    def has_channel(self) -> bool:
        return self._channel is not None

    def running(self) -> Running:
        return Running(
            id=self.record.id,
            function=self.record.function,
            revision=self.record.revision,
            address=f"unix:{self.record.socket}",
            ready=self.is_ready,
            slots=self.record.slots,
            phases=self.record.phases,
        )

    def listen(self, channel: socket.socket, unsent: bytes) -> None:
        """From now on the replica's own words and its end are heard, also those from before. `unsent` is what is left
        of the launch."""
        self._channel = Wire(channel, self._message, self._channel_closed)
        if unsent:
            self._channel.send_bytes(unsent)
        self._channel.send({"type": "keep"})
        self.catch_up()

    def catch_up(self) -> None:
        """Look whether its end is known already."""
        if self._process_gone or (self.zygote is not None and self.zygote.take_status(self.id) is not None):
            self._loop.call_soon(self._process_ended)

    def became_ready(self, slots: int, phases: dict[str, float]) -> None:
        if not self.is_ready and not self.has_ended.is_set():
            self.was_ready(slots, phases)
            self._tell_ready(self)

    def was_ready(self, slots: int, phases: dict[str, float]) -> None:
        """It was when it was adopted; that is no news."""
        self.is_ready = True
        self.record = msgspec.structs.replace(self.record, slots=slots, phases={**self.record.phases, **phases})

    def event(self) -> BecameReady:
        return BecameReady(id=self.id, slots=self.record.slots, phases=self.record.phases)

    async def stop(self, grace_seconds: float) -> None:
        self._stopping = True
        self._signal(signal.SIGTERM)
        if await self._gone_within(grace_seconds):
            return
        self._insisted_after = grace_seconds
        self._kill()
        if not await self._gone_within(KILL_SECONDS):
            self._finish(None)

    def zygote_gone(self) -> None:
        """Nobody will tell its status any more."""
        self.zygote = None
        if self._process_gone:
            self._finish(None)

    def status_known(self) -> None:
        """Its zygote has waited for it."""
        self._process_ended()

    def check_memory(self) -> None:
        """It watches itself, but a call that lets no other thread run keeps it from that. What it shared at first and
        has since written to is not in this figure, so it is never too large."""
        limit = self.record.memory_mib
        used = (
            math.ceil(procfs.anonymous_mib(self.record.pid) - self.record.inherited_mib) if limit and self.alive else 0
        )
        if used > limit and self._cause is None:
            self._cause = out_of_memory(Overuse(limit, used))
            self._kill()

    def leave(self) -> None:
        """Let it run, and let go of it."""
        if self._channel is not None:
            self._channel.close()
        self._release()

    def _message(self, message: Message) -> None:
        match from_replica(message):
            case Ready(slots=slots, phases=phases):
                self.became_ready(slots, phases)
            case Failed() | Ending() as cause if self._cause is None:
                self._cause = cause
                self._later(FAILED_SECONDS, self._kill)

    def _channel_closed(self) -> None:
        self._channel = None

    def _process_ended(self) -> None:
        """By its pidfd or by its zygote's word, whichever came first; both are wanted, the word only for a while."""
        if self.has_ended.is_set():
            return
        if not self._process_gone and self._process is not None:
            self._loop.remove_reader(self._process.fd)
        self._process_gone = True
        if self._channel is not None:
            self._channel.drain()
        status = None if self.zygote is None else self.zygote.take_status(self.id)
        if status is not None or self.zygote is None:
            self._finish(status)
        else:
            self._later(STATUS_SECONDS, self._finish, None)

    def _finish(self, status: Status | None) -> None:
        if self.has_ended.is_set():
            return
        ended = how_it_ended(
            self.id,
            status=status,
            stopping=self._stopping,
            insisted_after=self._insisted_after,
            cause=self._cause,
            overuse=self.group.overuse() if self.group else None,
        )
        self._kill()  # what it started itself
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        self._release()
        self.has_ended.set()
        self._tell_ended(self, ended)

    def _release(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._process is not None:
            self._loop.remove_reader(self._process.fd)
            self._process.close()

    def _later(self, seconds: float, callback: Callable[..., None], *args: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, callback, *args)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.signal(number)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill_group()

    async def _gone_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.has_ended.wait()
        return self.has_ended.is_set()
