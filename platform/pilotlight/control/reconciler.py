"""Observe, decide, act: keeps what runs at what is wanted, woken by levels, by the provider's events, and by time.

Everything here happens on one event loop, so between two awaits the state is whole. Decisions come from `autoscale`
and `plan`; this module carries them out and keeps the routes in step: a replica is in its function's route exactly
while it is ready or draining.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog

from pilotlight.autoscale.decide import Decision, decide, scale_call_is_over
from pilotlight.config import ControlSettings
from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.control.launcher import LOST_WITH_ZYGOTE, Launched, Launcher, new_id, pool_of
from pilotlight.control.links import Links
from pilotlight.control.plan import Action, Drain, Start, TakeBack, backoff_seconds, plan
from pilotlight.control.state import FunctionState
from pilotlight.control.views import ColdStart, LastEnd
from pilotlight.core.errors import Failure, PilotlightError
from pilotlight.core.replica import Replica, ReplicaState
from pilotlight.core.revision import Revision
from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import ReplicaEnd
from pilotlight.providers.base import BecameReady, Ended, Provider, Running

log = structlog.get_logger(__name__)
SOON_SECONDS = 10.0
"""A replica that ends by itself sooner than this after it was ready counts as a failed start."""


ENGINE_AWAY = "engine-unreachable"
NO_FAULT_SECONDS = {LOST_WITH_ZYGOTE: 10.0, ENGINE_AWAY: 30.0}
"""Slugs of starts that failed by no fault of the function's: they are made again for this long, and callers wait."""
AGAIN_SECONDS = {ENGINE_AWAY: 0.5}
"""From such a failure to the next try, where that would fail at once."""
LONGEST_PAUSE_SECONDS = {ENGINE_AWAY: 2.0}
"""To be told that an engine is away costs nothing, and when it is back nobody should wait for the end of a pause."""

ASKED_FOR = ("stopped", "killed")
"""Ends that somebody asked for: they say nothing about the function."""


class Reconciler:
    """Owns the functions' states. `spawn` runs a coroutine for as long as the control plane lives."""

    def __init__(
        self,
        *,
        provider: Provider,
        launcher: Launcher,
        links: Callable[[], Links],
        settings: ControlSettings,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        forget_scale_call: Callable[[FunctionKey], Coroutine[Any, Any, None]],
        clock: Clock = SYSTEM,
    ) -> None:
        self.functions: dict[FunctionKey, FunctionState] = {}
        self._provider = provider
        self._launcher = launcher
        self._links = links
        self._settings = settings
        self._spawn = spawn
        self._forget_scale_call = forget_scale_call
        self._now = clock.monotonic
        self._unix = clock.unix
        self._active: set[FunctionKey] = set()
        self._decided: set[FunctionKey] = set()
        """Whose wanted count changed and was not told to the routers yet, who show it in their metrics."""
        self._owners: dict[str, FunctionState] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def live_revisions(self) -> Iterable[Revision]:
        return [state.revision for state in self.functions.values()]

    def on_level(self, function: FunctionKey) -> None:
        """A router reported; a request may be waiting."""
        state = self.functions.get(function)
        level = self._links().level(function)
        if state is None or level is None:
            return
        state.hear(level, self._now())
        if state.scaled_to == 0 and level.waiting:
            self._end_scale_call(state)
        self._active.add(function)
        if level.waiting or not state.replicas:
            self._reconcile_safely(state)

    async def run(self) -> None:
        """The slow loop: what no event announces (idle times, windows that empty)."""
        while True:
            await asyncio.sleep(self._settings.tick_seconds)
            for function in list(self._active):
                state = self.functions.get(function)
                if state is None:
                    self._active.discard(function)
                else:
                    self._reconcile_safely(state)
            decided, self._decided = self._decided, set()
            for function in decided & self.functions.keys():
                self.publish(self.functions[function])

    async def follow_events(self) -> None:
        async for event in self._provider.events():
            if self._launcher.tell(event):
                continue
            if isinstance(event, Ended):
                self.on_ended(event)
            else:
                self._became_ready_late(event)

    def reconcile(self, state: FunctionState) -> None:
        if not self._is_there(state):
            return
        now = self._now()
        level = self._links().level(state.key)
        state.hear(level, now)
        load, scale = state.load(level, now), state.revision.spec.scale
        decision = decide(load, scale, state.memory, now)
        if scale_call_is_over(load, scale):
            self._end_scale_call(state)
        if (decision.replicas, decision.reason) != (state.decision.replicas, state.decision.reason):
            log.info("decided", function=state.key, replicas=decision.replicas, reason=decision.reason)
            self._decided.add(state.key)
            state.decided_at = self._unix()
        state.decision, state.memory = decision, decision.memory
        for action in plan(state.revision.id, decision.replicas, state.replicas.values()):
            self._perform(state, action)
        if not state.replicas and decision.replicas == 0:
            self._active.discard(state.key)

    def _end_scale_call(self, state: FunctionState) -> None:
        """Nobody who waits waits for the store; a control plane that starts must not hear of it again."""
        state.scaled_to = None
        self._spawn(self._forget_scale_call(state.key))

    def add(self, state: FunctionState) -> None:
        """A function that was just deployed, or found again."""
        self.functions[state.key] = state
        state.tally = self._launcher.tallies.of(state.key)
        state.numbers[state.revision.id] = state.revision.number
        _keep_numbers(state)
        self._active.add(state.key)

    def adopt(self, state: FunctionState, running: Running) -> None:
        """A replica that an earlier control plane started."""
        replica = Replica(
            id=running.id,
            function=running.function,
            revision=running.revision,
            node=running.node,
            address=running.address,
            slots=running.slots,
            phases=dict(running.phases),
            reuse_idle_seconds=running.reuse_idle_seconds,
        )
        self._enter(state, replica)
        wanted = state.count(ReplicaState.STARTING, ReplicaState.READY)
        state.decision, state.decided_at = Decision(replicas=wanted, reason="adopted"), self._unix()
        state.adopted_at = self._now()
        self._launcher.hold(state.revision, running.id, running.node)
        if running.ready:
            state.replicas[replica.id] = replica.to(ReplicaState.READY, "adopted")
            state.ready_at[replica.id] = self._now()
        else:
            self._later(replica.id, self._settings.start_timeout_seconds, lambda: self._give_up(state, replica.id))

    def add_ready(self, state: FunctionState, replica: str, launched: Launched, why: str) -> None:
        """A replica that is ready enters its function's route (with the next `publish`)."""
        starting = Replica(
            id=replica,
            function=state.key,
            revision=state.revision.id,
            node=launched.running.node,
            reuse_idle_seconds=launched.running.reuse_idle_seconds,
        )
        address, slots, phases = launched.running.address, launched.slots, launched.phases
        self._enter(state, starting.to(ReplicaState.READY, why, address=address, slots=slots, phases=phases))
        state.ready_at[replica] = self._now()

    def publish(self, state: FunctionState) -> int:
        """The version of the routes that has it; a function that was removed stays out of them."""
        if not self._is_there(state):
            return self._links().version
        return self._links().publish(state.route())

    def on_drained(self, replica_id: str) -> None:
        state = self._owners.get(replica_id)
        if state is not None and state.replicas[replica_id].state is ReplicaState.DRAINING:
            self._stop(state, state.replicas[replica_id], "drained")

    def stop_all(self, state: FunctionState, why: str) -> None:
        """The function is gone from the routes: each replica finishes what it has and ends."""
        for replica in list(state.replicas.values()):
            if replica.state is not ReplicaState.STOPPING:
                self._stop(state, replica, why)

    def reset_failures(self, state: FunctionState) -> None:
        state.failures, state.failure, state.lost_since = 0, None, None

    def try_again(self, state: FunctionState) -> None:
        """Somebody did something about a failure, or hopes so: the pause after it is over."""
        if state.failure is not None:
            self._cancel_timer(f"retry/{state.key}")
            self.reset_failures(state)
            self._retry(state)

    def _is_there(self, state: FunctionState) -> bool:
        return self.functions.get(state.key) is state

    def _reconcile_safely(self, state: FunctionState) -> None:
        """A bug that one function meets must not stop the others."""
        try:
            self.reconcile(state)
        except Exception:
            log.exception("reconcile failed", function=state.key)

    def _perform(self, state: FunctionState, action: Action) -> None:
        match action:
            case Start(count=count):
                if state.failure is None and not state.pausing:
                    for _ in range(count):
                        self._start(state)
            case Drain(replica=replica):
                self._drain(state, state.replicas[replica])
            case TakeBack(replica=replica):
                state.replicas[replica] = state.replicas[replica].to(ReplicaState.READY, "wanted again")
                self._cancel_timer(replica)
                self.publish(state)

    def _start(self, state: FunctionState) -> None:
        replica = Replica(id=new_id(), function=state.key, revision=state.revision.id, node="")
        self._enter(state, replica)
        self._spawn(self._launch(state, state.revision, replica.id))

    async def _launch(self, state: FunctionState, revision: Revision, replica: str) -> None:
        try:
            launched = await self._launcher.launch(revision, replica, pool_of(revision, self.live_revisions()))
        except PilotlightError as error:
            self._leave(state, replica)
            self._start_failed(state, revision, replica, error)
            return
        if not self._is_there(state) or state.revision.id != revision.id:
            self._leave(state, replica)
            await self._launcher.end(replica, self._settings.kill_grace_seconds)
            return
        self.add_ready(state, replica, launched, state.decision.reason)
        self.reset_failures(state)
        state.last_cold_start = ColdStart(at=self._unix(), phases=launched.phases)
        self.publish(state)
        log.info("replica ready", function=state.key, replica=replica, phases=_rounded(launched.phases))

    def _start_failed(self, state: FunctionState, revision: Revision, replica: str, error: PilotlightError) -> None:
        if error.slug != ENGINE_AWAY or state.lost_since is None:  # each further try would say the same
            log.warning("start failed", function=state.key, replica=replica, slug=error.slug, detail=error.detail)
        if state.revision.id != revision.id or not self._is_there(state):
            return
        state.last_end = LastEnd(
            at=self._unix(), replica=replica, reason=error.slug, detail=error.detail, last_lines=error.last_lines
        )
        if self._is_soon_after_the_first_loss(state, NO_FAULT_SECONDS.get(error.slug)):
            self._start_again(state, AGAIN_SECONDS.get(error.slug, 0.0))
        else:
            self._count_failure(state, error.slug, error.detail)

    def _is_soon_after_the_first_loss(self, state: FunctionState, patience_seconds: float | None) -> bool:
        """An accident of a zygote or an engine is no fault of the function's: starts are made again for a while."""
        if patience_seconds is None:
            return False
        if state.lost_since is None:
            state.lost_since = self._now()
        return self._now() - state.lost_since < patience_seconds

    def _start_again(self, state: FunctionState, pause: float) -> None:
        """Callers know nothing of it, and wait."""
        state.pausing = pause > 0
        if state.pausing:
            self._later(f"again/{state.key}", pause, lambda: self._start_again(state, 0.0))
        else:
            self.reconcile(state)

    def _count_failure(self, state: FunctionState, slug: str, detail: str) -> None:
        """The first one is tried again at once, further ones after a pause in which callers are told. Starts that were
        under way when the pause began have failed with it: one cause makes one pause."""
        pausing = state.failure is not None
        state.failures += not pausing
        pause = min(backoff_seconds(state.failures), LONGEST_PAUSE_SECONDS.get(slug, math.inf))
        if pause and not pausing:
            state.next_try_at = self._unix() + pause
            state.failure = Failure(
                slug=slug, detail=f"{detail} (failed {state.failures} times; next try in {pause:g} s)"
            )
            self._later(f"retry/{state.key}", pause, lambda: self._retry(state))
        self.publish(state)
        self.reconcile(state)

    def _retry(self, state: FunctionState) -> None:
        state.failure = None
        self.publish(state)
        self.reconcile(state)

    def _drain(self, state: FunctionState, replica: Replica) -> None:
        state.replicas[replica.id] = replica.to(ReplicaState.DRAINING, state.decision.reason)
        self.publish(state)
        self._later(
            replica.id,
            self._settings.drain_seconds,
            lambda: self._drain_is_over(state, replica.id),
        )

    def _drain_is_over(self, state: FunctionState, replica_id: str) -> None:
        replica = state.replicas.get(replica_id)
        if replica is not None and replica.state is ReplicaState.DRAINING:
            self._stop(state, replica, "drain deadline")

    def _give_up(self, state: FunctionState, replica_id: str) -> None:
        """An adopted replica never became ready."""
        replica = state.replicas.get(replica_id)
        if replica is not None and replica.state is ReplicaState.STARTING:
            self._stop(state, replica, "start deadline")

    def _stop(self, state: FunctionState, replica: Replica, why: str) -> None:
        self._cancel_timer(replica.id)
        state.replicas[replica.id] = replica.to(ReplicaState.STOPPING, why)
        self.publish(state)
        self._spawn(self._stopped(state, replica.id))

    async def _stopped(self, state: FunctionState, replica: str) -> None:
        """A replica that is told to end may still finish requests that reached it."""
        grace = 0.0 if self._is_there(state) else self._settings.drain_seconds
        await self._launcher.end(replica, max(grace, self._settings.kill_grace_seconds))
        self._leave(state, replica)
        self.publish(state)  # for the count of ends

    def on_ended(self, ended: Ended) -> None:
        state = self._owners.get(ended.id)
        if state is None:
            return
        replica = state.replicas[ended.id]
        if replica.state is ReplicaState.STOPPING:
            return
        lived = self._now() - state.ready_at.get(ended.id, self._now())
        self._leave(state, ended.id)
        log.warning("replica ended", function=state.key, replica=replica.id, reason=ended.reason, detail=ended.detail)
        state.last_end = LastEnd(
            at=self._unix(), replica=ended.id, reason=ended.reason, detail=ended.detail, last_lines=ended.last_lines
        )
        slug = ended.slug or f"replica-{ended.reason}"
        state.ended.append(ReplicaEnd(replica=ended.id, slug=slug, detail=ended.detail))
        self.publish(state)
        if not self._is_there(state):
            return
        if replica.revision == state.revision.id and lived < SOON_SECONDS and ended.reason not in ASKED_FOR:
            self._count_failure(state, slug, ended.detail)
        else:
            self.reconcile(state)

    def _became_ready_late(self, event: BecameReady) -> None:
        """A replica that was adopted while it was still starting."""
        state = self._owners.get(event.id)
        if state is None or state.replicas[event.id].state is not ReplicaState.STARTING:
            return
        self._cancel_timer(event.id)
        if state.replicas[event.id].revision != state.revision.id:
            self._stop(state, state.replicas[event.id], "of an older revision")
            return
        ready = state.replicas[event.id].to(ReplicaState.READY, "adopted", slots=event.slots, phases=dict(event.phases))
        state.replicas[event.id] = ready
        state.ready_at[event.id] = self._now()
        self.publish(state)

    def _enter(self, state: FunctionState, replica: Replica) -> None:
        """What has a replica is looked at on every tick, also when no router ever says a word about it."""
        state.replicas[replica.id] = replica
        self._owners[replica.id] = state
        self._active.add(state.key)

    def _leave(self, state: FunctionState, replica: str) -> None:
        state.replicas.pop(replica, None)
        state.ready_at.pop(replica, None)
        self._owners.pop(replica, None)
        self._launcher.forget(replica)
        self._cancel_timer(replica)
        _keep_numbers(state)

    def _later(self, key: str, seconds: float, act: Callable[[], None]) -> None:
        self._cancel_timer(key)

        def fire() -> None:
            self._timers.pop(key, None)
            act()

        self._timers[key] = asyncio.get_running_loop().call_later(seconds, fire)

    def _cancel_timer(self, key: str) -> None:
        if (timer := self._timers.pop(key, None)) is not None:
            timer.cancel()


def _keep_numbers(state: FunctionState) -> None:
    """Of what is live or still has a replica."""
    present = {replica.revision for replica in state.replicas.values()} | {state.revision.id}
    state.numbers = {revision: number for revision, number in state.numbers.items() if revision in present}


def _rounded(phases: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 2) for name, value in phases.items()}
