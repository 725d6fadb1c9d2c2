"""Every process of a server is killed in every situation; see "When a process dies" in platform/README.md.

What may be lost is at most what was inside: the calls in a killed replica or in a killed router. No POST is executed
twice, whatever happens, and a GET twice at most. Afterwards everything is as it should be, nothing is left behind, and
the next deploy (or build) works.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from pilotlight.config import run_dir_of
from tests.harness import Ran, Server, wait_for
from tests.traces import build_pids, replicas_of, wait_until_nothing_is_astray, zygote_pids
from tests.witness import Asked, Witnessed, at_once, steadily

SLOTS = 4
"""Of each replica."""
CALLERS = 8
BURST = 24
NOTICED_SECONDS = 0.1
"""Until whoever was connected to a process that died has noticed, on a machine that is busy."""
SLOW_IMPORT = "import {module}\nimport time\n\ntime.sleep({seconds})\n\ndef handle(event, context):\n    return ''\n"
TRIED = ("bz2", "csv", "cmd", "glob", "gzip", "lzma", "poplib", "shelve")

Situation = Callable[["Field", "Victim"], Coroutine[Any, Any, list[Asked]]]


@dataclass(slots=True)
class Field:
    """A server with a warm function and a cold one."""

    server: Server
    warm: Witnessed
    cold: Witnessed
    builds: int = 0
    killed: tuple[float, float] = (0.0, 0.0)
    """From the signal until it was dead."""

    def reset(self) -> None:
        self.warm.scale(1)
        self.cold.scale(0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """`kill` takes a function's name and returns when the process is dead."""

    name: str
    kill: Callable[[Field, str], None]
    may_lose: int = 0
    """Calls that may have been inside."""
    loses_as: int = 0
    """The status that they get."""


@pytest.fixture(scope="module")
def field() -> Iterator[Field]:
    with Server() as server:
        warm = Witnessed(server, "warm", concurrency=SLOTS).build()
        cold = Witnessed(server, "cold", concurrency=SLOTS).build()
        assert warm.deploy()[1] == cold.deploy(init_seconds=0.3)[1] == 201
        yield Field(server, warm, cold)


# Who is killed


def _supervisor(field: Field, _: str) -> None:
    """And started again, as systemd does it."""
    port = int(field.server.url.rpartition(":")[2])
    with _noted(field):
        field.server.end(signal.SIGKILL)
    field.server.start(port=port)


def _router(field: Field, _: str) -> None:
    _kill(field, field.server.processes()["router"])


def _control_plane(field: Field, _: str) -> None:
    _kill(field, field.server.processes()["app"])


def _zygote(field: Field, _: str) -> None:
    _kill(field, zygote_pids(field.server))


def _replica(field: Field, function: str) -> None:
    """The youngest that runs or starts, in a drain the oldest."""
    name, _, which = function.partition("/")
    records = wait_for(lambda: replicas_of(field.server, name), what=f"a replica of {name}")
    _kill(field, [records[0 if which == "oldest" else -1]["pid"]])


def _build(field: Field, _: str) -> None:
    """One that is over before it could be hit does not count."""
    wait_for(lambda: _kill_a_build(field), what="a build that was hit")


def _kill_a_build(field: Field) -> bool:
    """Whatever program it runs then: it compiles, resolves, installs or tries what it made."""
    with _building(field) as told:
        time.sleep(0.1 * (field.builds % 4))
        hit = _try_to_kill(field, build_pids(field.server))
    assert "Traceback" not in told[0].err
    return hit


VICTIMS = [
    Victim(name="supervisor", kill=_supervisor),
    Victim(name="router", kill=_router, may_lose=BURST),
    Victim(name="control plane", kill=_control_plane),
    Victim(name="zygote", kill=_zygote),
    Victim(name="replica", kill=_replica, may_lose=SLOTS, loses_as=502),
    Victim(name="build", kill=_build),
]


# And when


async def idle(field: Field, victim: Victim) -> list[Asked]:
    """Calls that come right afterwards wait, whatever it is that they wait for; cold ones, too."""
    await asyncio.to_thread(victim.kill, field, "warm")
    warm, cold = await asyncio.gather(steadily(field.warm, rate=40, seconds=0.2), at_once(field.cold, 3))
    assert all(asked.ok for asked in warm + cold)
    return warm + cold


async def warm_load(field: Field, victim: Victim) -> list[Asked]:
    async with _Load(field) as load:
        await asyncio.to_thread(victim.kill, field, "warm")
    return load.asked


async def cold_burst(field: Field, victim: Victim) -> list[Asked]:
    burst = asyncio.create_task(at_once(field.cold, BURST, sleep=0.05))
    await asyncio.sleep(0.03)
    await asyncio.to_thread(victim.kill, field, "cold")
    return await burst


async def deploy_in_progress(field: Field, victim: Victim) -> list[Asked]:
    """Its client hears that it worked or that it did not; what serves then is one revision, the old or the new."""
    known = len(replicas_of(field.server, "warm"))
    async with _Load(field) as load:
        deploy = asyncio.create_task(asyncio.to_thread(field.warm.deploy, init_seconds=0.5))
        await asyncio.to_thread(wait_for, lambda: len(replicas_of(field.server, "warm")) > known, what="the proof")
        await asyncio.to_thread(victim.kill, field, "warm/youngest")
        number, status = await deploy
    await asyncio.to_thread(wait_until_nothing_is_astray, field.server)
    after = await steadily(field.warm, rate=40, seconds=0.2)
    assert len(revisions := {asked.revision for asked in after}) == 1
    assert revisions <= ({number} if status == 200 else {number - 1, number})
    assert (status == 0) == (victim.name == "router"), "its connection breaks only with the router"
    if victim.name in ("control plane", "supervisor"):
        assert status in (200, 502, 503)
    return load.asked + after


async def scale_in_in_progress(field: Field, victim: Victim) -> list[Asked]:
    await asyncio.to_thread(field.warm.scale, 3)
    work = asyncio.create_task(at_once(field.warm, 2 * SLOTS, sleep=0.6))
    await asyncio.sleep(0.1)
    await asyncio.to_thread(field.warm.ask_to_scale, 1)
    await asyncio.to_thread(victim.kill, field, "warm/youngest")
    return await work


async def drain_in_progress(field: Field, victim: Victim) -> list[Asked]:
    """The old revision's replica finishes what it has while the new one serves already."""
    work = asyncio.create_task(at_once(field.warm, SLOTS, sleep=0.8))
    await asyncio.sleep(0.1)
    number, status = await asyncio.to_thread(field.warm.deploy)
    assert status == 200
    await asyncio.to_thread(victim.kill, field, "warm/oldest")
    after = await steadily(field.warm, rate=40, seconds=0.2)
    assert {asked.revision for asked in after} == {number}
    return await work + after


SITUATIONS = [idle, warm_load, cold_burst, deploy_in_progress, scale_in_in_progress, drain_in_progress]


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.name)
@pytest.mark.parametrize("during", SITUATIONS, ids=lambda situation: situation.__name__)
def test_a_kill_costs_what_was_inside_and_leaves_nothing(field: Field, victim: Victim, during: Situation) -> None:
    field.reset()
    asked = asyncio.run(during(field, victim))
    _check_lost(field, victim, [each for each in asked if not each.ok])
    _check_executions(field, asked)
    _check_that_deploys_work(field)
    wait_until_nothing_is_astray(field.server)


@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.name)
def test_a_build_is_whole_or_not_there_whoever_dies(field: Field, victim: Victim) -> None:
    if victim.name == "build":
        victim.kill(field, "")
    else:
        with _building(field) as told:
            victim.kill(field, "warm")
        assert told[0].code == (0 if victim.name in ("zygote", "replica") else 1), told
        assert "Traceback" not in told[0].err
    wait_until_nothing_is_astray(field.server)
    wait_for(lambda: _build_once(field, seconds=0).code == 0, what="a build that works")
    wait_until_nothing_is_astray(field.server)


@pytest.mark.parametrize("replicas", ["living", "dead"])
def test_a_server_of_which_everything_dies_at_once_starts_as_if_nothing_had_happened(
    field: Field, replicas: str
) -> None:
    field.reset()
    server, port = field.server, int(field.server.url.rpartition(":")[2])
    programs = server.processes()
    [before] = asyncio.run(at_once(field.warm, 1))
    pids = [server.pid, *programs["router"], *programs["app"]]
    _kill(field, pids if replicas == "living" else [*pids, *programs["zygote"]])
    server.end()
    server.start(port=port)
    [after] = asyncio.run(at_once(field.warm, 1))
    assert (after.revision, after.pid == before.pid) == (before.revision, replicas == "living")
    _check_that_deploys_work(field)
    wait_until_nothing_is_astray(server)


@pytest.mark.parametrize("program", ["app", "router", "zygote"])
def test_a_stop_right_after_a_kill_leaves_nothing(own_server: Server, program: str) -> None:
    function = Witnessed(own_server, "warm").build()
    function.deploy()
    run = run_dir_of(own_server.data_dir)
    for pid in own_server.processes()[program]:
        os.kill(pid, signal.SIGKILL)
    assert own_server.end() == 0
    assert own_server.processes() == {"router": [], "app": [], "zygote": []}
    assert not run.exists()


def _check_lost(field: Field, victim: Victim, lost: list[Asked]) -> None:
    """Only what was in flight when it died, and no GET where another replica can answer it."""
    began, dead = field.killed
    story = (lost[:5], field.killed, field.server.log.read_text()[-4000:])
    assert len(lost) <= victim.may_lose, story
    assert {each.status for each in lost} <= {victim.loses_as}, story
    assert [each for each in lost if each.done < began or each.sent > dead + NOTICED_SECONDS] == [], story
    if victim.name == "replica":
        assert {each.method for each in lost} <= {"POST"}, story


def _check_executions(field: Field, asked: list[Asked]) -> None:
    executions = field.warm.executions() + field.cold.executions()
    assert [each for each in asked if each.ok and not executions[each.id]] == []
    assert [each for each in asked if executions[each.id] > (2 if each.method == "GET" else 1)] == []


def _check_that_deploys_work(field: Field) -> None:
    """At once, or when the control plane is back."""
    number = wait_for(lambda: _deployed(field), what="a deploy that works")
    [answer] = asyncio.run(at_once(field.warm, 1))
    assert answer.revision == number


def _deployed(field: Field) -> int | None:
    number, status = field.warm.deploy()
    return number if status == 200 else None


@contextmanager
def _building(field: Field) -> Iterator[list[Ran]]:
    """Enters when a program of the build runs; what its user was told is in the list afterwards."""
    told: list[Ran] = []
    user = threading.Thread(target=lambda: told.append(_build_once(field, seconds=1)))
    user.start()
    try:
        wait_for(lambda: build_pids(field.server), what="a build's program")
        yield told
    finally:
        user.join()


def _build_once(field: Field, *, seconds: float) -> Ran:
    """A build with an environment of its own, whose trial takes so many seconds."""
    field.builds += 1
    # Its own set of modules to try: a trial's answer is kept, and a build that tries nothing runs nothing for long.
    modules = [name for bit, name in enumerate(TRIED) if field.builds >> bit & 1]
    handler = SLOW_IMPORT.format(module=", ".join(["six", *modules]), seconds=seconds)
    stack = field.server.write_function("built", handler, requirements=f"six>=1.{field.builds % 16}\n")
    return field.server.faasctl("build", "-f", str(stack))


def _kill(field: Field, pids: list[int]) -> None:
    """Returns when they are dead: gone, or zombies that their parent has yet to notice."""
    assert _try_to_kill(field, pids)


def _try_to_kill(field: Field, pids: list[int]) -> bool:
    """False when there was nobody any more."""
    hit = 0
    with _noted(field):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                hit += 1
        wait_for(lambda: all(_dead(pid) for pid in pids), what="the end of what was killed")
    return hit > 0


@contextmanager
def _noted(field: Field) -> Iterator[None]:
    began = time.perf_counter()
    yield
    field.killed = (began, time.perf_counter())


def _dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class _Load:
    """A hundred requests a second while the block runs, and half a second before and after."""

    def __init__(self, field: Field) -> None:
        self._field = field
        self._over = False
        self.asked: list[Asked] = []

    async def __aenter__(self) -> "_Load":
        self._task = asyncio.create_task(self._run())
        await asyncio.sleep(0.3)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.3)
        self._over = True
        await self._task

    async def _run(self) -> None:
        while not self._over:
            self.asked += await steadily(self._field.warm, rate=100, seconds=0.2, callers=CALLERS, sleep=0.01)
