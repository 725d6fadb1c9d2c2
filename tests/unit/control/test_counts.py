"""Counts of calls: each once, whatever starts again in between."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotlight.control.counts import Counted, Counts, Run
from pilotlight.core.errors import StorageFull
from pilotlight.core.spec import FunctionKey, function_key
from pilotlight.link.messages import Level
from pilotlight.store.counts import StoredCount

F, G = function_key("f"), function_key("g")
OLD, NEW = Run("main", "e1"), Run("main", "e2")


class Rows:
    """A store in memory (counts.CountStore)."""

    def __init__(self) -> None:
        self.rows: dict[tuple[FunctionKey, str, str, int], int] = {}
        self.writes = 0
        self.is_full = False

    async def load(self) -> Sequence[StoredCount]:
        return [
            StoredCount(function=function, router=router, epoch=epoch, code=code, calls=calls)
            for (function, router, epoch, code), calls in self.rows.items()
        ]

    async def save(
        self, counts: Iterable[StoredCount], *, removed: Iterable[FunctionKey], ended: Iterable[Run]
    ) -> None:
        if self.is_full:
            raise StorageFull("full")
        self.writes += 1
        gone, over = set(removed), set(ended)
        self.rows = {k: v for k, v in self.rows.items() if k[0] not in gone and Run(k[1], k[2]) not in over}
        self.rows |= {(c.function, c.router, c.epoch, c.code): c.calls for c in counts}


@pytest.fixture
def rows() -> Rows:
    return Rows()


async def opened(rows: Rows) -> Counts:
    counts = Counts(rows)
    await counts.open()
    return counts


def level(function: FunctionKey = F, **codes: int) -> Level:
    return Level(function=function, codes={int(code[1:]): calls for code, calls in codes.items()})


def test_runs_of_a_router_add_up_and_a_report_that_comes_twice_counts_once() -> None:
    counts = Counts()
    for report in (level(c200=3), level(c200=5, c502=1), level(c200=5, c502=1)):
        counts.report(OLD, report)
    counts.report(NEW, level(c200=2))
    assert counts.of(F) == Counted(calls=8, errors=1)
    assert counts.of(G) == Counted()


def test_a_run_is_told_what_was_answered_before_it() -> None:
    counts = Counts()
    counts.report(OLD, level(c200=3, c500=1))
    counts.report(Run("other", "e1"), level(c200=100))
    assert counts.earlier(F, NEW) == {200: 3, 500: 1}
    assert counts.earlier(F, OLD) == {}


def test_a_router_of_an_older_release_is_counted_too() -> None:
    counts = Counts()
    counts.report(OLD, Level(function=F, calls=5, errors=2))
    assert counts.of(F) == Counted(calls=5, errors=2)


async def test_a_control_plane_that_restarts_beside_a_living_router_counts_nothing_twice(rows: Rows) -> None:
    before = await opened(rows)
    before.report(OLD, level(c200=7))
    await before.save()
    after = await opened(rows)
    assert after.of(F).calls == 7
    after.report(OLD, level(c200=9))
    assert after.of(F).calls == 9
    after.report(NEW, level(c200=1))
    await after.save()
    assert (await opened(rows)).of(F).calls == 10


async def test_what_did_not_change_is_not_written(rows: Rows) -> None:
    counts = await opened(rows)
    counts.report(OLD, level(c200=1))
    await counts.save()
    counts.report(OLD, level(c200=1))
    counts.report(OLD, level(G))
    await counts.save()
    assert rows.writes == 1


async def test_a_removed_function_begins_at_zero_when_its_name_comes_back(rows: Rows) -> None:
    counts = await opened(rows)
    counts.report(OLD, level(c200=7))
    await counts.save()
    counts.forget(F)
    counts.report(OLD, level(c200=1))
    await counts.save()
    assert (await opened(rows)).of(F).calls == counts.of(F).calls == 1


async def test_silent_runs_become_one_and_the_sum_stays(rows: Rows) -> None:
    counts = await opened(rows)
    counts.report(OLD, level(c200=7, c500=1))
    counts.report(NEW, level(c200=1))
    await counts.save()
    later = await opened(rows)
    later.report(NEW, level(c200=2))
    later.merge_silent()
    await later.save()
    assert {(epoch, code) for _, _, epoch, code in rows.rows} == {("", 200), ("", 500), ("e2", 200)}
    assert (await opened(rows)).of(F) == later.of(F) == Counted(calls=10, errors=1)
    assert later.earlier(F, NEW) == {200: 7, 500: 1}


async def test_on_a_full_disk_counts_wait_for_the_next_time(rows: Rows) -> None:
    counts = await opened(rows)
    counts.report(OLD, level(c200=7))
    rows.is_full = True
    await counts.save()
    rows.is_full = False
    counts.report(OLD, level(c200=8))
    await counts.save()
    assert (await opened(rows)).of(F).calls == 8


@given(st.lists(st.tuples(st.sampled_from(["e1", "e2", "e3"]), st.integers(1, 5)), max_size=30), st.data())
async def test_whatever_restarts_in_between_the_sum_is_that_of_all_calls(
    steps: list[tuple[str, int]], data: st.DataObject
) -> None:
    rows = Rows()
    counts = await opened(rows)
    answered: dict[str, int] = {}
    for epoch, calls in steps:
        answered[epoch] = answered.get(epoch, 0) + calls
        counts.report(Run("main", epoch), level(c200=answered[epoch]))
        if data.draw(st.booleans()):
            await counts.save()
            counts = await opened(rows)
    assert counts.of(F).calls == sum(answered.values())
