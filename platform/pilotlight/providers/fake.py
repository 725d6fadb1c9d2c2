"""A provider whose replicas are entries in a dictionary: for tests, for the simulator and for trying things out.

It keeps the contract of providers/base.py as the real ones do. What it holds lies in a `FakeBackend`, so that a control
plane's crash can be played: drop the provider, open another one over the same backend, and it adopts.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pilotlight.core.errors import StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import (
    BecameReady,
    Ended,
    Event,
    Gateway,
    Launch,
    LogLine,
    Node,
    Pool,
    Running,
    Usage,
    Warm,
)

ONE_NODE = (Node(name="local", cpu_milli=4000, memory_mib=8192),)
LOG_LINES = 10_000
LOOK_SECONDS = 0.05
LoadFailure = Ended | Callable[[Launch], Ended | None] | None


@dataclass(slots=True)
class FakeReplica:
    launch: Launch
    running: Running
    stubborn: bool = False
    """Ignores a polite stop."""
    stopping: bool = False
    """It was asked to end: it takes no new request, and finishes what it has."""
    requests: int = 0
    usage: Usage = field(default_factory=lambda: Usage(cpu_seconds=0.0, memory_mib=16.0))


@dataclass(slots=True)
class FakeBackend:
    """What goes on existing when a control plane dies."""

    replicas: dict[str, FakeReplica] = field(default_factory=dict)
    pools: dict[Pool, int] = field(default_factory=dict)
    logs: dict[FunctionKey, deque[LogLine]] = field(default_factory=dict)
    untold: list[Event] = field(default_factory=list)
    """Events that happened while no provider was open."""
    attached: "FakeProvider | None" = None
    starts: int = 0
    loads: set["asyncio.Future[None]"] = field(default_factory=set)
    """What is loading; it goes on when a control plane dies."""
    spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Future[None]"] = asyncio.ensure_future

    def load(self, work: Coroutine[Any, Any, None]) -> None:
        async def loading() -> None:
            try:
                await work
            finally:
                self.loads.discard(task)

        task = self.spawn(loading())
        self.loads.add(task)

    def end(self, ended: Ended) -> None:
        """The replica is gone; told once, with its last lines."""
        found = self.replicas.pop(ended.id, None)
        if found is not None:
            lines = [line.text for line in self.logs.get(found.launch.function, ()) if line.replica == ended.id]
            self.tell(replace(ended, last_lines=ended.last_lines or tuple(lines[-10:])))

    def take(self, replica: str) -> bool:
        """A request comes; False when the replica has no room, is ending or is gone."""
        found = self.replicas.get(replica)
        if found is None or found.stopping or found.requests >= found.running.slots:
            return False
        found.requests += 1
        return True

    def give_back(self, replica: str) -> None:
        """A request is done."""
        found = self.replicas.get(replica)
        if found is not None:
            found.requests -= 1
            if found.stopping and not found.requests and not found.stubborn:
                self.end(_stopped(replica, signal=15))

    def tell(self, event: Event) -> None:
        if self.attached is None:
            self.untold.append(event)
        else:
            self.attached._events.put_nowait(event)


class FakeProvider:
    """Scripted by its arguments and by its attributes at any time later:

    fail_starts    so many starts raise StartFailed
    load_failure   replicas end with this instead of becoming ready (its id is set to theirs), or with what it says of
                   their launch
    start_delay    seconds until `start` returns; `sleep` may be a virtual clock's
    ready_delay    seconds from there to ready; None: not before `make_ready`
    gateways       how replicas of a namespace reach the router, where that is not http://127.0.0.1:8080
    """

    name = "fake"

    def __init__(
        self,
        backend: FakeBackend | None = None,
        *,
        nodes: Sequence[Node] = ONE_NODE,
        slots: int = 4,
        phases: Mapping[str, float] | None = None,
        fail_starts: int = 0,
        load_failure: LoadFailure = None,
        start_delay: float = 0.0,
        ready_delay: float | None = 0.0,
        gateways: Mapping[str, Gateway] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.backend = backend or FakeBackend()
        self.slots = slots
        self.phases = dict(phases or {"claim": 0.5, "load": 1.0, "init": 0.5, "listen": 0.1})
        self.fail_starts = fail_starts
        self.load_failure = load_failure
        self.start_delay = start_delay
        self.ready_delay = ready_delay
        self.gateways = dict(gateways or {})
        self._nodes = tuple(nodes)
        self._sleep = sleep
        self._clock = clock
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()
        self._starting: dict[str, asyncio.Task[Running]] = {}
        self._closed = False

    async def nodes(self) -> Sequence[Node]:
        return self._nodes

    async def prepare(self, pool: Pool, count: int) -> None:
        if count:
            self.backend.pools[pool] = count
        else:
            self.backend.pools.pop(pool, None)

    async def warm(self, pool: Pool) -> Warm:
        ready = self.backend.pools.get(pool, 0)
        return Warm(kind="zygote" if ready else "none", ready=ready, memory_mib=10.0 * ready)

    async def gateway(self, namespace: str, node: str) -> Gateway:
        return self.gateways.get(namespace, Gateway(url="http://127.0.0.1:8080"))

    async def start(self, launch: Launch) -> Running:
        if self._closed:
            raise StartFailed("no replica was started: the server is stopping")
        found = self.backend.replicas.get(launch.id)
        if found is not None:
            return found.running
        if launch.id not in self._starting:
            task = asyncio.get_running_loop().create_task(self._start(launch))
            self._starting[launch.id] = task
            task.add_done_callback(lambda done: self._started(launch.id, done))
        return await asyncio.shield(self._starting[launch.id])

    async def stop(self, replica: str, *, grace_seconds: float) -> None:
        if replica in self._starting:
            await asyncio.wait([self._starting[replica]])
        found = self.backend.replicas.get(replica)
        if found is None:
            return
        found.stopping = True
        if found.stubborn or found.requests:
            await self._patience(replica, grace_seconds)
            self.backend.end(_stopped(replica, signal=9))
        else:
            self.backend.end(_stopped(replica, signal=15))

    async def list(self) -> Sequence[Running]:
        return [replica.running for replica in self.backend.replicas.values()]

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def usage(self, replica: str) -> Usage | None:
        found = self.backend.replicas.get(replica)
        return None if found is None else found.usage

    async def logs(
        self, function: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        lines = self.backend.logs.setdefault(function, deque(maxlen=LOG_LINES))
        wanted = [line for line in lines if since is None or line.time >= since]
        last = lines[-1] if lines else None
        for line in wanted if tail is None else wanted[len(wanted) - min(tail, len(wanted)) :]:
            yield line
        while follow:
            await asyncio.sleep(0.01)
            for line in _after(lines, last):
                yield line
                last = line

    async def forget(self, function: FunctionKey) -> None:
        self.backend.logs.pop(function, None)

    async def open(self) -> None:
        self.backend.attached = self
        for event in self.backend.untold:
            self._events.put_nowait(event)
        self.backend.untold.clear()

    async def close(self, *, keep: bool) -> None:
        self._closed = True
        if not keep:
            for replica in list(self.backend.replicas):
                self.backend.end(_stopped(replica, signal=15))
            self.backend.pools.clear()
        self.vanish()
        self._events.put_nowait(None)

    # What happens to replicas, at a test's word.

    def vanish(self) -> None:
        """The control plane dies at this point: what was being done stops in the middle, what runs goes on."""
        for task in self._starting.values():
            task.cancel()
        self._starting.clear()
        if self.backend.attached is self:
            self.backend.attached = None

    async def make_ready(self, replica: str) -> None:
        """The replica has loaded; nothing happens when it is ready or gone."""
        found = self.backend.replicas.get(replica)
        if found is None or found.running.ready:
            return
        found.running = replace(found.running, ready=True, slots=self._slots_of(found.launch), phases=self.phases)
        self.backend.tell(BecameReady(id=replica, slots=found.running.slots, phases=self.phases))

    def crash(self, replica: str, *, signal: int = 11, detail: str = "killed by signal 11 (SIGSEGV)") -> None:
        self.end(Ended(id=replica, reason="signal", detail=detail, signal=signal))

    def exit(self, replica: str, code: int) -> None:
        self.end(Ended(id=replica, reason="exit", detail=f"exited with code {code}", exit_code=code))

    def out_of_memory(self, replica: str, *, limit_mib: int = 128) -> None:
        self.end(Ended(id=replica, reason="out-of-memory", detail=f"used more than its {limit_mib} MiB", signal=9))

    def end(self, ended: Ended) -> None:
        self.backend.end(ended)

    def say(self, replica: str, text: str, *, stream: str = "stdout", call_id: str | None = None) -> None:
        """The replica prints a line."""
        function = self.backend.replicas[replica].launch.function
        lines = self.backend.logs.setdefault(function, deque(maxlen=LOG_LINES))
        lines.append(LogLine(time=self._clock(), replica=replica, stream=stream, text=text, call_id=call_id))

    async def _start(self, launch: Launch) -> Running:
        self.backend.starts += 1
        if self.start_delay:
            await self._sleep(self.start_delay)
        if self.fail_starts > 0:
            self.fail_starts -= 1
            raise StartFailed(f"the fake provider was told to fail the start of {launch.id}")
        running = Running(
            id=launch.id,
            function=launch.function,
            revision=launch.revision,
            address=f"unix:/nowhere/{launch.id}",
            node=launch.node,
        )
        self.backend.replicas[launch.id] = FakeReplica(launch, running)
        self.backend.load(self._load(launch))
        return running

    async def _load(self, launch: Launch) -> None:
        if self.ready_delay is None:
            return
        if self.ready_delay:
            await self._sleep(self.ready_delay)
        failure = self.load_failure(launch) if callable(self.load_failure) else self.load_failure
        if failure is not None:
            self.end(replace(failure, id=launch.id))
        else:
            await self.make_ready(launch.id)

    async def _patience(self, replica: str, seconds: float) -> None:
        """Wait for it to end by itself, at most so long."""
        if self.backend.replicas[replica].stubborn:
            await self._sleep(seconds)
            return
        left = seconds
        while left > 0 and replica in self.backend.replicas:
            pause = min(left, LOOK_SECONDS)
            await self._sleep(pause)
            left -= pause

    def _started(self, replica: str, task: asyncio.Task[Running]) -> None:
        if self._starting.get(replica) is task:
            del self._starting[replica]
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not collect it

    def _slots_of(self, launch: Launch) -> int:
        return launch.concurrency or self.slots


def _stopped(replica: str, *, signal: int) -> Ended:
    return Ended(id=replica, reason="stopped", detail=f"stopped with signal {signal}", signal=signal)


def _after(lines: deque[LogLine], last: LogLine | None) -> list[LogLine]:
    """Those that came after `last`; all of them when it fell out of the buffer."""
    newer: list[LogLine] = []
    for line in reversed(lines):
        if line is last:
            break
        newer.append(line)
    return newer[::-1]
