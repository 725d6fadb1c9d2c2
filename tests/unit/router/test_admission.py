"""Queues, deadlines and levels of one function, without sockets."""

import asyncio
from time import monotonic

import pytest

from pilotlight.core.errors import Failure
from pilotlight.core.spec import function_key
from pilotlight.link.messages import Endpoint, Route
from pilotlight.router.admission import SWEEP_SECONDS, Deadline, Deadlines, Function
from pilotlight.router.balancer import Backend
from pilotlight.router.problems import Problem, queue_full
from pilotlight.router.upstream import Connection
from pilotlight_runtime.http1 import ResponseHead

F = function_key("f")


class Told:
    """Who hears what the link would hear (admission.Watch)."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def touched(self, function: Function) -> None:
        self.heard.append("touched")

    def waiting(self, function: Function) -> None:
        self.heard.append(f"waiting {function.waiting}")

    def drained(self, backend: Backend) -> None:
        self.heard.append(f"drained {backend.endpoint.replica}")


class Call:
    """A call that only writes down what became of it (admission.Call)."""

    deadline: Deadline | None
    down: list[bytes]
    to_head = once = over = False

    def __init__(self, *, arrived: float | None = None) -> None:
        self.arrived = monotonic() if arrived is None else arrived
        self.backend: Backend | None = None
        self.problem: Problem | None = None
        self.expired = False

    def dispatch(self, backend: Backend, now: float) -> None:
        self.backend = backend

    def refuse(self, problem: Problem) -> None:
        self.problem = problem

    def expire(self) -> None:
        self.expired = True

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


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def function(told: Told) -> Function:
    return Function(route(), watch=told, deadlines=Deadlines(), buffer_bytes=1)


def route(*endpoints: Endpoint, queue: int = 2, failure: Failure | None = None, timeout_seconds: float = 60.0) -> Route:
    return Route(function=F, endpoints=endpoints, queue=queue, failure=failure, timeout_seconds=timeout_seconds)


def endpoint(name: str = "a", *, slots: int = 1, draining: bool = False) -> Endpoint:
    return Endpoint(replica=name, address=f"unix:/{name}", slots=slots, draining=draining)


def arrive(function: Function, count: int) -> list[Call]:
    calls = [Call() for _ in range(count)]
    for call in calls:
        function.arrive(call, call.arrived)
    return calls


async def test_who_finds_a_slot_goes_and_who_finds_none_waits(function: Function) -> None:
    function.apply(route(endpoint()), Deadlines())
    first, second = arrive(function, 2)
    assert first.backend is not None
    assert (second.backend, function.waiting, function.in_flight) == (None, 1, 1)


async def test_a_slot_that_becomes_free_goes_to_the_first_in_the_queue(function: Function) -> None:
    function.apply(route(endpoint()), Deadlines())
    first, second, third = arrive(function, 3)
    assert first.backend is not None
    first.backend.on_release(first.backend, monotonic())
    assert second.backend is first.backend
    assert third.backend is None


async def test_who_finds_the_queue_full_is_refused(function: Function) -> None:
    *_, last = arrive(function, 3)
    assert last.problem == queue_full(2)


async def test_a_new_replica_takes_as_many_as_it_has_slots(function: Function) -> None:
    calls = arrive(function, 2)
    function.apply(route(endpoint(slots=1)), Deadlines())
    assert [call.backend is not None for call in calls] == [True, False]


async def test_a_call_that_comes_back_is_the_next_one(function: Function) -> None:
    function.apply(route(endpoint()), Deadlines())
    first, second = arrive(function, 2)
    assert first.backend is not None
    backend, first.backend = first.backend, None
    function.busy(backend)
    backend.on_release(backend, monotonic())
    function.again(first)
    assert (first.backend, second.backend) == (None, None)
    await asyncio.sleep(0.05)
    assert first.backend is backend
    assert second.backend is None


async def test_a_failure_refuses_those_who_wait_and_those_who_come(function: Function) -> None:
    waiting = arrive(function, 1)[0]
    function.apply(route(failure=Failure(slug="broken", detail="It is.")), Deadlines())
    coming = arrive(function, 1)[0]
    assert [call.problem.slug for call in (waiting, coming) if call.problem] == ["broken", "broken"]


async def test_a_replica_that_leaves_and_returns_keeps_its_count(function: Function) -> None:
    function.apply(route(endpoint(slots=2)), Deadlines())
    arrive(function, 1)
    function.apply(route(), Deadlines())
    function.apply(route(endpoint(slots=2)), Deadlines())
    calls = arrive(function, 2)
    assert [call.backend is not None for call in calls] == [True, False]


async def test_drained_is_said_when_the_last_slot_is_free(function: Function, told: Told) -> None:
    function.apply(route(endpoint()), Deadlines())
    call = arrive(function, 1)[0]
    function.apply(route(endpoint(draining=True)), Deadlines())
    assert "drained a" not in told.heard
    assert call.backend is not None
    call.backend.on_release(call.backend, monotonic())
    assert told.heard[-1] == "drained a"


async def test_a_removed_function_repeats_nothing(function: Function) -> None:
    function.apply(route(endpoint()), Deadlines())
    call = arrive(function, 1)[0]
    function.remove(queue_full(0))
    function.again(call)
    assert call.problem is not None


async def test_everybody_who_waits_is_told_of(function: Function, told: Told) -> None:
    arrive(function, 2)
    assert told.heard == ["touched", "waiting 1", "waiting 2"]


async def test_levels_say_how_long_the_oldest_waits(function: Function) -> None:
    arrive(function, 1)
    level = function.level(monotonic() + 5)
    assert (level.waiting, level.in_flight, level.idle_seconds) == (1, 0, 0.0)
    assert 5 <= level.waited_seconds < 6


async def test_levels_say_since_when_it_idles(function: Function) -> None:
    function.apply(route(endpoint()), Deadlines())
    call = arrive(function, 1)[0]
    assert call.backend is not None
    call.backend.on_release(call.backend, monotonic())
    function.finish(call, 500, monotonic())
    level = function.level(monotonic() + 5)
    assert (level.calls, level.errors) == (1, 1)
    assert 5 <= level.idle_seconds < 6


def test_deadlines_expire_in_order_and_once() -> None:
    deadline = Deadline(10.0, lambda: None)
    calls = [Call(arrived=float(second)) for second in range(5)]
    for call in calls:
        deadline.add(call)
    deadline.remove(calls[0])
    assert deadline.expired(12.0) == calls[1:3]
    assert deadline.expired(12.0) == []


async def test_the_sweep_wakes_up_for_whoever_waits() -> None:
    deadlines = Deadlines()
    short, long = Call(), Call()
    deadlines.of(0.01).add(short)
    deadlines.of(60.0).add(long)
    await asyncio.sleep(SWEEP_SECONDS * 2.5)
    assert (short.expired, long.expired) == (True, False)
    deadlines.of(60.0).remove(long)


async def test_a_call_is_left_alone_once_it_is_over(function: Function) -> None:
    deadlines = Deadlines()
    function.apply(route(timeout_seconds=0.01), deadlines)
    call = arrive(function, 1)[0]
    function.finish(call, 200, monotonic())
    await asyncio.sleep(SWEEP_SECONDS * 2)
    assert (call.expired, function.waiting) == (False, 0)


class Faulty(Call):
    def expire(self) -> None:
        raise ValueError("a fault of ours")


async def test_a_fault_in_the_end_of_one_call_leaves_the_others_their_deadlines() -> None:
    faults: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    deadlines = Deadlines()
    faulty, with_it, later = Faulty(), Call(), Call()
    deadlines.of(0.0).add(faulty)
    deadlines.of(0.0).add(with_it)
    deadlines.of(2 * SWEEP_SECONDS).add(later)
    async with asyncio.timeout(5):
        while not later.expired:
            await asyncio.sleep(SWEEP_SECONDS)
    assert with_it.expired
    assert len(faults) == 1
