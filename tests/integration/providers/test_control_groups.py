"""Control groups of a real kernel. Its memory controller may be out of reach; holding and ending processes is not."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilotlight.providers.base import BecameReady, Ended, Limits
from pilotlight.providers.process import ProcessProvider, cgroups, procfs
from pilotlight.providers.process.cgroups import Group, Groups, delegated
from tests.provider_support import Installation, Watch, a_launch, call, eventually


class WithoutLimits(Groups):
    """Where the memory controller belongs to somebody else."""

    def make(self, replica: str, memory_mib: int) -> Group:
        path = self._base / f"replica-{replica}"
        path.mkdir()
        return Group(path)


@pytest.fixture
def base() -> Iterator[Path]:
    mount = cgroups._mounted(Path("/proc/self/mountinfo").read_text())
    path = Path(mount or "/nowhere") / f"pilotlight-test-{os.getpid()}"
    try:
        path.mkdir()
    except OSError:
        pytest.skip("no control group (v2) can be made here")
    yield path
    Groups(path).sweep(set())
    path.rmdir()


@pytest.fixture
async def limited(installation: Installation, data_dir: Path, base: Path) -> Any:
    provider = installation.provider(data_dir, groups=WithoutLimits(base))
    await provider.open()
    yield provider
    await provider.close(keep=False)


def launch(**changes: Any) -> Any:
    return a_launch("a", limits=Limits(memory_mib=64), **changes)


async def test_a_replica_with_a_limit_and_what_it_starts_are_in_its_group(limited: ProcessProvider, base: Path) -> None:
    running = await limited.start(launch(bundle="parent"))
    child = await call(running.address)
    inside = (base / "replica-a" / "cgroup.procs").read_text().split()
    assert inside == [str(limited._replicas["a"].record.pid), child]


async def test_what_left_its_session_ends_with_its_group(limited: ProcessProvider, base: Path) -> None:
    child = int(await call((await limited.start(launch(bundle="escapes"))).address))
    await limited.stop("a", grace_seconds=5)
    await eventually(lambda: procfs.stat(child) is None and not (base / "replica-a").exists())


async def test_an_adopted_replica_keeps_its_group_and_strangers_go(
    limited: ProcessProvider, base: Path, installation: Installation, data_dir: Path
) -> None:
    await limited.start(launch())
    (base / "replica-gone").mkdir()
    limited._leave()
    second = installation.provider(data_dir, groups=Groups(base))
    await second.open()
    assert [path.name for path in base.glob("replica-*")] == ["replica-a"]
    await second.stop("a", grace_seconds=5)
    await eventually(lambda: not (base / "replica-a").exists())
    await second.close(keep=False)


async def test_a_start_that_fails_leaves_no_group(limited: ProcessProvider, base: Path) -> None:
    (base / "replica-a").mkdir()
    with pytest.raises(FileExistsError):
        WithoutLimits(base).make("a", 64)
    (base / "replica-a").rmdir()
    task = asyncio.create_task(limited.start(launch()))
    await asyncio.sleep(0.002)
    await limited.close(keep=False)
    await asyncio.gather(task, return_exceptions=True)
    await eventually(lambda: not list(base.glob("replica-*")))


async def test_the_kernels_word_makes_it_out_of_memory(
    limited: ProcessProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    watching = Watch(limited)
    await limited.start(launch())
    await watching.until(BecameReady, "a")
    monkeypatch.setattr(Group, "overuse", lambda _group: cgroups.Overuse(64, 65))
    os.kill(limited._replicas["a"].record.pid, 9)
    ended = await watching.until(Ended, "a")
    watching.cancel()
    assert (ended.reason, ended.signal) == ("out-of-memory", 9)
    assert ended.detail == "out of memory: 65 MiB in use, the limit is 64 MiB"
    [line] = [line async for line in limited.logs(launch().function)]
    assert (line.stream, line.text) == ("system", ended.detail)


def test_asking_what_was_given_to_us_never_fails() -> None:
    assert isinstance(delegated(), Groups | None)
