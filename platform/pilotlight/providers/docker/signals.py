"""Signals to a replica: by its zygote, which works without the engine, too, or by the engine."""

import signal
from collections.abc import Callable

import structlog

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.providers.docker.replica import Replica

log = structlog.get_logger(__name__)


class Signals:
    def __init__(self, engine: Engine, died: Callable[[Replica], None]) -> None:
        """`died(replica)`: the engine says that it has ended already; its event was lost."""
        self._engine = engine
        self._died = died

    async def send(self, replica: Replica, name: str) -> None:
        if replica.zygote is None or not replica.zygote.signal(signal.Signals[name]):
            await self._by_engine(replica, name)

    async def kill(self, replica: Replica) -> None:
        """In both ways: the zygote's reaches the replica alone, the engine's all of its container."""
        if replica.zygote is not None:
            replica.zygote.signal(signal.SIGKILL)
        await self._by_engine(replica, "SIGKILL")

    async def _by_engine(self, replica: Replica, name: str) -> None:
        try:
            await self._engine.call(lambda client: client.kill(replica.record.container, signal=name))
        except Refused:
            self._died(replica)
        except PilotlightError as error:
            log.warning("not signalled", replica=replica.id, signal=name, reason=error.detail)
