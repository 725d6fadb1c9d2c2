"""One replica as the provider keeps it: what its container or its claim says, and what was learned since."""

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from pilotlight.providers.base import BecameReady, Running
from pilotlight.providers.docker.berths import Claim
from pilotlight.providers.docker.containers import REUSE_IDLE_SECONDS, Record
from pilotlight.providers.docker.zygote import ContainerZygote
from pilotlight.providers.process.messages import ChildEnded, Ending, Failed, Ready, from_replica
from pilotlight.providers.process.wire import Wire
from pilotlight_runtime.launch import Message

POOLED_REUSE_SECONDS = 300.0
"""Our runtime's servers keep idle connections."""


@dataclass(slots=True, eq=False)
class Channel:
    """Our end of a pooled replica's channel, not listened to yet."""

    sock: socket.socket
    unsent: bytes
    """What is left of the launch."""


@dataclass(slots=True, eq=False)
class Replica:
    record: Record
    slots: int = 0
    """0: not known to be ready."""
    phases: Mapping[str, float] = field(default_factory=dict)
    stopping: bool = False
    insisted_after: float | None = None
    oom_at: float | None = None
    """When the kernel last killed something in it for memory, by the engine's clock."""
    dying: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """Its end was told."""
    watch: "asyncio.Task[None] | None" = None
    """Waits for its readiness."""
    claim: Claim | None = None
    """Of one that came from a pool."""
    zygote: ContainerZygote | None = None
    """Its parent, of one that came from a pool."""
    channel: Channel | None = None
    wire: Wire | None = None
    """The channel, once it is listened to."""
    cause: Failed | Ending | None = None
    """What it said itself of its end."""
    status: ChildEnded | None = None
    """What its zygote said of it."""

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def is_pooled(self) -> bool:
        """It came from a zygote: it listens on a unix socket, and writes its log itself."""
        return self.claim is not None and not self.claim.paused

    @property
    def is_ready(self) -> bool:
        return self.slots > 0

    def listen(self, ready: Callable[["Replica", Ready], None], failing: Callable[["Replica"], None]) -> None:
        """From now on its own words are heard, also those from before."""

        def heard(message: Message) -> None:
            match from_replica(message):
                case Ready() as word if not self.is_ready:
                    ready(self, word)
                case Failed() | Ending() as cause if self.cause is None:
                    self.cause = cause
                    failing(self)

        if self.channel is not None:
            channel, self.channel = self.channel, None
            self.wire = Wire(channel.sock, heard, self._silent)
            if channel.unsent:
                self.wire.send_bytes(channel.unsent)
            self.wire.send({"type": "keep"})

    def drain(self) -> None:
        """Take in its last words, and its zygote's."""
        if self.wire is not None:
            self.wire.drain()
        if self.zygote is not None:
            self.zygote.drain()

    def leave(self) -> None:
        if self.channel is not None:
            self.channel.sock.close()
        if self.wire is not None:
            self.wire.close()
        if self.zygote is not None:
            self.zygote.close()
        self.channel = self.wire = self.zygote = None

    def running(self) -> Running:
        return Running(
            id=self.id,
            function=self.record.function,
            revision=self.record.revision,
            address=self.record.address,
            node=self.record.node,
            ready=self.is_ready,
            slots=self.slots,
            phases=self.phases,
            reuse_idle_seconds=POOLED_REUSE_SECONDS if self.is_pooled else REUSE_IDLE_SECONDS,
            notes=self.record.notes,
        )

    def event(self) -> BecameReady:
        return BecameReady(id=self.id, slots=self.slots, phases=self.phases)

    def _silent(self) -> None:
        self.wire = None


def pooled_record(claim: Claim, socket_path: str, node: str) -> Record:
    """What is known of a replica from its claim."""
    return Record(
        id=claim.replica,
        container=claim.container,
        function=claim.function,
        revision=claim.revision,
        node=node,
        address=f"unix:{socket_path}",
        concurrency=claim.concurrency,
        cpu_milli=claim.cpu_milli,
        memory_mib=claim.memory_mib,
        notes=claim.notes,
        created=0.0,
        stop_signal="SIGTERM",
        running=True,
        started=True,
    )
