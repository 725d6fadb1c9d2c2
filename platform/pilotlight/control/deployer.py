"""Deploy, remove, scale: what users ask for is durable, proven and in the routers' tables before they hear "done"."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field

import msgspec
import structlog

from pilotlight.config import ControlSettings
from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.control.keeping import Keeping
from pilotlight.control.keys import KeyView, Rotated
from pilotlight.control.launcher import Launched, Launcher, failure_of, new_id, pool_of
from pilotlight.control.links import Links
from pilotlight.control.pools import Pools
from pilotlight.control.reconciler import Reconciler
from pilotlight.control.state import FunctionState, route_of
from pilotlight.control.views import Deployed, DeployMode
from pilotlight.core.errors import Conflict, FunctionNotFound, InvalidInput, KeyNotFound, PilotlightError
from pilotlight.core.replica import ReplicaState
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.providers.base import Pool
from pilotlight.store.sql import Store

log = structlog.get_logger(__name__)
MAX_SCALE = 1000


class Deployer:
    """One change of a function at a time; changes of different functions run side by side."""

    def __init__(
        self,
        *,
        store: Store,
        launcher: Launcher,
        reconciler: Reconciler,
        links: Callable[[], Links],
        pools: Pools,
        settings: ControlSettings,
        bundle_of: Callable[[FunctionSpec], Awaitable[Bundle]],
        keeping: Keeping,
        clock: Clock = SYSTEM,
    ) -> None:
        self._store = store
        self._launcher = launcher
        self._reconciler = reconciler
        self._links = links
        self._pools = pools
        self._settings = settings
        self._bundle_of = bundle_of
        self._keeping = keeping
        self._clock = clock
        self._turns: dict[FunctionKey, _Turns] = {}
        self._proving: dict[FunctionKey, FunctionSpec] = {}

    async def deploy(self, spec: FunctionSpec, mode: DeployMode) -> Deployed:
        async with self._turn(spec.key):
            self._keeping.namespaces.check(spec.namespace)
            state = self._reconciler.functions.get(spec.key)
            _check_mode(spec.key, mode, exists=state is not None)
            try:
                bundle = await self._bundle_of(spec)
            except PilotlightError as error:
                error.state = error.state or _still_serving(state)
                raise
            versions = self._keeping.secrets.versions(spec)
            if state is not None and _is_unchanged(state.revision, spec, bundle, versions):
                self._reconciler.try_again(state)  # an image that was gone may have been built again
                applied = await self._in_the_routers(state)
                return self._deployed(state, unchanged=True, created=False, phases={}, applied=applied)
            with self._noted(spec), self._awaited(spec, state):
                return await self._deploy_changed(spec, bundle, versions, state)

    async def _deploy_changed(
        self, spec: FunctionSpec, bundle: Bundle, versions: Mapping[str, str], state: FunctionState | None
    ) -> Deployed:
        revision = await self._store.add_revision(new_id(), spec, bundle, self._clock.unix(), versions)
        pool = pool_of(revision, self._reconciler.live_revisions())
        try:
            async with self._pools.proving(pool):
                proofs = await self._prove(revision, pool, state)
                await self._make_live(revision, proofs)
        except PilotlightError as error:
            await self._store.fail_revision(revision.id, error.detail)
            await self._pools.sync(self._reconciler.live_revisions())
            error.state = error.state or _still_serving(state)
            raise
        return await self._switch(revision, state, proofs)

    async def remove(self, key: FunctionKey) -> None:
        async with self._turn(key):
            state = self._known(key)
            await self._store.remove(key)
            self._keeping.keys.forget(key)
            del self._reconciler.functions[key]
            version = self._links().withdraw(key)
            await self._links().applied(version, timeout=self._settings.applied_timeout_seconds)
            self._reconciler.stop_all(state, "removed")
            await self._pools.sync(self._reconciler.live_revisions())
            log.info("removed", function=key)

    async def scale(self, key: FunctionKey, replicas: int) -> None:
        if not 0 <= replicas <= MAX_SCALE:
            raise InvalidInput(f"replicas: must be from 0 to {MAX_SCALE}, not {replicas}", field="replicas")
        async with self._turn(key):
            state = self._known(key)
            await self._store.scaled(key, replicas, self._clock.unix())
            state.scaled_to, state.scaled_at = replicas, self._clock.monotonic()
            self._reconciler.reconcile(state)
            await self._in_the_routers(state)

    async def forget_scale_call(self, key: FunctionKey) -> None:
        """It is over; one that was made meanwhile stays."""
        async with self._turn(key):
            state = self._reconciler.functions.get(key)
            if state is not None and state.scaled_to is None:
                await self._store.scaled(key, None, self._clock.unix())

    async def key(self, key: FunctionKey) -> KeyView:
        _check_takes_key(self._known(key))
        return await self._keeping.keys.get(key)

    async def rotate_key(self, key: FunctionKey, grace_seconds: float) -> Rotated:
        async with self._turn(key):
            state = self._known(key)
            _check_takes_key(state)
            view = await self._keeping.keys.rotate(key, grace_seconds)
            applied = await self._in_the_routers(state)
            return Rotated(**msgspec.structs.asdict(view), applied=applied)

    def changing(self) -> Collection[FunctionKey]:
        """Functions of which a change is under way; they may not be there yet."""
        return self._turns.keys()

    def proving(self) -> Collection[FunctionSpec]:
        """What is being deployed and not live yet."""
        return self._proving.values()

    @contextmanager
    def _noted(self, spec: FunctionSpec) -> Iterator[None]:
        self._proving[spec.key] = spec
        try:
            yield
        finally:
            del self._proving[spec.key]

    @contextmanager
    def _awaited(self, spec: FunctionSpec, state: FunctionState | None) -> Iterator[None]:
        """Calls of a function that is deployed for the first time wait for it, as they would for a cold one. Not those
        of one that wants a key: its key is not there yet."""
        waiting = state is None and spec.auth == "none"
        if waiting:
            self._links().publish(route_of(spec))
        try:
            yield
        except BaseException:
            if waiting and spec.key not in self._reconciler.functions:
                self._links().withdraw(spec.key)
            raise

    @asynccontextmanager
    async def _turn(self, key: FunctionKey) -> AsyncIterator[None]:
        turns = self._turns.setdefault(key, _Turns())
        turns.takers += 1
        try:
            async with turns.lock:
                yield
        finally:
            turns.takers -= 1
            if not turns.takers:
                del self._turns[key]

    async def _prove(self, revision: Revision, pool: Pool, state: FunctionState | None) -> dict[str, Launched]:
        """Ready replicas of the new revision, by id: one that proves it, and as many as the old one's load needs."""
        first = new_id()
        proofs = {first: await self._proof(revision, first, pool)}
        more = [new_id() for _ in range(self._handover(state, proofs[first].slots) - 1)]
        results = await asyncio.gather(
            *(self._proof(revision, replica, pool) for replica in more), return_exceptions=True
        )
        proofs |= {
            replica: result for replica, result in zip(more, results, strict=True) if isinstance(result, Launched)
        }
        return proofs

    async def _proof(self, revision: Revision, replica: str, pool: Pool) -> Launched:
        launched = await self._launcher.launch(revision, replica, pool)
        self._launcher.watch(replica)
        return launched

    def _handover(self, state: FunctionState | None, slots: int) -> int:
        """Replicas that the new revision needs at once to take over what the old one is doing."""
        level = self._links().level(state.key) if state else None
        if state is None or level is None:
            return 1
        busy = math.ceil((level.in_flight + level.waiting) / max(1, slots))
        return max(1, min(busy, state.count(ReplicaState.READY)))

    async def _make_live(self, revision: Revision, proofs: dict[str, Launched]) -> None:
        """Durable before anybody is told; if that fails, the proving replicas are of no use."""
        slots = next(iter(proofs.values())).slots
        ends = [self._launcher.ended_while_watched(replica) for replica in proofs]
        try:
            if ends[0] is not None and None not in ends:
                raise failure_of(ends[0])
            if revision.spec.auth == "key":
                await self._keeping.keys.ensure(revision.function)
            await self._store.make_live(revision, slots, self._clock.unix())
        except BaseException:
            for replica in proofs:
                self._launcher.unwatch(replica)
            await asyncio.gather(*(self._launcher.let_go(replica, 0.0) for replica in proofs))
            raise

    async def _switch(self, revision: Revision, state: FunctionState | None, proofs: dict[str, Launched]) -> Deployed:
        """New requests go to the new revision from here on; what the old one has, it finishes."""
        created = state is None
        first = next(iter(proofs.values()))
        revision = revision.with_slots(first.slots)
        if state is None:
            state = FunctionState(revision=revision, created_at=self._clock.unix())
        state.revision, state.scaled_to = revision, None
        state.key_digests = self._keeping.keys.digests(state.key)
        self._reconciler.reset_failures(state)
        self._reconciler.add(state)
        for replica, launched in proofs.items():
            self._reconciler.add_ready(state, replica, launched, "deployed")
        for ended in [self._launcher.unwatch(replica) for replica in proofs]:
            if ended is not None:
                self._reconciler.on_ended(ended)
        self._reconciler.reconcile(state)
        applied = await self._in_the_routers(state)
        await self._pools.sync(self._reconciler.live_revisions())
        log.info("deployed", function=state.key, revision=revision.number, applied=applied)
        done = self._deployed(state, unchanged=False, created=created, phases=first.phases, applied=applied)
        return msgspec.structs.replace(done, notes=first.running.notes)

    async def _in_the_routers(self, state: FunctionState) -> bool:
        version = self._reconciler.publish(state)
        return await self._links().applied(version, timeout=self._settings.applied_timeout_seconds)

    def _deployed(
        self, state: FunctionState, *, unchanged: bool, created: bool, phases: dict[str, float], applied: bool
    ) -> Deployed:
        view = state.view(self._links().seen(state.key))
        return Deployed(view=view, unchanged=unchanged, created=created, phases=phases, applied=applied)

    def _known(self, key: FunctionKey) -> FunctionState:
        state = self._reconciler.functions.get(key)
        if state is None:
            raise FunctionNotFound(f"no function {key}")
        return state


@dataclass(slots=True)
class _Turns:
    """Changes of one function, one after the other; there while somebody wants one."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    takers: int = 0


def _check_mode(key: FunctionKey, mode: DeployMode, *, exists: bool) -> None:
    if mode is DeployMode.CREATE and exists:
        raise Conflict(f"function {key} already exists")
    if mode is DeployMode.UPDATE and not exists:
        raise FunctionNotFound(f"no function {key}")


def _check_takes_key(state: FunctionState) -> None:
    if state.revision.spec.auth != "key":
        raise KeyNotFound(f"function {state.key} takes calls without a key")


def _is_unchanged(live: Revision, spec: FunctionSpec, bundle: Bundle, secrets: Mapping[str, str]) -> bool:
    """A new value of a secret is a change, too: replicas got theirs when they started."""
    return live.spec == spec and live.bundle.digest == bundle.digest and live.secrets == secrets


def _still_serving(state: FunctionState | None) -> str:
    if state is None:
        return "nothing was deployed; no revision of it serves"
    return f"nothing changed, revision {state.revision.number} keeps serving"
