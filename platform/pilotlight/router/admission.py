"""Who may go now, who waits, and for how long: one bounded queue per function, one deadline per request."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from pilotlight.core.errors import Failure
from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Level, Route
from pilotlight.router import problems
from pilotlight.router.balancer import Backend, pick
from pilotlight.router.cors import Sharing
from pilotlight.router.keys import Keys
from pilotlight.router.meter import Series
from pilotlight.router.problems import Problem
from pilotlight.router.upstream import Exchange

EXPLAIN_SECONDS = 0.3
"""What a lost call waits for a word on why its replica ended; the control plane has it within milliseconds."""

SWEEP_SECONDS = 0.05


class Expiring(Protocol):
    """What has a deadline."""

    arrived: float

    def expire(self) -> None: ...


class Call(Exchange, Expiring, Protocol):
    """What wants a slot."""

    deadline: "Deadline | None"
    """Where it stands while it is not over; set when it is admitted."""

    def dispatch(self, backend: Backend, now: float) -> None: ...
    def refuse(self, problem: Problem) -> None: ...


class Watch(Protocol):
    """Who wants to know what changes: the link, which tells the control plane."""

    def touched(self, function: "Function") -> None:
        """Its levels will change."""

    def waiting(self, function: "Function") -> None:
        """One more waits."""

    def drained(self, backend: Backend) -> None:
        """Nothing is in flight on a draining replica, and nothing more will be sent."""


class Function:
    """One function at this router: its route, its queue, its replicas, and what is in flight."""

    __slots__ = (
        "_backends", "_buffer_bytes", "_leaving", "_unexplained", "_waiting", "_watch", "deadline", "gone",
        "guarded", "idle_since", "in_flight", "keys", "last_level", "route", "series", "sharing", "started", "touched",
    )  # fmt: skip

    def __init__(self, route: Route, *, watch: Watch, deadlines: "Deadlines", buffer_bytes: int) -> None:
        self._watch = watch
        self._buffer_bytes = buffer_bytes
        self._backends: tuple[Backend, ...] = ()
        self._leaving: tuple[Backend, ...] = ()
        """Not in the route any more, and something is in flight there."""
        self._unexplained: dict[str, list[Call]] | None = None
        """Calls that were lost with a replica, while its end may still be explained."""
        self._waiting: OrderedDict[Call, None] | None = None
        self.in_flight = 0
        self.idle_since = monotonic()
        self.started = 0
        self.series: dict[int, Series] = {}
        self.touched = False
        self.gone = False
        """Whether it was removed. Another one may have its name by now, and what is said of it is said of that one."""
        self.last_level: Level | None = None
        self.apply(route, deadlines)

    @property
    def key(self) -> FunctionKey:
        return self.route.function

    @property
    def waiting(self) -> int:
        return len(self._waiting) if self._waiting else 0

    def arrive(self, call: Call, now: float) -> None:
        """Send it to a replica, let it wait, or refuse it."""
        if not self.touched:
            self._touch()
        self.started += 1
        call.deadline = deadline = self.deadline
        if not self._waiting:
            backend = pick(self._backends, now)
            if backend is not None:
                # What `_dispatch` and `deadline.add` do, without the calls: this is every warm call's way.
                if not deadline.calls:
                    deadline.wake()
                deadline.calls[call] = None
                self.in_flight += 1
                backend.in_flight += 1
                backend.used_at = now
                call.dispatch(backend, now)
                return
        if self.route.failure is not None:
            call.refuse(problems.failed(self.route.failure))
        elif self.waiting >= self.route.queue:
            call.refuse(problems.queue_full(self.route.queue))
        else:
            deadline.add(call)
            self._queue()[call] = None
            self._watch.waiting(self)

    def again(self, call: Call) -> None:
        """A call that was sent and is not answered yet: it is the next one."""
        if self.route.failure is not None and pick(self._backends, monotonic()) is None:
            call.refuse(problems.failed(self.route.failure))
            return
        waiting = self._queue()
        waiting[call] = None
        waiting.move_to_end(call, last=False)
        self._watch.waiting(self)
        self._pump()

    def busy(self, backend: Backend) -> None:
        """It refused a call, or broke the connection: it is not offered for a moment."""
        backend.rest_busy()
        self.rests(backend)

    def rests(self, backend: Backend) -> None:
        """It is not offered for a while; look at the queue again afterwards."""
        pause = max(0.0, backend.resting_until - monotonic()) + 0.001
        asyncio.get_running_loop().call_later(pause, self._pump)

    def explain(self, call: Call, replica: str, problem: Problem) -> None:
        """Refuse a call that was lost with its replica: with the reason of its end, which the control plane mostly
        knows a moment later, or else with the problem."""
        end = next((end for end in self.route.ended if end.replica == replica), None)
        if end is not None:
            call.refuse(problems.replica_ended(end))
            return
        if self._unexplained is None:
            self._unexplained = {}
        self._unexplained.setdefault(replica, []).append(call)
        asyncio.get_running_loop().call_later(EXPLAIN_SECONDS, self._explained, replica, problem)

    def finish(self, call: Call, status: int, now: float) -> None:
        """The call is over, however it ended; `status` is what its caller got."""
        if call.deadline is not None:
            call.deadline.calls.pop(call, None)
        if self._waiting:
            self._waiting.pop(call, None)
            self._note_idle()
        self._count(status, now - call.arrived)

    def turned_away(self, status: int, seconds: float) -> None:
        """A call was answered before it arrived here. It counts, and nothing starts or stays warm because of it."""
        self.started += 1
        self._count(status, seconds)
        if not self.touched:
            self._touch()

    def apply(self, route: Route, deadlines: "Deadlines") -> None:
        """A new route: queue, counts and connections stay."""
        self.route = route
        self.sharing = None if route.cors is None else Sharing(route.cors)
        digests = route.key_digests
        self.keys = None if digests is None else Keys(route.function, digests, route.key_seconds)
        self.guarded = self.sharing is not None or self.keys is not None
        self.deadline = deadlines.of(route.timeout_seconds)
        self._apply_endpoints(route)
        if self._unexplained:
            for end in route.ended:
                self._explained(end.replica, problems.replica_ended(end))
        self._pump()
        if route.failure is not None and pick(self._backends, monotonic()) is None:
            self._refuse_waiting(problems.failed(route.failure))

    def remove(self, problem: Problem) -> None:
        """The function is gone: what is in flight may finish, but is not sent a second time."""
        self.gone = True
        self.route = Route(function=self.key, failure=Failure(slug=problem.slug, detail=problem.detail))
        self._refuse_waiting(problem)
        for backend in self._backends:
            backend.close()
        self._backends = ()

    def draining(self) -> list[Backend]:
        return [backend for backend in self._backends if backend.endpoint.draining]

    def level(self, now: float) -> Level:
        waiting = self._waiting
        oldest = next(iter(waiting)).arrived if waiting else now
        idle = not waiting and self.in_flight == 0
        codes = {status: series.count for status, series in self.series.items()}
        return Level(
            function=self.key,
            waiting=len(waiting) if waiting else 0,
            waited_seconds=now - oldest,
            in_flight=self.in_flight,
            idle_seconds=now - self.idle_since if idle else 0.0,
            calls=sum(codes.values()),
            errors=sum(count for status, count in codes.items() if status >= 500),
            codes=codes,
        )

    def _touch(self) -> None:
        self.touched = True
        self._watch.touched(self)

    def _count(self, status: int, seconds: float) -> None:
        series = self.series.get(status)
        if series is None:
            series = self.series[status] = Series()
        series.observe(seconds)

    def _explained(self, replica: str, problem: Problem) -> None:
        for call in (self._unexplained or {}).pop(replica, ()):
            call.refuse(problem)

    def _dispatch(self, call: Call, backend: Backend, now: float) -> None:
        self.in_flight += 1
        backend.in_flight += 1
        backend.used_at = now
        call.dispatch(backend, now)

    def _released(self, backend: Backend, now: float) -> None:
        backend.in_flight -= 1
        self.in_flight -= 1
        if self._waiting:
            self._pump()
        elif self.in_flight == 0:
            self.idle_since = now
        if backend.in_flight == 0 and backend.slots == 0:
            self._emptied(backend)

    def _emptied(self, backend: Backend) -> None:
        if backend.closed:
            self._leaving = tuple(other for other in self._leaving if other is not backend)
        elif backend.endpoint.draining:
            self._watch.drained(backend)

    def _pump(self) -> None:
        now = monotonic()
        while self._waiting:
            backend = pick(self._backends, now)
            if backend is None:
                return
            call, _ = self._waiting.popitem(last=False)
            self._dispatch(call, backend, now)

    def _queue(self) -> "OrderedDict[Call, None]":
        if self._waiting is None:
            self._waiting = OrderedDict()
        return self._waiting

    def _refuse_waiting(self, problem: Problem) -> None:
        waiting, self._waiting = self._waiting, None
        for call in waiting or ():
            call.refuse(problem)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._waiting and self.in_flight == 0:
            self.idle_since = monotonic()

    def _apply_endpoints(self, route: Route) -> None:
        known = {backend.endpoint.replica: backend for backend in (*self._leaving, *self._backends)}
        backends = []
        for endpoint in route.endpoints:
            backend = known.get(endpoint.replica)
            if backend is None or backend.address != endpoint.address:
                backend = Backend(endpoint, on_release=self._released, buffer_bytes=self._buffer_bytes)
            else:
                del known[endpoint.replica]
                backend.update(endpoint)
            backends.append(backend)
        for backend in known.values():
            backend.slots = 0
            backend.close()
        self._leaving = tuple(backend for backend in known.values() if backend.in_flight)
        self._backends = tuple(backends)


class Deadline:
    """Calls that have the same time from their arrival, in the order in which they came and so will expire."""

    __slots__ = ("calls", "seconds", "wake")

    def __init__(self, seconds: float, wake: Callable[[], None]) -> None:
        self.seconds = seconds
        self.wake = wake
        """To be called when the first one is added."""
        self.calls: dict[Expiring, None] = {}

    def __bool__(self) -> bool:
        return bool(self.calls)

    def add(self, call: "Expiring") -> None:
        if not self.calls:
            self.wake()
        self.calls[call] = None

    def remove(self, call: "Expiring") -> None:
        self.calls.pop(call, None)

    def expired(self, now: float) -> "list[Expiring]":
        """Those whose time has passed; they stand here no more."""
        expired = []
        for call in self.calls:
            if call.arrived + self.seconds > now:
                break
            expired.append(call)
        for call in expired:
            del self.calls[call]
        return expired


class Deadlines:
    """A coarse timer for very many waits that nearly all end before their time.

    Adding and removing a call are two dictionary operations; a sweep looks at the oldest few of each duration. It
    sleeps while nothing waits."""

    def __init__(self) -> None:
        self._by_seconds: dict[float, Deadline] = {}
        self._timer: asyncio.TimerHandle | None = None

    def of(self, seconds: float) -> Deadline:
        deadline = self._by_seconds.get(seconds)
        if deadline is None:
            deadline = self._by_seconds[seconds] = Deadline(seconds, self._wake)
        return deadline

    def _wake(self) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Each that is over is told in a callback of its own: a fault in one is not to stop the clock of all others."""
        self._timer = None
        now, loop = monotonic(), asyncio.get_running_loop()
        for deadline in tuple(self._by_seconds.values()):
            for call in deadline.expired(now):
                loop.call_soon(call.expire)
        if any(self._by_seconds.values()):
            self._wake()
