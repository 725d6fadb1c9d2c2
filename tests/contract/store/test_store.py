"""The store's contract, on a real SQLite file."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from pilotlight.core.errors import InvalidInput, StorageFull
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.store.sql import KEPT_REVISIONS, Store

BUNDLE = Bundle(digest="d1", environment="e1", template="python3-http", contract="http", preimports=("json",))
HELLO = FunctionSpec(name="hello", image="bundle/hello@sha256:d1", environment={"A": "1"}, labels={"team": "x"})
KEY = function_key("hello")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db")
    yield store
    await store.close()


async def test_a_revision_that_was_never_live_makes_no_function(store: Store) -> None:
    await store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    assert await store.functions() == []


async def test_what_was_made_live_is_read_back_whole(store: Store, tmp_path: Path) -> None:
    revision = await store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    await store.make_live(revision, slots=4, now=2.0)
    await store.close()
    again = await Store.open(tmp_path / "store.db")
    [function] = await again.functions()
    await again.close()
    assert (function.key, function.created_at) == (KEY, 2.0)
    assert (function.live.spec, function.live.bundle, function.live.slots) == (HELLO, BUNDLE, 4)


async def test_numbers_count_up_within_a_function_also_over_failures(store: Store) -> None:
    first = await store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    await store.fail_revision("r1", "a sentence")
    second = await store.add_revision("r2", HELLO, BUNDLE, now=2.0)
    assert (first.number, second.number) == (1, 2)


async def test_adding_a_revision_twice_is_adding_it_once(store: Store) -> None:
    first = await store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    assert await store.add_revision("r1", HELLO, BUNDLE, now=5.0) == first


async def test_the_newest_live_revision_replaces_the_one_before(store: Store) -> None:
    for name in ("r1", "r2"):
        await store.make_live(await store.add_revision(name, HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    [function] = await store.functions()
    assert function.live.id == "r2"


async def test_a_failed_revision_leaves_the_live_one(store: Store) -> None:
    await store.make_live(await store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await store.add_revision("r2", HELLO, BUNDLE, now=2.0)
    assert await store.fail_unfinished("the server stopped") == 1
    [function] = await store.functions()
    assert function.live.id == "r1"


async def test_a_scale_call_is_kept_until_the_next_revision(store: Store) -> None:
    await store.make_live(await store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await store.scaled(KEY, 3, now=7.0)
    [function] = await store.functions()
    assert (function.scaled_to, function.scaled_at) == (3, 7.0)
    await store.make_live(await store.add_revision("r2", HELLO, BUNDLE, now=8.0), slots=4, now=8.0)
    [function] = await store.functions()
    assert function.scaled_to is None


async def test_removing_is_idempotent_and_complete(store: Store) -> None:
    await store.make_live(await store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await store.remove(KEY)
    await store.remove(KEY)
    assert await store.functions() == []
    assert (await store.add_revision("r9", HELLO, BUNDLE, now=9.0)).number == 1


async def test_old_revisions_are_dropped(store: Store, tmp_path: Path) -> None:
    for number in range(KEPT_REVISIONS + 5):
        await store.make_live(await store.add_revision(f"r{number}", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    with sqlite3.connect(tmp_path / "store.db") as connection:
        [count] = connection.execute("SELECT count(*) FROM revisions").fetchone()
    connection.close()
    assert count == KEPT_REVISIONS


async def test_writes_are_durable_before_they_are_acknowledged(store: Store, tmp_path: Path) -> None:
    async with store._engine.connect() as connection:
        journal = (await connection.exec_driver_sql("PRAGMA journal_mode")).scalar_one()
        synchronous = (await connection.exec_driver_sql("PRAGMA synchronous")).scalar_one()
    assert (journal, synchronous) == ("wal", 2)


async def test_a_newer_schema_is_refused_with_a_sentence(store: Store, tmp_path: Path) -> None:
    await store.close()
    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(InvalidInput, match="newer Pilotlight"):
        await Store.open(tmp_path / "store.db")


async def test_a_full_disk_is_told_as_such_and_changes_nothing(store: Store) -> None:
    await store.make_live(await store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    async with store._engine.connect() as connection:
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar_one()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    big = HELLO.__class__(name="hello", image="x", environment={"A": "1" * 200_000})
    with pytest.raises(StorageFull):
        await store.add_revision("r2", big, BUNDLE, now=2.0)
    [function] = await store.functions()
    assert function.live.id == "r1"
