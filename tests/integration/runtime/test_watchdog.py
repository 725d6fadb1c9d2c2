"""Programs as functions: a real watchdog, real programs, requests over a socket."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.harness import free_port
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
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    made: list[Running] = []

    async def watchdog(fprocess: str, **variables: str) -> Running:
        common = {"PATH": os.environ["PATH"], "PYTHONPATH": "runtime", "port": "0", "TMPDIR": str(tmp_path)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pilotlight_runtime.watchdog",
            env={**common, "fprocess": fprocess, **variables}, stderr=asyncio.subprocess.PIPE,
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


async def until_ready_is(status: int, running: Running) -> None:
    async with asyncio.timeout(10):
        while (await running.call(method="GET", path="/_/ready"))[0] != status:
            await asyncio.sleep(0.01)


async def test_health_and_readiness_are_no_requests(start: Start) -> None:
    running = await start("sleep 600", max_inflight="1")
    assert await running.call(method="GET", path="/_/health") == (200, b"OK")
    assert (await running.call(path="/_/health"))[0] == 405
    assert (await running.call(path="/_/readymade", X_Timeout="10ms"))[0] == 504
    await until_ready_is(200, running)  # its program is killed, and holds its place until it has ended
    _, writer = await running.send(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
    await until_ready_is(429, running)
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


SERVER = """
import sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/end":
            sys.stderr.write("ends\\n")
            import os; os._exit(7)
        if self.path == "/hang":
            time.sleep(600)
        if self.path == "/stream":
            self.send_response(200); self.send_header("Transfer-Encoding", "chunked"); self.end_headers()
            for piece in (b"one", b"two"):
                self.wfile.write(b"%x\\r\\n%b\\r\\n" % (len(piece), piece)); self.wfile.flush(); time.sleep(0.05)
            self.wfile.write(b"0\\r\\n\\r\\n")
            return
        size = self.headers.get("Content-Length")
        body = self.rfile.read(int(size)) if size else b"no length"
        status = 418 if self.path == "/pot" else 200
        self.answer(b"%b %b %b" % (self.command.encode(), self.path.encode(), body), status)
    do_POST = do_HEAD = do_GET
    def answer(self, text, status):
        self.send_response(status); self.send_header("Content-Length", str(len(text)))
        self.send_header("X-Mine", self.headers.get("X-Theirs") or "-"); self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(text)
    def log_message(self, *args):
        pass

print("starts", flush=True)
time.sleep(float(sys.argv[2]) if len(sys.argv) > 2 else 0)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture
def server(start: Start, tmp_path: Path) -> Callable[..., Awaitable[Running]]:
    """A watchdog in front of a server that runs for as long as it does."""
    (tmp_path / "server.py").write_text(SERVER)

    async def watchdog(delay: float = 0, **variables: str) -> Running:
        port = free_port()
        upstream = {"mode": "http", "upstream_url": f"http://127.0.0.1:{port}", **variables}
        return await start(f"{sys.executable} {tmp_path / 'server.py'} {port} {delay}", **upstream)

    return watchdog


async def test_one_server_answers_all_requests(server: Start) -> None:
    running = await server()
    for _ in range(3):
        assert await running.call(b"body", path="/a?b=1") == (200, b"POST /a?b=1 body")
    assert await running.call(path="/pot", method="GET") == (418, b"GET /pot ")
    assert await running.call(path="/a", method="HEAD") == (200, b"")
    await running.says("stdout: starts")


async def test_headers_go_to_the_server_and_come_back(server: Start) -> None:
    running = await server()
    reader, writer = await running.send(
        b"POST / HTTP/1.1\r\nHost: f\r\nX-Theirs: t\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi"
    )
    async with asyncio.timeout(10):
        head = (await reader.read()).partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert b"X-Mine: t" in head
    assert any(line.startswith(b"X-Duration-Seconds: 0.") for line in head)
    writer.close()


async def test_requests_wait_for_a_server_that_is_slow_to_listen(server: Start) -> None:
    running = await server(0.5)
    assert (await running.call(method="GET", path="/_/ready"))[0] == 503
    assert (await running.call(method="GET", path="/_/health"))[0] == 200
    assert await running.call(b"early") == (200, b"POST / early")
    assert (await running.call(method="GET", path="/_/ready"))[0] == 200


async def test_a_servers_stream_goes_out_piece_by_piece(server: Start) -> None:
    running = await server()
    reader, writer = await running.send(b"GET /stream HTTP/1.1\r\nHost: f\r\n\r\n")
    async with asyncio.timeout(10):
        assert (await reader.readuntil(b"3\r\none\r\n")).startswith(b"HTTP/1.1 200 OK")
        assert await reader.readuntil(b"0\r\n\r\n") == b"3\r\ntwo\r\n0\r\n\r\n"
    writer.close()


async def test_a_chunked_request_can_be_given_whole_with_its_length(server: Start) -> None:
    chunked = (
        b"POST / HTTP/1.1\r\nHost: f\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    for buffered, answer in (("true", b"POST / abc"), ("false", b"POST / no length")):
        running = await server(http_buffer_req_body=buffered)
        reader, writer = await running.send(chunked)
        async with asyncio.timeout(10):
            assert (await reader.read()).endswith(b"\r\n\r\n" + answer)
        writer.close()


async def test_a_server_that_does_not_answer_in_time_is_a_504(server: Start) -> None:
    running = await server(exec_timeout="300ms")
    assert await running.call(method="GET", path="/hang") == (504, b"The function did not answer within 0.3 s.\n")
    assert await running.call(b"x") == (200, b"POST / x")


async def test_a_request_whose_client_left_is_given_up(server: Start) -> None:
    running = await server(max_inflight="1")
    assert (await running.call(b"x"))[0] == 200
    _, writer = await running.send(b"GET /hang HTTP/1.1\r\nHost: f\r\n\r\n")
    async with asyncio.timeout(10):
        while (await running.call(method="GET", path="/_/ready"))[0] != 429:
            await asyncio.sleep(0.01)
        writer.close()
        while (await running.call(method="GET", path="/_/ready"))[0] != 200:
            await asyncio.sleep(0.01)
    assert await running.call(b"next") == (200, b"POST / next")


async def test_a_large_body_goes_to_a_server_and_back(server: Start) -> None:
    running = await server()
    body = b"x" * 5_000_000
    assert await running.call(body) == (200, b"POST / " + body)


async def test_a_server_that_cannot_be_started_ends_the_watchdog(start: Start) -> None:
    running = await start("no-such-program", mode="http", upstream_url="http://127.0.0.1:1")
    async with asyncio.timeout(10):
        assert await running.process.wait() == 1
    await running.says("no-such-program cannot be run: No such file or directory")


async def test_the_watchdog_ends_when_its_server_does(server: Start) -> None:
    running = await server()
    status, _ = await running.call(method="GET", path="/end")
    assert status == 500
    async with asyncio.timeout(10):
        assert await running.process.wait() == 1
    await running.says("has ended with exit status 7")
    assert any("stderr: ends" in line for line in running.lines)


async def test_after_sigterm_a_servers_answer_is_waited_for(server: Start) -> None:
    running = await server()
    reader, writer = await running.send(b"GET /stream HTTP/1.1\r\nHost: f\r\n\r\n")
    async with asyncio.timeout(10):
        await reader.readuntil(b"one")
        running.process.send_signal(signal.SIGTERM)
        assert (await reader.read()).endswith(b"two\r\n0\r\n\r\n")
        assert await running.process.wait() == 0
    writer.close()


async def test_ready_can_ask_the_server_itself(server: Start) -> None:
    running = await server(ready_path="/pot")
    assert (await running.call(b"x"))[0] == 200
    assert (await running.call(method="GET", path="/_/ready"))[0] == 418


async def test_files_are_served_from_one_folder_and_from_no_other(start: Start, tmp_path: Path) -> None:
    public = tmp_path / "public"
    (public / "sub").mkdir(parents=True)
    (public / "index.html").write_text("<p>home")
    (public / "sub" / "index.html").write_text("sub")
    (tmp_path / "secret").write_text("no")
    (public / "link").symlink_to(tmp_path / "secret")
    running = await start("", mode="static", static_path=str(public))
    assert await running.call(method="GET", path="/") == (200, b"<p>home")
    assert await running.call(method="GET", path="/sub/") == (200, b"sub")
    assert await running.call(method="HEAD", path="/index.html") == (200, b"")
    assert (await running.call(method="GET", path="/sub"))[0] == 301
    assert (await running.call(b"x", path="/"))[0] == 405
    for path in ("/nothing", "/../secret", "/%2e%2e/secret", "/link", "/a%00b"):
        assert (await running.call(method="GET", path=path))[0] == 404, path


async def test_who_removes_the_lock_file_makes_it_unhealthy(start: Start, tmp_path: Path) -> None:
    running = await start("cat")
    assert (await running.call(method="GET", path="/_/health"))[0] == 200
    (tmp_path / ".lock").unlink()
    assert (await running.call(method="GET", path="/_/health"))[0] == 503
    assert (await running.call(method="GET", path="/_/ready"))[0] == 503
    assert await running.call(b"still") == (200, b"still")


async def test_after_sigterm_it_is_unhealthy_and_serves_for_the_health_checks_interval(start: Start) -> None:
    running = await start("cat", healthcheck_interval="600ms")
    running.process.send_signal(signal.SIGTERM)
    await running.says("requests are taken for 0.6 s yet")
    assert (await running.call(method="GET", path="/_/health"))[0] == 503
    assert await running.call(b"late") == (200, b"late")
    async with asyncio.timeout(10):
        assert await running.process.wait() == 0


async def test_a_request_that_does_not_come_is_a_408(start: Start) -> None:
    running = await start("cat", read_timeout="200ms")
    for half in (b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 9\r\n\r\nhalf", b"POST / HT"):
        reader, writer = await running.send(half)
        async with asyncio.timeout(10):
            assert (await reader.readuntil(b"\r\n")) == b"HTTP/1.1 408 Request Timeout\r\n"
        writer.close()


async def test_a_client_that_takes_nothing_is_let_go(start: Start) -> None:
    running = await start("head -c 50000000 /dev/zero", mode="streaming", write_timeout="300ms")
    _, writer = await running.send(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    await running.says("the client left its answer untaken for 0.3 s")
    writer.close()


async def test_answers_and_headers_can_be_seen_in_the_log(start: Start) -> None:
    running = await start("cat", write_debug="true", debug_headers="true", marshal_request="true")
    await running.call(b"shown", X_Some="thing")
    await running.says("stdout: shown")
    await running.says("X-Some: thing")
    assert any("note: marshal_request is set and does nothing" in line for line in running.lines)


async def test_a_health_check_from_within_looks_at_the_lock_file(start: Start, tmp_path: Path) -> None:
    async def check() -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "pilotlight_runtime.watchdog", "--run-healthcheck",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": "runtime", "TMPDIR": str(tmp_path)},
        )  # fmt: skip
        return await process.wait()

    assert await check() == 1
    await start("cat")
    assert await check() == 0


async def test_a_wrong_variable_is_said_and_nothing_listens() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "pilotlight_runtime.watchdog",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": "runtime"}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await process.communicate()
    assert process.returncode == 2
    assert said.startswith(b"watchdog: fprocess: is not set")
