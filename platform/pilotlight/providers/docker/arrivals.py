"""From a replica that runs to one that is known to be ready: awaited or heard, told, noted, and given its limits."""

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from pilotlight.engine.client import Engine
from pilotlight.providers.background import Background
from pilotlight.providers.docker.folders import Ready
from pilotlight.providers.docker.limits import limit
from pilotlight.providers.docker.probe import until_ready
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Common
from pilotlight.providers.process.messages import Ready as ReadyWord


class Arrivals:
    def __init__(self, engine: Engine, common: Common, background: Background) -> None:
        self._engine = engine
        self._common = common
        self._background = background

    def expect(self, replica: Replica, phases: Mapping[str, float]) -> "asyncio.Task[None]":
        """Of one that does not say it itself. `phases` are those of its start."""
        return self._background.spawn(self._await_ready(replica, phases))

    def heard(self, replica: Replica, word: ReadyWord) -> None:
        """It said so itself."""
        self._is_ready(replica, word.slots, {**replica.phases, **word.phases})
        self.limit(replica)
        for text in replica.record.notes:
            self.note(replica, text)

    def limit(self, replica: Replica) -> None:
        self._background.spawn(limit(self._engine, replica))

    def note(self, replica: Replica, text: str) -> None:
        """A line of ours in the log that it writes itself."""
        files = self._common.files

        def write() -> None:
            files.settle()  # it may have no name yet
            files.note(replica.record.function, replica.id, text)

        self._background.spawn(asyncio.to_thread(write))

    async def _await_ready(self, replica: Replica, phases: Mapping[str, float]) -> None:
        began = time.perf_counter()
        found = await until_ready(replica.record.asked)
        listened = {} if replica.is_pooled else {"listen": (time.perf_counter() - began) * 1000}
        self._is_ready(replica, found.slots or replica.record.concurrency or 1, {**phases, **listened})
        await limit(self._engine, replica)

    def _is_ready(self, replica: Replica, slots: int, phases: Mapping[str, float]) -> None:
        replica.slots, replica.phases = slots, phases
        self._common.tell(replica.event())
        with suppress(OSError):  # after the word, which somebody waits for
            if replica.claim is not None:
                replica.claim = msgspec.structs.replace(replica.claim, slots=slots, phases=dict(phases))
                self._common.berths.write(replica.claim)
            else:
                self._common.folders.note_ready(replica.id, Ready(slots=slots, phases=dict(phases)))
