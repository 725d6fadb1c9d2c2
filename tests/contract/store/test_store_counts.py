"""Counts of calls on a real SQLite file."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.store.counts import CountTable, StoredCount
from pilotlight.store.sql import Store

BUNDLE = Bundle(digest="d1", environment="e1", template="python3-http", contract="http")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db")
    for name in ("f", "g"):
        spec = FunctionSpec(name=name, image="bundle/x@sha256:d1")
        await store.make_live(await store.add_revision(name, spec, BUNDLE, now=1.0), slots=1, now=1.0)
    yield store
    await store.close()


def count(name: str, calls: int, *, epoch: str = "e1", code: int = 200) -> StoredCount:
    key = FunctionKey(f"{name}.openfaas-fn")
    return StoredCount(function=key, router="main", epoch=epoch, code=code, calls=calls)


async def test_the_last_report_of_each_run_and_status_is_kept(store: Store) -> None:
    table = CountTable(store)
    await table.save([count("f", 1), count("f", 2, code=500), count("g", 3)], removed=(), ended=())
    await table.save([count("f", 5), count("f", 1, epoch="e2")], removed=(), ended=())
    assert sorted(await table.load(), key=repr) == sorted(
        [count("f", 5), count("f", 2, code=500), count("f", 1, epoch="e2"), count("g", 3)], key=repr
    )


async def test_removed_functions_and_ended_runs_go_before_what_is_new_comes(store: Store) -> None:
    table = CountTable(store)
    await table.save([count("f", 9), count("g", 4), count("g", 6, epoch="e2")], removed=(), ended=())
    removed = [FunctionKey("f.openfaas-fn")]
    await table.save([count("f", 1), count("g", 4, epoch="")], removed=removed, ended=[("main", "e1")])
    assert sorted(await table.load(), key=repr) == sorted(
        [count("f", 1), count("g", 4, epoch=""), count("g", 6, epoch="e2")], key=repr
    )


async def test_what_is_left_of_functions_that_are_gone_is_not_loaded(store: Store) -> None:
    table = CountTable(store)
    await table.save([count("f", 9), count("g", 4)], removed=(), ended=())
    await store.remove(FunctionKey("f.openfaas-fn"))
    assert await table.load() == [count("g", 4)]
