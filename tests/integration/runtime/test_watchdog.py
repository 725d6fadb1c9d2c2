"""Programs as functions: a real watchdog, real programs, requests over a socket."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import psutil
import pytest

from tests.provider_support import eventually


class Running:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0
        self.lines: list[str] = []
        self._said = asyncio.Event()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self.lines.append(line.decode().rstrip())
            if found := re.search(r"listening on port (\d+)", self.lines[-1]):
                self.port = int(found[1])
            self._said.set()

    async def says(self, text: str) -> None:
        async with asyncio.timeout(10):
            while not any(text in line for line in self.lines):
                self._said.clear()
                await self._said.wait()

    async def send(self, request: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        return reader, writer

    async def call(
        self, body: bytes = b"", *, method: str = "POST", path: str = "/", **headers: str
    ) -> tuple[int, bytes]:
        """Status and body of one request on a connection of its own."""
        fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        start = (
            f"{method} {path} HTTP/1.1\r\nHost: f\r\nConnection: close\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
        )
        reader, writer = await self.send(start.encode() + body)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        top, _, rest = answer.partition(b"\r\n\r\n")
        return int(top.split(b" ")[1]), rest

    async def end(self) -> int:
        with suppress(ProcessLookupError):
            self.process.kill()
        code = await self.process.wait()
        await self._reading
        return code


def living(group: int) -> list[int]:
    """Processes of the group that have not ended; nobody may have collected those that have."""
    found = []
    for process in psutil.process_iter(["status"]):
        with suppress(ProcessLookupError):
            if os.getpgid(process.pid) == group and process.info["status"] != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


Start = Callable[..., Awaitable[Running]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    made: list[Running] = []

    async def watchdog(fprocess: str, **variables: str) -> Running:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pilotlight_runtime.watchdog",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "runtime", "fprocess": fprocess, "port": "0", **variables},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made.append(Running(process))
        await made[-1].says("listening on port")
        return made[-1]

    yield watchdog
    for each in made:
        await each.end()


async def test_a_program_reads_the_body_and_writes_the_answer(start: Start) -> None:
    assert await (await start("tr a-z A-Z")).call(b"hello") == (200, b"HELLO")


async def test_a_program_finds_method_path_and_headers_in_variables(start: Start) -> None:
    running = await start("env")
    _, answer = await running.call(path="/a?b=1", method="PUT", X_Answer="42")
    lines = answer.decode().splitlines()
    assert {"Http_Method=PUT", "Http_Path=/a", "Http_Query=b=1", "Http_X_Answer=42"} <= set(lines)


async def test_a_program_that_fails_is_a_500_with_what_it_wrote(start: Start) -> None:
    running = await start("sh -c 'echo half; echo why >&2; exit 3'")
    assert await running.call() == (500, b"exit status 3\nhalf\n")
    await running.says("stderr: why")
    await running.says("sh: exit status 3")


async def test_a_program_that_is_not_there_is_a_500(start: Start) -> None:
    status, answer = await (await start("no-such-program")).call()
    assert (status, answer) == (500, b"no-such-program cannot be run: No such file or directory\n")


async def test_a_program_that_takes_too_long_is_a_504_and_gone_with_what_it_started(start: Start) -> None:
    running = await start("sh -c 'echo $$ >&2; sleep 600 & sleep 600'", exec_timeout="300ms")
    assert (await running.call())[0] == 504
    (line,) = [line for line in running.lines if "stderr: " in line]
    await eventually(lambda: not living(int(line.rpartition(" ")[2])))


async def test_a_request_may_ask_for_less_time_and_not_for_more(start: Start) -> None:
    running = await start("sleep 600", exec_timeout="1s")
    assert (await running.call(X_Timeout="100ms"))[0] == 504
    await running.says("killed after 0.1 s")
    assert (await running.call(X_Timeout="1h"))[0] == 504
    await running.says("killed after 1 s")


async def test_standard_error_is_part_of_the_answer_where_that_is_wanted(start: Start) -> None:
    running = await start("sh -c 'echo out; echo err >&2'", combine_output="true")
    assert await running.call() == (200, b"out\nerr\n")


async def test_an_answer_can_be_streamed_as_it_is_written(start: Start) -> None:
    running = await start("cat", mode="streaming")
    reader, writer = await running.send(
        b"POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n"
    )
    async with asyncio.timeout(10):
        await reader.readuntil(b"\r\n\r\n5\r\nfirst\r\n")
        writer.write(b"4\r\nlast\r\n0\r\n\r\n")
        assert (await reader.readuntil(b"0\r\n\r\n")).startswith(b"4\r\nlast\r\n")
    writer.close()


async def test_a_stream_that_fails_in_the_middle_is_cut(start: Start) -> None:
    running = await start("sh -c 'echo part; exit 1'", mode="streaming")
    reader, writer = await running.send(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
    async with asyncio.timeout(10):
        with suppress(ConnectionResetError):
            assert b"\r\n0\r\n\r\n" not in await reader.read()
    writer.close()


async def test_a_large_body_goes_through_a_program_that_reads_slowly(start: Start) -> None:
    running = await start("sh -c 'sleep 0.2; wc -c'")
    assert await running.call(b"x" * 5_000_000) == (200, b"5000000\n")


async def test_a_connection_serves_one_request_after_another(start: Start) -> None:
    running = await start("cat")
    once = b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 3\r\n\r\n"
    reader, writer = await running.send(once + b"one" + once + b"two")
    async with asyncio.timeout(10):
        for body in (b"one", b"two"):
            assert b" 200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(3) == body
    writer.close()


async def test_a_program_that_does_not_read_its_input_still_answers(start: Start) -> None:
    assert await (await start("echo hello")).call(b"nobody reads this") == (200, b"hello\n")


async def test_health_and_readiness_are_no_requests(start: Start) -> None:
    running = await start("sleep 600", max_inflight="1")
    assert await running.call(method="GET", path="/_/health") == (200, b"OK")
    assert (await running.call(path="/_/health"))[0] == 405
    _, writer = await running.send(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
    async with asyncio.timeout(10):
        while (await running.call(method="GET", path="/_/ready"))[0] != 429:
            await asyncio.sleep(0.01)
    status, text = await running.call()
    assert (status, text) == (429, b"Concurrent request limit exceeded. Max concurrent requests: 1\n")
    assert (await running.call(method="GET", path="/_/health"))[0] == 200
    writer.close()


async def test_what_runs_is_finished_after_sigterm(start: Start) -> None:
    running = await start("sh -c 'echo begun >&2; read line; sleep 0.3; echo $line'")
    reader, writer = await running.send(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 5\r\n\r\nlate\n")
    await running.says("stderr: begun")
    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert (await reader.read()).endswith(b"\r\n\r\nlate\n")
        assert await running.process.wait() == 0
    writer.close()


async def test_what_does_not_end_in_time_is_killed(start: Start) -> None:
    running = await start("sh -c 'echo $$ >&2; sleep 600'", write_timeout="200ms")
    _, writer = await running.send(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
    await running.says("stderr: ")
    running.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(10):
        assert await running.process.wait() == 0
    writer.close()


async def test_a_wrong_variable_is_said_and_nothing_listens() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pilotlight_runtime.watchdog",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "runtime"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 2
    assert said.startswith(b"watchdog: fprocess: is not set")
