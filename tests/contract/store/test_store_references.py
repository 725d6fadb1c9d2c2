"""What the store knows of what is kept elsewhere: which bundles are needed, and whose logs may go."""

import asyncio
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from pilotlight.core.errors import StorageFull
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.store.sql import Store

HELLO = FunctionSpec(name="hello", image="bundle/hello@sha256:d1")
KEY = function_key("hello")


def bundle(digest: str) -> Bundle:
    return Bundle(digest=digest, environment=f"e{digest}", template="python3-http", contract="http")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(tmp_path / "store.db")
    yield store
    await store.close()


async def put(store: Store, name: str, *, now: float = 1.0) -> None:
    await store.make_live(await store.add_revision(name, HELLO, bundle(name), now), slots=4, now=now)


async def test_every_revision_refers_to_its_bundle_and_environment_the_newest_first(store: Store) -> None:
    for name in ("r1", "r2"):
        await put(store, name)
    await store.add_revision("r3", HELLO, bundle("r3"), now=2.0)
    found = [(each.revision, each.state, each.bundle, each.environment) for each in await store.references()]
    assert found == [("r3", "proving", "r3", "er3"), ("r2", "live", "r2", "er2"), ("r1", "retired", "r1", "er1")]


async def test_a_removed_function_is_remembered_until_it_is_forgotten(store: Store, tmp_path: Path) -> None:
    await put(store, "r1")
    await store.remove(KEY)
    await store.close()
    again = await Store.open(tmp_path / "store.db")
    assert await again.removed() == [KEY]
    await again.forgotten(KEY)
    assert await again.removed() == []
    await again.close()


async def test_deploying_it_again_makes_it_no_removed_one(store: Store) -> None:
    await put(store, "r1")
    await store.remove(KEY)
    await store.add_revision("r2", HELLO, bundle("r2"), now=2.0)
    assert await store.removed() == []


async def test_what_was_never_live_is_abandoned_once_its_last_try_is_old(store: Store) -> None:
    for number, name in enumerate(("r1", "r2")):
        await store.add_revision(name, HELLO, bundle(name), now=float(number))
        await store.fail_revision(name, "a sentence")
    assert await store.abandon(before=1.0) == []
    assert await store.abandon(before=1.5) == [KEY]
    assert (await store.references(), await store.removed()) == ([], [KEY])


async def test_what_is_being_proven_or_was_live_is_not_abandoned(store: Store) -> None:
    await store.add_revision("r1", HELLO, bundle("r1"), now=1.0)
    assert await store.abandon(before=9.0) == []
    await put(store, "r2")
    await store.add_revision("r3", HELLO, bundle("r3"), now=1.0)
    await store.fail_revision("r3", "a sentence")
    assert await store.abandon(before=9.0) == []


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pl-store-") as folder:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("a file system cannot be mounted here (that takes root)")
        yield Path(folder)
        subprocess.run(["umount", "--lazy", folder], check=True)


async def test_on_a_disk_that_is_full_it_reads_on_and_writes_again_when_there_is_room(small_disk: Path) -> None:
    store = await Store.open(small_disk / "store.db")
    await put(store, "first")
    fill(small_disk, 0)
    put_ones = [put(store, f"r{number}") for number in range(20)]
    results = await asyncio.gather(*put_ones, return_exceptions=True)
    assert {type(result) for result in results} <= {StorageFull, type(None)}
    assert isinstance(results[-1], StorageFull)
    last = max((number for number, result in enumerate(results) if result is None), default=None)
    assert [each.live.id for each in await store.functions()] == ["first" if last is None else f"r{last}"]
    (small_disk / "filler").unlink()
    await put(store, "last")
    assert [each.live.id for each in await store.functions()] == ["last"]
    await store.close()


async def test_on_a_full_disk_a_function_can_be_removed(small_disk: Path) -> None:
    store = await Store.open(small_disk / "store.db")
    await put(store, "r1")
    fill(small_disk, 0)
    await store.remove(KEY)
    assert await store.functions() == []
    await store.close()


async def test_on_a_full_disk_what_was_being_proven_can_be_failed(small_disk: Path) -> None:
    store = await Store.open(small_disk / "store.db")
    for name in ("r1", "r2"):
        await store.add_revision(name, HELLO, bundle(name), now=1.0)
    fill(small_disk, 0)
    await store.fail_revision("r1", "a sentence" * 100)
    assert await store.fail_unfinished("a sentence" * 100) == 1
    await store.close()


@pytest.mark.parametrize("free", [0, 4096, 40960])
async def test_on_a_full_disk_it_can_be_opened(small_disk: Path, free: int) -> None:
    store = await Store.open(small_disk / "store.db")
    await put(store, "r1")
    await store.close()
    fill(small_disk, free)
    again = await Store.open(small_disk / "store.db")
    assert [each.live.id for each in await again.functions()] == ["r1"]
    await again.close()


async def test_without_its_reserve_it_says_why_it_cannot_be_opened(small_disk: Path) -> None:
    await (await Store.open(small_disk / "store.db")).close()
    (small_disk / "store.reserve").unlink()
    fill(small_disk, 0)
    with pytest.raises(StorageFull):
        await Store.open(small_disk / "store.db")


def fill(disk: Path, free: int) -> None:
    with (disk / "filler").open("ab", buffering=0) as file:
        try:
            while file.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            file.truncate(file.tell() - free)
