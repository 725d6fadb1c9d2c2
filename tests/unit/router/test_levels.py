"""What is reported to the control plane, and when."""

import asyncio
from time import monotonic

import msgspec
import pytest

from pilotlight.core.spec import function_key
from pilotlight.link.messages import Drained, Endpoint, Level, Levels, Route, Up
from pilotlight.router.admission import Deadlines, Function
from pilotlight.router.levels import REPORT_SECONDS, URGENT_SECONDS, LevelReporter
from pilotlight.router.problems import function_not_found


class Wire:
    def __init__(self) -> None:
        self.sent: list[Up] = []

    def send(self, message: Up) -> None:
        self.sent.append(message)

    @property
    def waiting(self) -> list[int]:
        return [level.waiting for message in self.sent if isinstance(message, Levels) for level in message.levels]


class Counted(Function):
    """A function whose queue is as long as a test says."""

    pretended = 0

    @property
    def waiting(self) -> int:
        return self.pretended

    def level(self, now: float) -> Level:
        return msgspec.structs.replace(super().level(now), waiting=self.pretended)


@pytest.fixture
def reporter() -> LevelReporter:
    return LevelReporter()


@pytest.fixture
def wire(reporter: LevelReporter) -> Wire:
    wire = Wire()
    reporter.connected(wire)
    return wire


@pytest.fixture
def function(reporter: LevelReporter) -> Counted:
    return Counted(Route(function=function_key("f")), watch=reporter, deadlines=Deadlines(), buffer_bytes=1)


def wait(reporter: LevelReporter, function: Counted, count: int) -> None:
    function.pretended = count
    reporter.waiting(function)


async def test_leaving_zero_is_told_before_anything_else_happens(
    reporter: LevelReporter, wire: Wire, function: Counted
) -> None:
    wait(reporter, function, 1)
    assert wire.waiting == [1]


async def test_doublings_are_gathered_for_a_moment(reporter: LevelReporter, wire: Wire, function: Counted) -> None:
    for count in range(1, 101):
        wait(reporter, function, count)
    assert wire.waiting == [1]
    await asyncio.sleep(URGENT_SECONDS * 5)
    assert wire.waiting == [1, 100]


async def test_a_queue_that_was_empty_in_between_is_told_soon(
    reporter: LevelReporter, wire: Wire, function: Counted
) -> None:
    wait(reporter, function, 1)
    function.pretended = 0
    wait(reporter, function, 1)
    await asyncio.sleep(URGENT_SECONDS * 5)
    assert wire.waiting == [1, 1]


async def test_a_little_more_waits_for_the_tick(reporter: LevelReporter, wire: Wire, function: Counted) -> None:
    wait(reporter, function, 10)
    reporter.touched(function)
    wait(reporter, function, 11)
    await asyncio.sleep(URGENT_SECONDS * 5)
    assert wire.waiting == [10]
    await asyncio.sleep(REPORT_SECONDS * 1.2)
    assert wire.waiting == [10, 11]


async def test_after_the_last_change_the_reporter_sleeps(
    reporter: LevelReporter, wire: Wire, function: Counted
) -> None:
    function.touched = True
    reporter.touched(function)
    await asyncio.sleep(REPORT_SECONDS * 2.5)
    assert (len(wire.sent), function.touched) == (1, False)


def test_a_connect_is_told_everything_also_what_is_drained(reporter: LevelReporter, wire: Wire) -> None:
    endpoint = Endpoint(replica="a", address="unix:/a", slots=1, draining=True)
    route = Route(function=function_key("f"), endpoints=(endpoint,))
    function = Function(route, watch=reporter, deadlines=Deadlines(), buffer_bytes=1)
    function.idle_since = monotonic() - 7
    reporter.applied([function], 3, full=True)
    levels, drained = wire.sent
    assert isinstance(levels, Levels)
    assert (levels.full, round(levels.levels[0].idle_seconds)) == (True, 7)
    assert drained == Drained(replica="a", version=3)


async def test_without_a_link_nothing_is_kept_to_be_told_late(
    reporter: LevelReporter, wire: Wire, function: Counted
) -> None:
    reporter.disconnected()
    wait(reporter, function, 1)
    reporter.connected(wire)
    assert wire.sent == []


async def test_of_a_removed_function_nothing_is_said(reporter: LevelReporter, wire: Wire, function: Counted) -> None:
    """Its last calls may end when another one has its name: what is said then, is said of that one."""
    wait(reporter, function, 1)
    reporter.touched(function)
    function.remove(function_not_found(function.key, ()))
    function.pretended = 0
    await asyncio.sleep(0)
    reporter.report()
    assert wire.waiting == [1]


class BrokenOnce(Wire):
    def send(self, message: Up) -> None:
        super().send(message)
        if len(self.sent) == 1:
            raise RuntimeError("a fault of ours")


async def test_a_report_that_fails_is_not_the_last_one(reporter: LevelReporter, function: Counted) -> None:
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    wire = BrokenOnce()
    reporter.connected(wire)
    function.pretended = 1
    reporter.touched(function)
    async with asyncio.timeout(10 * REPORT_SECONDS):
        while len(wire.sent) < 2:
            await asyncio.sleep(REPORT_SECONDS / 10)
