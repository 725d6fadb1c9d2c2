"""The template `node` without its container: its server, a handler, requests. Needs Node 18 or later."""

import asyncio
import gzip
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness import free_port

TEMPLATE = Path(__file__).parents[3] / "templates/node"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="there is no node here")
ECHO = "module.exports = async (event) => ({ ...event, headers: undefined, type: event.headers['content-type'] })"
JSON, TEXT = "application/json", "text/plain"
FORM = "application/x-www-form-urlencoded"


class Function:
    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def raw(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer

    async def call(
        self,
        body: bytes | None = None,
        content_type: str = "",
        *,
        path: str = "/",
        method: str = "POST",
        more: str = "",
    ) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        lines = [f"{method} {path} HTTP/1.1", "Host: f", "Connection: close"]
        lines += [f"Content-Length: {len(body)}"] if body is not None else []
        lines += [f"Content-Type: {content_type}"] if content_type else []
        lines += [more] if more else []
        answer = await self.raw("\r\n".join([*lines, "", ""]).encode() + (body or b""))
        head, _, rest = answer.partition(b"\r\n\r\n")
        status, *fields = head.decode().split("\r\n")
        types = [field.partition(": ")[2] for field in fields if field.lower().startswith("content-type")]
        return int(status.split()[1]), types[0] if types else "", rest

    async def event(self, *arguments: object, **options: object) -> dict[str, object]:
        status, _, body = await self.call(*arguments, **options)  # type: ignore[arg-type]
        assert status == 200, body
        found: dict[str, object] = json.loads(body)
        return found

    async def ready(self) -> None:
        async with asyncio.timeout(20):
            while True:
                with suppress(OSError):
                    if (await self.call(method="GET", path="/_/ready"))[0] == 200:
                        return
                await asyncio.sleep(0.01)


Serve = Callable[..., Awaitable[Function]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    made: list[asyncio.subprocess.Process] = []

    async def start(handler: str, *, file: str = "handler.js", wait: bool = True, **variables: str) -> Function:
        app = tmp_path / str(len(made))
        shutil.copytree(TEMPLATE, app, ignore=shutil.ignore_patterns("function"))
        (app / "function").mkdir()
        if handler:
            (app / "function" / file).write_text(handler)
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            "node", app / "index.js", env={"PATH": os.environ["PATH"], "port": str(port), **variables},
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        made.append(process)
        function = Function(process, port)
        if wait:
            await function.ready()
        return function

    yield start
    for process in made:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def test_a_body_is_what_its_content_type_says(serve: Serve) -> None:
    function = await serve(ECHO)
    for body, kind, expected in (
        (b"plain", TEXT, "plain"),
        (b"plain", "", "plain"),
        (b'{"a": [1]}', JSON, {"a": [1]}),
        (b"a=1&b[c]=2&b[d]=x%20y&a=2&e[]=1", FORM, {"a": ["1", "2"], "b": {"c": "2", "d": "x y"}, "e": ["1"]}),
        (b"__proto__[x]=1&constructor=2&ok=3", FORM, {"ok": "3"}),
        (b"\xff", "application/octet-stream", {}),
        (b"", JSON, {}),
        (None, "", {}),
    ):
        event = await function.event(body, kind)
        assert event["body"] == expected, (body, kind)
    zipped = await function.event(gzip.compress(b'{"z": 1}'), JSON, more="Content-Encoding: gzip")
    assert zipped["body"] == {"z": 1}


async def test_a_handler_sees_method_path_and_query(serve: Serve) -> None:
    event = await (await serve(ECHO)).event(b"x", TEXT, path="/a%20b/c?x=1&x=2&y[z]=3", method="PUT")
    assert event == {
        "body": "x", "method": "PUT", "path": "/a%20b/c", "query": {"x": ["1", "2"], "y": {"z": "3"}}, "type": TEXT,
    }  # fmt: skip


async def test_what_cannot_be_read_is_the_callers_mistake(serve: Serve) -> None:
    function = await serve(ECHO, MAX_JSON_SIZE="1kb", MAX_RAW_SIZE="2kb")
    for body, kind, status in (
        (b"{", JSON, 400), (b"5", JSON, 400), (b" " * 1025, JSON, 413),
        (b" " * 2049, TEXT, 413), (b" " * 2048, TEXT, 200),
    ):  # fmt: skip
        assert (await function.call(body, kind))[0] == status
    bomb = gzip.compress(b"0" * 100_000)
    assert (await function.call(bomb, TEXT, more="Content-Encoding: gzip"))[0] == 413
    assert (await function.call(b"x", TEXT, more="Content-Encoding: gzip"))[0] == 400
    assert (await function.call(b"x", TEXT, more="Content-Encoding: x"))[0] == 415


async def test_a_body_can_be_wanted_raw(serve: Serve) -> None:
    function = await serve(
        "module.exports = async (event) => [Buffer.isBuffer(event.body), event.body.length]", RAW_BODY="true"
    )
    assert (await function.call(b"\xff\x00", "image/png"))[2] == b"[true,2]"


async def test_an_answer_is_what_was_returned_or_given_to_the_context(serve: Serve) -> None:
    function = await serve("""
        const { Readable } = require('stream')
        module.exports = async (event, context, callback) => {
          switch (event.path) {
            case '/object': return { a: 1 }
            case '/text': return 'text'
            case '/bytes': return Buffer.from('bytes')
            case '/nothing': return
            case '/number': return 7
            case '/context': return context.status(201).headers({ 'X-A': 'b', 'Content-Type': 'a/b' }).succeed('made')
            case '/callback': return callback(null, 'called')
            case '/stream': return Readable.from(['one ', 'two'])
            case '/fail': return context.fail(new Error('no'))
            case '/teapot': return context.status(418).fail('no')
            case '/callback-error': return callback(new Error('no'))
          }
          throw new Error('thrown')
        }
    """)
    for path, answer in {
        "/object": (200, "application/json; charset=utf-8", b'{"a":1}'),
        "/text": (200, "text/plain; charset=utf-8", b"text"),
        "/bytes": (200, "application/octet-stream", b"bytes"),
        "/nothing": (200, "", b""),
        "/number": (200, "application/json; charset=utf-8", b"7"),
        "/context": (201, "a/b", b"made"),
        "/callback": (200, "text/plain; charset=utf-8", b"called"),
        "/fail": (500, "text/plain; charset=utf-8", b"Error: no"),
        "/teapot": (418, "text/plain; charset=utf-8", b"no"),
        "/callback-error": (500, "text/plain; charset=utf-8", b"Error: no"),
        "/": (500, "text/plain; charset=utf-8", b"Error: thrown"),
    }.items():
        assert await function.call(path=path) == answer, path
    assert b"one " in (await function.call(path="/stream"))[2]


async def test_a_module_and_its_init_are_loaded_before_it_is_ready(serve: Serve) -> None:
    module = """
        let ready = false
        export async function init () { await new Promise((r) => setTimeout(r, 50)); ready = true }
        export default async () => ready
    """
    assert (await (await serve(module, file="handler.mjs")).call())[2] == b"true"


@pytest.mark.parametrize(
    ("handler", "last"),
    [
        ("", "handler-missing: there is no handler.js, handler.mjs or handler.cjs in the folder"),
        ("module.exports = 7", "handler-missing: handler.js exports no function: module.exports = async"),
        ("x = (\n", "handler-syntax: SyntaxError: "),
        ("\nrequire('nothing-there')", "import-failed: Error: Cannot find module 'nothing-there' (handler.js, line 2)"),
        (
            "exports.handler = () => 1\nexports.init = () => { throw Error('no') }",
            "init-failed: Error: no (handler.js, line 2)",
        ),
    ],
)
async def test_a_handler_that_cannot_be_loaded_is_told_in_the_last_line(serve: Serve, handler: str, last: str) -> None:
    function = await serve(handler, wait=False)
    _, said = await function.process.communicate()
    assert function.process.returncode == 66
    assert said.decode().splitlines()[-1].startswith(last), said


async def test_what_runs_is_finished_after_sigterm(serve: Serve) -> None:
    function = await serve(
        "module.exports = () => new Promise((r) => { console.error('begun'); setTimeout(r, 300, 'late') })"
    )
    calling = asyncio.create_task(function.call())
    assert function.process.stderr is not None
    async with asyncio.timeout(10):
        assert await function.process.stderr.readline() == b"begun\n"
        function.process.send_signal(signal.SIGTERM)
        assert (await calling)[2] == b"late"
        assert await function.process.wait() == 0


async def test_what_does_not_end_in_time_is_left(serve: Serve) -> None:
    function = await serve(
        "module.exports = () => { console.error('begun'); return new Promise(() => {}) }", write_timeout="200ms"
    )
    calling = asyncio.create_task(function.call())
    assert function.process.stderr is not None
    async with asyncio.timeout(10):
        await function.process.stderr.readline()
        function.process.send_signal(signal.SIGTERM)
        assert await function.process.wait() == 0
    calling.cancel()
    with suppress(asyncio.CancelledError, OSError, IndexError):
        await calling
