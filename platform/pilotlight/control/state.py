"""What the control plane knows of one function in memory; all of it can be found again after a crash."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from pilotlight.autoscale.decide import (
    NOTHING,
    PANIC_SECONDS,
    SHORT_SECONDS,
    STABLE_SECONDS,
    Decision,
    Load,
    Memory,
)
from pilotlight.autoscale.rate import CounterRate, CpuRate
from pilotlight.autoscale.window import LoadWindow
from pilotlight.control.links import Levelled
from pilotlight.control.tally import Tally
from pilotlight.control.views import ColdStart, FailureView, FunctionView, LastEnd, ReplicaView
from pilotlight.core.errors import Failure
from pilotlight.core.replica import Replica, ReplicaState
from pilotlight.core.revision import Revision
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.link.messages import Endpoint, ReplicaEnd, Route
from pilotlight.providers.base import Usage

ROUTED = (ReplicaState.READY, ReplicaState.DRAINING)


@dataclass(slots=True, kw_only=True)
class FunctionState:
    revision: Revision
    created_at: float
    replicas: dict[str, Replica] = field(default_factory=dict)
    """In order of their start, also those of older revisions that still drain."""
    numbers: dict[str, int] = field(default_factory=dict)
    """Revision id to number, for the replicas above."""
    window: LoadWindow = field(default_factory=LoadWindow)
    calls: CounterRate | None = None
    """Of those answered, where the function scales by them; only the successful ones with OpenFaaS' rule."""
    cpu: CpuRate | None = None
    """Where the function scales by it (see processors)."""
    memory: Memory = NOTHING
    decision: Decision = field(default_factory=lambda: Decision(replicas=0, reason="new"))
    scaled_to: int | None = None
    scaled_at: float = 0.0
    """Monotonic."""
    decided_at: float = 0.0
    """Unix time since when the decision is the same."""
    adopted_at: float | None = None
    """Monotonic time at which replicas of an earlier control plane were found."""
    failures: int = 0
    """Starts in a row that failed, or replicas that ended soon after."""
    lost_since: float | None = None
    """Monotonic time of the first start that was lost by no fault of the function's, since one became ready."""
    pausing: bool = False
    """No start is tried for a moment, and callers wait: one would be lost like the last."""
    failure: Failure | None = None
    """Set while no start is tried."""
    next_try_at: float = 0.0
    """Unix time of the next start, while there is a failure."""
    ready_at: dict[str, float] = field(default_factory=dict)
    """Monotonic time at which each replica became ready."""
    last_cold_start: ColdStart | None = None
    last_end: LastEnd | None = None
    ended: deque[ReplicaEnd] = field(default_factory=lambda: deque(maxlen=8))
    """The last ends that nobody asked for, for the callers whose requests were in those replicas."""
    tally: Tally = field(default_factory=Tally)
    key_digests: tuple[str, ...] = ()
    """Of the keys that open it, where its spec asks for one; with none it is closed."""

    @property
    def key(self) -> FunctionKey:
        return self.revision.function

    @property
    def slots(self) -> int:
        """Of one replica of the live revision."""
        return self.revision.slots or self.revision.spec.concurrency or 1

    def count(self, *states: ReplicaState) -> int:
        return sum(r.state in states and r.revision == self.revision.id for r in self.replicas.values())

    def hear(self, level: Levelled | None, now: float) -> None:
        """What the routers say at this moment; None while they are silent."""
        scale = self.revision.spec.scale
        if level is None:
            if self.calls is not None:
                self.calls.lost()
            return
        self.window.record(now, level.waiting + level.in_flight)
        if scale.type == "rps" or scale.factor:
            self.calls = self.calls or CounterRate()
            # Who has no key must not be able to start replicas.
            counted = level.calls - level.strangers
            self.calls.read(now, counted - (level.errors if scale.factor else 0))

    def load(self, level: Levelled | None, now: float) -> Load:
        """The autoscaler's view at this moment."""
        seen = level or Levelled()
        return Load(
            known=level is not None,
            slots=self.slots,
            ready=self.count(ReplicaState.READY),
            starting=self.count(ReplicaState.STARTING),
            waiting=seen.waiting,
            in_flight=seen.in_flight,
            stable=self.window.average(now, over_seconds=STABLE_SECONDS),
            panic=self.window.average(now, over_seconds=PANIC_SECONDS),
            measured=max(self._measured(now, SHORT_SECONDS), self._measured(now, STABLE_SECONDS)),
            successes=self.calls.per_second(now, over_seconds=SHORT_SECONDS) if self.calls else 0.0,
            idle_for=seen.idle_for,
            scaled_to=self.scaled_to,
            scaled_ago=now - self.scaled_at,
            adopted_ago=math.inf if self.adopted_at is None else now - self.adopted_at,
        )

    def _measured(self, now: float, over_seconds: int) -> float:
        """By what the function scales, where that is not its concurrency."""
        match self.revision.spec.scale.type:
            case "capacity":
                return self.window.average(now, over_seconds=over_seconds)
            case "rps" if self.calls is not None:
                return self.calls.per_second(now, over_seconds=over_seconds)
            case "cpu" if self.cpu is not None:
                return self.cpu.milli(now, over_seconds=over_seconds)
        return 0.0

    def route(self) -> Route:
        spec = self.revision.spec
        return msgspec.structs.replace(
            route_of(spec),
            failure=self.failure,
            endpoints=tuple(_endpoints(self.replicas.values())),
            ended=tuple(self.ended),
            starts=dict(self.tally.starts),
            ends=dict(self.tally.ends),
            key_digests=self.key_digests if spec.auth == "key" else None,
            replicas=self.decision.replicas,
            target_load=spec.scale.per_replica(self.slots),
        )

    def view(self, level: Levelled | None, usage: dict[str, Usage] | None = None) -> FunctionView:
        seen = level or Levelled()
        return FunctionView(
            spec=self.revision.spec,
            revision=self.revision.number,
            created_at=self.created_at,
            state=self._word(),
            why=self.failure.detail if self.failure else self.decision.reason,
            decided_at=self.decided_at,
            wanted=self.decision.replicas,
            ready=self.count(ReplicaState.READY),
            in_flight=seen.in_flight,
            waiting=seen.waiting,
            calls=seen.calls,
            errors=seen.errors,
            idle_seconds=seen.idle_for if seen.known else None,
            slots=(slots := sum(r.slots for r in self.replicas.values() if r.state is ReplicaState.READY)),
            free_slots=max(0, slots - seen.in_flight),
            failure=self._failure(),
            environment=self.revision.bundle.environment,
            bundle=self.revision.bundle.digest,
            runs=self.revision.bundle.image,
            replicas=tuple(self._replica_view(r, (usage or {}).get(r.id)) for r in self.replicas.values()),
            last_cold_start=self.last_cold_start,
            last_end=self._last_end(),
            starts=dict(self.tally.starts),
            ends=dict(self.tally.ends),
        )

    def _word(self) -> str:
        if self.failure is not None:
            return "failing"
        for state in (ReplicaState.READY, ReplicaState.STARTING, ReplicaState.DRAINING):
            if self.count(state):
                return str(state)
        return "cold"

    def _failure(self) -> FailureView | None:
        if self.failure is None:
            return None
        return FailureView(
            slug=self.failure.slug, detail=self.failure.detail, starts=self.failures, next_try_at=self.next_try_at
        )

    def _last_end(self) -> LastEnd | None:
        ends = [end for end in (self.last_end, self.tally.last_killed) if end is not None]
        return max(ends, key=lambda end: end.at, default=None)

    def _replica_view(self, replica: Replica, usage: Usage | None) -> ReplicaView:
        return ReplicaView(
            id=replica.id,
            node=replica.node,
            state=str(replica.state),
            slots=replica.slots,
            revision=self.numbers.get(replica.revision, 0),
            phases=replica.phases,
            story=replica.story,
            cpu_seconds=usage.cpu_seconds if usage else None,
            memory_mib=usage.memory_mib if usage else None,
        )


def route_of(spec: FunctionSpec) -> Route:
    """Of a function of which nothing is there yet."""
    return Route(
        function=spec.key,
        timeout_seconds=spec.timeout_seconds,
        queue=spec.queue,
        body_limit_bytes=int(spec.body_limit_mib * 2**20),
        debug=spec.debug,
        cors=spec.cors,
        replicas=max(1, spec.scale.min),
        min_replicas=spec.scale.min,
        scaling_type="capacity" if spec.scale.type == "concurrency" else spec.scale.type,  # OpenFaaS' word for it
    )


def _endpoints(replicas: Iterable[Replica]) -> Iterable[Endpoint]:
    for replica in replicas:
        if replica.state in ROUTED:
            yield Endpoint(
                replica=replica.id,
                address=replica.address,
                slots=replica.slots,
                draining=replica.state is ReplicaState.DRAINING,
                phases=replica.phases,
                reuse_idle_seconds=replica.reuse_idle_seconds,
            )
