"""What goes on by itself: it is heard of when it fails, and nothing of it is left when its owner leaves."""

import asyncio
import threading

import pytest
from structlog.testing import capture_logs

from pilotlight.core.errors import StartFailed
from pilotlight.providers.background import Background
from tests.provider_support import eventually


async def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "reason"),
    [(StartFailed("no room"), "no room"), (ValueError("odd"), "odd"), (KeyError(), "KeyError()")],
)
async def test_a_failure_is_heard_of_with_whose_it_is(error: Exception, reason: str) -> None:
    with capture_logs() as said:
        await asyncio.wait([Background("pools").spawn(fail(error))])
        await eventually(lambda: said)
    assert [(each["owner"], each["reason"]) for each in said] == [("pools", reason)]


async def test_who_leaves_ends_what_is_under_way_and_begins_nothing_more() -> None:
    background, begun = Background("a node"), []

    async def work(name: str) -> None:
        begun.append(name)
        await asyncio.Event().wait()

    first = background.spawn(work("first"))
    await eventually(lambda: begun)
    second = background.spawn(work("second"))
    background.leave()
    third = background.spawn(work("third"))
    await background.finish()
    assert begun == ["first"]
    assert all(task.cancelled() for task in (first, second, third))


async def test_what_a_thread_does_is_done_though_its_owner_leaves_at_once() -> None:
    background, done = Background("a provider"), threading.Event()
    background.in_thread(done.set)
    background.leave()
    await eventually(done.is_set)


async def test_a_step_that_fails_is_heard_of_once_and_followed_by_the_next() -> None:
    background, steps = Background("a guard"), 0

    async def step() -> None:
        nonlocal steps
        steps += 1
        raise OSError(28, "No space left on device")

    with capture_logs() as said:
        background.every(0.001, step)
        await eventually(lambda: steps >= 3)
    background.leave()
    assert len(said) == 1


async def test_all_that_is_under_way_can_be_waited_for() -> None:
    background, go = Background("pools"), asyncio.Event()
    waiting = background.spawn(go.wait())
    finishing = asyncio.create_task(background.finish())
    await asyncio.sleep(0)
    assert not finishing.done()
    go.set()
    await finishing
    assert waiting.done()
    await background.finish()
