"""Programs that builds run: as the functions' user, with a deadline, and never longer than the build that asked.

Resolving, installing and importing run code of strangers (a source distribution's setup.py, a module's top level). So
each program runs in a process group of its own, as the unprivileged user where the platform has one, with variables
built from nothing; its output is bounded, and whatever it started in its group ends with it.

It works on every event loop: uvloop's subprocesses know neither `user` nor pidfds, so ours is a plain `Popen`, and the
loop watches its pipes and its pidfd.
"""

import asyncio
import os
import re
import signal
import subprocess
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pilotlight.builder.child_sweep import kill_marked
from pilotlight.config import Sandbox

MARK = "PILOTLIGHT_STAGING"
"""A variable in the environment of everything that a build starts; `sweep` finds by it what a killed server left."""

_SWEEP = Path(__file__).with_name("child_sweep.py")
_SWEEP_SECONDS = 10.0
_SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")
"""What builds print ends in people's terminals: no colours, no other escapes."""
_KEPT_LINES = 400
_LINE_BYTES = 64 * 1024


class TimedOut(Exception):
    """The program was ended because it took longer than its deadline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    status: int
    """Exit code, or minus the signal's number."""
    lines: tuple[str, ...]
    """The last lines of its standard error."""
    output: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    arguments: Sequence[str | Path]
    directory: Path
    """Its working directory, its HOME and its TMPDIR."""
    variables: Mapping[str, str]
    stdin: bytes = b""
    home: Path | None = None
    """HOME, TMPDIR and the mark, where they are not the working directory."""


async def run(
    command: Command,
    sandbox: Sandbox,
    *,
    seconds: float,
    output_limit: int = 0,
    on_line: Callable[[str], None] | None = None,
) -> Outcome:
    """Run it to its end. TimedOut when it takes too long; a longer output than `output_limit` is cut."""
    popen = start(command, sandbox)
    return await finish(popen, command.stdin, seconds=seconds, output_limit=output_limit, on_line=on_line)


def start(command: Command, sandbox: Sandbox) -> "subprocess.Popen[bytes]":
    """Start it, with nothing on its standard input yet; whoever does ends it by `finish` or `end`."""
    user: dict[str, object] = (
        {} if sandbox.uid is None else {"user": sandbox.uid, "group": sandbox.gid, "extra_groups": []}
    )
    # A fork, 2 ms; a thread could leave a process behind on cancellation.
    popen: subprocess.Popen[bytes] = subprocess.Popen(
        list(command.arguments),
        cwd=command.directory,
        env=_base_variables(command.home or command.directory) | dict(command.variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        umask=0o022,
        **user,  # type: ignore[call-overload]
    )
    return popen


async def finish(
    popen: "subprocess.Popen[bytes]",
    stdin: bytes,
    *,
    seconds: float,
    output_limit: int = 0,
    on_line: Callable[[str], None] | None = None,
) -> Outcome:
    """Give it its input and see it to its end, which comes in any case. TimedOut when it takes too long."""
    pipes = asyncio.gather(
        _read(_fd(popen.stdout), output_limit), _read_lines(_fd(popen.stderr), on_line), _write(popen.stdin, stdin)
    )
    try:
        async with asyncio.timeout(seconds):
            await _exited(popen)
            _kill_group(popen)  # a child of it that lives on would hold the pipes open
            output, lines, _ = await pipes
    except TimeoutError:
        raise TimedOut from None
    finally:
        pipes.cancel()
        with suppress(asyncio.CancelledError):
            await pipes
        end(popen)
    return Outcome(status=popen.returncode, lines=tuple(lines), output=output)


def end(popen: "subprocess.Popen[bytes]") -> None:
    """Kill it and whatever it started in its group; ended already is fine."""
    _kill_group(popen)
    popen.wait()
    for pipe in (popen.stdin, popen.stdout, popen.stderr):
        _close(pipe)


def end_marked(folder: Path, python: Path, sandbox: Sandbox) -> None:
    """Kill whatever was started with this working directory of ours or one below: what left its process group, or was
    left by a server that was killed. Blocking; 20 ms where builds have a user of their own."""
    mark = f"{MARK}={folder}/"
    if sandbox.uid is None:
        kill_marked(mark)
        return
    user: dict[str, object] = {"user": sandbox.uid, "group": sandbox.gid, "extra_groups": []}
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(
            [python, "-I", "-S", "-c", _SWEEP.read_text(), mark],
            cwd="/", env={}, stdin=subprocess.DEVNULL, timeout=_SWEEP_SECONDS, check=False,
            **user,  # type: ignore[call-overload]
        )  # fmt: skip


def _base_variables(directory: Path) -> dict[str, str]:
    """The variables that every program of a build gets; nothing of the operator's own."""
    return {
        "PATH": _SEARCH_PATH,
        "HOME": str(directory),
        "TMPDIR": str(directory),
        "LANG": "C.UTF-8",
        "NO_COLOR": "1",
        MARK: str(directory),
    }


def _kill_group(popen: "subprocess.Popen[bytes]") -> None:
    """While its leader was not reaped, so that the group's number is still its own."""
    if popen.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)


async def _exited(popen: "subprocess.Popen[bytes]") -> None:
    """Wait until it has ended, without reaping it."""
    pidfd = os.pidfd_open(popen.pid)
    try:
        await _ready(pidfd)
    finally:
        os.close(pidfd)


async def _read(fd: int, limit: int) -> bytes:
    """All that comes until the end; what is over the limit is read and dropped."""
    kept = bytearray()
    async for chunk in _chunks(fd):
        kept += chunk[: limit - len(kept)]
    return bytes(kept)


async def _read_lines(fd: int, on_line: Callable[[str], None] | None) -> deque[str]:
    lines: deque[str] = deque(maxlen=_KEPT_LINES)
    rest = b""

    def take(line: bytes) -> None:
        text = _CONTROL.sub("", line[:_LINE_BYTES].decode(errors="replace")).rstrip()
        lines.append(text)
        if on_line is not None and text:
            on_line(text)

    async for chunk in _chunks(fd):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            take(line)
        rest = rest[:_LINE_BYTES]
    if rest:
        take(rest)
    return lines


async def _write(pipe: IO[bytes] | None, data: bytes) -> None:
    fd = _fd(pipe)
    os.set_blocking(fd, False)
    view = memoryview(data)
    try:
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:
                await _ready(fd, write=True)
    except BrokenPipeError:
        pass  # it ended without reading all of it; its status says more than this
    finally:
        _close(pipe)


def _fd(pipe: IO[bytes] | None) -> int:
    """All three are pipes, because `_started` says so."""
    return -1 if pipe is None else pipe.fileno()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with suppress(OSError):
            pipe.close()


async def _chunks(fd: int) -> AsyncIterator[bytes]:
    os.set_blocking(fd, False)
    while True:
        try:
            chunk = os.read(fd, 65536)
        except BlockingIOError:
            await _ready(fd)
            continue
        if not chunk:
            return
        yield chunk


async def _ready(fd: int, *, write: bool = False) -> None:
    """Wait until the descriptor can be read (or written)."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
    add(fd, _settle, future)
    try:
        await future
    finally:
        remove(fd)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
