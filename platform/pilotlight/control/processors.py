"""How much processor the functions use that scale by it. Only they are asked: a reading looks at each replica."""

import asyncio
from collections.abc import Callable

import structlog

from pilotlight.autoscale.rate import CpuRate
from pilotlight.control.state import FunctionState
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import Provider

log = structlog.get_logger(__name__)
READING_SECONDS = 2.0


class Processors:
    def __init__(
        self, provider: Provider, functions: Callable[[], dict[FunctionKey, FunctionState]], now: Callable[[], float]
    ) -> None:
        self._provider = provider
        self._functions = functions
        self._now = now

    async def run(self) -> None:
        while True:
            await asyncio.sleep(READING_SECONDS)
            for state in [one for one in self._functions().values() if one.revision.spec.scale.type == "cpu"]:
                try:
                    await self._read(state)
                except Exception:
                    log.exception("processor use could not be read", function=state.key)

    async def _read(self, state: FunctionState) -> None:
        used = {}
        for replica in list(state.replicas):
            if (usage := await self._provider.usage(replica)) is not None:
                used[replica] = usage.cpu_seconds
        state.cpu = state.cpu or CpuRate()
        state.cpu.read(self._now(), used)
