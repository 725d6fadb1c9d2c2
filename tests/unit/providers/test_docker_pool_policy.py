"""When a pool makes a spare, who gets it, and when it says that there is none; its containers here are objects."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from pilotlight.core.errors import StartFailed
from pilotlight.providers.base import Pool
from pilotlight.providers.docker import pools as module
from pilotlight.providers.docker.pools import NoPool, Pools
from tests.provider_support import eventually

POOL = Pool(environment="e", namespace="n", image="i")
WITH_CSV = replace(POOL, preimports=("csv",))


@dataclass(eq=False)
class Container:
    """As pools see a ContainerZygote."""

    id: str
    pool: Pool
    hello: Any = None
    replica: str | None = None
    container: str = ""
    silent_since: float | None = None
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    closed: bool = False

    @property
    def is_idle(self) -> bool:
        return self.hello is not None and self.silent_since is None and self.replica is None

    def covers(self, pool: Pool) -> bool:
        return set(pool.preimports) <= set(self.pool.preimports)

    def close(self) -> None:
        self.closed = True


@dataclass
class Yard:
    """Makes containers that greet at once, unless it is told otherwise."""

    greets: bool = True
    fails: Exception | None = None
    made: list[Container] = field(default_factory=list)
    gone: list[Container] = field(default_factory=list)
    pools: Pools = field(init=False)

    def __post_init__(self) -> None:
        make: Callable[[str, Pool], Awaitable[Any]] = self._make
        self.pools = Pools(make=make, discard=self._discard)

    async def _make(self, id_: str, pool: Pool) -> Container:
        await asyncio.sleep(0)
        made = Container(id_, pool, container=f"c{id_}")
        self.made.append(made)
        if self.fails is not None:
            raise self.fails
        made.hello = "hello" if self.greets else None
        return made

    async def _discard(self, container: Any) -> None:
        self.gone.append(container)

    def idle(self, pool: Pool = POOL) -> int:
        return len(self.pools.idle(pool))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REFILL_SECONDS", "FIRST_PAUSE", "HELLO_SECONDS", "SILENT_SECONDS"):
        monkeypatch.setattr(module, name, 0.02)


async def test_spares_are_made_again_after_each_claim_and_nothing_is_remembered_of_them(quick: None) -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 2)
    await eventually(lambda: yard.idle() == 2)
    for number in range(15):
        found, _waited = await yard.pools.claim(POOL, f"r{number}")
        assert found.replica == f"r{number}"
        await eventually(lambda: yard.idle() == 2)
    assert len({each.id for each in yard.made}) == len(yard.made) == 17
    assert len(yard.pools.all()) == 2


async def test_a_launch_without_spares_has_one_made_and_waits_for_it() -> None:
    found, waited = await Yard().pools.claim(POOL, "a")
    assert waited
    assert found.replica == "a"


@pytest.mark.parametrize("error", [StartFailed("no room"), OSError(24, "Too many open files"), ValueError("?")])
async def test_a_spare_that_cannot_be_made_is_told_and_not_tried_at_once_again(error: Exception) -> None:
    yard = Yard(fails=error)
    with pytest.raises(NoPool):
        await yard.pools.claim(POOL, "a")
    with pytest.raises(NoPool, match="the next try is in"):
        await yard.pools.claim(POOL, "b")
    assert len(yard.made) == 1


async def test_a_spare_that_dies_before_it_greets_has_failed_however_late_that_is() -> None:
    yard = Yard(greets=False)
    waiting = asyncio.create_task(yard.pools.claim(POOL, "a"))
    await eventually(lambda: yard.pools.all())
    (spare,) = yard.pools.all()
    spare.began -= 100
    yard.pools.gone(spare, "Killed")
    with pytest.raises(NoPool, match="Killed"):
        await waiting


async def test_a_spare_that_says_nothing_is_not_waited_for_without_an_end(quick: None) -> None:
    yard = Yard(greets=False)
    with pytest.raises(NoPool, match="said nothing"):
        await yard.pools.claim(POOL, "a")
    await eventually(lambda: yard.gone == yard.made)


async def test_one_that_hung_up_and_does_not_dial_again_is_replaced(quick: None) -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 1)
    await eventually(lambda: yard.idle() == 1)
    yard.made[0].silent_since = asyncio.get_running_loop().time() - 1
    yard.pools.settle()
    await eventually(lambda: yard.idle() == 1)
    assert yard.gone == yard.made[:1]


async def test_an_adopted_spare_that_does_not_greet_goes(quick: None) -> None:
    yard = Yard()
    silent: Any = Container("a", POOL)
    yard.pools.adopt(silent)
    await eventually(lambda: yard.gone == [silent])


async def test_after_the_stop_nobody_waits() -> None:
    yard = Yard(greets=False)
    waiting = asyncio.create_task(yard.pools.claim(POOL, "a"))
    await eventually(lambda: yard.made)
    await yard.pools.stop()
    with pytest.raises(NoPool, match="stopping"):
        await waiting


async def test_one_whose_making_was_cancelled_before_it_began_is_not_counted_as_coming() -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 2)
    (group,) = yard.pools._groups.values()
    assert len(group.making) == 2
    yard.pools.leave()
    await eventually(lambda: not group.making)
    assert yard.made == []


async def test_sockets_that_do_not_work_are_given_up_until_one_does(quick: None) -> None:
    yard = Yard(greets=False)
    for name in ("a", "b"):
        with pytest.raises(NoPool):
            await yard.pools.claim(POOL, name)
        await eventually(lambda: len(yard.gone) == len(yard.made))
        group = next(iter(yard.pools._groups.values()))
        await asyncio.sleep(max(0.0, group.not_before - asyncio.get_running_loop().time()))
    await eventually(lambda: yard.pools.unusable)
    late: Any = Container("late", replace(POOL, environment="other"), hello="hello")
    yard.pools.adopt(late)
    yard.pools.greeted(late)
    assert not yard.pools.unusable
    found, _waited = await yard.pools.claim(late.pool, "c")
    assert found is late


async def test_where_there_can_be_none_it_is_not_tried_again() -> None:
    yard = Yard()
    yard.pools.rule_out("a remote engine")
    yard.pools.settle()
    with pytest.raises(NoPool, match="a remote engine"):
        await yard.pools.claim(POOL, "a")
    assert not yard.made


async def test_imports_that_nobody_wants_any_more_are_not_imported(quick: None) -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 1)
    await eventually(lambda: yard.idle() == 1)
    found, _waited = await yard.pools.claim(WITH_CSV, "a")  # of a deploy that fails
    assert found.pool.preimports == ("csv",)
    before = len(yard.made)
    await yard.pools.claim(POOL, "b")
    await eventually(lambda: len(yard.made) > before)
    assert yard.made[-1].pool.preimports == ()


async def test_spares_with_more_imports_take_the_place_of_those_with_fewer(quick: None) -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 1)
    await eventually(lambda: yard.idle() == 1)
    yard.pools.prepare(WITH_CSV, 1)
    await eventually(lambda: yard.gone)
    assert [each.pool.preimports for each in yard.pools.all()] == [("csv",)]


async def test_a_pool_that_is_let_go_leaves_nothing(quick: None) -> None:
    yard = Yard()
    yard.pools.prepare(POOL, 2)
    await eventually(lambda: yard.idle() == 2)
    yard.pools.prepare(POOL, 0)
    await eventually(lambda: len(yard.gone) == 2)
    yard.pools.settle()
    assert not yard.pools._groups
