"""One run of a program for one request: its input, its output, its time, its end."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol, cast

from pilotlight_runtime.watchdog_config import Config

PIECE_BYTES = 64 * 1024


class Source(Protocol):
    async def take(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    ok: bool
    output: bytes = b""
    """What was not streamed."""
    status: int = 200


class Program:
    def __init__(self, config: Config, variables: Mapping[str, str], log: Callable[..., None]) -> None:
        self._config = config
        self._variables = variables
        self._log = log

    async def run(self, body: Source, say: Callable[[bytes], Awaitable[None]], *, timeout: float) -> End:
        """Until it has ended, or was ended after `timeout` seconds (0: never). `say` gets its output piece by piece in
        the streaming mode."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._config.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT if self._config.combine_output else asyncio.subprocess.PIPE,
                env={**os.environ, **self._variables},
                start_new_session=True,
                limit=PIECE_BYTES,
            )
        except OSError as error:
            reason = f"{self._config.command[0]} cannot be run: {error.strerror}"
            self._log(reason)
            return End(ok=False, status=500, output=f"{reason}\n".encode())
        output: list[bytes] = []
        try:
            async with asyncio.timeout(timeout or None):
                await self._converse(process, body, say, output)
                code = await process.wait()
        except TimeoutError:
            self._log(f"killed after {timeout:g} s, which is the most that it may run (exec_timeout)")
            return End(ok=False, status=504, output=f"The program did not end within {timeout:g} s.\n".encode())
        finally:
            if process.returncode is None:
                await asyncio.shield(_end(process))
        if code == 0:
            return End(ok=True, output=b"".join(output))
        how = f"exit status {code}" if code > 0 else f"signal: {_name(-code)}"
        self._log(f"{self._config.command[0]}: {how}")
        return End(ok=False, status=500, output=f"{how}\n".encode() + b"".join(output))

    async def _converse(
        self,
        process: asyncio.subprocess.Process,
        body: Source,
        say: Callable[[bytes], Awaitable[None]],
        output: list[bytes],
    ) -> None:
        """The program may end without having read its input, and write before it has read."""
        async with asyncio.TaskGroup() as group:
            feeding = group.create_task(_feed(process, body))
            if process.stderr is not None:
                group.create_task(self._log_lines(process.stderr))
            stdout = cast(asyncio.StreamReader, process.stdout)  # as it was started
            while piece := await stdout.read(PIECE_BYTES):
                if self._config.mode == "streaming":
                    await say(piece)
                else:
                    output.append(piece)
            feeding.cancel()

    async def _log_lines(self, stream: asyncio.StreamReader) -> None:
        rest = b""
        while piece := await stream.read(PIECE_BYTES):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                self._say_lines(line)
            while len(rest) > self._config.log_line_bytes:
                self._say_lines(rest[: self._config.log_line_bytes])
                rest = rest[self._config.log_line_bytes :]
        if rest:
            self._say_lines(rest)

    def _say_lines(self, line: bytes) -> None:
        most = self._config.log_line_bytes
        for begin in range(0, len(line) or 1, most):
            self._log(line[begin : begin + most].decode("utf-8", "backslashreplace"), prefix="stderr: ")


async def _feed(process: asyncio.subprocess.Process, body: Source) -> None:
    stdin = cast(asyncio.StreamWriter, process.stdin)  # as it was started
    with suppress(BrokenPipeError, ConnectionResetError):  # it has ended, or wants no more
        while data := await body.take():
            stdin.write(data)
            await stdin.drain()
    with suppress(BrokenPipeError, ConnectionResetError):
        stdin.close()
    while await body.take():
        pass  # the rest of a body that nobody wants


async def _end(process: asyncio.subprocess.Process) -> None:
    """It and what it has started, while its group's number is still its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return str(number)
