"""The control plane's end of the link, spoken to over a real socket by a router that the test scripts."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from pilotlight.control.links import Links
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import (
    Applied,
    Change,
    Down,
    Drained,
    Endpoint,
    Hello,
    Level,
    Levels,
    Route,
    Snapshot,
    Up,
    Welcome,
    encode,
    read_down,
)

HELLO = function_key("hello")
A = Endpoint(replica="a", address="unix:/a", slots=5)
DRAINING = msgspec.structs.replace(A, draining=True)


class Router:
    """One connection of a router."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def say(self, *messages: Up) -> None:
        self.writer.write(b"".join(encode(message) for message in messages))
        await self.writer.drain()

    async def hear(self) -> Down:
        async with asyncio.timeout(5):
            return await read_down(self.reader)


class Scene:
    """A Links that serves, with what it told its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.drained: asyncio.Queue[str] = asyncio.Queue()
        self.levelled: asyncio.Queue[FunctionKey] = asyncio.Queue()
        self.links = Links(epoch="c1", on_level=self.levelled.put_nowait, on_drained=self.drained.put_nowait)
        self.writers: list[asyncio.StreamWriter] = []

    async def connect(self, epoch: str = "r1") -> Router:
        """A router that has heard the welcome."""
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        self.writers.append(writer)
        router = Router(reader, writer)
        await router.say(Hello(epoch=epoch, router="main"))
        assert await router.hear() == Welcome(epoch="c1")
        return router

    async def joined(self, epoch: str = "r1") -> Router:
        """A router that has heard and applied its snapshot and has reported."""
        router = await self.connect(epoch)
        snapshot = await router.hear()
        assert isinstance(snapshot, Snapshot)
        await router.say(Applied(version=snapshot.version), Levels(levels=(), full=True))
        await asyncio.wait_for(self.links.applied(snapshot.version, timeout=5), 5)
        return router


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    with tempfile.TemporaryDirectory(prefix="pl-link-") as folder:
        scene = Scene(Path(folder) / "link.sock")
        async with scene.links.serving(scene.path):
            yield scene
            for writer in scene.writers:
                writer.close()
                with contextlib.suppress(ConnectionError):
                    await writer.wait_closed()


async def test_a_router_gets_the_whole_table_first(scene: Scene) -> None:
    version = scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    router = await scene.connect()
    snapshot = await router.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.version >= version
    assert snapshot.routes == (Route(function=HELLO, endpoints=(A,)),)


async def test_changes_are_numbered_without_gaps(scene: Scene) -> None:
    router = await scene.connect()
    snapshot = await router.hear()
    scene.links.publish(Route(function=HELLO))
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    scene.links.withdraw(HELLO)
    changes = [await router.hear() for _ in range(3)]
    assert isinstance(snapshot, Snapshot)
    assert [c.version for c in changes if isinstance(c, Change)] == [snapshot.version + i for i in (1, 2, 3)]
    assert changes[-1] == Change(version=snapshot.version + 3, removed=(HELLO,))


async def test_the_same_route_again_sends_nothing(scene: Scene) -> None:
    first = scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    assert scene.links.publish(Route(function=HELLO, endpoints=(A,))) == first


async def test_applied_waits_for_every_router(scene: Scene) -> None:
    one, two = await scene.joined("r1"), await scene.joined("r2")
    version = scene.links.publish(Route(function=HELLO))
    await one.say(Applied(version=version))
    assert not await scene.links.applied(version, timeout=0.05)
    await two.say(Applied(version=version))
    assert await scene.links.applied(version, timeout=5)


async def test_without_a_router_nothing_is_applied(scene: Scene) -> None:
    assert not await scene.links.applied(scene.links.publish(Route(function=HELLO)), timeout=0.05)


async def test_no_report_means_unknown_and_a_report_without_it_means_idle(scene: Scene) -> None:
    scene.links.publish(Route(function=HELLO))
    assert scene.links.level(HELLO) is None
    router = await scene.connect()
    await router.hear()
    assert scene.links.level(HELLO) is None
    await router.say(Levels(levels=(Level(function=HELLO, waiting=3, calls=7),), full=True))
    assert await asyncio.wait_for(scene.levelled.get(), 5) == HELLO
    level = scene.links.level(HELLO)
    assert level is not None
    assert (level.waiting, level.calls) == (3, 7)


async def test_counts_survive_a_router_that_restarts(scene: Scene) -> None:
    scene.links.publish(Route(function=HELLO))
    for epoch, calls in (("r1", 7), ("r2", 2)):
        router = await scene.connect(epoch)
        await router.hear()
        await router.say(Levels(levels=(Level(function=HELLO, calls=calls),), full=True))
        await asyncio.wait_for(scene.levelled.get(), 5)
        level = scene.links.level(HELLO)
        assert level is not None
        total = level.calls
        router.writer.close()
        await router.writer.wait_closed()
        async with asyncio.timeout(5):
            while scene.links.routers:
                await asyncio.sleep(0.001)
    assert total == 9


async def test_a_drain_is_over_when_every_router_says_so(scene: Scene) -> None:
    one, two = await scene.joined("r1"), await scene.joined("r2")
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    version = scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    await one.say(Drained(replica="a", version=version))
    await two.say(Drained(replica="b", version=version))
    assert scene.drained.empty()
    await two.say(Drained(replica="a", version=version))
    assert await asyncio.wait_for(scene.drained.get(), 5) == "a"


async def test_a_word_from_before_the_drain_was_taken_back_does_not_count(scene: Scene) -> None:
    router = await scene.joined()
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    first = scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    again = scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    await router.say(Drained(replica="a", version=first), Applied(version=again))
    assert await scene.links.applied(again, timeout=5)
    assert scene.drained.empty()
    await router.say(Drained(replica="a", version=again))
    assert await asyncio.wait_for(scene.drained.get(), 5) == "a"


async def test_a_drain_is_said_again_to_a_router_that_comes_back(scene: Scene) -> None:
    await scene.joined("r1")
    scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    router = await scene.connect("r1")
    snapshot = await router.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.routes[0].endpoints == (DRAINING,)
    await router.say(Drained(replica="a", version=snapshot.version))
    assert await asyncio.wait_for(scene.drained.get(), 5) == "a"


async def test_two_routers_share_the_slots(scene: Scene) -> None:
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    one = await scene.connect("r1")
    snapshot = await one.hear()
    two = await scene.connect("r2")
    other = await two.hear()
    change = await one.hear()
    assert isinstance(snapshot, Snapshot)
    assert isinstance(other, Snapshot)
    assert isinstance(change, Change)
    assert change.version == other.version == snapshot.version + 1
    assert sorted((change.routes[0].endpoints[0].slots, other.routes[0].endpoints[0].slots)) == [2, 3]
    two.writer.close()
    change = await one.hear()
    assert isinstance(change, Change)
    assert change.routes[0].endpoints[0].slots == 5


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\x00\x00\x05hello",
        b"\xff\xff\xff\xff",
        encode(Hello(epoch="r", router="main", protocol=99)),
        encode(Applied(version=1)),
        b"",
    ],
)
async def test_a_peer_that_speaks_otherwise_is_left_and_others_go_on(scene: Scene, garbage: bytes) -> None:
    good = await scene.joined()
    reader, writer = await asyncio.open_unix_connection(str(scene.path))
    writer.write(garbage)
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    scene.links.publish(Route(function=HELLO))
    assert isinstance(await good.hear(), Change)
