"""The collector over a real store and real folders: what is referenced stays, and nothing is ever half removed."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pilotlight.builder.base import Disk, Kept
from pilotlight.builder.shelf import Shelf
from pilotlight.config import DiskSettings
from pilotlight.control.collector import ROLLBACK_REVISIONS, Collector
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionSpec, function_key
from pilotlight.engine import Refused
from pilotlight.providers.base import Launch, LogLine, Pool
from pilotlight.providers.fake import FakeProvider
from pilotlight.store.sql import Store

KEY = function_key("hello")
MIB = 2**20


@dataclass
class Cellar:
    """A data directory with things in it that take a MiB each by their manifests, and were used a day ago."""

    data: Path
    store: Store
    provider: FakeProvider
    shelf: Shelf

    def collector(self, **settings: float) -> Collector:
        values = {"budget_mib": 0, "free_mib": 0} | settings
        chosen = DiskSettings(**values)  # type: ignore[arg-type]
        return Collector(store=self.store, provider=self.provider, shelves=[self.shelf], settings=chosen)

    def environment(self, digest: str) -> str:
        return self._put(f"environments/{digest}", {"bytes": MIB})

    def bundle(self, digest: str, environment: str) -> Bundle:
        self._put(f"bundles/{digest}", {"bytes": MIB, "environment": environment})
        return Bundle(digest=digest, environment=environment, template="python3-http", contract="http")

    def names(self) -> set[str]:
        return {f"{path.parent.name}/{path.name}" for kind in ("bundles", "environments") for path in self.place(kind)}

    def place(self, kind: str) -> list[Path]:
        return list((self.data / kind).iterdir())

    async def live(self, revision: str, bundle: Bundle) -> None:
        spec = FunctionSpec(name="hello", image=f"bundle/hello@sha256:{bundle.digest}")
        await self.store.make_live(await self.store.add_revision(revision, spec, bundle, now=1.0), slots=4, now=1.0)

    async def run(self, revision: str, bundle: Bundle) -> None:
        pool = Pool(environment=bundle.environment, namespace="openfaas-fn")
        await self.provider.start(Launch(id="r", function=KEY, revision=revision, bundle=bundle.digest, pool=pool))

    def _put(self, name: str, manifest: dict[str, object]) -> str:
        folder = self.data / name
        folder.mkdir()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        long_ago(folder / "manifest.json")
        return folder.name


def long_ago(path: Path) -> None:
    os.utime(path, (time.time() - 86400,) * 2)


@pytest.fixture
def data() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pl-cellar-") as folder:
        for name in ("bundles", "environments", "runtime", "staging", "cache/locks", "cache/trials", "cache/uv"):
            (Path(folder) / name).mkdir(parents=True)
        long_ago(Path(folder) / "cache/uv")
        yield Path(folder)


@pytest.fixture
async def cellar(data: Path) -> AsyncIterator[Cellar]:
    store = await Store.open(data / "store.db")
    provider = FakeProvider()
    await provider.open()
    yield Cellar(data, store, provider, Shelf(data, make_cache=(data / "cache/uv").mkdir))
    await provider.close(keep=False)
    await store.close()


async def test_what_nobody_refers_to_goes_when_the_budget_is_exceeded(cellar: Cellar) -> None:
    cellar.bundle("b1", cellar.environment("e1"))
    assert await cellar.collector(budget_mib=2).collect() == []
    assert set(await cellar.collector(budget_mib=1).collect()) == {"bundles/b1"}
    assert set(await cellar.collector().collect()) >= {"environments/e1"}
    assert cellar.names() == set()
    assert cellar.place("staging") == []


async def test_live_revisions_stay_whatever_the_budget_is(cellar: Cellar) -> None:
    await cellar.live("r1", cellar.bundle("b1", cellar.environment("e1")))
    cellar.bundle("b2", cellar.environment("e2"))
    await cellar.collector().collect()
    assert cellar.names() == {"bundles/b1", "environments/e1"}


async def test_a_revision_that_is_being_proven_stays(cellar: Cellar) -> None:
    bundle = cellar.bundle("b1", cellar.environment("e1"))
    await cellar.store.add_revision("r1", FunctionSpec(name="hello", image="i"), bundle, now=1.0)
    await cellar.collector().collect()
    assert cellar.names() == {"bundles/b1", "environments/e1"}


async def test_a_retired_revision_stays_while_a_replica_of_it_runs(cellar: Cellar) -> None:
    old, new = cellar.bundle("b1", cellar.environment("e1")), cellar.bundle("b2", cellar.environment("e2"))
    await cellar.live("r1", old)
    await cellar.run("r1", old)
    await cellar.live("r2", new)
    await cellar.collector().collect()
    assert "bundles/b1" in cellar.names()
    await cellar.provider.stop("r", grace_seconds=0)
    await cellar.collector(min_age_seconds=0).collect()
    assert cellar.names() == {"bundles/b2", "environments/e2"}


async def test_nothing_goes_while_a_replica_of_a_removed_function_runs(cellar: Cellar) -> None:
    bundle = cellar.bundle("b1", cellar.environment("e1"))
    await cellar.live("r1", bundle)
    await cellar.run("r1", bundle)
    await cellar.store.remove(KEY)
    assert await cellar.collector().collect() == []
    await cellar.provider.stop("r", grace_seconds=0)
    assert "bundles/b1" in await cellar.collector().collect()


async def test_what_is_dropped_counts_as_used_until_then(cellar: Cellar) -> None:
    await cellar.live("r1", cellar.bundle("b1", cellar.environment("e1")))
    await cellar.collector().collect()
    await cellar.store.remove(KEY)
    await cellar.collector().collect()
    assert cellar.names() == {"bundles/b1", "environments/e1"}


async def test_the_last_revisions_are_kept_for_a_roll_back_as_long_as_there_is_room(cellar: Cellar) -> None:
    environment = cellar.environment("e1")
    count = ROLLBACK_REVISIONS + 3
    for number in range(count):
        await cellar.live(f"r{number}", cellar.bundle(f"b{number}", environment))
    await cellar.collector(budget_mib=1 + 1 + ROLLBACK_REVISIONS).collect()
    kept = {f"bundles/b{number}" for number in range(count - 1 - ROLLBACK_REVISIONS, count)}
    assert cellar.names() == kept | {"environments/e1"}
    await cellar.collector().collect()
    assert cellar.names() == {f"bundles/b{count - 1}", "environments/e1"}


async def test_a_disk_with_little_room_counts_as_a_smaller_budget(
    cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cellar.shelf, "disk", lambda: Disk(size_bytes=2**40, free_bytes=99 * MIB))
    cellar.bundle("b1", cellar.environment("e1"))
    await cellar.collector(budget_mib=1000, free_mib=100).collect()
    assert cellar.names() == {"environments/e1"}


async def test_a_disk_of_two_budgets_is_short_once(cellar: Cellar, tmp_path: Path) -> None:
    """As that of a further engine on this machine can be."""
    for name in ("environments", "staging"):
        (tmp_path / name).mkdir()
    further = Shelf(tmp_path, make_cache=lambda: None)
    further.budget = "node-2"
    second = Cellar(tmp_path, cellar.store, cellar.provider, further)
    cellar.environment("e1")
    second.environment("e2")
    for shelf in (cellar.shelf, further):
        shelf.disk = lambda: Disk(size_bytes=2**40, free_bytes=99 * MIB, device=7)  # type: ignore[method-assign]
    settings = DiskSettings(budget_mib=1000, free_mib=100)
    collector = Collector(
        store=cellar.store, provider=cellar.provider, shelves=[cellar.shelf, further], settings=settings
    )
    assert await collector.collect() == ["environments/e1"]
    assert await collector.collect() == ["environments/e2"]


async def test_an_engine_that_refuses_keeps_nothing_else_from_being_collected_and_is_told_once(
    cellar: Cellar, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing() -> set[str]:
        raise Refused(500, "layer does not exist")

    further = Shelf(cellar.data, make_cache=lambda: None)
    further.budget = "node-2"
    collector = Collector(
        store=cellar.store,
        provider=cellar.provider,
        shelves=[further, cellar.shelf],
        settings=DiskSettings(budget_mib=0, free_mib=0),
    )
    with monkeypatch.context() as patched, capture_logs() as said:
        patched.setattr(further, "in_use", refusing)
        for name in ("e1", "e2"):
            cellar.environment(name)
            assert await collector.collect() == [f"environments/{name}"]
    assert [(each["node"], each["reason"]) for each in said if each["log_level"] == "warning"] == [
        ("node-2", "layer does not exist")
    ]
    await collector.collect()
    monkeypatch.setattr(further, "in_use", refusing)
    with capture_logs() as said:
        await collector.collect()
    assert [each["node"] for each in said] == ["node-2"]


async def test_what_was_used_after_it_was_looked_at_is_not_taken(cellar: Cellar) -> None:
    cellar.bundle("b1", cellar.environment("e1"))
    [seen] = [each for each in cellar.shelf.everything() if each.name == "bundles/b1"]
    assert cellar.shelf.use("bundles/b1")
    assert not cellar.shelf.take(seen)
    assert "bundles/b1" in cellar.names()


async def test_what_was_taken_cannot_be_used(cellar: Cellar) -> None:
    cellar.bundle("b1", cellar.environment("e1"))
    [seen] = [each for each in cellar.shelf.everything() if each.name == "bundles/b1"]
    assert cellar.shelf.take(seen)
    assert not cellar.shelf.use("bundles/b1")


async def test_either_it_is_used_or_it_is_taken(cellar: Cellar) -> None:
    """Both at once, many times."""
    for number in range(100):
        cellar.bundle(f"b{number}", "e1")
        [seen] = [each for each in cellar.shelf.everything() if each.name == f"bundles/b{number}"]
        gate = threading.Barrier(2)
        used, taken = await asyncio.gather(
            asyncio.to_thread(_at, gate, cellar.shelf.use, seen.name),
            asyncio.to_thread(_at, gate, cellar.shelf.take, seen),
        )
        there = (cellar.data / seen.name / "manifest.json").exists()
        assert used is not taken
        assert there is used


def _at(gate: threading.Barrier, act: object, argument: object) -> object:
    gate.wait()
    assert callable(act)
    return act(argument)


async def test_uvs_cache_goes_as_a_whole_but_never_under_a_uv_that_runs(cellar: Cellar) -> None:
    (cellar.data / "cache/uv/wheel").write_bytes(b"x" * MIB)
    long_ago(cellar.data / "cache/uv")
    with cellar.shelf.uv_running():
        assert await cellar.collector().collect() == []
    long_ago(cellar.data / "cache/uv")
    assert await cellar.collector().collect() == ["cache/uv"]
    assert list((cellar.data / "cache/uv").iterdir()) == []


async def test_a_layer_from_which_a_process_of_an_older_version_runs_stays(cellar: Cellar) -> None:
    for name in ("old", "older"):
        (cellar.data / "runtime" / name).mkdir()
        long_ago(cellar.data / "runtime" / name)
    command = [sys.executable, "-c", "input()", f"{cellar.data}/runtime/old/bootstrap.py"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    try:
        await cellar.collector().collect()
    finally:
        process.kill()
        process.communicate()
    assert [path.name for path in cellar.place("runtime")] == ["old"]


async def test_the_servers_own_layer_stays(cellar: Cellar) -> None:
    own = cellar.data / "runtime/own"
    own.mkdir()
    long_ago(own)
    shelf = Shelf(cellar.data, layer=own, make_cache=(cellar.data / "cache/uv").mkdir)
    settings = DiskSettings(budget_mib=0, free_mib=0)
    await Collector(store=cellar.store, provider=cellar.provider, shelves=[shelf], settings=settings).collect()
    assert own.is_dir()


async def test_logs_of_removed_functions_go_once_nothing_of_theirs_runs(cellar: Cellar) -> None:
    bundle = cellar.bundle("b1", cellar.environment("e1"))
    await cellar.live("r1", bundle)
    await cellar.run("r1", bundle)
    logs = cellar.provider.backend.logs
    logs[KEY] = deque([LogLine(time=1.0, replica="r", stream="stdout", text="x")])
    await cellar.store.remove(KEY)
    await cellar.collector().collect()
    assert KEY in logs
    await cellar.provider.stop("r", grace_seconds=0)
    await cellar.collector().collect()
    assert KEY not in logs
    assert await cellar.store.removed() == []


async def test_what_never_came_to_life_is_forgotten_after_a_while(cellar: Cellar) -> None:
    bundle = cellar.bundle("b1", cellar.environment("e1"))
    now = time.time()
    for name, at in (("old", now - 86400), ("new", now)):
        await cellar.store.add_revision(name, FunctionSpec(name=name, image="i"), bundle, now=at)
        await cellar.store.fail_revision(name, "a sentence")
    await cellar.collector().collect()
    assert [each.function for each in await cellar.store.references()] == [function_key("new")]


async def test_on_a_disk_that_takes_nothing_more_there_is_room_afterwards(cellar: Cellar) -> None:
    options = "size=1m,nr_inodes=40"
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", cellar.data], capture_output=True).returncode:
        pytest.skip("a file system cannot be mounted here (that takes root)")
    try:
        for name in ("bundles", "environments", "staging"):
            (cellar.data / name).mkdir()
        cellar.bundle("b1", cellar.environment("e1"))
        with contextlib.suppress(OSError):
            for number in range(100):
                (cellar.data / str(number)).touch()
        await cellar.collector().collect()
        assert cellar.names() == set()
        (cellar.data / "new").mkdir()
    finally:
        subprocess.run(["umount", "--lazy", cellar.data], check=True)


KILLED = """
import sys
from pathlib import Path
from pilotlight.builder import shelf as module
from pilotlight.builder.shelf import Shelf
data = Path(sys.argv[1])
shelf = Shelf(data, make_cache=lambda: None)
real = module.remove
def remove(path):
    print("renamed", flush=True)
    (path / "manifest.json").unlink()
    print("half", flush=True)
    input()
module.remove = remove
[shelf.take(each) for each in shelf.everything() if each.name == "bundles/b1"]
"""


@pytest.mark.parametrize("moment", [b"renamed", b"half"])
async def test_a_collector_killed_in_the_middle_leaves_nothing_half_removed(cellar: Cellar, moment: bytes) -> None:
    cellar.bundle("b1", cellar.environment("e1"))
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(cellar.data)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=dict(os.environ, PYTHONPATH=":".join(sys.path)),
    )  # fmt: skip
    assert process.stdout is not None
    assert any(moment in line for line in process.stdout)
    process.kill()
    process.communicate()
    assert cellar.names() == {"environments/e1"}
    assert not cellar.shelf.use("bundles/b1")
    [left] = cellar.place("staging")  # where the next start removes it
    shutil.rmtree(left)


def test_sizes_that_were_not_measured_are(data: Path) -> None:
    (data / "environments/e1").mkdir()
    (data / "environments/e1/manifest.json").write_text("{}")
    (data / "environments/e1/file").write_bytes(b"x" * MIB)
    found: list[Kept] = Shelf(data, make_cache=lambda: None).everything()
    [each] = [each for each in found if each.name == "environments/e1"]
    assert MIB <= each.bytes < MIB + 2**16
