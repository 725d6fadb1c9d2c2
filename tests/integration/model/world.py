"""A whole server in one thread: the real control plane, the real tables, queues and link of two routers, and replicas
that are entries in a dictionary. What a request may be told is written here as what is true in the world at that time.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotlight.builder.base import Choices, Progress
from pilotlight.config import ControlSettings, Settings
from pilotlight.control.clock import Clock
from pilotlight.control.plane import ControlPlane
from pilotlight.core.errors import PilotlightError
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionKey, FunctionSpec, Scaling, function_key
from pilotlight.link.messages import Snapshot
from pilotlight.providers.base import Ended, Launch
from pilotlight.providers.fake import FakeBackend, FakeProvider
from pilotlight.router.admission import Deadline, Function
from pilotlight.router.balancer import Backend
from pilotlight.router.levels import LevelReporter
from pilotlight.router.link_client import LinkClient
from pilotlight.router.problems import Problem, no_routes, replica_died, replica_unreachable, timed_out
from pilotlight.router.table import Table
from pilotlight.router.upstream import Connection
from pilotlight_runtime.http1 import ResponseHead
from tests.integration.model.clock import Process, VirtualLoop
from tests.integration.model.store import MemoryStore

NAMES = ("a", "b", "c")
KEYS = tuple(function_key(name) for name in NAMES)
ROUTERS = ("r1", "r2")
IDLE_SECONDS = 20.0
TIMEOUT_SECONDS = 30.0
LONGEST_CALL_SECONDS = 25.0
CONTROL = ControlSettings(drain_seconds=30.0, kill_grace_seconds=10.0, start_timeout_seconds=60.0)
UNIX_EPOCH = 1.7e9
FAILING_SECONDS = 130.0
"""After a failed start the function may be told as failing for so long: twice the longest pause."""
HOP_SECONDS = 0.0005


class Bundles:
    """Every digest is a bundle."""

    async def build(
        self, *, name: str, template: str, tar: Path, choices: Choices, progress: Callable[[Progress], None]
    ) -> Bundle:
        raise NotImplementedError

    def bundle(self, digest: str) -> Bundle:
        return Bundle(digest=digest, environment="e" * 64, template="python3-http", contract="http")

    async def sweep(self) -> None:
        return None


class ModelBackend(FakeBackend):
    """Tells the world when a replica is gone."""

    on_end: Callable[[Ended], None]

    def end(self, ended: Ended) -> None:
        known = ended.id in self.replicas
        super().end(ended)
        if known:
            self.on_end(ended)


@dataclass(eq=False)
class Call:
    """One request; follows router/call.py without the bytes (admission.Call)."""

    world: "World"
    router: "Router"
    key: FunctionKey
    once: bool
    service: float
    arrived: float
    floor: int
    deadline: Deadline | None = None
    status: int = 0
    over: bool = False
    problem: Problem | None = None
    history: list[str] = field(default_factory=list)
    runs: int = 0
    shaky: bool = False
    """Its router was not in step with the control plane at some time of its life."""
    down: list[bytes] = field(default_factory=list)
    to_head: bool = False
    function: Function | None = None
    backend: Backend | None = None
    sent: bool = False
    unreached: list[str] = field(default_factory=list)

    def start(self) -> None:
        if self.router.table.ready:
            self.look_up()
        else:
            self.router.table.hold(self)

    def look_up(self) -> None:
        self.function = self.router.table.find(self.key.encode())
        if self.function is None:
            self.refuse(self.router.table.not_found(self.key.encode()))
        else:
            self.function.arrive(self, self.arrived)

    def dispatch(self, backend: Backend, now: float) -> None:
        self.backend = backend
        self.history.append(f"{now:.4f} to {backend.endpoint.replica}")
        self.world.send(self, backend)

    def refuse(self, problem: Problem) -> None:
        if not self.over:
            self.problem = problem
            self.answer(problem.status)

    def expire(self) -> None:
        if self.function is None:
            self.refuse(no_routes(self.router.table.hold_seconds))
        else:
            self.refuse(timed_out(TIMEOUT_SECONDS, waiting=not self.sent))

    def answer(self, status: int) -> None:
        assert not self.over, f"answered twice: {self}"
        self.status, self.over = status, True
        if self.function is None:
            self.router.table.leave(self)
        else:
            self.function.finish(self, status, self.world.now)
        self.world.answered(self)

    def unreachable(self, why: str) -> None:
        if self.over:
            return
        self.unreached.append(why)
        assert self.function is not None
        assert self.backend is not None
        if len(self.unreached) > 1:
            self.refuse(replica_unreachable(why))
        else:
            self.function.rests(self.backend)
            self.function.again(self)

    def busy(self) -> None:
        assert self.function is not None
        self.function.again(self)

    def lost(self, why: str) -> None:
        """The replica died under it."""
        assert self.function is not None
        assert self.backend is not None
        self.sent = False
        self.function.busy(self.backend)
        if self.once or self.runs > 1:
            self.refuse(replica_died(why))
        else:
            self.function.again(self)

    def __str__(self) -> str:
        kind = "POST" if self.once else "GET"
        slug = self.problem.slug if self.problem else ""
        return f"{kind} {self.key} at {self.arrived:.4f} by {self.router.name}: {self.status} {slug} {self.history}"

    # The wire, which there is none of here.

    def attach(self, connection: Connection) -> None: ...
    def connect_failed(self, error: OSError) -> None: ...
    def on_response(self, head: ResponseHead) -> None: ...
    def on_interim(self, head: ResponseHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def flush_down(self) -> None: ...
    def on_lost(self, sentence: str) -> None: ...
    def pause_up(self) -> None: ...
    def resume_up(self) -> None: ...


@dataclass(eq=False)
class Exchange:
    """A call inside a replica."""

    call: Call
    backend: Backend
    since: float
    timer: asyncio.TimerHandle | None = None


class _Table(Table):
    """Tells when it got a snapshot: from then on it knows what was acknowledged."""

    on_snapshot: Callable[[], None]

    def replace(self, snapshot: Snapshot) -> None:
        super().replace(snapshot)
        self.on_snapshot()


class Router:
    """One run of a router process."""

    def __init__(self, world: "World", name: str) -> None:
        self.name = name
        self.process = Process(name, world.loop)
        self.floors: dict[FunctionKey, int] = {}
        """The oldest deploy that a new call may reach."""
        self.calls: set[Call] = set()
        self._world = world
        self.process.call(self._build)
        self.process.spawn(self.client.run())

    def _build(self) -> None:
        self.reporter = LevelReporter()
        self.table = _Table(watch=self.reporter, hold_seconds=10.0, buffer_bytes=1)
        self.table.on_snapshot = lambda: self.floors.update(self._world.acknowledged)
        self.client = LinkClient(self._world.settings.link_socket, table=self.table, reporter=self.reporter)

    def in_step(self) -> bool:
        """Connected on both ends, and not behind."""
        plane = self._world.plane
        if plane is None or not self.process.alive or not self.client.up:
            return False
        known = [router for router in plane._links._routers.values() if router.name.endswith(self.client.epoch)]
        return bool(known) and self.table.version == plane._links._version


class World:
    """Everything, and what must hold of it."""

    def __init__(self, folder: Path) -> None:
        self.loop = VirtualLoop()
        self.settings = Settings(data_dir=folder, control=CONTROL)
        self.store = MemoryStore(seconds=0.002)
        self.backend = ModelBackend()
        self.backend.on_end = self._replica_ended
        self._own = Process("world", self.loop)
        self.backend.spawn = self._own.spawn
        self.plane: ControlPlane | None = None
        self.plane_process: Process | None = None
        self.stopping = False
        self.provider: FakeProvider | None = None
        self.routers: dict[str, Router] = {}
        self.graveyard: list[Process] = [self._own]
        self.backlog: list[Callable[[Router], None]] = []
        self.calls: list[Call] = []
        self.pending: set[Call] = set()
        self.exchanges: dict[str, list[Exchange]] = {}
        self.ended: dict[str, Ended] = {}
        self.versions = 0
        self.acknowledged: dict[FunctionKey, int] = {}
        """The last deploy or removal that was answered with success."""
        self.expected: dict[FunctionKey, set[int | None]] = {key: {None} for key in KEYS}
        """Deploys that may be live now; None: there is no such function."""
        self.operations: dict[FunctionKey, asyncio.Task[None]] = {}
        self.absent_at: dict[FunctionKey, float] = dict.fromkeys(KEYS, 0.0)
        """When the function was last, perhaps, not there."""
        self.trouble_at: dict[FunctionKey, float] = dict.fromkeys(KEYS, -1e9)
        """When a start last failed, or a replica crashed."""
        self.links_at = 0.0
        """When a router last came, went, or lost its link."""
        self.broken: set[FunctionKey] = set()
        self.fail_starts = 0
        self.start_delay = 0.005
        self.ready_delay = 0.02
        self.answers: Counter[int] = Counter()
        self.faults: list[str] = []

    @property
    def now(self) -> float:
        return self.loop.time()

    # Processes.

    def start_plane(self) -> None:
        if self.plane_process is None:
            self.stopping = False
            process = self.plane_process = Process("control plane", self.loop)
            self.main = process.spawn(self._run_plane())
            self.links_at = self.now

    def start_plane_in(self, seconds: float) -> None:
        """As a supervisor does."""
        self.loop.call_later(seconds, self.start_plane, context=self._own.context())

    async def _run_plane(self) -> None:
        self.provider = provider = FakeProvider(
            self.backend,
            slots=2,
            fail_starts=self.fail_starts,
            load_failure=self._load_failure,
            start_delay=self.start_delay,
            ready_delay=self.ready_delay,
        )
        clock = Clock(monotonic=self.loop.time, unix=lambda: UNIX_EPOCH + self.loop.time())
        plane = ControlPlane(
            settings=self.settings, store=self.store, provider=provider, builder=Bundles(), clock=clock
        )
        try:
            async with plane.running():
                self.plane = plane
                await plane.crashed.wait()
                self.faults.append("a loop of the control plane has ended")
        finally:
            self.plane = None
            await provider.close(keep=True)

    def kill_plane(self) -> None:
        process, self.plane_process, self.plane = self.plane_process, None, None
        if process is not None:
            process.kill()
            self.graveyard.append(process)
            self._detach()

    def stop_plane(self) -> None:
        """In order: SIGTERM with `--keep`."""
        if self.plane_process is not None:
            self.stopping = True
            self.main.cancel()
            self.until(self.main.done, seconds=1)
            self.kill_plane()

    def _detach(self) -> None:
        self.links_at = self.now
        if self.provider is not None:
            self.provider.vanish()
        for key in self.operations:
            self._note_absence(key)
        self.operations.clear()

    def start_router(self, name: str) -> None:
        if name not in self.routers:
            router = self.routers[name] = Router(self, name)
            self.links_at = self.now
            backlog, self.backlog = self.backlog, []
            for arrive in backlog:
                arrive(router)

    def kill_router(self, name: str) -> None:
        router = self.routers.pop(name, None)
        if router is None:
            return
        self.links_at = self.now
        router.process.kill()
        self.graveyard.append(router.process)
        for call in [call for call in self.pending if call.router is router]:
            call.status, call.over = 599, True
            self.answered(call)

    def cut_link(self, name: str) -> None:
        if name in self.routers:
            self.links_at = self.now
            for transport in list(self.routers[name].process.transports):
                transport.abort()

    def stall_link(self, name: str, seconds: float) -> None:
        if name in self.routers:
            self.links_at = self.now + seconds
            for transport in list(self.routers[name].process.transports):
                transport.stall(seconds)

    # What users do.

    def call(self, key: FunctionKey, router: str, *, once: bool, service: float) -> None:
        def arrive(there: Router) -> None:
            call = Call(self, there, key, once, service, self.now, there.floors.get(key, 0))
            self.calls.append(call)
            self.pending.add(call)
            self.loop.call_soon(call.start, context=there.process.context())

        if router in self.routers:
            arrive(self.routers[router])
        elif self.routers:
            arrive(next(iter(self.routers.values())))
        else:
            self.backlog.append(arrive)  # in the listening socket, which the supervisor owns

    def deploy(self, key: FunctionKey, *, good: bool, scale: Scaling, slots: int, queue: int) -> None:
        self.versions += 1
        version = self.versions
        name = key.partition(".")[0]
        spec = FunctionSpec(
            name=name,
            image=f"bundle/{name}@sha256:{version:064x}",
            environment={"VERSION": str(version), "GOOD": str(good)},
            concurrency=slots,
            queue=queue,
            timeout_seconds=TIMEOUT_SECONDS,
            scale=scale,
        )
        self._operate(key, self._deploy(key, spec, version, good=good), may_become=version)

    async def _deploy(self, key: FunctionKey, spec: FunctionSpec, version: int, *, good: bool) -> None:
        assert self.plane is not None
        before = set(self.expected[key]) - {version}
        try:
            deployed = await self.plane.deploy(spec)
        except PilotlightError as error:
            excused = not good or self.stopping or self._troubled(key)
            self._check(excused, f"the deploy {version} of {key} failed: {error.detail}")
            self.expected[key] = before
            return
        self._check(good, f"a broken revision of {key} was deployed")
        self._check(self._live(key) == version, f"deploy {version} of {key} was acknowledged and is not stored")
        self.expected[key] = {version}
        self.acknowledged[key] = version
        if deployed.applied:
            self._raise_floors(key, version)

    def deploy_again(self, key: FunctionKey) -> None:
        """What a client does that did not hear the answer."""
        live = self.store.live().get(key)
        if live is not None and self.plane is not None:
            version = int(live.spec.environment["VERSION"])
            self._operate(key, self._deploy(key, live.spec, version, good=True), may_become=version)

    def remove(self, key: FunctionKey) -> None:
        self.versions += 1
        self._operate(key, self._remove(key, self.versions), may_become=None)

    async def _remove(self, key: FunctionKey, version: int) -> None:
        assert self.plane is not None
        steady = all(router.in_step() for router in self.routers.values())
        began = self.now
        try:
            await self.plane.remove(key)
        except PilotlightError as error:
            self._check(error.status == 404 and None in self.expected[key], f"remove of {key}: {error.detail}")
            return
        self.expected[key] = {None}
        self.acknowledged[key] = version
        if steady and self.links_at < began:
            self._raise_floors(key, version)

    def scale(self, key: FunctionKey, replicas: int) -> None:
        self._operate(key, self._scale(key, replicas), may_become=0)

    async def _scale(self, key: FunctionKey, replicas: int) -> None:
        assert self.plane is not None
        self.expected[key] -= {0}
        try:
            await self.plane.scale(key, replicas)
        except PilotlightError as error:
            self._check(error.status == 404 and None in self.expected[key], f"scale of {key}: {error.detail}")

    def _operate(self, key: FunctionKey, work: Coroutine[Any, Any, None], *, may_become: int | None) -> None:
        """One at a time for each function; what is cut off by a crash may have happened or not."""
        running = self.operations.get(key)
        if self.plane is None or self.plane_process is None or (running is not None and not running.done()):
            work.close()
            return
        if may_become != 0:
            self.expected[key] = self.expected[key] | {may_become}
        self._note_absence(key)
        task = self.operations[key] = self.plane_process.spawn(work)
        task.add_done_callback(lambda done: self._operated(key, done))

    def _operated(self, key: FunctionKey, task: "asyncio.Task[None]") -> None:
        self._note_absence(key)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.faults.append(f"an operation on {key} raised {error!r}")

    def _raise_floors(self, key: FunctionKey, version: int) -> None:
        for router in self.routers.values():
            if router.in_step():
                router.floors[key] = max(version, router.floors.get(key, 0))

    def _live(self, key: FunctionKey) -> int | None:
        live = self.store.live().get(key)
        return None if live is None else int(live.spec.environment["VERSION"])

    def _note_absence(self, key: FunctionKey) -> None:
        if None in self.expected[key]:
            self.absent_at[key] = self.now

    def _troubled(self, key: FunctionKey) -> bool:
        return key in self.broken or self.now - self.trouble_at[key] < FAILING_SECONDS

    # Replicas.

    def crash(self, index: int) -> None:
        if self.backend.replicas:
            replica = list(self.backend.replicas)[index % len(self.backend.replicas)]
            self.trouble_at[self.backend.replicas[replica].launch.function] = self.now
            ended = Ended(id=replica, reason="signal", detail="killed by signal 11", signal=11)
            self.loop.call_soon(self.backend.end, ended, context=self._own.context())

    def set_fail_starts(self, count: int) -> None:
        self.fail_starts = count
        if count:
            self.trouble_at = dict.fromkeys(KEYS, self.now)
        if self.provider is not None:
            self.provider.fail_starts = count

    def break_function(self, key: FunctionKey) -> None:
        """Its live revision, which was good, does not start any more."""
        self.broken.add(key)
        self.trouble_at[key] = self.now

    def mend_function(self, key: FunctionKey) -> None:
        if key in self.broken:
            self.broken.discard(key)
            self.trouble_at[key] = self.now

    def set_ready_delay(self, seconds: float) -> None:
        self.ready_delay = seconds
        if self.provider is not None:
            self.provider.ready_delay = seconds

    def _load_failure(self, launch: Launch) -> Ended | None:
        bad = launch.variables["GOOD"] != "True" or launch.function in self.broken
        if not bad:
            return None
        if launch.function in self.broken:
            self.trouble_at[launch.function] = self.now
        return Ended(id=launch.id, reason="load-failed", detail="init raised KeyError", slug="init-failed")

    def send(self, call: Call, backend: Backend) -> None:
        self.loop.call_later(HOP_SECONDS, self._arrive, call, backend, context=self._own.context())

    def _arrive(self, call: Call, backend: Backend) -> None:
        if not call.router.process.alive:
            return
        name = backend.endpoint.replica
        replica = self.backend.replicas.get(name)
        inside = self.exchanges.get(name, [])
        if call.over:
            call.router.process.call(backend.on_release, backend, self.now)
        elif replica is None or replica.stopping or not replica.running.ready:
            why = self.ended[name].reason if name in self.ended else "stopping"
            call.router.process.call(self._unreachable, call, backend, why)
        elif not self.backend.take(name):
            oldest = min(exchange.since for exchange in inside)
            self._check(
                self.links_at >= oldest - 1.0
                or any(not e.call.router.process.alive for e in inside)
                or call.shaky
                or replica.running.slots < len(self.routers),
                lambda: f"{name} was given more than its {replica.running.slots} slots by {call}",
            )
            call.router.process.call(self._busy, call, backend)
        else:
            self._check(
                int(replica.launch.variables["VERSION"]) >= call.floor,
                lambda: f"deploy {call.floor} of {call.key} was applied, then {call} reached an older revision",
            )
            call.runs += 1
            call.sent = True
            self._check(call.runs <= (1 if call.once else 2), lambda: f"{call} was run {call.runs} times")
            exchange = Exchange(call, backend, self.now)
            exchange.timer = self.loop.call_later(call.service, self._done, name, exchange, context=self._own.context())
            self.exchanges.setdefault(name, []).append(exchange)

    def _unreachable(self, call: Call, backend: Backend, why: str) -> None:
        backend.refused()
        backend.on_release(backend, self.now)
        call.unreachable(why)

    def _busy(self, call: Call, backend: Backend) -> None:
        assert call.function is not None
        call.function.busy(backend)
        backend.on_release(backend, self.now)
        call.busy()

    def _done(self, name: str, exchange: Exchange) -> None:
        self.exchanges[name].remove(exchange)
        if not self.exchanges[name]:
            del self.exchanges[name]
        self.backend.give_back(name)
        call = exchange.call
        if call.router.process.alive:
            call.router.process.call(exchange.backend.on_release, exchange.backend, self.now)
            if not call.over:
                call.router.process.call(call.answer, 200)

    def _replica_ended(self, ended: Ended) -> None:
        self.ended[ended.id] = ended
        for exchange in self.exchanges.pop(ended.id, []):
            assert exchange.timer is not None
            exchange.timer.cancel()
            call = exchange.call
            if not call.router.process.alive:
                continue
            if not call.over:
                self._check(
                    ended.reason != "stopped" or call.shaky or self.links_at >= exchange.since,
                    f"{ended.id} was stopped with {call} inside, for {self.now - exchange.since:.3f} s",
                )
                call.router.process.call(call.lost, ended.reason)
            call.router.process.call(exchange.backend.on_release, exchange.backend, self.now)

    # What must hold.

    def answered(self, call: Call) -> None:
        self.pending.discard(call)
        self.answers[call.status] += 1
        waited = self.now - call.arrived
        shaky = call.shaky or self.links_at >= call.arrived - 1.0
        match call.status:
            case 200 | 599:
                return
            case 404:
                fine = self.absent_at[call.key] >= call.arrived or None in self.expected[call.key] or shaky
            case 429:
                assert call.function is not None
                fine = call.function.waiting >= call.function.route.queue
            case 502:
                fine = shaky or all(why != "stopped" and why != "stopping" for why in call.unreached)
            case 503:
                fine = (call.function is None and waited >= 10) or self._troubled(call.key) or shaky
            case 504:
                fine = waited >= TIMEOUT_SECONDS - 1e-6
            case _:
                fine = False
        self._check(fine, lambda: f"after {waited:.3f} s, not to be explained: {call}")

    def check(self) -> None:
        """At every step."""
        for key in KEYS:
            if None in self.expected[key]:
                self.absent_at[key] = self.now
        for call in self.pending:
            if not call.router.in_step():
                call.shaky = True
        for name, inside in self.exchanges.items():
            slots = self.backend.replicas[name].running.slots
            self._check(len(inside) <= slots, f"{len(inside)} requests in the {slots} slots of {name}")
        self._check_grants()
        self._check_live()
        assert not self.faults, "\n".join(self.faults)

    def _check_grants(self) -> None:
        granted: Counter[str] = Counter()
        for router in self.routers.values():
            if router.in_step():
                granted.update({e.replica: e.slots for function in router.table for e in function.route.endpoints})
        for name, slots in granted.items():
            if name in self.backend.replicas:
                limit = self.backend.replicas[name].running.slots
                self._check(
                    slots <= max(limit, len(self.routers)), f"{slots} slots of {name} are granted, it has {limit}"
                )

    def _check_live(self) -> None:
        for key in KEYS:
            live = self._live(key)
            self._check(live in self.expected[key], f"{key}: {live} is stored, not one of {self.expected[key]}")

    def _check(self, holds: bool, sentence: str | Callable[[], str]) -> None:
        if not holds:
            self.faults.append(sentence if isinstance(sentence, str) else sentence())

    # The end of a history.

    def until(self, condition: Callable[[], bool], *, seconds: float) -> None:
        end = self.now + seconds
        while not condition():
            assert self.now < end, "this takes too long"
            self.loop.advance(0.05)

    def heal(self) -> None:
        """No more trouble, and everything runs."""
        self.set_fail_starts(0)
        self.set_ready_delay(0.02)
        for key in KEYS:
            self.mend_function(key)
        self.start_plane()
        for name in ROUTERS:
            self.start_router(name)

    def settle(self) -> None:
        """Quiet time: every call is answered, whoever calls now is served, and what idles goes to its minimum."""
        self.heal()
        self.loop.advance(FAILING_SECONDS)
        self.check()
        assert self.plane is not None, "the control plane does not come up"
        assert not self.pending, "\n".join(f"never answered: {call}" for call in self.pending)
        assert not self.backlog
        assert all(router.in_step() for router in self.routers.values())
        self._probe()
        self.loop.advance(IDLE_SECONDS + CONTROL.drain_seconds + 2 * CONTROL.kill_grace_seconds + 65.0)
        self.check()
        self._check_converged(self.plane)

    def _probe(self) -> None:
        """Each function that is there answers, by each router."""
        before = len(self.calls)
        for key in self.store.live():
            for router in self.routers:
                self.call(key, router, once=True, service=0.01)
        self.loop.advance(5.0)
        self.check()
        for call in self.calls[before:]:
            assert call.status == 200, f"in quiet times: {call}"

    def _check_converged(self, plane: ControlPlane) -> None:
        reconciler, links = plane._reconciler, plane._links
        live = self.store.live()
        assert reconciler.functions.keys() == live.keys() == links._routes.keys()
        running = Counter(replica.launch.function for replica in self.backend.replicas.values())
        for key, state in reconciler.functions.items():
            assert state.revision.id == live[key].id
            wanted = state.revision.spec.scale.min
            assert running[key] == wanted == len(state.replicas), f"{key}: {running[key]} run, {state.decision}"
            assert {r.launch.revision for r in self.backend.replicas.values() if r.launch.function == key} <= {
                state.revision.id
            }
        assert self.backend.replicas.keys() == reconciler._owners.keys()
        self._check_nothing_leaks(plane)

    def _check_nothing_leaks(self, plane: ControlPlane) -> None:
        reconciler, launcher = plane._reconciler, plane._launcher
        alive = self.backend.replicas.keys()
        assert reconciler._timers == {}
        assert plane._links._drains == {}
        assert plane._links._since.keys() <= reconciler.functions.keys()
        assert plane._counts._counts.keys() <= reconciler.functions.keys()
        assert reconciler._active <= reconciler.functions.keys()
        assert not any((launcher._waiting, launcher._watched, launcher._ended_since))
        assert {replica for held in launcher._demands.values() for replica in held} == alive
        assert plane._deployer._turns == {}
        assert self.exchanges == {}
        assert not self.backend.loads
        for state in reconciler.functions.values():
            assert state.ready_at.keys() == state.replicas.keys()
            assert set(state.numbers) == {state.revision.id}
        for router in self.routers.values():
            assert {function.key for function in router.table} == reconciler.functions.keys()
            assert not any(router.table.deadlines._by_seconds.values())
            for function in router.table:
                assert (function.waiting, function.in_flight, function._leaving) == (0, 0, ())
            assert len(router.process.tasks()) == 1, router.process.tasks()
        assert self.plane_process is not None
        loops = {"run", "follow_events", "_for_ever", "_run_plane", "_serve", "_collect_later", "_stop_left", "wait"}
        loops.add("keep")
        names = Counter(getattr(task.get_coro(), "__name__", "?") for task in self.plane_process.tasks())
        assert names.keys() <= loops, names
        assert sum(names.values()) <= 6 + len(self.routers), names

    def close(self) -> None:
        for process in [*self.graveyard, self.plane_process, *(r.process for r in self.routers.values())]:
            if process is not None:
                process.bury()
        self.loop.close()
