"""A program for each request: its input, its output, its time, its end."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from pilotlight_runtime.http1 import RequestHead
from pilotlight_runtime.watchdog_answer import PIECE_BYTES, Answer, Body, Log, TooSlow, target_of
from pilotlight_runtime.watchdog_config import STREAMING, Config

INTERNAL = (b"X-OpenFaaS-Internal", b"of-watchdog")
TEXT = (b"Content-Type", b"text/plain; charset=utf-8")
_SHOWN = ((b"host", b"Host"), (b"content-length", b"Content-Length"), (b"transfer-encoding", b"Transfer-Encoding"),
          (b"x-call-id", b"X-Call-Id"), (b"x-timeout", b"X-Timeout"))  # fmt: skip


class Programs:
    leaves_with_client = False

    def __init__(self, config: Config, log: Log) -> None:
        self._config = config
        self._log = log

    @property
    def words(self) -> str:
        return f"for each request: {' '.join(self._config.command)}"

    async def run(self) -> str:
        await asyncio.Event().wait()  # each request has its own
        return ""

    async def is_ready(self) -> bool:
        return True

    async def respond(self, head: RequestHead, body: Body, answer: Answer, timeout: float) -> None:
        variables = variables_of(head) if self._config.cgi_headers else {}
        try:
            process = await self._start(variables)
        except OSError as error:
            self._refuse(answer, 500, f"{self._config.command[0]} cannot be run: {error.strerror}")
            return
        output: list[bytes] = []
        try:
            async with asyncio.timeout(timeout or None):
                await self._converse(process, body, answer, output)
                code = await process.wait()
        except TimeoutError:
            self._log.say(f"killed after {timeout:g} s, which is the most that it may run (exec_timeout)")
            self._refuse(answer, 504, f"The program did not end within {timeout:g} s.", logged=True)
            return
        except TooSlow as error:
            self._refuse(answer, 408, str(error))
            return
        finally:
            if process.returncode is None:
                await asyncio.shield(end_group(process))
        self._conclude(answer, code, b"".join(output))

    def _conclude(self, answer: Answer, code: int, output: bytes) -> None:
        if code != 0:
            how = f"exit status {code}" if code > 0 else f"signal: {_name(-code)}"
            self._log.say(f"{self._config.command[0]}: {how}")
            self._refuse(answer, 500, how, output, logged=True)
        elif answer.begun:
            answer.finish()
        else:
            answer.say(200, output, (b"Content-Type", self._config.content_type.encode()))

    def _refuse(self, answer: Answer, status: int, why: str, output: bytes = b"", *, logged: bool = False) -> None:
        if not logged:
            self._log.say(why)
        if answer.begun:
            answer.cut()
        else:
            answer.say(status, f"{why}\n".encode() + output, TEXT, INTERNAL)

    async def _start(self, variables: Mapping[str, str]) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._config.command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT if self._config.combine_output else asyncio.subprocess.PIPE,
            env={**os.environ, **variables},
            start_new_session=True,
            limit=PIECE_BYTES,
        )

    async def _converse(
        self, process: asyncio.subprocess.Process, body: Body, answer: Answer, output: list[bytes]
    ) -> None:
        """The program may end without having read its input, and write before it has read."""
        slow: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                feeding = group.create_task(_feed(process, body))
                if process.stderr is not None:
                    group.create_task(self._log.say_lines(process.stderr, "stderr: "))
                await self._read(cast(asyncio.StreamReader, process.stdout), answer, output)
                feeding.cancel()
        except* TooSlow as found:
            slow = found.exceptions[0]
        if slow is not None:
            raise slow

    async def _read(self, stdout: asyncio.StreamReader, answer: Answer, output: list[bytes]) -> None:
        while piece := await stdout.read(PIECE_BYTES):
            if self._config.write_debug:
                self._log.say_text(piece.removesuffix(b"\n"), "stdout: ")
            if self._config.mode != STREAMING:
                output.append(piece)
                continue
            if not answer.begun:
                answer.begin(200, [(b"Content-Type", self._config.content_type.encode())], None)
            await answer.piece(piece)


def variables_of(head: RequestHead) -> dict[str, str]:
    """The request's head as variables for its program."""
    path, query = target_of(head)
    shown = [(name, head.noted[noted]) for noted, name in _SHOWN if noted in head.noted]
    found: dict[str, str] = {}
    for name, value in (*head.headers, *shown):
        found["Http_" + name.decode("latin-1").replace("-", "_")] = value.decode("latin-1")
    found |= {"Http_Method": head.method.decode(), "Http_Path": path, "Http_Query": query}
    if (length := head.noted.get(b"content-length")) is not None:
        found["Http_ContentLength"] = length.decode("latin-1")
    return found


async def end_group(process: asyncio.subprocess.Process) -> None:
    """Kill it and what it has started, while its group's number is still its own."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


async def _feed(process: asyncio.subprocess.Process, body: Body) -> None:
    stdin = cast(asyncio.StreamWriter, process.stdin)  # as it was started
    with suppress(BrokenPipeError, ConnectionResetError):  # it has ended, or wants no more
        while data := await body.take():
            stdin.write(data)
            await stdin.drain()
    with suppress(BrokenPipeError, ConnectionResetError):
        stdin.close()
    while await body.take():
        pass  # the rest of a body that nobody wants


def _name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return str(number)
