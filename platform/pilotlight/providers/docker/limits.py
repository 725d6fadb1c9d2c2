"""Limits that follow once a replica is ready: they would slow down its start, or are not known of a spare."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog

from pilotlight.core.errors import PilotlightError
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.providers.docker.containers import CPU_PERIOD
from pilotlight.providers.docker.replica import Replica

if TYPE_CHECKING:
    from docker import APIClient

log = structlog.get_logger(__name__)


async def limit(engine: Engine, replica: Replica) -> None:
    """Its processor time, and of one from a pool its exact memory. A limit that could not be set is logged."""
    record = replica.record
    if replica.is_pooled and record.memory_mib is not None:
        mib = record.memory_mib
        await _set(engine, replica, "memory", lambda client: _limit_memory(client, record.container, mib))
    if record.cpu_milli is not None:
        milli = record.cpu_milli
        await _set(engine, replica, "cpu", lambda client: _limit_cpu(client, record.container, milli))


async def _set(engine: Engine, replica: Replica, what: str, verb: Callable[[Any], None]) -> None:
    try:
        await engine.call(verb)
    except (Refused, PilotlightError) as error:
        if not replica.dying:
            log.warning("limit not set", replica=replica.id, limit=what, reason=str(error))


def _limit_memory(client: "APIClient", container: str, mib: int) -> None:
    """Memory and swap together: one alone is refused when it passes the other."""
    client.update_container(container, mem_limit=mib * 2**20, memswap_limit=mib * 2**20)


def _limit_cpu(client: "APIClient", container: str, milli: int) -> None:
    client.update_container(container, cpu_period=CPU_PERIOD, cpu_quota=milli * CPU_PERIOD // 1000)
