"""Finding again what runs in an engine: at the opening of the provider, and when the engine was away."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pilotlight.providers.docker.berths import Claim, is_zygote_id
from pilotlight.providers.docker.containers import is_standby, record_of
from pilotlight.providers.docker.pool_containers import spare_of
from pilotlight.providers.docker.probe import ask
from pilotlight.providers.docker.replica import Replica, pooled_record
from pilotlight.providers.docker.site import Listed
from pilotlight.providers.docker.zygote import ContainerZygote

if TYPE_CHECKING:
    from pilotlight.providers.docker.engine_node import EngineNode

PROBE_SECONDS = 1.0
"""A replica that serves answers in milliseconds; one that loads is asked again in the background."""


class Adoption:
    def __init__(self, node: "EngineNode") -> None:
        self._node = node
        self._common = node.common

    async def adopt(self, listed: Listed) -> None:
        """Everything that runs is known to the node afterwards; what has ended will be told."""
        claims = {claim.container: claim for claim in self._common.berths.claims()}
        found: list[Replica] = []
        for inspected in listed:
            replica = self._found(inspected, claims.get(inspected["Id"]))
            if replica is not None:
                found.append(replica)
            elif not self._waits(inspected):
                await self._remove(inspected)
        async with asyncio.TaskGroup() as group:
            for replica in found:
                if replica.record.running:
                    group.create_task(self._learn(replica))
        for replica in found:
            if replica.record.running:
                self._node.add(replica)
            else:
                self._node.died(replica, quietly=self._was_told(replica))

    def _found(self, inspected: Mapping[str, Any], claim: Claim | None) -> Replica | None:
        """A replica. None for what is nobody's, and for what nobody was told of: the crash came first."""
        if spare_of(inspected) is not None:
            return None if claim is None else self._pooled(inspected, claim)
        record = record_of(inspected)
        if record is None or not record.started:
            return None
        if not is_standby(inspected):
            return Replica(record)
        if claim is None or inspected["State"].get("Paused"):
            return None
        return Replica(record.claimed(claim.replica), claim=claim, slots=claim.slots, phases=claim.phases)

    def _waits(self, inspected: Mapping[str, Any]) -> bool:
        """Whether it can still become a replica; then it is known to its pool."""
        if is_standby(inspected):
            return self._node.standbys.adopt(inspected)
        spare = spare_of(inspected)
        if spare is None or not inspected["State"]["Running"] or not self._common.berths.is_fresh(spare[0]):
            return False
        self._node.pools.adopt(self._meet(inspected))
        return True

    async def _remove(self, inspected: Mapping[str, Any]) -> None:
        """With all that lies on this machine for it."""
        await self._node.site.remove(inspected["Id"])
        spare, record = spare_of(inspected), record_of(inspected)
        id_ = spare[0] if spare is not None else record.id if record is not None else ""
        await asyncio.to_thread(self._forget, id_)

    def _forget(self, id_: str) -> None:
        if is_zygote_id(id_):
            claim = self._common.berths.claim_of(id_)
            self._common.berths.drop(id_, None if claim is None else claim.replica)
        if id_:
            self._common.folders.drop(id_)

    async def resync(self, listed: Listed, known: Sequence[Replica], spares: Sequence[ContainerZygote]) -> None:
        """`known` and `spares` are what ran before the list was made."""
        node = self._node
        there = {inspected["Id"]: inspected for inspected in listed}
        for replica in known:
            inspected = there.get(replica.record.container)
            if inspected is None or not inspected["State"]["Running"]:
                node.died(replica)
        for zygote in spares:
            inspected = there.get(zygote.container)
            if inspected is None or not inspected["State"]["Running"]:
                node.pools.gone(zygote, "")
                await node.spares.discard(zygote)
        for container in node.standbys.containers():
            if container not in there or not there[container]["State"]["Running"]:
                node.standbys.died(container)
        # Also those that came while the list was made.
        ours = {each.record.container for each in (*known, *node.replicas.values())} | node.standbys.containers()
        ours |= {each.container for each in (*spares, *node.pools.all())} | {*node.ways.in_hand}
        busy = {*node.starting, *node.ending, *node.standbys.busy}
        for container, inspected in there.items():
            spare = spare_of(inspected)
            if container in ours or (spare is not None and node.knows(spare[0])):
                continue
            record = record_of(inspected)
            if record is None or record.id not in busy:
                await self._left_over(inspected)

    async def _left_over(self, inspected: Mapping[str, Any]) -> None:
        """Of a start or an end that failed because the engine went away."""
        record = record_of(inspected)
        if record is not None and record.started and not record.running:
            self._node.died(Replica(record), quietly=True)
        else:
            await self._remove(inspected)

    def _pooled(self, inspected: Mapping[str, Any], claim: Claim) -> Replica:
        zygote = self._meet(inspected)
        zygote.replica = claim.replica
        record = pooled_record(claim, self._common.berths.replica_socket(claim.replica), self._node.name)
        record = record.as_found(running=bool(inspected["State"]["Running"]))
        return Replica(record, claim=claim, zygote=zygote, slots=claim.slots, phases=claim.phases)

    def _meet(self, inspected: Mapping[str, Any]) -> ContainerZygote:
        spare = spare_of(inspected)
        assert spare is not None  # noqa: S101 (who calls has looked)
        zygote = self._node.spares.meet(self._common.berths.of(spare[0]), spare[1])
        zygote.container = inspected["Id"]
        zygote.first_pid = int(inspected["State"]["Pid"])
        return zygote

    def _was_told(self, replica: Replica) -> bool:
        return self._common.folders.was_told(replica.id, replica.record.container)

    async def _learn(self, replica: Replica) -> None:
        """Whether it is ready: what the last control plane noted, else what it says itself."""
        if replica.is_ready:
            return
        note = self._common.folders.ready(replica.id)
        if note is not None:
            replica.slots, replica.phases = note.slots, note.phases
            return
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                answer = await ask(replica.record.asked)
        except TimeoutError:
            return
        if answer.ready:
            replica.slots = answer.slots or replica.record.concurrency or 1
