"""Programs that builds run: as the functions' user, bounded in time and output, and gone when the build is."""

import asyncio
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import uvloop

from pilotlight.builder.interpreter import Interpreter
from pilotlight.builder.process import MARK, Command, TimedOut, run
from pilotlight.config import Sandbox
from tests.integration.builder.conftest import TEMPLATES, Workshop

SANDBOX = Sandbox(65534, 65534) if os.getuid() == 0 else Sandbox()


def shell(script: str, **variables: str) -> Command:
    return Command(arguments=["/bin/sh", "-c", script], directory=Path("/"), variables=variables)


def alive(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.01)


async def test_output_and_lines_and_status_come_back() -> None:
    heard: list[str] = []
    outcome = await run(
        shell("cat; echo one >&2; printf two >&2; exit 3"), SANDBOX, seconds=10, output_limit=99, on_line=heard.append
    )
    assert (outcome.status, outcome.output, outcome.lines) == (3, b"", ("one", "two"))
    assert heard == ["one", "two"]


async def test_escapes_for_terminals_are_taken_out() -> None:
    outcome = await run(shell(r"printf '\033[31mred\033[0m \007bell\n' >&2"), SANDBOX, seconds=10)
    assert outcome.lines == ("red bell",)


async def test_standard_input_is_written_whole() -> None:
    command = Command(arguments=["/usr/bin/wc", "-c"], directory=Path("/"), variables={}, stdin=b"x" * 1_000_000)
    assert (await run(command, SANDBOX, seconds=10, output_limit=99)).output == b"1000000\n"


async def test_it_runs_as_the_functions_user_with_nothing_of_the_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    outcome = await run(shell("id -u; id -G; env"), SANDBOX, seconds=10, output_limit=9999)
    uid, groups, *variables = outcome.output.decode().splitlines()
    assert int(uid) == (SANDBOX.uid if SANDBOX.uid is not None else os.getuid())
    assert SANDBOX.uid is None or groups == str(SANDBOX.gid)
    known = {"PATH", "HOME", "TMPDIR", "LANG", "NO_COLOR", MARK, "PWD", "SHLVL", "_"}
    assert {each.split("=")[0] for each in variables} <= known


async def test_too_much_output_is_cut_and_not_kept() -> None:
    outcome = await run(
        shell("head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2"), SANDBOX, seconds=20, output_limit=7
    )
    assert (outcome.status, outcome.output) == (0, b"\0" * 7)
    assert sum(map(len, outcome.lines)) <= 64 * 1024


async def test_a_deadline_ends_it_and_what_it_started(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await run(shell(f"sleep 987 & echo $! >&2; wait"), SANDBOX, seconds=0.3)  # noqa: F541
    assert time.monotonic() - began < 5
    assert not [each for each in psutil.process_iter(["cmdline"]) if each.info["cmdline"] == ["sleep", "987"]]


async def test_a_child_that_holds_the_pipes_open_delays_nothing() -> None:
    began = time.monotonic()
    outcome = await run(shell("sleep 988 & exit 0"), SANDBOX, seconds=30)
    assert outcome.status == 0
    assert time.monotonic() - began < 5


async def test_cancelling_ends_it() -> None:
    pid = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run(shell("echo $$ >&2; exec sleep 989"), SANDBOX, seconds=30, on_line=lambda line: pid.set_result(int(line)))
    )
    found = await pid
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not alive(found)


async def test_no_descriptor_is_left() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        await run(shell("echo x >&2"), SANDBOX, seconds=10)
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_works_on_uvloop_too() -> None:
    outcome = uvloop.run(run(shell("echo hi; id -u >&2"), SANDBOX, seconds=10, output_limit=9))
    assert outcome.output == b"hi\n"


async def test_a_killed_servers_leftovers_are_ended_and_removed_at_the_next_start(workshop: Workshop) -> None:
    staging = workshop.data_dir / "staging"
    (staging / "abandoned/deep").mkdir(parents=True)
    (staging / "upload.tar").touch()
    (workshop.data_dir / "cache/locks/.half").touch()
    ours = await _sleeper(str(staging / "abandoned"))
    others = await _sleeper("/elsewhere/staging/x")
    await workshop.builder.sweep()
    assert await ours.wait() == -9
    assert others.returncode is None
    others.kill()
    await others.wait()
    assert workshop.leftovers() == []
    assert not (workshop.data_dir / "cache/locks/.half").exists()


KILLED = """
import asyncio, sys
from pathlib import Path
from pilotlight.builder.builder import Builder
from pilotlight.builder.index import IndexSettings
from pilotlight.config import BuildSettings, Sandbox
data, links, python, uid, gid = sys.argv[1:]
builder = Builder(
    settings=BuildSettings(), data_dir=Path(data), templates_dir=Path(data, "templates"), python=Path(python),
    sandbox=Sandbox(int(uid), int(gid)) if uid != "None" else Sandbox(),
    index=IndexSettings(variables={"UV_FIND_LINKS": links}, no_index=True),
)
tar = Path(data, "source.tar")
say = lambda line: print(line.message, flush=True)
asyncio.run(builder.build(name="x", template="python3-http", tar=tar, progress=say))
"""


@pytest.mark.parametrize("moment", ["2 files", "resolving", "making", "Installed", "made in"])
async def test_a_build_killed_at_any_moment_leaves_nothing_half_made(
    workshop: Workshop, links: Path, sandbox: Sandbox, interpreter: Interpreter, moment: str
) -> None:
    files = {"handler.py": "import json\n", "requirements.txt": "greet\n"}
    (workshop.data_dir / "templates").symlink_to(TEMPLATES)
    workshop.tar(files)
    arguments = (workshop.data_dir, links, interpreter.path, sandbox.uid, sandbox.gid)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", KILLED, *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        env=dict(os.environ, PYTHONPATH=":".join(sys.path)),
    )
    assert process.stdout
    async for line in process.stdout:
        if moment in line.decode():
            process.kill()
    assert await process.wait() == -9
    await workshop.builder.sweep()
    assert workshop.leftovers() == []
    for place in (*(workshop.data_dir / "environments").iterdir(), *(workshop.data_dir / "bundles").iterdir()):
        assert (place / "manifest.json").exists()
    bundle = await workshop.build(files)
    assert workshop.builder.bundle(bundle.digest) == bundle


async def _sleeper(mark: str) -> asyncio.subprocess.Process:
    """What a build left running, as the user that builds have."""
    return await asyncio.create_subprocess_exec(
        "/bin/sleep", "60", env={MARK: mark}, user=SANDBOX.uid, group=SANDBOX.gid
    )
