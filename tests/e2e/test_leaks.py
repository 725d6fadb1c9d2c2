"""A hundred times from nothing to several replicas and back, with kills in between: nothing is left, nothing grows."""

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.figures import Figures, data_files, faults, figures, roles, run_files, zombies
from tests.harness import Server, wait_for
from tests.load import Outcome, burst

FUNCTIONS = ("leak-a", "leak-b", "leak-c", "leak-d")
ROUNDS = 25
WARM_UP = 3
CALLS = 8
HUNG_SECONDS = 75.0
"""A call is answered (with 504) or broken off long before; a timeout of the test's own is no broken connection."""
KILLED_IN = {"router": (1, 6, 9), "control plane": (2, 7, 10), "zygote": (0, 5, 8)}
"""In which rounds (the warm-up's come first), early, so that the last processes live long; replicas die in each."""
LOGS_KEPT = 20
"""Files of ten replicas, each with the part before it; about 400 have run."""
STILL = 30
"""Looks, 10 ms and more from one to the next."""
DESCRIPTORS_SLACK = 4
MEMORY_SLACK = 1.15, 6.0
"""A part, and MiB: allocators keep pages, and a process that was started again is not its predecessor."""
HANDLER = """
import os, time

def handle(event, context):
    time.sleep(0.02)
    print("called")
    return str(os.getpid())
"""


@pytest.fixture
def leaky() -> Iterator[Server]:
    with Server(settings={"control.kill_grace_seconds": 2}) as server:
        with ThreadPoolExecutor() as at_once:
            list(at_once.map(lambda name: server.deploy(name, HANDLER, concurrency=1, scale={"max": 4}), FUNCTIONS))
        yield server


@pytest.mark.timeout(240)
def test_a_hundred_cycles_with_kills_leave_nothing_and_nothing_grows(leaky: Server) -> None:
    rng = random.Random(6)
    for number in range(WARM_UP):
        _round(leaky, number, rng)
    before, files = _settled(leaky), _left(leaky)

    for number in range(WARM_UP, ROUNDS + WARM_UP):
        _round(leaky, number, rng)

    wait_for(lambda: _left(leaky) == files, what=f"only {files}")
    wait_for(lambda: not zombies(leaky), what="the end of zombies")
    wait_for(lambda: max(_logs(leaky)) <= LOGS_KEPT, what=f"at most {LOGS_KEPT} log files for each function")
    assert faults(leaky.log.read_text()) == []
    after = _settled(leaky)
    for role, then in before.items():
        print(f"{role:14} {_words(then)}  ->  {_words(after[role])}")
    grown = [role for role, then in before.items() if _grew(then, after[role])]
    assert grown == [], (before, after)


def _round(server: Server, number: int, rng: random.Random) -> None:
    """0 -> n -> 0 for each function, while something dies. Calls may fail with it, but none may hang."""
    asyncio.run(_calls(server, number, rng))
    _until_up(server)
    wait_for(lambda: not any(map(_is_busy, map(server.function, FUNCTIONS))), what="the end of every call")
    for name in FUNCTIONS:
        assert server.api("POST", f"/api/v1/functions/{name}/scale", {"replicas": 0}).status == 200
    wait_for(
        lambda: not any(server.function(name)["replicas_detail"] for name in FUNCTIONS),
        what="no replica of any function",
    )


async def _calls(server: Server, number: int, rng: random.Random) -> None:
    bursts = [asyncio.create_task(_burst(server, name)) for name in FUNCTIONS]
    await asyncio.sleep(rng.uniform(0.02, 0.15))
    for role, rounds in KILLED_IN.items():
        if number in rounds:
            _kill(rng.choice(roles(server)[role] or [0]))
    replicas = sorted(set(server.processes()["zygote"]) - set(roles(server)["zygote"]))
    if replicas:
        _kill(rng.choice(replicas))
    await asyncio.gather(*bursts)


async def _burst(server: Server, name: str) -> None:
    try:
        outcome = await burst(f"{server.url}/function/{name}", CALLS, timeout=HUNG_SECONDS)
    except TimeoutError as error:  # which is an OSError, too
        raise AssertionError(f"a call of {name} had no answer within {HUNG_SECONDS:g} s") from error
    except OSError:  # nobody took the connection
        outcome = Outcome()
    assert outcome.statuses[504] == 0, (name, outcome.statuses, outcome.errors)


def _is_busy(function: dict[str, Any]) -> bool:
    return bool(function["in_flight"] or function["waiting"])


def _kill(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _until_up(server: Server) -> None:
    def up() -> bool:
        with contextlib.suppress(OSError):
            return server.api("GET", "/api/v1/info").status == 200
        return False

    wait_for(up, what="the control plane")


def _left(server: Server) -> tuple[object, ...]:
    """Names are new each time, so counts are compared: of what lies in each folder, and of processes."""
    folders: dict[str, int] = {}
    for path in run_files(server) + data_files(server, "staging", "runtime", "bundles", "environments"):
        folders[path.split("/")[0]] = folders.get(path.split("/")[0], 0) + 1
    processes = {name: len(pids) for name, pids in server.processes().items()}
    return folders, processes


def _logs(server: Server) -> list[int]:
    return [len(data_files(server, f"logs/{name}.openfaas-fn")) for name in FUNCTIONS]


def _settled(server: Server) -> dict[str, Figures]:
    """Once what was let go of is closed: the descriptors stay the same for a while."""
    last: list[list[int]] = []
    pids = [pid for pids in roles(server).values() for pid in pids]

    def still() -> bool:
        last.append([one.descriptors if (one := figures(pid)) else 0 for pid in pids])
        return len(last) >= STILL and all(one == last[-1] for one in last[-STILL:])

    wait_for(still, what="no change of descriptors")
    return _by_role(server)


def _by_role(server: Server) -> dict[str, Figures]:
    return {
        f"{role} {number}" if role == "zygote" else role: found
        for role, pids in roles(server).items()
        for number, pid in enumerate(pids)
        if (found := figures(pid)) is not None
    }


def _grew(then: Figures, now: Figures) -> bool:
    factor, slack = MEMORY_SLACK
    memory = now.rss_mib > then.rss_mib * factor + slack
    return memory or now.descriptors > then.descriptors + DESCRIPTORS_SLACK


def _words(one: Figures) -> str:
    pss = "" if one.pss_mib is None else f" (PSS {one.pss_mib:.1f})"
    return f"{one.descriptors:3} descriptors, RSS {one.rss_mib:.1f}{pss} MiB"
