"""Threads for handlers, and iterators pulled in them."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from pilotlight_runtime.pump import AHEAD, Pump
from pilotlight_runtime.workers import Workers


def test_threads_are_made_when_they_are_needed_and_no_more_than_allowed() -> None:
    workers = Workers()
    workers.allow(3)
    gate, done = threading.Event(), threading.Semaphore(0)
    names: set[str] = set()

    def work() -> None:
        gate.wait(10)
        names.add(threading.current_thread().name)
        done.release()

    for _ in range(8):
        workers.submit(work)
    gate.set()
    for _ in range(8):
        assert done.acquire(timeout=10)
    assert names <= {"handler-1", "handler-2", "handler-3"}


def test_one_after_the_other_needs_one_thread() -> None:
    workers = Workers()
    workers.allow(5)
    names: list[str] = []
    for _ in range(5):
        _run_one(workers, names)
    assert names == ["handler-1"] * 5


def _run_one(workers: Workers, names: list[str]) -> None:
    done = threading.Event()

    def work() -> None:
        names.append(threading.current_thread().name)
        done.set()

    workers.submit(work)
    assert done.wait(10)
    while workers._busy:  # the thread says so a moment after the work is done
        pass


async def _pumped(source: Iterator[object]) -> tuple[Pump, threading.Thread]:
    pump = Pump(asyncio.get_running_loop(), source)
    thread = threading.Thread(target=pump.run)
    thread.start()
    return pump, thread


async def test_every_piece_comes_in_order() -> None:
    pump, thread = await _pumped(iter(range(100)))
    assert [piece async for piece in pump] == list(range(100))
    await pump.aclose()
    thread.join()


async def test_an_error_comes_after_the_pieces_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("three")

    pump, thread = await _pumped(source())
    assert [await anext(pump), await anext(pump)] == [1, 2]
    with pytest.raises(KeyError, match="three"):
        await anext(pump)
    await pump.aclose()
    thread.join()


async def test_the_iterator_is_a_few_pieces_ahead_and_no_more() -> None:
    pulled = []

    def source() -> Iterator[int]:
        for number in range(100):
            pulled.append(number)
            yield number

    pump, thread = await _pumped(source())
    async for _ in pump:
        await asyncio.sleep(0.05)
        assert len(pulled) <= AHEAD + 2
        break
    await pump.aclose()
    thread.join()


async def test_closing_closes_the_iterator_in_its_thread() -> None:
    closed_in: list[str] = []

    def source() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed_in.append(threading.current_thread().name)

    pump, thread = await _pumped(source())
    assert await anext(pump) == 1
    await pump.aclose()
    assert closed_in == [thread.name]
    thread.join()
