"""What providers/base.py promises, for every provider: each verb once, again, interrupted, and after a crash."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.providers.base import BecameReady, Ended, LogLine, Provider
from tests.provider_support import HELLO

Watching = Callable[[Provider], Any]
World = Any


async def ids(provider: Provider) -> list[str]:
    return sorted(running.id for running in await provider.list())


async def lines(found: AsyncIterator[LogLine]) -> list[str]:
    return [line.text async for line in found]


async def test_nodes_have_a_capacity(provider: Provider) -> None:
    (node,) = await provider.nodes()
    assert node.cpu_milli >= 1000
    assert node.memory_mib > 0


async def test_where_replicas_reach_the_router_is_known_before_the_first_start(provider: Provider) -> None:
    (node,) = await provider.nodes()
    found = await provider.gateway("test", node.name)
    assert [found.url is not None, found.door is not None, bool(found.why)].count(True) == 1
    assert await provider.gateway("test", node.name) == found


async def test_a_started_replica_has_an_address_and_becomes_ready(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    running = await provider.start(world.launch("a"))
    assert running.address.startswith(("unix:/", "tcp:"))
    ready = await watching.until(BecameReady, "a")
    assert ready.slots == 4
    assert tuple(ready.phases)[-3:] == world.phases


async def test_a_listed_replica_says_what_adoption_needs(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    started = await provider.start(world.launch("a", revision="7"))
    ready = await watching.until(BecameReady, "a")
    (listed,) = await provider.list()
    assert (listed.id, listed.function, listed.revision, listed.address) == ("a", HELLO, "7", started.address)
    assert (listed.ready, listed.slots, listed.phases) == (True, ready.slots, ready.phases)


async def test_concurrency_sets_the_slots(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a", concurrency=7))
    assert (await watching.until(BecameReady, "a")).slots == 7


async def test_starting_twice_is_starting_once(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    first = await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    assert (await provider.start(world.launch("a"))).address == first.address
    assert await ids(provider) == ["a"]
    assert watching.count(BecameReady, "a") == 1


async def test_starting_twice_at_the_same_time_is_starting_once(world: World, provider: Provider) -> None:
    first, second = await asyncio.gather(provider.start(world.launch("a")), provider.start(world.launch("a")))
    assert first.address == second.address
    assert await ids(provider) == ["a"]


async def test_many_started_at_once_are_all_different(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    names = [f"r{number}" for number in range(12)]
    started = await asyncio.gather(*(provider.start(world.launch(name)) for name in names))
    assert len({running.address for running in started}) == 12
    for name in names:
        await watching.until(BecameReady, name)


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
async def test_a_cancelled_start_can_be_started_again(world: World, provider: Provider, steps: int) -> None:
    task = asyncio.create_task(provider.start(world.launch("a")))
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await provider.start(world.launch("a"))
    assert await ids(provider) == ["a"]


async def test_a_start_that_fails_leaves_nothing(provider: Provider, world: World) -> None:
    with pytest.raises(StartFailed):
        await provider.start(world.impossible("a"))
    assert await ids(provider) == []


async def test_a_start_can_succeed_after_it_failed(provider: Provider, world: World) -> None:
    with pytest.raises(StartFailed):
        await provider.start(world.impossible("a"))
    await provider.start(world.launch("a"))
    assert await ids(provider) == ["a"]


async def test_a_function_that_cannot_be_loaded_ends_with_file_and_line(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.broken("a"))
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.slug, ended.file, ended.line) == ("load-failed", "handler-syntax", "handler.py", 1)
    assert watching.count(BecameReady, "a") == 0
    assert await ids(provider) == []


async def test_a_stopped_replica_has_ended_and_that_is_told_once(
    world: World, provider: Provider, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await provider.stop("a", grace_seconds=5)
    assert await ids(provider) == []
    assert (await watching.until(Ended, "a")).reason == "stopped"
    await provider.stop("a", grace_seconds=5)
    assert watching.count(Ended, "a") == 1


async def test_stopping_what_is_not_there_is_fine(provider: Provider) -> None:
    await provider.stop("never-started", grace_seconds=1)


async def test_two_stops_at_the_same_time_end_it_once(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await asyncio.gather(provider.stop("a", grace_seconds=5), provider.stop("a", grace_seconds=5))
    await watching.until(Ended, "a")
    await asyncio.sleep(0)
    assert watching.count(Ended, "a") == 1


async def test_a_replica_can_be_stopped_while_it_starts(world: World, provider: Provider) -> None:
    task = asyncio.create_task(provider.start(world.launch("a")))
    await asyncio.sleep(0)
    await provider.stop("a", grace_seconds=5)
    await task
    assert await ids(provider) == []


async def test_an_id_can_be_used_again_after_its_end(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await provider.stop("a", grace_seconds=5)
    await watching.until(Ended, "a")
    watching.events.clear()
    await provider.start(world.launch("a"))
    assert (await watching.until(BecameReady, "a")).slots == 4


async def test_a_replica_that_dies_is_told_once_with_how_and_its_last_lines(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await world.say("a", "the last line")
    await world.kill("a")
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.signal, ended.last_lines[-1]) == ("signal", 9, "the last line")
    assert ended.detail.startswith("killed by signal 9 (SIGKILL)")
    assert await ids(provider) == []
    assert watching.count(Ended, "a") == 1


async def test_usage_is_known_of_what_runs(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    usage = await provider.usage("a")
    assert usage is not None
    assert usage.memory_mib > 1
    assert usage.cpu_seconds >= 0
    assert await provider.usage("b") is None


async def test_preparing_a_pool_again_changes_nothing(world: World, provider: Provider) -> None:
    for count in (2, 2, 1, 0, 0):
        await provider.prepare(world.pool, count)
    await provider.start(world.launch("a"))
    assert await ids(provider) == ["a"]


async def test_a_pool_that_is_let_go_keeps_what_runs(world: World, provider: Provider, watch: Watching) -> None:
    watching = watch(provider)
    await provider.prepare(world.pool, 1)
    await provider.start(world.launch("a"))
    await provider.prepare(world.pool, 0)
    await watching.until(BecameReady, "a")
    assert await ids(provider) == ["a"]


async def test_logs_of_all_replicas_come_in_order_of_time(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    for name in ("a", "b"):
        await provider.start(world.launch(name))
        await watching.until(BecameReady, name)
    for name, text in (("a", "one"), ("b", "two"), ("a", "three")):
        await world.say(name, text)
    await provider.stop("a", grace_seconds=5)
    assert await lines(provider.logs(HELLO)) == ["one", "two", "three"]
    assert await lines(provider.logs(HELLO, tail=2)) == ["two", "three"]
    assert await lines(provider.logs(HELLO, tail=0)) == []
    assert await lines(provider.logs(function_key("other", "test"))) == []


async def test_logs_since_a_time_leave_out_what_was_before(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await world.say("a", "one")
    (one,) = [line async for line in provider.logs(HELLO)]
    await world.say("a", "two")
    assert (one.replica, one.stream) == ("a", "stdout")
    assert await lines(provider.logs(HELLO, since=one.time + 1e-6)) == ["two"]


async def test_logs_can_be_followed(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await world.say("a", "before")
    following = provider.logs(HELLO, follow=True)
    assert (await anext(following)).text == "before"
    await world.say("a", "after")
    async with asyncio.timeout(5):
        assert (await anext(following)).text == "after"
    await following.aclose()  # type: ignore[attr-defined]


async def test_a_forgotten_function_has_no_logs(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await world.say("a", "one")
    await provider.stop("a", grace_seconds=5)
    await provider.forget(HELLO)
    await provider.forget(FunctionKey("never.was"))
    assert await lines(provider.logs(HELLO)) == []


async def test_after_a_crash_replicas_are_found_again(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a", concurrency=3))
    ready = await watching.until(BecameReady, "a")
    (before,) = await provider.list()
    world.crash(provider)
    (after,) = await (await world.open()).list()
    assert after == before
    assert (after.ready, after.slots) == (True, ready.slots)


async def test_starting_an_adopted_replica_again_gives_the_same(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    first = await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    world.crash(provider)
    second = await world.open()
    assert (await second.start(world.launch("a"))).address == first.address
    assert await ids(second) == ["a"]


async def test_an_adopted_replica_can_be_stopped(provider: Provider, world: World, watch: Watching) -> None:
    await provider.start(world.launch("a"))
    world.crash(provider)
    second = await world.open()
    watching = watch(second)
    await second.stop("a", grace_seconds=5)
    assert (await watching.until(Ended, "a")).reason == "stopped"
    assert await ids(second) == []


async def test_an_adopted_replicas_end_is_told(provider: Provider, world: World, watch: Watching) -> None:
    await provider.start(world.launch("a"))
    world.crash(provider)
    second = await world.open()
    watching = watch(second)
    await world.kill("a")
    assert (await watching.until(Ended, "a")).signal == 9
    assert watching.count(Ended, "a") == 1


async def test_a_replica_that_became_ready_while_nobody_looked_is_ready(provider: Provider, world: World) -> None:
    await provider.start(world.launch("a"))
    world.crash(provider)
    second = await world.open()
    async with asyncio.timeout(5):
        while not (await second.list())[0].ready:
            await asyncio.sleep(0.01)
    assert (await second.list())[0].slots == 4


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 10])
async def test_a_crash_in_the_middle_of_a_start_leaves_one_replica_or_none(
    provider: Provider, world: World, steps: int
) -> None:
    task = asyncio.create_task(provider.start(world.launch("a")))
    for _ in range(steps):
        await asyncio.sleep(0)
    world.crash(provider)
    await asyncio.gather(task, return_exceptions=True)
    second = await world.open()
    assert await ids(second) in ([], ["a"])
    await second.start(world.launch("a"))
    assert await ids(second) == ["a"]


async def test_an_end_while_nobody_looked_is_told(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    world.crash(provider)
    await world.kill("a")
    second = await world.open()
    assert (await watch(second).until(Ended, "a")).signal == 9
    assert await ids(second) == []


async def test_closing_ends_everything(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    for name in ("a", "b"):
        await provider.start(world.launch(name))
    await provider.close(keep=False)
    assert await ids(await world.open()) == []
    assert (await watching.until(Ended, "a")).reason == (await watching.until(Ended, "b")).reason == "stopped"


async def test_closing_with_keep_leaves_everything(provider: Provider, world: World) -> None:
    await provider.start(world.launch("a"))
    await provider.close(keep=True)
    assert await ids(await world.open()) == ["a"]


async def test_events_end_with_the_provider(world: World, provider: Provider) -> None:
    await provider.start(world.launch("a"))
    await provider.close(keep=False)
    async with asyncio.timeout(5):
        seen = [event async for event in provider.events()]
    assert [type(event) for event in seen][-1] is Ended


async def test_nothing_is_started_by_a_closed_provider(world: World, provider: Provider) -> None:
    await provider.close(keep=False)
    with pytest.raises(PilotlightError):
        await provider.start(world.launch("a"))


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
async def test_a_cancelled_stop_can_be_stopped_again(
    world: World, provider: Provider, watch: Watching, steps: int
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await _cancelled_after(steps, provider.stop("a", grace_seconds=5))
    await provider.stop("a", grace_seconds=5)
    assert await ids(provider) == []
    await watching.until(Ended, "a")
    await asyncio.sleep(0)
    assert watching.count(Ended, "a") == 1


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 10])
async def test_a_crash_in_the_middle_of_a_stop_is_stopped_by_the_next(
    provider: Provider, world: World, watch: Watching, steps: int
) -> None:
    await provider.start(world.launch("a"))
    task = asyncio.create_task(provider.stop("a", grace_seconds=5))
    for _ in range(steps):
        await asyncio.sleep(0)
    world.crash(provider)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    second = await world.open()
    listed = await ids(second)
    watching = watch(second)
    await second.stop("a", grace_seconds=5)
    assert await ids(second) == []
    if listed:
        await watching.until(Ended, "a")
    assert watching.count(Ended, "a") <= 1


@pytest.mark.parametrize("steps", [0, 1, 2, 5, 20])
async def test_a_cancelled_prepare_can_be_prepared_again(world: World, provider: Provider, steps: int) -> None:
    await _cancelled_after(steps, provider.prepare(world.pool, 1))
    await provider.prepare(world.pool, 1)
    await provider.start(world.launch("a"))
    assert await ids(provider) == ["a"]


async def test_a_pool_can_be_prepared_again_after_a_crash_in_the_middle(provider: Provider, world: World) -> None:
    task = asyncio.create_task(provider.prepare(world.pool, 1))
    await asyncio.sleep(0)
    world.crash(provider)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    second = await world.open()
    await second.prepare(world.pool, 1)
    await second.start(world.launch("a"))
    assert await ids(second) == ["a"]


async def test_crash_after_crash_keeps_what_runs(provider: Provider, world: World, watch: Watching) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    for _ in range(3):
        world.crash(provider)
        provider = await world.open()
        assert [(each.id, each.ready) for each in await provider.list()] == [("a", True)]
    watching = watch(provider)
    await provider.stop("a", grace_seconds=5)
    assert (await watching.until(Ended, "a")).reason == "stopped"


async def test_an_adopted_ready_replica_is_not_told_ready_again(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    world.crash(provider)
    second = await world.open()
    watching = watch(second)
    await second.stop("a", grace_seconds=5)
    await watching.until(Ended, "a")
    assert watching.count(BecameReady, "a") == 0


async def test_several_ends_while_nobody_looked_are_each_told_once(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    for name in ("a", "b", "c"):
        await provider.start(world.launch(name))
        await watching.until(BecameReady, name)
    world.crash(provider)
    for name in ("a", "b"):
        await world.kill(name)
    second = await world.open()
    watching = watch(second)
    for name in ("a", "b"):
        await watching.until(Ended, name)
    assert await ids(second) == ["c"]
    assert [watching.count(Ended, name) for name in ("a", "b", "c")] == [1, 1, 0]


async def test_an_end_that_was_told_is_not_told_again_by_the_next(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await provider.stop("a", grace_seconds=5)
    await watching.until(Ended, "a")
    world.crash(provider)
    second = await world.open()
    watching = watch(second)
    await second.start(world.launch("b"))
    await watching.until(BecameReady, "b")
    assert watching.count(Ended, "a") == 0


async def test_what_has_ended_has_no_usage(world: World, provider: Provider) -> None:
    await provider.start(world.launch("a"))
    await provider.stop("a", grace_seconds=5)
    assert await provider.usage("a") is None


async def test_logs_of_what_has_ended_are_there_for_the_next_too(
    provider: Provider, world: World, watch: Watching
) -> None:
    watching = watch(provider)
    await provider.start(world.launch("a"))
    await watching.until(BecameReady, "a")
    await world.say("a", "one")
    world.crash(provider)
    second = await world.open()
    await second.stop("a", grace_seconds=5)
    assert await lines(second.logs(HELLO)) == ["one"]


async def test_closing_twice_is_closing_once(world: World, provider: Provider) -> None:
    await provider.start(world.launch("a"))
    await provider.close(keep=False)
    await provider.close(keep=False)
    assert await ids(provider) == []


async def _cancelled_after(steps: int, verb: Coroutine[Any, Any, None]) -> None:
    task = asyncio.create_task(verb)
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
