"""Waiting, deadlines, repetition, slots: what happens when a replica is busy, slow, dying or not there."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import pytest

from pilotlight.core.errors import Failure
from pilotlight.core.spec import function_key
from pilotlight.link.messages import Endpoint, ReplicaEnd, Route
from pilotlight.router.upstream import CONNECT_SECONDS
from pilotlight_runtime.http1 import chunk
from tests.integration.router.rig import Request, Rig, hello, slowly, until

F = function_key("f")


class Gate:
    """A handler that answers when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.inside = 0
        self.most = 0

    async def __call__(self, request: Request) -> None:
        self.inside += 1
        self.most = max(self.most, self.inside)
        await self.opened.wait()
        self.inside -= 1
        await request.answer(b"through")


async def test_slots_are_never_oversubscribed_and_the_rest_waits_in_order(rig: Rig) -> None:
    gate = Gate()
    replica = await rig.function(gate, slots=2)
    calls = []
    for number in range(8):
        calls.append(asyncio.create_task(rig.call(f"/function/f/{number}")))
        await until(lambda wanted=number + 1: sum(_load(rig)) == wanted)  # type: ignore[misc]
    assert _load(rig) == (6, 2)
    gate.opened.set()
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    assert gate.most == 2
    assert [request.line.split()[1] for request in replica.requests] == [f"/{number}" for number in range(8)]


async def test_the_least_loaded_replica_gets_the_call(rig: Rig) -> None:
    gates = [Gate(), Gate()]
    replicas = [await rig.replica(gate) for gate in gates]
    await rig.link.route(rig.route(*replicas, slots=4))
    calls = [asyncio.create_task(rig.call()) for _ in range(6)]
    await until(lambda: sum(gate.inside for gate in gates) == 6)
    assert [gate.inside for gate in gates] == [3, 3]
    for gate in gates:
        gate.opened.set()
    await asyncio.gather(*calls)


async def test_among_idle_replicas_the_one_used_last_is_used_again(rig: Rig) -> None:
    replicas = [await rig.replica() for _ in range(3)]
    await rig.link.route(rig.route(*replicas))
    for _ in range(5):
        await rig.call()
    assert sorted(len(replica.requests) for replica in replicas) == [0, 0, 5]


async def test_a_full_queue_is_429_with_retry_after(rig: Rig) -> None:
    gate = Gate()
    await rig.function(gate, slots=1, queue=1)
    calls = [asyncio.create_task(rig.call()) for _ in range(2)]
    await until(lambda: _load(rig) == (1, 1))
    answer = await rig.call()
    assert (answer.status, answer.headers["retry-after"], answer.headers["x-pilotlight-limit"]) == (429, "1", "queue")
    gate.opened.set()
    assert [one.status for one in await asyncio.gather(*calls)] == [200, 200]


async def test_the_deadline_counts_while_waiting(rig: Rig) -> None:
    await rig.link.route(rig.route(timeout_seconds=0.2))
    answer = await rig.call()
    assert (answer.status, answer.headers["x-pilotlight-limit"]) == (504, "timeout")
    assert "waiting for a free replica" in answer.json()["detail"]


async def test_the_deadline_counts_in_flight_and_the_slot_stays_taken(rig: Rig) -> None:
    gate = Gate()
    replica = await rig.function(gate, slots=1, timeout_seconds=0.3)
    assert (await rig.call()).status == 504
    assert (await rig.call()).status == 504  # its turn never came
    assert len(replica.requests) == 1
    gate.opened.set()
    await until(lambda: _load(rig) == (0, 0))
    assert (await rig.call()).status == 200


async def test_a_deadline_in_the_middle_of_an_answer_breaks_it_off(rig: Rig) -> None:
    async def endless(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x"))
        await request.reader.read()

    await rig.function(endless, timeout_seconds=0.3)
    answer = await rig.call()
    assert (answer.status, answer.body, answer.whole) == (200, b"x", False)


async def test_a_caller_that_leaves_holds_the_slot_until_the_replica_is_done(rig: Rig) -> None:
    gate = Gate()
    replica = await rig.function(gate, slots=1)
    caller = await rig.caller()
    caller.send("GET", "/function/f")
    await until(lambda: gate.inside)
    caller.close()
    second = asyncio.create_task(rig.call())
    await until(lambda: _load(rig) == (1, 1))
    assert len(replica.requests) == 1
    gate.opened.set()
    assert (await second).status == 200


async def test_a_replica_is_told_by_a_half_close_that_its_caller_left(rig: Rig) -> None:
    async def waits(request: Request) -> None:
        assert await request.reader.read() == b""
        request.writer.close()

    replica = await rig.function(waits, slots=1)
    caller = await rig.caller()
    caller.send("GET", "/function/f")
    await until(lambda: replica.requests)
    caller.close()
    await until(lambda: _load(rig) == (0, 0))


async def test_a_caller_that_leaves_the_queue_is_never_sent(rig: Rig) -> None:
    gate = Gate()
    replica = await rig.function(gate, slots=1)
    first = asyncio.create_task(rig.call())
    caller = await rig.caller()
    await until(lambda: gate.inside)
    caller.send("GET", "/function/f/left")
    await until(lambda: _load(rig) == (1, 1))
    caller.close()
    await until(lambda: _load(rig) == (0, 1))
    gate.opened.set()
    await first
    assert len(replica.requests) == 1


# Busy replicas.


async def _busy(request: Request) -> None:
    await request.answer(b"busy", "503 Service Unavailable", "X-Pilotlight-Busy: 1\r\n")


async def test_a_busy_replica_is_asked_again_and_the_caller_never_knows(rig: Rig) -> None:
    async def busy_twice(request: Request) -> None:
        await (_busy if len(replica.requests) < 3 else hello)(request)

    replica = await rig.function(busy_twice, slots=1)
    answer = await rig.call(method="POST", body=b"kept")
    assert (answer.status, answer.body) == (200, b"hello")
    assert "x-pilotlight-busy" not in answer.headers
    assert [request.body for request in replica.requests] == [b"kept"] * 3


async def test_a_replica_that_stays_busy_is_asked_until_the_deadline_and_not_too_often(rig: Rig) -> None:
    replica = await rig.function(_busy, slots=1, timeout_seconds=2.0)
    answer = await rig.call()
    assert (answer.status, answer.headers["x-pilotlight-limit"]) == (504, "timeout")
    assert 3 < len(replica.requests) < 50


async def test_a_busy_replica_is_passed_over_for_another(rig: Rig) -> None:
    replicas = [await rig.replica(_busy), await rig.replica()]
    await rig.link.route(rig.route(*replicas))
    assert {(await rig.call()).status for _ in range(5)} == {200}


async def test_a_503_of_the_function_itself_is_passed_on(rig: Rig) -> None:
    async def overloaded(request: Request) -> None:
        await request.answer(b"mine", "503 Service Unavailable")

    replica = await rig.function(overloaded)
    answer = await rig.call()
    assert (answer.status, answer.body, len(replica.requests)) == (503, b"mine", 1)


async def test_a_body_too_large_to_keep_is_not_asked_again(rig: Rig) -> None:
    replica = await rig.function(_busy)
    answer = await rig.call(method="POST", body=b"x" * 200_000)
    assert (answer.status, answer.json()["type"], len(replica.requests)) == (503, "replica-busy", 1)


# Dying replicas.


async def test_a_lost_call_is_told_why_its_replica_ended(rig: Rig) -> None:
    async def dies(request: Request) -> None:
        request.writer.transport.abort()
        end = ReplicaEnd(replica=replica.path.stem, slug="out-of-memory", detail="130 MiB in use, the limit is 128 MiB")
        await rig.link.route(rig.route(ended=(end,)))

    replica = await rig.function(dies)
    answer = await rig.call(method="POST")
    assert (answer.status, answer.json()["type"]) == (502, "out-of-memory")
    assert "the limit is 128 MiB" in answer.json()["detail"]


async def test_calls_are_told_the_reason_of_their_own_replica_only(rig: Rig) -> None:
    async def dies(request: Request) -> None:
        request.writer.transport.abort()

    other = ReplicaEnd(replica="other", slug="out-of-memory", detail="x")
    await rig.function(dies, ended=(other,))
    assert (await rig.call(method="POST")).json()["type"] == "replica-died"


@pytest.mark.parametrize(("method", "sent"), [("GET", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1)])
async def test_only_what_may_be_repeated_is_and_once(rig: Rig, method: str, sent: int) -> None:
    async def dies(request: Request) -> None:
        request.writer.transport.abort()

    replica = await rig.function(dies)
    answer = await rig.call(method=method)
    assert (answer.status, answer.json()["type"]) == (502, "replica-died")
    assert len(replica.requests) == sent


async def test_a_get_whose_replica_dies_is_answered_by_another(rig: Rig) -> None:
    async def dies(request: Request) -> None:
        request.writer.transport.abort()

    replicas = [await rig.replica(dies), await rig.replica()]
    await rig.link.route(rig.route(*replicas, slots=1))
    answers = await asyncio.gather(*(rig.call() for _ in range(2)))
    assert [answer.status for answer in answers] == [200, 200]


async def test_a_post_finds_a_closed_kept_connection_and_takes_a_new_one(rig: Rig) -> None:
    replica = await rig.function()
    for _ in range(3):
        assert (await rig.call(method="POST", body=b"x")).status == 200
        await asyncio.sleep(0.02)
        replica.drop_connections()
    assert len(replica.requests) == replica.connections == 3


async def test_an_answer_that_breaks_off_breaks_off_for_the_caller(rig: Rig) -> None:
    async def breaks(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await request.writer.drain()
        request.writer.close()

    replica = await rig.function(breaks)
    answer = await rig.call()
    assert (answer.body, answer.whole, len(replica.requests)) == (b"half", False, 1)


async def test_nonsense_from_a_replica_is_502(rig: Rig) -> None:
    async def nonsense(request: Request) -> None:
        request.writer.write(b"200 OK whatever\r\n\r\n")

    await rig.function(nonsense)
    assert (await rig.call(method="POST")).json()["type"] == "replica-died"


async def test_a_replica_that_cannot_be_reached_is_tried_for_some_seconds_then_502(rig: Rig) -> None:
    replica = await rig.function()
    await replica.stop()
    answer = await rig.call(method="POST", body=b"x")
    assert (answer.status, answer.json()["type"]) == (502, "replica-unreachable")


async def test_a_call_that_was_not_sent_waits_for_the_next_replica(rig: Rig) -> None:
    gone = await rig.function()
    await gone.stop()
    call = asyncio.create_task(rig.call(method="POST", body=b"kept"))
    await until(lambda: rig.link.levels(F))
    replica = await rig.replica()
    await rig.link.route(rig.route(replica))
    assert (await call).status == 200
    assert replica.requests[0].body == b"kept"


async def test_a_call_that_is_connecting_to_a_replica_that_ended_goes_to_another_at_once(rig: Rig) -> None:
    """Its address may be another container's by the time that the connection stands."""
    async with _silent_address() as address:
        gone = Endpoint(replica="gone", address=address, slots=4)
        await rig.link.route(Route(function=F, endpoints=(gone,)))
        call = asyncio.create_task(rig.call(method="POST", body=b"kept"))
        await until(lambda: sum(_load(rig)) == 1)
        replica = await rig.replica()
        async with asyncio.timeout(CONNECT_SECONDS - 1):
            await rig.link.route(rig.route(replica))
            assert (await call).status == 200
    assert replica.requests[0].body == b"kept"


async def test_a_call_whose_replica_comes_and_goes_in_one_breath_goes_to_another(rig: Rig) -> None:
    """Two changes in one read: the connection to it was not begun when it was given up."""
    replica = await rig.replica()
    await rig.link.route(Route(function=F))
    call = asyncio.create_task(rig.call(method="POST", body=b"kept"))
    await until(lambda: _load(rig) == (1, 0))
    gone = Endpoint(replica="gone", address=f"{replica.address}.gone", slots=4)
    async with asyncio.timeout(5):
        await rig.link.route_in_one_breath(Route(function=F, endpoints=(gone,)), rig.route(replica))
        assert (await call).status == 200
    assert replica.requests[0].body == b"kept"
    await until(lambda: _load(rig) == (0, 0))


@contextlib.asynccontextmanager
async def _silent_address() -> AsyncIterator[str]:
    """Nobody says there whether a connection can be made, as it is with the address of a container that is gone."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):  # it takes one or two that nobody accepts
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"tcp:127.0.0.1:{listening.getsockname()[1]}"


# Streaming.


async def test_a_slow_reader_makes_the_replica_wait(rig: Rig) -> None:
    sent = 0

    async def floods(request: Request) -> None:
        nonlocal sent
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 400000000\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(400):
                request.writer.write(b"x" * 1_000_000)
                await request.writer.drain()
                sent += 1

    await rig.function(floods)
    before = rig.resident_mib()
    caller = await rig.caller()
    caller.send("GET", "/function/f")
    await _settles(lambda: sent)
    assert sent < 40
    assert rig.resident_mib() - before < 16
    async with asyncio.timeout(5):
        await caller.reader.readexactly(20_000_000)  # it goes on when it is read


@pytest.mark.parametrize("path", ["/function/f", "/function/none"])
async def test_who_pipelines_and_does_not_read_is_answered_no_further(rig: Rig, path: str) -> None:
    async def large(request: Request) -> None:
        await request.answer(b"x" * 60_000)

    await rig.function(large)
    before = rig.resident_mib()
    caller = await rig.caller()
    caller.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 500_000)
    await _settles(caller.writer.transport.get_write_buffer_size)
    assert caller.writer.transport.get_write_buffer_size() > 1_000_000
    assert rig.resident_mib() - before < 8
    for _ in range(200):  # it goes on when it is read
        await caller.answer()


async def test_a_slow_replica_makes_the_caller_wait(rig: Rig) -> None:
    goes_on = asyncio.Event()

    async def reads_late(request: Request) -> None:
        await goes_on.wait()
        await request.reader.readexactly(int(request.headers["content-length"]))
        await request.answer(b"read all")

    await rig.function(reads_late, read_body=False, body_limit_bytes=10**9)
    before = rig.resident_mib()
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
    left = caller.writer.transport.get_write_buffer_size
    await _settles(left)
    assert left() > 30_000_000
    assert rig.resident_mib() - before < 16
    goes_on.set()
    assert (await caller.answer()).body == b"read all"


async def test_a_large_body_waits_outside_while_there_is_no_replica(rig: Rig) -> None:
    await rig.link.route(rig.route(body_limit_bytes=10**9))
    before = rig.resident_mib()
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 50_000_000)
    await _settles(caller.writer.transport.get_write_buffer_size)
    assert rig.resident_mib() - before < 16
    replica = await rig.replica()
    await rig.link.route(rig.route(replica, body_limit_bytes=10**9))
    assert (await caller.answer()).status == 200
    assert len(replica.requests[0].body) == 50_000_000


# Failures that the control plane knows of.


async def test_a_function_that_cannot_start_says_why(rig: Rig) -> None:
    failure = Failure(slug="import-failed", detail="handler.py imports nothing_like_it, which is not there.")
    await rig.link.route(rig.route(failure=failure))
    answer = await rig.call()
    assert (answer.status, answer.json()["type"], answer.json()["detail"]) == (503, failure.slug, failure.detail)
    assert int(answer.headers["retry-after"]) > 0


async def test_those_who_wait_are_told_of_a_failure(rig: Rig) -> None:
    await rig.link.route(rig.route())
    call = asyncio.create_task(rig.call())
    await until(lambda: rig.link.levels(F))
    await rig.link.route(rig.route(failure=Failure(slug="unschedulable", detail="Nothing fits.")))
    assert (await call).json()["type"] == "unschedulable"


async def test_a_failure_does_not_matter_while_a_slot_is_free(rig: Rig) -> None:
    await rig.function(failure=Failure(slug="unschedulable", detail="No second replica fits."))
    assert (await rig.call()).status == 200


async def test_a_cold_call_says_where_its_time_went(rig: Rig) -> None:
    await rig.link.route(rig.route())
    call = asyncio.create_task(rig.call())
    await until(lambda: rig.link.levels(F))
    replica = await rig.replica()
    route = rig.route(replica)
    endpoint = route.endpoints[0]
    phases = {"claim": 1.25, "load": 2.5, "x\r\nX-Split: 1\r\nx": 1.0}  # functions name some of them
    endpoint = type(endpoint)(replica=endpoint.replica, address=endpoint.address, slots=1, phases=phases)
    await rig.link.route(type(route)(function=F, endpoints=(endpoint,)))
    answer = await call
    assert "x-split" not in answer.headers
    timing = answer.headers["server-timing"]
    assert [part.partition(";")[0] for part in timing.split(", ")] == ["wait", "claim", "load", "handler"]
    assert "claim;dur=1.25, load;dur=2.50" in timing
    assert "server-timing" not in (await rig.call()).headers


async def test_calls_that_were_slow_are_counted_in_their_bucket(rig: Rig) -> None:
    await rig.function(slowly)
    await rig.call()
    text = await rig.metrics()
    assert 'code="200",le="0.25"} 0' in text
    assert 'code="200",le="2.5"} 1' in text


def _load(rig: Rig) -> tuple[int, int]:
    """What the router said last: waiting and in flight."""
    levels = rig.link.levels(F)
    return (levels[-1].waiting, levels[-1].in_flight) if levels else (0, 0)


async def _settles(figure: Callable[[], int]) -> None:
    """Until it has not changed for a while."""
    last, since = -1, 0
    async with asyncio.timeout(10):
        while since < 10:
            await asyncio.sleep(0.03)
            now = figure()
            since, last = (since + 1 if now == last else 0), now
