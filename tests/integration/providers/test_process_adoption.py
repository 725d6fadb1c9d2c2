"""Whatever the control plane was doing when it died: the next one knows all that runs, and nothing else is left."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import Settings
from pilotlight.providers.base import BecameReady, Ended
from pilotlight.providers.process import ProcessProvider, procfs
from pilotlight.providers.process.records import secrets_dir
from tests.provider_support import POOL, Installation, Watch, a_launch, call, eventually

Open = Callable[..., Any]
PROGRAM = Path(__file__).with_name("control_plane.py")


@pytest.mark.parametrize("lines", [1, 2, 3, 8, 12])
async def test_a_control_plane_that_is_killed_leaves_nothing_unknown(
    installation: Installation, data_dir: Path, open_provider: Open, lines: int
) -> None:
    said = await _run_and_kill(installation, data_dir, lines)
    provider: ProcessProvider = await open_provider()
    watch = Watch(provider)
    listed = {running.id: running for running in await provider.list()}
    _assert_nobody_is_unknown(installation, provider)
    for name in said["started"] - said["stopped"]:
        if name not in listed:
            await watch.until(Ended, name)
    for running in listed.values():
        if running.ready:  # one may have been about to stop, or to load
            assert await call(running.address) == "hello"
    await provider.close(keep=False)
    watch.cancel()
    await eventually(lambda: not installation.processes())
    assert not Settings(data_dir=data_dir).run_dir.exists()


async def _run_and_kill(installation: Installation, data_dir: Path, lines: int) -> dict[str, set[str]]:
    """Killed after so many lines; what it had said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(PROGRAM), str(installation.root), str(data_dir), "r",
        stdout=asyncio.subprocess.PIPE, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout is not None
    seen = [await process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    seen += (await process.stdout.read()).splitlines()
    await process.wait()
    said: dict[str, set[str]] = {"asked": set(), "started": set(), "stopped": set()}
    for line in seen:
        what, name = line.decode().split()
        said[what].add(name)
    return said


def _assert_nobody_is_unknown(installation: Installation, provider: ProcessProvider) -> None:
    known = {each.record.pid for each in provider._replicas.values()}
    zygotes = {each.process.pid for each in provider._pools.all()}
    for pid in installation.processes():
        found = procfs.stat(pid)
        assert found is None or pid in known or pid in zygotes or found.parent in zygotes


async def _crash(provider: ProcessProvider) -> None:
    provider._leave()


async def test_a_replica_whose_zygote_died_too_is_adopted(open_provider: Open) -> None:
    first = await open_provider()
    running = await first.start(a_launch("a"))
    (zygote,) = first._pools.all()
    pid = zygote.process.pid
    await call(running.address)  # by now it has read that it may outlive its zygote
    await _crash(first)
    os.kill(pid, signal.SIGKILL)
    second = await open_provider()
    assert [each.id for each in await second.list()] == ["a"]
    assert await call(running.address) == "hello"


async def test_a_replica_that_died_with_everybody_is_told_and_swept(open_provider: Open, data_dir: Path) -> None:
    first = await open_provider()
    running = await first.start(a_launch("a", secrets={"key": b"value"}))
    (zygote,) = first._pools.all()
    pids = zygote.process.pid, first._replicas["a"].record.pid
    await _crash(first)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    await eventually(lambda: not any(map(procfs.stat, pids)))
    second = await open_provider()
    watch = Watch(second)
    assert (await watch.until(Ended, "a")).reason == "lost"
    watch.cancel()
    run = Settings(data_dir=data_dir).run_dir
    assert not Path(running.address.removeprefix("unix:")).exists()
    assert [path for part in (run / "z", run / "r", run / "records", secrets_dir(run)) for path in part.iterdir()] == []


async def test_a_process_that_got_a_dead_replicas_number_is_left_alone(open_provider: Open, data_dir: Path) -> None:
    first = await open_provider()
    await first.start(a_launch("a"))
    record = first._replicas["a"].record
    await first.stop("a", grace_seconds=5)
    stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
    await first.close(keep=True)
    first._run.write(_with(record, pid=stranger.pid, started=1))
    second = await open_provider()
    assert await second.list() == []
    assert procfs.stat(stranger.pid) is not None
    stranger.kill()
    await stranger.wait()


def _with(record: Any, **changes: Any) -> Any:
    return type(record)(**{name: getattr(record, name) for name in record.__struct_fields__} | changes)


async def test_what_is_left_half_made_is_swept(open_provider: Open, data_dir: Path) -> None:
    first = await open_provider()
    await first.close(keep=True)
    run = Settings(data_dir=data_dir).run_dir
    for name in ("r/stale.sock", "z/stale.sock", "z/stale.log", "records/replica-x.json", "records/replica-y.json.tmp"):
        (run / name).write_text("half")
    (secrets_dir(run) / "gone").mkdir()
    await open_provider()
    assert [path for part in (run / "z", run / "r", run / "records", secrets_dir(run)) for path in part.iterdir()] == []


async def test_an_adopted_replica_that_still_loads_becomes_ready(open_provider: Open) -> None:
    first = await open_provider()
    await first.start(a_launch("a", bundle="slow"))
    await _crash(first)
    second = await open_provider()
    watch = Watch(second)
    if not (await second.list())[0].ready:
        await watch.until(BecameReady, "a")
    watch.cancel()
    assert (await second.list())[0].ready


async def test_an_adopted_zygote_gives_spares(open_provider: Open) -> None:
    first = await open_provider()
    await first.prepare(POOL, 1)
    (before,) = first._pools.all()
    pid = before.process.pid
    await _crash(first)
    second = await open_provider()
    await second.prepare(POOL, 1)
    assert [each.process.pid for each in second._pools.all()] == [pid]
    assert await call((await second.start(a_launch("a"))).address) == "hello"


async def test_a_child_that_nobody_recorded_is_ended(open_provider: Open, data_dir: Path) -> None:
    first = await open_provider()
    await first.start(a_launch("a"))
    pid = first._replicas["a"].record.pid
    await _crash(first)
    (Settings(data_dir=data_dir).run_dir / "records" / "replica-a.json").unlink()
    second = await open_provider()
    assert await second.list() == []
    await eventually(lambda: procfs.stat(pid) is None)


async def test_a_zygote_that_was_started_in_the_moment_of_a_crash_ends(
    installation: Installation, open_provider: Open
) -> None:
    first = await open_provider()
    await first.prepare(POOL, 1)
    (zygote,) = first._pools.all()
    first._run.write(_with(zygote.record, pid=0, started=0))
    await _crash(first)
    await open_provider()
    await eventually(lambda: not installation.processes())
