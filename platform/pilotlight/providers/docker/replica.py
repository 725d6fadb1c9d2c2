"""One replica as the provider keeps it: what its container says, and what was learned since."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from pilotlight.providers.base import BecameReady, Running
from pilotlight.providers.docker.containers import REUSE_IDLE_SECONDS, Record


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

    @property
    def id(self) -> str:
        return self.record.id

    @property
    def is_ready(self) -> bool:
        return self.slots > 0

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
            reuse_idle_seconds=REUSE_IDLE_SECONDS,
        )

    def event(self) -> BecameReady:
        return BecameReady(id=self.id, slots=self.slots, phases=self.phases)
