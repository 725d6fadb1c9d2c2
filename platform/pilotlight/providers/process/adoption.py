"""Finding again what an earlier control plane started: from records, from what zygotes say, and from replicas."""

import asyncio
from collections import defaultdict
from collections.abc import Callable

from pilotlight.providers.process import procfs
from pilotlight.providers.process.messages import Hello
from pilotlight.providers.process.pools import Pools
from pilotlight.providers.process.probe import Readiness, ask_ready
from pilotlight.providers.process.records import ReplicaRecord, RunDir
from pilotlight.providers.process.replica import Replica
from pilotlight.providers.process.zygote import Zygote

PROBE_SECONDS = 1.0
"""A replica that serves answers in milliseconds; one that loads is asked again in the background."""
LATER_SECONDS = 30.0
PAUSE_SECONDS = 0.5


async def adopt(
    run: RunDir,
    pools: Pools,
    *,
    user: int | None,
    make: Callable[[ReplicaRecord, procfs.Process | None, Zygote | None], Replica],
) -> None:
    """Everything that runs is known to `make` afterwards, or ended; what was left behind is removed."""
    records = run.replicas()
    known = {record.id for record in records}
    children: defaultdict[str, set[str]] = defaultdict(set)
    for record in records:
        children[record.zygote].add(record.id)
    hellos = await pools.adopt(run.zygotes(), children)
    for zygote, hello in hellos:
        _end_strangers(zygote, hello, known)
    for record in records:
        process = procfs.find(record.pid, record.started, user=user)
        make(record, process, pools.by_id(record.zygote)).catch_up()
    run.sweep((zygote.record.id for zygote in pools.all()), known)


def _end_strangers(zygote: Zygote, hello: Hello, known: set[str]) -> None:
    """Children without a record were never reported to anybody: the crash came first."""
    for child in hello.children:
        if child.id not in known:
            process = procfs.find(child.pid, child.started, parent=zygote.process.pid)
            if process is not None:
                process.kill_group()
                process.close()
    for end in hello.ended:
        if end.id not in known:
            zygote.forget(end.id)


async def learn_readiness(replica: Replica) -> bool:
    """Whether it is known now. One that does not answer in time is what its record says."""
    if not replica.alive:
        return True
    answer = await ask_ready(replica.record.socket, seconds=PROBE_SECONDS)
    if replica.record.slots if answer is None else answer.ready:
        replica.was_ready(_slots(answer, replica), {})
    return replica.is_ready


async def await_readiness(replica: Replica) -> None:
    """For one that was still loading: until it is ready or has ended."""
    while not replica.is_ready and not replica.has_ended.is_set():
        answer = await ask_ready(replica.record.socket, seconds=LATER_SECONDS)
        if answer is not None and answer.ready:
            replica.became_ready(_slots(answer, replica), {})
        else:
            await asyncio.sleep(PAUSE_SECONDS)


def _slots(answer: Readiness | None, replica: Replica) -> int:
    said = answer.slots if answer is not None else None
    return said or replica.record.slots or 1
