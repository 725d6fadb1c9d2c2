"""The store's contract, on a real SQLite file; what has nothing to do with files also on the model's store."""

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import cast

import pytest

from pilotlight.core.errors import InvalidInput, StorageFull
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.store.sql import KEPT_REVISIONS, Store
from tests.integration.model.store import MemoryStore

BUNDLE = Bundle(digest="d1", environment="e1", template="python3-http", contract="http", preimports=("json",))
HELLO = FunctionSpec(name="hello", image="bundle/hello@sha256:d1", environment={"A": "1"}, labels={"team": "x"})
KEY = function_key("hello")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db")
    yield store
    await store.close()


@pytest.fixture(params=["sqlite", "memory"])
async def any_store(request: pytest.FixtureRequest, store: Store) -> Store:
    return store if request.param == "sqlite" else MemoryStore()


async def test_a_revision_that_was_never_live_makes_no_function(any_store: Store) -> None:
    await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    assert await any_store.functions() == []


async def test_what_was_made_live_is_read_back_whole(store: Store, tmp_path: Path) -> None:
    revision = await store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    await store.make_live(revision, slots=4, now=2.0)
    await store.close()
    again = await Store.open(tmp_path / "store.db")
    [function] = await again.functions()
    await again.close()
    assert (function.key, function.created_at) == (KEY, 2.0)
    assert (function.live.spec, function.live.bundle, function.live.slots) == (HELLO, BUNDLE, 4)


async def test_numbers_count_up_within_a_function_also_over_failures(any_store: Store) -> None:
    first = await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    await any_store.fail_revision("r1", "a sentence")
    second = await any_store.add_revision("r2", HELLO, BUNDLE, now=2.0)
    assert (first.number, second.number) == (1, 2)


async def test_adding_a_revision_twice_is_adding_it_once(any_store: Store) -> None:
    first = await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0)
    assert await any_store.add_revision("r1", HELLO, BUNDLE, now=5.0) == first


async def test_the_newest_live_revision_replaces_the_one_before(any_store: Store) -> None:
    for name in ("r1", "r2"):
        await any_store.make_live(await any_store.add_revision(name, HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    [function] = await any_store.functions()
    assert function.live.id == "r2"


async def test_a_failed_revision_leaves_the_live_one(any_store: Store) -> None:
    await any_store.make_live(await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await any_store.add_revision("r2", HELLO, BUNDLE, now=2.0)
    assert await any_store.fail_unfinished("the server stopped") == 1
    [function] = await any_store.functions()
    assert function.live.id == "r1"


async def test_a_scale_call_is_kept_until_the_next_revision(any_store: Store) -> None:
    await any_store.make_live(await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await any_store.scaled(KEY, 3, now=7.0)
    [function] = await any_store.functions()
    assert (function.scaled_to, function.scaled_at) == (3, 7.0)
    await any_store.make_live(await any_store.add_revision("r2", HELLO, BUNDLE, now=8.0), slots=4, now=8.0)
    [function] = await any_store.functions()
    assert function.scaled_to is None


async def test_removing_is_idempotent_and_complete(any_store: Store) -> None:
    await any_store.make_live(await any_store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    await any_store.remove(KEY)
    await any_store.remove(KEY)
    assert await any_store.functions() == []
    assert (await any_store.add_revision("r9", HELLO, BUNDLE, now=9.0)).number == 1


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


WRITER = """
# Makes one revision after the other live, and says so after each.
import asyncio, sys
from pathlib import Path
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionSpec
from pilotlight.store.sql import Store

async def main():
    store = await Store.open(Path(sys.argv[1]))
    bundle = Bundle(digest="d1", environment="e1", template="python3-http", contract="http")
    for number in range(100_000):
        spec = FunctionSpec(name=f"f{number % 5}", image="bundle/hello@sha256:d1", environment={"N": str(number)})
        revision = await store.add_revision(f"{sys.argv[2]}{number}", spec, bundle, now=float(number))
        await store.make_live(revision, slots=4, now=float(number))
        print(spec.key, revision.id, flush=True)

asyncio.run(main())
"""


@contextlib.contextmanager
def a_process(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def acknowledged(process: "subprocess.Popen[str]", count: int) -> dict[str, str]:
    """What it said was live, by function, up to its death by SIGKILL after so many."""
    assert process.stdout is not None
    lines = [process.stdout.readline() for _ in range(count)]
    process.kill()
    lines += process.stdout.readlines()
    return dict(cast(tuple[str, str], tuple(line.split())) for line in lines if line.endswith("\n"))


@pytest.mark.parametrize("count", [1, 7, 40])
async def test_what_was_acknowledged_is_there_after_a_kill(tmp_path: Path, count: int) -> None:
    with a_process(WRITER, str(tmp_path / "store.db"), "r") as process:
        said = acknowledged(process, count)
    store = await Store.open(tmp_path / "store.db")
    found = {str(function.key): function.live for function in await store.functions()}
    await store.close()
    for key, revision in said.items():
        at_least, live = int(revision[1:]), found[key]
        assert int(live.spec.environment["N"]) >= at_least
        assert int(live.id[1:]) <= max(int(r[1:]) for r in said.values()) + 1


async def test_a_revision_that_a_kill_left_unproven_is_failed_and_can_be_followed(tmp_path: Path) -> None:
    with a_process(WRITER, str(tmp_path / "store.db"), "r") as process:
        acknowledged(process, 3)
    store = await Store.open(tmp_path / "store.db")
    assert await store.fail_unfinished("the server stopped") <= 1
    revision = await store.add_revision("next", HELLO, BUNDLE, now=1.0)
    await store.make_live(revision, slots=4, now=1.0)
    assert KEY in {function.key for function in await store.functions()}
    await store.close()


async def test_two_processes_write_side_by_side_and_lose_nothing(tmp_path: Path) -> None:
    await (await Store.open(tmp_path / "store.db")).close()
    path = str(tmp_path / "store.db")
    with a_process(WRITER, path, "a") as one, a_process(WRITER, path, "b") as two:
        said = [acknowledged(process, 20) for process in (one, two)]
    with sqlite3.connect(tmp_path / "store.db") as connection:
        rows = connection.execute("SELECT function, number, id FROM revisions").fetchall()
        live = dict(connection.execute("SELECT key, live_revision FROM functions").fetchall())
    connection.close()
    assert len({(function, number) for function, number, _ in rows}) == len(rows)
    assert live.keys() == said[0].keys() | said[1].keys()
    assert set(live.values()) <= {name for _, _, name in rows}


DIES_MIGRATING = """
import asyncio, os, signal, sys
from pathlib import Path
from pilotlight.store import sql

statements, left = sql._statements, int(sys.argv[2])

def dying(script):
    global left
    for statement in statements(script):
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 1
        yield statement

sql._statements = dying
asyncio.run(sql.Store.open(Path(sys.argv[1])))
"""


@pytest.mark.parametrize("statements", range(4))
async def test_a_migration_that_was_interrupted_is_done_again_whole(tmp_path: Path, statements: int) -> None:
    path = tmp_path / "store.db"
    with a_process(DIES_MIGRATING, str(path), str(statements)) as process:
        assert process.wait(20) == -signal.SIGKILL
    store = await Store.open(path)
    await store.make_live(await store.add_revision("r1", HELLO, BUNDLE, now=1.0), slots=4, now=1.0)
    [function] = await store.functions()
    await store.close()
    assert function.live.id == "r1"
