"""Finding again what runs in the engine: at the opening of the provider, and when an engine was away."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilotlight.providers.docker.containers import record_of
from pilotlight.providers.docker.probe import ask
from pilotlight.providers.docker.replica import Replica

if TYPE_CHECKING:
    from pilotlight.providers.docker.provider import DockerProvider

Listed = list[Mapping[str, Any]]
PROBE_SECONDS = 1.0
"""A replica that serves answers in milliseconds; one that loads is asked again in the background."""


async def adopt(listed: Listed, *, provider: "DockerProvider") -> None:
    """Everything that runs is known to the provider afterwards; what has ended will be told."""
    found: list[Replica] = []
    for inspected in listed:
        record = record_of(inspected)
        if record is None or not record.started:  # it was never told of: the crash came first
            await provider.remove_container(inspected["Id"])
        else:
            found.append(Replica(record))
    provider.sweep({replica.id for replica in found})
    async with asyncio.TaskGroup() as group:
        for replica in found:
            if replica.record.running:
                group.create_task(_learn(replica, provider))
    for replica in found:
        if replica.record.running:
            provider.add(replica)
        else:
            provider.died(replica, quietly=provider.was_told(replica))


async def _learn(replica: Replica, provider: "DockerProvider") -> None:
    """Whether it is ready: what the last control plane noted, else what it says itself."""
    note = provider.ready_note(replica.id)
    if note is not None:
        replica.slots, replica.phases = note.slots, note.phases
        return
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            answer = await ask(replica.record.address)
    except TimeoutError:
        return
    if answer.ready:
        replica.slots = answer.slots or replica.record.concurrency


async def resync(
    listed: Listed, known: Sequence[Replica], busy: Collection[str], *, provider: "DockerProvider"
) -> None:
    """`known` is what ran before the list was made, `busy` the ids of what is starting or ending by itself."""
    records = {record.container: record for record in map(record_of, listed) if record is not None}
    for replica in known:
        record = records.pop(replica.record.container, None)
        if record is None or not record.running:
            provider.died(replica)
    for record in records.values():
        if record.id in busy:
            continue
        if record.running or not record.started:  # of a start that failed because the engine went away
            await provider.remove_container(record.container)
        else:
            provider.died(Replica(record), quietly=True)
