"""What the fake does beyond the contract: as it is told."""

import asyncio

import pytest

from pilotlight.core.errors import StartFailed
from pilotlight.core.spec import function_key
from pilotlight.providers.base import BecameReady, Ended, Event, Launch, Pool
from pilotlight.providers.fake import FakeBackend, FakeProvider

POOL = Pool(environment="e", namespace="n")


def a_launch(replica: str) -> Launch:
    return Launch(id=replica, function=function_key("f"), revision="1", bundle="b", pool=POOL)


async def told(provider: FakeProvider) -> list[Event]:
    await provider.close(keep=True)
    return [event async for event in provider.events()]


async def opened(provider: FakeProvider) -> FakeProvider:
    await provider.open()
    return provider


async def test_starts_fail_as_often_as_told() -> None:
    provider = await opened(FakeProvider(fail_starts=2))
    for _ in range(2):
        with pytest.raises(StartFailed):
            await provider.start(a_launch("a"))
    assert (await provider.start(a_launch("a"))).id == "a"


async def test_it_becomes_ready_when_it_is_told() -> None:
    provider = await opened(FakeProvider(ready_delay=None))
    await provider.start(a_launch("a"))
    assert not (await provider.list())[0].ready
    await provider.make_ready("a")
    await provider.make_ready("a")
    assert [type(event) for event in await told(provider)] == [BecameReady]


async def test_time_passes_on_the_given_clock() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    provider = await opened(FakeProvider(start_delay=5, ready_delay=7, sleep=sleep))
    await provider.start(a_launch("a"))
    await asyncio.sleep(0)
    assert slept == [5, 7]


async def test_out_of_memory_and_exit_are_told() -> None:
    provider = await opened(FakeProvider())
    for name in ("a", "b"):
        await provider.start(a_launch(name))
    provider.out_of_memory("a", limit_mib=64)
    provider.exit("b", 3)
    ends = [event for event in await told(provider) if isinstance(event, Ended)]
    assert [(end.reason, end.detail) for end in ends] == [
        ("out-of-memory", "used more than its 64 MiB"), ("exit", "exited with code 3"),
    ]  # fmt: skip


async def test_a_stubborn_replica_uses_its_grace() -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    provider = await opened(FakeProvider(sleep=sleep))
    await provider.start(a_launch("a"))
    provider.backend.replicas["a"].stubborn = True
    await provider.stop("a", grace_seconds=9)
    assert slept == [9]
    assert [event.signal for event in await told(provider) if isinstance(event, Ended)] == [9]


async def test_the_backend_remembers_prepared_pools() -> None:
    backend = FakeBackend()
    provider = await opened(FakeProvider(backend))
    await provider.prepare(POOL, 2)
    assert backend.pools == {POOL: 2}
    await provider.prepare(POOL, 0)
    assert backend.pools == {}
