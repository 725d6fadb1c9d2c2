"""The process provider with real processes: who they run as, what they get, and what is left of them."""

import asyncio
import json
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotlight.config import Settings
from pilotlight.core.errors import InvalidInput, StartFailed
from pilotlight.providers.base import BecameReady, Ended, Limits, Pool
from pilotlight.providers.process import ProcessProvider, pools, procfs, replica, zygote
from pilotlight.providers.process.records import secrets_dir
from tests.provider_support import POOL, Watch, a_launch, call, eventually

Open = Callable[..., Any]


def zygote_of(provider: ProcessProvider) -> int:
    (found,) = [each for each in provider._pools.all() if not each.retiring]
    return found.process.pid


def pid_of(provider: ProcessProvider, name: str) -> int:
    return provider._replicas[name].record.pid


async def inspect(provider: ProcessProvider, **changes: Any) -> Any:
    running = await provider.start(a_launch("i", bundle="inspect", **changes))
    return json.loads(await call(running.address))


async def test_functions_do_not_run_as_root(provider: ProcessProvider) -> None:
    seen = await inspect(provider)
    assert seen["uid"] != 0
    assert 0 not in seen["groups"]
    assert procfs.user_of(zygote_of(provider)) == seen["uid"]


async def test_functions_see_nothing_of_the_operators_environment(
    provider: ProcessProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPERATORS_TOKEN", "secret")
    seen = await inspect(provider, variables={"GREETING": "hello"})
    assert seen["environment"]["GREETING"] == "hello"
    assert "OPERATORS_TOKEN" not in seen["environment"]


async def test_variables_that_act_at_start_reach_the_zygote(provider: ProcessProvider) -> None:
    pool = Pool(environment="env", namespace="test", variables=(("OMP_NUM_THREADS", "3"),))
    await provider.start(a_launch("a", pool=pool))
    try:
        environment = Path(f"/proc/{zygote_of(provider)}/environ").read_bytes().split(b"\0")
    except PermissionError:
        pytest.skip("a zygote's variables can be read with CAP_SYS_PTRACE only, which containers lack")
    assert b"OMP_NUM_THREADS=3" in environment
    assert {line.partition(b"=")[0] for line in environment} <= {b"", b"PATH", b"LANG", b"OMP_NUM_THREADS"}


async def test_secrets_are_files_for_the_function_alone_and_end_with_it(
    provider: ProcessProvider, data_dir: Path
) -> None:
    seen = await inspect(provider, secrets={"token": b"abc", "other.key": b"def"})
    assert seen["secrets"] == {"token": "abc", "other.key": "def"}
    folder = Path(seen["environment"]["PILOTLIGHT_SECRETS"])
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == seen["uid"]
    await provider.stop("i", grace_seconds=5)
    assert not folder.exists()


async def test_a_secret_with_a_path_for_a_name_is_refused(provider: ProcessProvider) -> None:
    with pytest.raises(InvalidInput, match="no name for a file"):
        await provider.start(a_launch("a", secrets={"../a": b""}))
    assert await provider.list() == []


async def test_a_launch_larger_than_a_socket_buffer_arrives(provider: ProcessProvider) -> None:
    seen = await inspect(provider, variables={f"V{number}": "x" * 100_000 for number in range(20)})
    assert len(seen["environment"]["V19"]) == 100_000


async def test_what_a_replica_started_ends_with_it(provider: ProcessProvider) -> None:
    running = await provider.start(a_launch("a", bundle="parent"))
    child = int(await call(running.address))
    await provider.stop("a", grace_seconds=5)
    await eventually(lambda: procfs.stat(child) is None)


async def test_a_replica_that_does_not_end_in_its_grace_is_killed(provider: ProcessProvider, watching: Watch) -> None:
    running = await provider.start(a_launch("a", bundle="stubborn"))
    calling = asyncio.create_task(call(running.address))
    await watching.until(BecameReady, "a")
    await asyncio.sleep(0.05)
    await provider.stop("a", grace_seconds=0.2)
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.signal) == ("killed", signal.SIGKILL)
    await asyncio.gather(calling, return_exceptions=True)


async def test_an_exit_while_loading_is_told_with_its_code(provider: ProcessProvider, watching: Watch) -> None:
    await provider.start(a_launch("a", bundle="exits"))
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.exit_code, ended.detail) == ("exit", 3, "exited with code 3")


async def test_an_end_leaves_no_socket_and_no_record(provider: ProcessProvider, data_dir: Path) -> None:
    running = await provider.start(a_launch("a", secrets={"key": b"value"}))
    await provider.stop("a", grace_seconds=5)
    run = Settings(data_dir=data_dir).run_dir
    assert not Path(running.address.removeprefix("unix:")).exists()
    assert list((run / "records").glob("replica-*")) == list(secrets_dir(run).iterdir()) == []


async def test_starts_and_ends_leak_no_descriptors(provider: ProcessProvider) -> None:
    async def round_trip(number: int) -> int:
        await provider.start(a_launch(f"a{number}"))
        await provider.stop(f"a{number}", grace_seconds=5)
        return len(os.listdir("/proc/self/fd"))

    await provider.prepare(POOL, 1)
    await round_trip(0)
    before = await round_trip(1)
    for number in range(2, 8):
        after = await round_trip(number)
    assert after <= before


async def test_replicas_outlive_their_zygote_and_their_end_is_lost(provider: ProcessProvider, watching: Watch) -> None:
    running = await provider.start(a_launch("a"))
    await call(running.address)  # by now it has read that it may outlive its zygote
    os.kill(zygote_of(provider), signal.SIGKILL)
    await eventually(lambda: not list(provider._pools.all()))
    assert await call(running.address) == "hello"
    os.kill(pid_of(provider, "a"), signal.SIGKILL)
    assert (await watching.until(Ended, "a")).reason == "lost"


async def test_after_a_zygotes_death_the_next_start_has_a_new_one(provider: ProcessProvider) -> None:
    await provider.prepare(POOL, 1)
    first = zygote_of(provider)
    os.kill(first, signal.SIGKILL)
    running = await provider.start(a_launch("a"))
    assert await call(running.address) == "hello"
    assert zygote_of(provider) != first


async def test_spares_are_wanted_again_after_a_zygotes_death(provider: ProcessProvider) -> None:
    await provider.prepare(POOL, 1)
    first = zygote_of(provider)
    os.kill(first, signal.SIGKILL)
    await eventually(lambda: [z for z in provider._pools.all() if z.process.pid != first])


async def test_a_launch_whose_zygote_dies_in_the_middle_is_tried_again(provider: ProcessProvider) -> None:
    await provider.prepare(POOL, 1)
    first = zygote_of(provider)
    os.kill(first, signal.SIGSTOP)
    starting = asyncio.create_task(provider.start(a_launch("a")))
    await eventually(lambda: any(z._pending for z in provider._pools.all()))
    os.kill(first, signal.SIGKILL)
    assert await call((await starting).address) == "hello"


async def test_a_zygote_that_does_not_answer_is_replaced(
    provider: ProcessProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zygote, "LAUNCH_SECONDS", 0.3)
    await provider.prepare(POOL, 1)
    first = zygote_of(provider)
    os.kill(first, signal.SIGSTOP)
    assert await call((await provider.start(a_launch("a"))).address) == "hello"
    assert procfs.stat(first) is None


async def test_zygotes_that_end_at_once_are_started_with_growing_pauses(
    provider: ProcessProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = Pool(environment="env", namespace="test", preimports=("ends_the_interpreter",))
    monkeypatch.setattr(pools, "WAIT_AT_MOST", 0.0)
    for _ in range(2):
        with pytest.raises(StartFailed, match="good bye"):
            await provider.start(a_launch("a", pool=pool))
    with pytest.raises(StartFailed, match=r"failed 2 times \(good bye\); the next try is in"):
        await provider.start(a_launch("a", pool=pool))


async def test_a_zygote_serves_every_function_whose_modules_it_has(provider: ProcessProvider) -> None:
    both = Pool(environment="env", namespace="test", preimports=("colorsys", "wave"))
    one = Pool(environment="env", namespace="test", preimports=("wave",))
    await provider.prepare(both, 1)
    first = zygote_of(provider)
    await provider.start(a_launch("a", pool=one))
    assert zygote_of(provider) == first


async def test_more_modules_make_a_new_generation_with_all_of_them(provider: ProcessProvider, watching: Watch) -> None:
    await provider.prepare(Pool(environment="env", namespace="test", preimports=("wave",)), 1)
    first = zygote_of(provider)
    await provider.start(a_launch("a", pool=Pool(environment="env", namespace="test", preimports=("wave",))))
    await provider.start(a_launch("b", pool=Pool(environment="env", namespace="test", preimports=("colorsys",))))
    assert zygote_of(provider) != first
    (current,) = [z for z in provider._pools.all() if not z.retiring]
    assert current.pool.preimports == ("colorsys", "wave")
    assert procfs.stat(first) is not None
    await provider.stop("a", grace_seconds=5)
    await eventually(lambda: procfs.stat(first) is None)


async def test_other_namespaces_have_other_zygotes(provider: ProcessProvider) -> None:
    await provider.prepare(POOL, 1)
    await provider.prepare(Pool(environment="env", namespace="other"), 1)
    assert len(list(provider._pools.all())) == 2


async def test_a_pool_that_nobody_wants_ends_with_its_last_replica(provider: ProcessProvider) -> None:
    await provider.prepare(POOL, 1)
    await provider.start(a_launch("a"))
    first = zygote_of(provider)
    await provider.prepare(POOL, 0)
    assert procfs.stat(first) is not None
    await provider.stop("a", grace_seconds=5)
    await eventually(lambda: procfs.stat(first) is None)


async def test_an_end_that_its_zygote_never_tells_is_told_all_the_same(
    provider: ProcessProvider, watching: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replica, "STATUS_SECONDS", 0.2)
    await provider.start(a_launch("a"))
    await watching.until(BecameReady, "a")
    os.kill(zygote_of(provider), signal.SIGSTOP)
    os.kill(pid_of(provider, "a"), signal.SIGKILL)
    assert (await watching.until(Ended, "a")).reason == "lost"


async def test_out_of_memory_is_seen_also_where_the_replica_cannot_look(
    provider: ProcessProvider, watching: Watch
) -> None:
    running = await provider.start(a_launch("a", bundle="holds", limits=Limits(memory_mib=64)))
    calling = asyncio.create_task(call(running.address))
    ended = await watching.until(Ended, "a")
    assert (ended.reason, ended.signal) == ("out-of-memory", signal.SIGKILL)
    assert "the limit is 64 MiB" in ended.detail
    await asyncio.gather(calling, return_exceptions=True)
    [line] = [line async for line in provider.logs(a_launch("a").function)]
    assert (line.stream, line.text) == ("system", ended.detail)


async def test_out_of_memory_is_said(provider: ProcessProvider, watching: Watch) -> None:
    await provider.start(a_launch("a", bundle="greedy", limits=Limits(memory_mib=64)))
    ended = await watching.until(Ended, "a")
    assert ended.reason == "out-of-memory"
    assert "the limit is 64 MiB" in ended.detail
