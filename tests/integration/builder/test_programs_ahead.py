"""The compiler's program is started before the next bundle comes, used once, and never left behind."""

import asyncio
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from pilotlight.builder.ahead import Ahead
from pilotlight.builder.process import Command, TimedOut
from pilotlight.config import Sandbox

ECHO = "import os, sys; data = sys.stdin.read(); print(os.getpid(), data, end='')"


def echoing(tmp_path: Path, program: str = ECHO) -> Ahead:
    python = getattr(sys, "_base_executable", sys.executable)
    command = Command(arguments=[python, "-I", "-S", "-c", program], directory=Path("/"), home=tmp_path, variables={})
    return Ahead(command, Sandbox(uid=None, gid=None))


async def ask(ahead: Ahead, text: str) -> tuple[int, str]:
    outcome = await ahead.run(text.encode(), seconds=30, output_limit=1000)
    pid, _, echoed = outcome.output.decode().partition(" ")
    return int(pid), echoed


async def waiting(ahead: Ahead) -> "subprocess.Popen[bytes]":
    async with asyncio.timeout(30):
        while not ahead._spares:
            await asyncio.sleep(0.01)
    return ahead._spares[0]


async def test_the_next_program_waits_for_its_work(tmp_path: Path) -> None:
    ahead = echoing(tmp_path)
    first, echoed = await ask(ahead, "one")
    assert echoed == "one"
    spare = await waiting(ahead)
    second, echoed = await ask(ahead, "two")
    assert (second, echoed) == (spare.pid, "two")
    assert second != first


async def test_a_program_that_died_while_it_waited_is_replaced(tmp_path: Path) -> None:
    ahead = echoing(tmp_path)
    await ask(ahead, "one")
    spare = await waiting(ahead)
    spare.kill()
    spare.wait(30)
    pid, echoed = await ask(ahead, "two")
    assert echoed == "two"
    assert pid != spare.pid


async def test_works_side_by_side_have_a_program_each(tmp_path: Path) -> None:
    ahead = echoing(tmp_path)
    answers = await asyncio.gather(*(ask(ahead, str(number)) for number in range(4)))
    assert [echoed for _, echoed in answers] == ["0", "1", "2", "3"]
    assert len({pid for pid, _ in answers}) == 4


async def test_nothing_waits_when_nobody_can_ask_any_more(tmp_path: Path) -> None:
    ahead = echoing(tmp_path)
    await ask(ahead, "one")
    spare = await waiting(ahead)
    assert ahead._timer is not None
    ahead._timer.cancel()
    del ahead
    gc.collect()
    assert spare.returncode == -9


async def test_a_work_that_takes_too_long_ends(tmp_path: Path) -> None:
    ahead = echoing(tmp_path, "import time; time.sleep(60)")
    with pytest.raises(TimedOut):
        await ahead.run(b"", seconds=0.2, output_limit=10)
