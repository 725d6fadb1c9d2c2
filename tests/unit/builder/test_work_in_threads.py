"""Work in threads that must be done, or be over, whoever was cancelled meanwhile."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pilotlight.builder.files import remove
from pilotlight.finishing import surely, to_its_end


@pytest.fixture
def one_thread() -> Iterator[ThreadPoolExecutor]:
    """So that work waits in the queue for it."""
    with ThreadPoolExecutor(1) as threads:
        yield threads


async def test_a_removal_that_still_waits_for_a_thread_is_done_though_its_build_is_cancelled(
    tmp_path: Path, one_thread: ThreadPoolExecutor
) -> None:
    asyncio.get_running_loop().set_default_executor(one_thread)
    folder, go = tmp_path / "made", threading.Event()
    folder.mkdir()
    busy = asyncio.create_task(asyncio.to_thread(go.wait))
    removing = asyncio.create_task(surely(asyncio.to_thread(remove, folder)))
    for _ in range(3):
        await asyncio.sleep(0)
    removing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await removing
    go.set()
    await busy
    await asyncio.to_thread(lambda: None)  # behind it in the queue
    assert not folder.exists()


async def test_who_is_cancelled_goes_on_when_the_work_is_over() -> None:
    begun, go = threading.Event(), threading.Event()
    done: list[int] = []

    def work(number: int) -> None:
        begun.set()
        go.wait()
        done.append(number)

    waiting = asyncio.create_task(to_its_end(asyncio.to_thread(work, 7)))
    await asyncio.to_thread(begun.wait)
    waiting.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done == [7]


async def test_what_the_work_answers_or_raises_is_heard() -> None:
    assert await to_its_end(asyncio.to_thread(lambda: 7)) == 7
    with pytest.raises(ZeroDivisionError):
        await to_its_end(asyncio.to_thread(lambda: 1 / 0))
