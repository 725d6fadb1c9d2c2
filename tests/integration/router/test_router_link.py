"""The link as the router keeps it, and what goes on without a control plane."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator

from pilotlight.core.spec import function_key
from pilotlight.link.messages import Applied, Change, Level, Levels
from tests.integration.router.rig import PATIENCE, Replica, Rig, slowly, until

F = function_key("f")


# Routes down.


async def test_a_change_takes_effect_before_it_is_said_to_be_applied(rig: Rig) -> None:
    await rig.function()
    assert (await rig.call()).status == 200
    await rig.link.remove(F)
    assert (await rig.call()).status == 404


async def test_a_change_out_of_turn_makes_the_router_connect_anew(rig: Rig) -> None:
    await rig.function()
    rig.link.send(Change(version=rig.link.version + 2))
    await until(lambda: len(rig.link.hellos) == 2)
    assert rig.link.hellos[0].epoch == rig.link.hellos[1].epoch
    assert (await rig.call()).status == 200


async def test_nonsense_on_the_link_makes_the_router_connect_anew(rig: Rig) -> None:
    assert rig.link._writer is not None
    rig.link._writer.write(b"\0\0\0\4nope")
    await until(lambda: len(rig.link.hellos) == 2)


async def test_warm_calls_go_on_without_a_control_plane(rig: Rig) -> None:
    await rig.function()
    await rig.link.stop()
    assert {(await rig.call()).status for _ in range(20)} == {200}


async def test_a_snapshot_after_a_reconnect_keeps_what_is_in_flight_and_what_waits(rig: Rig) -> None:
    replica = await rig.function(slowly, slots=1)
    calls = [asyncio.create_task(rig.call()) for _ in range(3)]
    await until(lambda: rig.link.levels(F) and rig.link.levels(F)[-1].waiting == 2)
    await rig.link.stop()
    await rig.link.start()
    await until(lambda: len(rig.link.hellos) == 2)
    assert {answer.status for answer in await asyncio.gather(*calls)} == {200}
    assert replica.connections == 1


async def test_what_a_snapshot_leaves_out_is_gone(rig: Rig) -> None:
    await rig.function()
    rig.link.routes.clear()
    rig.link.snapshot()
    await until(lambda: [m for m in rig.link.said if isinstance(m, Applied)][-2:])
    async with asyncio.timeout(PATIENCE):
        while (await rig.call()).status != 404:
            await asyncio.sleep(0.01)


async def test_those_who_wait_for_a_removed_function_are_told(rig: Rig) -> None:
    await rig.link.route(rig.route())
    call = asyncio.create_task(rig.call())
    await until(lambda: rig.link.levels(F))
    await rig.link.remove(F)
    assert (await call).status == 404


async def test_what_is_in_flight_survives_the_removal_of_its_replica(rig: Rig) -> None:
    replica = await rig.function(slowly)
    call = asyncio.create_task(rig.call())
    await until(lambda: replica.requests)
    await rig.link.route(rig.route())
    assert (await call).status == 200


async def test_more_slots_let_those_who_wait_go(rig: Rig) -> None:
    replica = await rig.function(slowly, slots=1)
    calls = [asyncio.create_task(rig.call()) for _ in range(4)]
    await until(lambda: rig.link.levels(F) and rig.link.levels(F)[-1].waiting == 3)
    await rig.link.route(rig.route(replica, slots=4))
    await until(lambda: len(replica.requests) == 4)
    await asyncio.gather(*calls)


# Without routes.


async def test_without_routes_a_call_is_held_then_503_and_never_404(lonely: Rig) -> None:
    answer = await lonely.call()
    assert (answer.status, answer.json()["type"], answer.headers["x-pilotlight-limit"]) == (503, "no-routes", "routes")


async def test_a_call_that_was_held_goes_on_with_the_first_snapshot(lonely: Rig) -> None:
    replica = await lonely.replica()
    lonely.link.routes[F] = lonely.route(replica)
    call = asyncio.create_task(lonely.call(method="POST", body=b"kept"))
    await asyncio.sleep(0.1)
    await lonely.link.start()
    assert (await call).status == 200
    assert replica.requests[0].body == b"kept"


async def test_no_snapshot_means_no_404(lonely: Rig) -> None:
    lonely.link.with_snapshot = False
    await lonely.link.start()
    await until(lambda: lonely.link.hellos)
    assert (await lonely.call()).status == 503


# Levels up.


async def test_the_first_that_waits_is_reported_at_once(rig: Rig) -> None:
    await rig.link.route(rig.route())
    caller = await rig.caller()
    started = asyncio.get_running_loop().time()
    caller.send("GET", "/function/f")
    await until(lambda: [level for level in rig.link.levels(F) if level.waiting])
    assert asyncio.get_running_loop().time() - started < 0.15
    assert rig.link.levels(F)[-1].waiting == 1


async def test_a_queue_that_doubles_is_reported_before_the_tick(rig: Rig) -> None:
    await rig.link.route(rig.route())
    calls = [asyncio.create_task(rig.call()) for _ in range(50)]
    started = asyncio.get_running_loop().time()
    await until(lambda: rig.link.levels(F) and rig.link.levels(F)[-1].waiting >= 25)
    assert asyncio.get_running_loop().time() - started < 0.2
    assert len(rig.link.levels(F)) <= 10
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)


async def test_levels_end_with_idle_and_count_calls_and_errors(rig: Rig) -> None:
    await rig.function()
    await rig.call()
    await rig.link.route(rig.route(timeout_seconds=0.1))
    await rig.call()
    level = await until(lambda: _last(rig, in_flight=0, waiting=0, calls=2))
    assert (level.errors, level.idle_seconds < 1) == (1, True)


async def test_nothing_new_is_nothing_said(rig: Rig) -> None:
    await rig.function()
    await rig.call()
    await until(lambda: _last(rig, calls=1, in_flight=0))
    said = len(rig.link.said)
    await asyncio.sleep(0.6)
    assert len(rig.link.said) == said


async def test_all_levels_are_told_after_a_reconnect(rig: Rig) -> None:
    await rig.function()
    await rig.call()
    await rig.link.stop()
    await rig.link.start()
    await until(lambda: [m for m in rig.link.said if isinstance(m, Levels) and m.full and m.levels])
    assert rig.link.levels(F)[-1].calls == 1


# Draining.


async def test_an_idle_replica_is_drained_at_once(rig: Rig) -> None:
    replica = await rig.function()
    await rig.link.route(rig.route(replica, draining=True))
    drained = (await until(lambda: rig.link.drained("r0")))[0]
    assert drained.version == rig.link.version


async def test_a_replica_is_drained_when_its_last_call_is_over(rig: Rig) -> None:
    draining = await rig.function(slowly)
    call = asyncio.create_task(rig.call())
    await until(lambda: draining.requests)
    fresh = await rig.replica()
    routes = (rig.route(draining, draining=True).endpoints[0], rig.route(fresh).endpoints[0])
    await rig.link.route(type(rig.route())(function=F, endpoints=routes))
    assert (await rig.call()).body == b"hello"
    assert rig.link.drained("r0") == []
    await call
    await until(lambda: rig.link.drained("r0"))
    assert (len(draining.requests), len(fresh.requests)) == (1, 1)


async def test_a_drain_can_be_taken_back(rig: Rig) -> None:
    replica = await rig.function()
    await rig.link.route(rig.route(replica, draining=True))
    call = asyncio.create_task(rig.call())
    await until(lambda: [level for level in rig.link.levels(F) if level.waiting])
    await rig.link.route(rig.route(replica))
    assert (await call).status == 200


async def test_drained_is_said_again_after_a_reconnect(rig: Rig) -> None:
    replica = await rig.function()
    await rig.link.route(rig.route(replica, draining=True))
    await until(lambda: rig.link.drained("r0"))
    await rig.link.stop()
    await rig.link.start()
    await until(lambda: len(rig.link.drained("r0")) == 2)


# What is no function.


async def test_other_paths_are_503_while_the_control_plane_is_dead(rig: Rig) -> None:
    answer = await rig.call("/api/v1/functions")
    assert (answer.status, answer.json()["type"], bool(answer.json()["hint"])) == (503, "control-plane-down", True)
    plain = await rig.call("/system/functions")
    assert (plain.status, plain.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert plain.body.startswith(b"The control plane does not answer.")


async def test_other_paths_are_passed_on_both_ways(rig: Rig) -> None:
    async with _api(rig) as api:
        answer = await rig.call("/system/functions?a=b", method="PUT", body=b"x" * 300_000, Authorization="Basic x")
        assert (answer.status, answer.body) == (200, b"hello")
        assert api.requests[0].line == "PUT /system/functions?a=b HTTP/1.1"
        assert (len(api.requests[0].body), api.requests[0].headers["authorization"]) == (300_000, "Basic x")


async def test_an_api_that_was_restarted_is_found_again(rig: Rig) -> None:
    for _ in range(2):
        async with _api(rig):
            assert (await rig.call("/system/info")).status == 200
    assert (await rig.call("/system/info")).status == 503


# The end.


async def test_sigterm_lets_what_is_in_flight_finish_and_accepts_nothing_new(rig: Rig) -> None:
    replica = await rig.function(slowly)
    call = asyncio.create_task(rig.call())
    await until(lambda: replica.requests)
    rig.process.send_signal(signal.SIGTERM)
    answer = await call
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0


async def test_the_end_of_the_lifeline_ends_the_router(rig: Rig) -> None:
    idle = await rig.caller()
    idle.send("GET", "/healthz")
    await idle.answer()
    os.close(rig.lifeline)
    rig.lifeline = -1
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0


async def test_a_drain_has_an_end(rig: Rig) -> None:
    async def never(request: object) -> None:
        await asyncio.Event().wait()

    replica = await rig.function(never)
    call = asyncio.create_task(rig.call())
    await until(lambda: replica.requests)
    rig.process.terminate()
    async with asyncio.timeout(PATIENCE):
        assert await rig.process.wait() == 0
    with contextlib.suppress(ConnectionError):
        await call


async def test_ten_thousand_idle_functions_cost_under_4_kb_each(rig: Rig) -> None:
    before = rig.resident_mib()
    routes = tuple(rig.route(name=f"function-{number}") for number in range(10_000))
    await rig.link.route(*routes)
    assert (rig.resident_mib() - before) * 1024 / 10_000 < 4
    assert (await rig.call("/function/function-77", method="TRACE")).status == 405


def _last(rig: Rig, **wanted: int) -> Level | None:
    """The last level, when it is as wanted."""
    levels = rig.link.levels(F)
    if levels and all(getattr(levels[-1], name) == value for name, value in wanted.items()):
        return levels[-1]
    return None


@contextlib.asynccontextmanager
async def _api(rig: Rig) -> AsyncIterator[Replica]:
    """A control plane's API that answers everything alike."""
    api = await rig.replica()
    rig.settings.api_socket.symlink_to(api.path)
    try:
        yield api
    finally:
        rig.settings.api_socket.unlink()
        await api.stop()
