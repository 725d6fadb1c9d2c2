"""The control plane's end of the link, spoken to over a real socket by a router that the test scripts."""

import asyncio
import contextlib
import struct
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest

from pilotlight.control import links
from pilotlight.control.links import Links
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import (
    Applied,
    Change,
    Door,
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

    async def hear_all(self) -> int:
        """The snapshot; its version, which it says is applied before any word of its functions, as routers do."""
        snapshot = await self.hear()
        assert isinstance(snapshot, Snapshot)
        await self.say(Applied(version=snapshot.version))
        return snapshot.version


class Scene:
    """A Links that serves, with what it told its owner."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.drained: asyncio.Queue[str] = asyncio.Queue()
        self.levelled: asyncio.Queue[FunctionKey] = asyncio.Queue()
        self.key_seconds: dict[FunctionKey, dict[str, float]] = {}
        self.links = Links(
            epoch="c1",
            on_level=self.levelled.put_nowait,
            on_drained=self.drained.put_nowait,
            key_seconds=lambda function: self.key_seconds.get(function, {}),
        )
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
        version = await router.hear_all()
        await router.say(Levels(levels=(), full=True))
        await asyncio.wait_for(self.links.applied(version, timeout=5), 5)
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
    await router.hear_all()
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
        await router.hear_all()
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


def a_conversation(version: int) -> list[bytes]:
    """What a router says in its first second, message by message."""
    said: list[Up] = [
        Hello(epoch="r2", router="main"),
        Applied(version=version),
        Levels(levels=(Level(function=HELLO, waiting=1, calls=3),), full=True),
        Levels(levels=(Level(function=HELLO, in_flight=1, calls=4),)),
        Drained(replica="a", version=version),
    ]
    return [encode(message) for message in said]


def _cuts() -> list[int]:
    """Each boundary between two messages, and three places inside each of them."""
    cuts, at = [0], 0
    for message in a_conversation(9):
        cuts += [at + 2, at + 4, at + len(message) // 2 + 2, at + len(message)]
        at += len(message)
    return cuts


@pytest.mark.parametrize("cut", _cuts())
async def test_a_router_that_breaks_off_anywhere_comes_back_to_the_whole_truth(scene: Scene, cut: int) -> None:
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    _, writer = await asyncio.open_unix_connection(str(scene.path))
    writer.write(b"".join(a_conversation(scene.links.version))[:cut])
    writer.close()
    await until(lambda: scene.links.routers == 0)
    router = await scene.connect("r2")
    snapshot = await router.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.routes == (Route(function=HELLO, endpoints=(DRAINING,)),)
    assert not await scene.links.applied(snapshot.version, timeout=0.01)
    assert scene.links.level(HELLO) is None
    await router.say(Applied(version=snapshot.version))
    assert await scene.links.applied(snapshot.version, timeout=5)


async def test_a_connection_that_breaks_while_a_change_is_written_costs_nothing(scene: Scene) -> None:
    router = await scene.joined("r1")
    big = tuple(Endpoint(replica=f"r{i}", address="unix:/" + "x" * 80, slots=1) for i in range(2000))
    scene.links.publish(Route(function=HELLO, endpoints=big))
    await router.reader.readexactly(100)  # in the middle of the frame
    router.writer.close()
    again = await scene.connect("r1")
    snapshot = await again.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.routes == (Route(function=HELLO, endpoints=big),)


async def test_both_epochs_of_a_restarted_router_are_told_apart(scene: Scene) -> None:
    old = await scene.joined("r1")
    version = scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    await old.say(Drained(replica="a", version=version))
    assert await asyncio.wait_for(scene.drained.get(), 5) == "a"
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    version = scene.links.publish(Route(function=HELLO, endpoints=(DRAINING,)))
    new = await scene.connect("r2")
    await new.hear()
    await old.say(Drained(replica="a", version=version))
    old.writer.close()
    await until(lambda: scene.links.routers == 1)
    assert scene.drained.empty()
    await new.say(Drained(replica="a", version=scene.links.version))
    assert await asyncio.wait_for(scene.drained.get(), 5) == "a"


async def test_a_router_that_does_not_read_is_cut_off_and_others_go_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links, "OUTBOX_BYTES", 2**20)
    slow, good = await scene.joined("r1"), await scene.joined("r2")
    big = tuple(Endpoint(replica=f"r{i}", address="unix:/" + "x" * 80, slots=2) for i in range(2000))
    async with asyncio.timeout(10):
        while scene.links.routers == 2:
            scene.links.publish(Route(function=HELLO, endpoints=big))
            version = scene.links.publish(Route(function=HELLO, endpoints=(A,)))
            while (change := await good.hear()).version < version:  # type: ignore[union-attr]
                pass
    assert isinstance(change, Change)
    back = await scene.connect("r1")
    snapshot = await back.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.routes[0].endpoints[0].slots < A.slots
    slow.writer.close()


async def test_applied_out_of_order_never_goes_back(scene: Scene) -> None:
    router = await scene.joined()
    first = scene.links.publish(Route(function=HELLO))
    last = scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    await router.say(Applied(version=last), Applied(version=first))
    assert await scene.links.applied(last, timeout=5)
    assert await scene.links.applied(first, timeout=5)


async def test_who_applied_what_was_never_sent_is_not_believed(scene: Scene) -> None:
    router = await scene.joined()
    await router.say(Applied(version=scene.links.version + 100))
    assert await asyncio.wait_for(router.reader.read(), 5) == b""
    assert not await scene.links.applied(scene.links.publish(Route(function=HELLO)), timeout=0.05)


async def test_a_router_of_a_newer_or_older_release_is_understood(scene: Scene) -> None:
    scene.links.publish(Route(function=HELLO, endpoints=(A,)))
    reader, writer = await asyncio.open_unix_connection(str(scene.path))
    scene.writers.append(writer)
    newer = {"type": "hello", "epoch": "r1", "router": "main", "protocol": 1, "zone": "b", "abilities": ["x"]}
    writer.write(_frame(newer))
    assert isinstance(await read_down(reader), Welcome)
    snapshot = await read_down(reader)
    assert isinstance(snapshot, Snapshot)
    writer.write(_frame({"type": "applied", "version": snapshot.version, "weather": "fair"}))
    writer.write(
        _frame({"type": "levels", "full": True, "levels": [{"function": HELLO, "waiting": 2, "mood": "good"}]})
    )
    assert await asyncio.wait_for(scene.levelled.get(), 5) == HELLO
    level = scene.links.level(HELLO)
    assert level is not None
    assert (level.waiting, level.in_flight, level.calls) == (2, 0, 0)


async def test_a_word_that_this_release_does_not_know_is_the_end_of_the_connection(scene: Scene) -> None:
    router = await scene.joined()
    router.writer.write(_frame({"type": "gossip", "text": "hm"}))
    assert await asyncio.wait_for(router.reader.read(), 5) == b""
    assert scene.links.routers == 0


def _frame(message: dict[str, object]) -> bytes:
    body = msgspec.msgpack.encode(message)
    return struct.pack(">I", len(body)) + body


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_the_seconds_of_keys_are_those_of_the_moment_of_sending(scene: Scene) -> None:
    left = scene.key_seconds[HELLO] = {"d1": 60.0}
    scene.links.publish(Route(function=HELLO, key_digests=("d1", "d2")))
    left["d1"] = 30.0
    router = await scene.connect()
    snapshot = await router.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.routes[0].key_seconds == {"d1": 30.0}
    left["d1"] = 10.0
    scene.links.publish(Route(function=HELLO, key_digests=("d1", "d2")))  # the same: nothing is sent
    scene.links.publish(Route(function=HELLO, key_digests=("d1", "d2"), queue=5))
    change = await router.hear()
    assert isinstance(change, Change)
    assert (change.routes[0].queue, change.routes[0].key_seconds) == (5, {"d1": 10.0})


# Doors.

DOOR = Door(address="172.18.0.1", network="172.18.0.0/16")
OTHER = Door(address="172.19.0.1", network="172.19.0.0/16")


async def test_doors_are_in_every_snapshot_and_in_a_change_when_they_changed(scene: Scene) -> None:
    scene.links.listen([OTHER, DOOR, DOOR])
    router = await scene.connect()
    snapshot = await router.hear()
    assert isinstance(snapshot, Snapshot)
    assert snapshot.doors == (DOOR, OTHER)
    scene.links.publish(Route(function=HELLO))
    assert (await router.hear()).doors is None  # type: ignore[union-attr]
    assert scene.links.listen([DOOR, OTHER]) == scene.links.version
    scene.links.listen([DOOR])
    assert (await router.hear()).doors == (DOOR,)  # type: ignore[union-attr]


async def test_a_door_is_shut_while_one_router_says_so(scene: Scene) -> None:
    router, other = await scene.joined("r1"), await scene.joined("r2")
    version = scene.links.listen([DOOR])
    await other.say(Applied(version=version))
    await router.say(Applied(version=version, shut={DOOR.address: "in use"}))
    assert await scene.links.applied(version, timeout=5)
    assert (scene.links.shut(DOOR.address), scene.links.shut(OTHER.address)) == ("in use", None)
    version = scene.links.listen([])
    await router.say(Applied(version=version))
    await other.say(Applied(version=version))
    assert await scene.links.applied(version, timeout=5)
    assert scene.links.shut(DOOR.address) is None
