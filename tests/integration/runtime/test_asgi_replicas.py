"""The contract `asgi` in a real replica: plain applications, Starlette and FastAPI."""

import os
import signal

import pytest

from tests.integration.runtime.zygote_harness import Replica, Zygote, until

PLAIN = """
import json
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    message = await receive()
    told = {"method": scope["method"], "path": scope["path"], "raw_path": scope["raw_path"].decode(),
            "query": scope["query_string"].decode(), "root": scope["root_path"], "client": scope["client"],
            "server": scope["server"], "scheme": scope["scheme"], "http": scope["http_version"],
            "body": message["body"].decode(), "more": message["more_body"],
            "headers": {k.decode(): v.decode() for k, v in scope["headers"]}}
    print("served", scope["path"])
    await send({"type": "http.response.start", "status": 201, "headers": [(b"X-Kind", b"asgi")]})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
"""
LIFESPAN = """
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                print("starts")
                scope["state"]["name"] = "kept"
                await send({"type": "lifespan.startup.complete"})
            else:
                print("shuts down")
                await send({"type": "lifespan.shutdown.complete"})
                return
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body", "body": scope["state"]["name"].encode()})
"""
ONLY_HTTP = "async def app(scope, receive, send):\n    if scope['type'] != 'http':\n        raise NotImplementedError\n"
STREAM = (
    ONLY_HTTP
    + """
    import asyncio, pathlib
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"one ", "more_body": True})
    while not pathlib.Path(scope["query_string"].decode()).exists():
        await asyncio.sleep(0.005)
    await send({"type": "http.response.body", "body": b"two", "more_body": True})
    await send({"type": "http.response.body", "body": b""})
"""
)
STARLETTE = """
import contextlib, time, asyncio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse, FileResponse
from starlette.routing import Route, Mount
from starlette.staticfiles import StaticFiles

@contextlib.asynccontextmanager
async def lifespan(app):
    print("opened")
    yield {"name": "state"}
    print("closed")

async def home(request):
    return JSONResponse({"url": str(request.url_for("home")), "path": request.url.path, "state": request.state.name})

def blocking(request):
    import pathlib
    print("began", request.url.path)
    while not pathlib.Path(request.query_params["until"]).exists():
        time.sleep(0.005)
    return PlainTextResponse("done")

async def stream(request):
    async def pieces():
        for i in range(3):
            yield f"{i}\\n"
    return StreamingResponse(pieces(), media_type="text/plain")

async def endless(request):
    async def pieces():
        try:
            while True:
                yield "x" * 1000
                await asyncio.sleep(0.001)
        finally:
            print("left")
    return StreamingResponse(pieces())

made = 0
async def flood(request):
    async def pieces():
        global made
        while True:
            made += 1
            yield "x" * 100_000
    return StreamingResponse(pieces())

async def count(request):
    return PlainTextResponse(str(made))

async def after(request):
    return PlainTextResponse("told", background=BackgroundTask(print, "background"))

async def file(request):
    return FileResponse(__file__)

app = Starlette(lifespan=lifespan, routes=[
    Route("/", home, name="home"), Route("/blocking", blocking), Route("/stream", stream),
    Route("/endless", endless), Route("/after", after), Route("/flood", flood), Route("/count", count),
    Route("/file", file, methods=["GET", "HEAD"]),
    Mount("/static", StaticFiles(directory="."))])
"""
FASTAPI = """
from fastapi import FastAPI
from pydantic import BaseModel
app = FastAPI()
class Item(BaseModel):
    name: str
    price: float
@app.post("/items")
def make(item: Item):
    print("an item", item.name)
    return {"twice": item.price * 2}
@app.get("/raises")
async def raises():
    raise KeyError("secret")
"""


@pytest.fixture(scope="module")
def starlette(shared_zygote: Zygote) -> Replica:
    return shared_zygote.serve(STARLETTE, contract="asgi")


def test_a_plain_app_gets_the_scope_and_the_body(zygote: Zygote) -> None:
    replica = zygote.launch(PLAIN, contract="asgi")
    ready = replica.ready()
    assert (ready["slots"], ready["asynchronous"]) == (100, True)
    headers = {"X-Call-Id": "c1", "X-Forwarded-For": "9.9.9.9, 10.0.0.7", "Host": "example.org:8080"}
    reply = replica.call("/a%20b?x=1&y=%20", b"text", headers=headers)
    told = reply.json()
    assert (reply.status, reply.headers["X-Kind"]) == (201, "asgi")
    assert (told["path"], told["raw_path"]) == ("/function/hello/a b", "/function/hello/a%20b")
    assert (told["root"], told["query"], told["body"], told["more"]) == ("/function/hello", "x=1&y=%20", "text", False)
    assert (told["client"], told["server"]) == (["10.0.0.7", 0], ["example.org", 8080])
    assert (told["scheme"], told["http"], told["headers"]["host"]) == ("http", "1.1", "example.org:8080")
    [line] = [record for record in replica.records() if record.text.startswith("served")]
    assert line.call_id == "c1"


def test_the_root_path_can_be_chosen(zygote: Zygote) -> None:
    replica = zygote.serve(PLAIN, contract="asgi", variables={"ASGI_ROOT_PATH": ""})
    assert replica.call("/x").json()["path"] == "/x"


def test_the_root_path_names_a_namespace_that_is_not_the_first(zygote: Zygote) -> None:
    replica = zygote.serve(PLAIN, contract="asgi", function="hello.team")
    assert replica.call("/x").json()["root"] == "/function/hello.team"


def test_lifespan_runs_before_the_first_request_and_at_the_end(zygote: Zygote) -> None:
    replica = zygote.serve(LIFESPAN, contract="asgi")
    assert "starts" in replica.lines()
    assert replica.call().body == b"kept"
    os.kill(replica.pid, signal.SIGTERM)
    assert zygote.status_of(replica) == 0
    assert "shuts down" in replica.lines()


def test_a_startup_that_fails_is_an_init_that_failed(zygote: Zygote) -> None:
    source = """
async def app(scope, receive, send):
    await receive()
    try:
        raise ValueError("no database")
    except ValueError as error:
        await send({"type": "lifespan.startup.failed", "message": "trace\\nValueError: no database"})
        raise
"""
    replica = zygote.launch(source, contract="asgi")
    failed = replica.failed()
    assert (failed["slug"], failed["detail"], failed["line"]) == ("init-failed", "ValueError: no database", 5)


def test_a_startup_that_fails_without_raising_says_its_last_line(zygote: Zygote) -> None:
    source = """
async def app(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "trace\\nno model here"})
"""
    failed = zygote.launch(source, contract="asgi").failed()
    assert failed["detail"] == "RuntimeError: the app's startup failed: no model here"


@pytest.mark.parametrize(
    ("source", "slug", "words"),
    [
        ("application = 1\n", "handler-missing", "handler.py has no ASGI application `app`"),
        (
            "from fastapi import FastAPI\nsite = FastAPI()\n@site.get('/')\ndef home(): ...\n",
            "handler-missing",
            "`site` looks like one: name it `app`",
        ),
        ("app = 'x'\n", "load-failed", "not a value of type str"),
        ("def app(environ, start_response): ...\n", "load-failed", "WSGI"),
        ("def app(): ...\n", "load-failed", "create_app()"),
    ],
)
def test_what_is_no_app_is_refused_with_the_reason(zygote: Zygote, source: str, slug: str, words: str) -> None:
    failed = zygote.launch(source, contract="asgi").failed()
    assert failed["slug"] == slug
    assert words in failed["detail"]


def test_a_stream_arrives_in_pieces(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> None:
    go_on = tmp_path_factory.mktemp("asgi") / "go"
    replica = zygote.serve(STREAM, contract="asgi")
    with replica.connect() as sock:
        sock.sendall(f"GET /?{go_on} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        received = b""
        while b"one " not in received:
            received += sock.recv(4096)
        assert b"Transfer-Encoding: chunked" in received
        go_on.touch()
        while b"0\r\n\r\n" not in received:
            received += sock.recv(4096)
    assert b"3\r\ntwo\r\n0\r\n\r\n" in received


def test_an_app_is_told_that_its_client_has_left_and_ends_by_itself(zygote: Zygote) -> None:
    source = (
        ONLY_HTTP
        + """
    await receive()
    print("began")
    if scope["query_string"]:
        message = await receive()
        print("told", message["type"])
    try:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": b"x"})
    except OSError:
        print("nobody listens")
        raise KeyError("as a framework words it")
"""
    )
    replica = zygote.serve(source, contract="asgi", concurrency=1)
    with replica.connect() as sock:
        sock.sendall(b"GET /?wait HTTP/1.1\r\nHost: x\r\n\r\n")
        until(lambda: "began" in replica.lines())
    until(lambda: "nobody listens" in replica.lines())
    until(lambda: replica.call("/").status == 200)  # its slot is free again
    assert not [line for line in replica.lines() if "Traceback" in line]


def test_an_app_that_does_not_answer_in_time_is_cancelled(zygote: Zygote) -> None:
    source = (
        ONLY_HTTP
        + """
    import asyncio
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        print("cancelled")
        raise
"""
    )
    replica = zygote.serve(source, contract="asgi", timeout_seconds=0.2)
    reply = replica.call()
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (504, "handler-timeout")
    until(lambda: "cancelled" in replica.lines())
    assert replica.call("/_/ready").status == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("    pass\n", "without an answer"),
        ("    await send({'type': 'http.response.body', 'body': b''})\n", "a body before"),
        ("    await send({'type': 'websocket.accept'})\n", "websocket.accept"),
        ("    await send({'type': 'http.response.start', 'status': 'ok'})\n", "the status 'ok'"),
        ("    await send({'type': 'http.response.start', 'status': 200, 'headers': [('a', 'b')]})\n", "pair of bytes"),
        (
            "    await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'9')]})\n"
            "    await send({'type': 'http.response.body', 'body': b'short'})\n",
            "less than its Content-Length",
        ),
        (
            "    await send({'type': 'http.response.start', 'status': 200})\n"
            "    await send({'type': 'http.response.body', 'body': 'text'})\n",
            "a body of type str",
        ),
    ],
)
def test_a_wrong_message_is_a_bad_answer(zygote: Zygote, body: str, words: str) -> None:
    replica = zygote.serve(ONLY_HTTP + body, contract="asgi")
    reply = replica.call()
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (500, "bad-answer")
    assert words in reply.json()["error"]


def test_head_has_the_length_and_no_body(zygote: Zygote) -> None:
    source = (
        ONLY_HTTP
        + """
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})
"""
    )
    reply = zygote.serve(source, contract="asgi").call(method="HEAD")
    assert (reply.headers["Content-Length"], reply.body) == ("5", b"")


def test_an_answer_of_known_length_is_streamed_without_chunks(zygote: Zygote) -> None:
    source = (
        ONLY_HTTP
        + """
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]})
    await send({"type": "http.response.body", "body": b"one", "more_body": True})
    await send({"type": "http.response.body", "body": b"two"})
"""
    )
    replica = zygote.serve(source, contract="asgi")
    reply = replica.call()
    assert (reply.headers["Content-Length"], reply.body) == ("6", b"onetwo")
    assert "Transfer-Encoding" not in reply.headers


def test_a_websocket_is_refused_in_a_sentence(zygote: Zygote) -> None:
    headers = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Key": "x", "Sec-WebSocket-Version": "13"}
    reply = zygote.serve(PLAIN, contract="asgi").call(headers=headers)
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (501, "websocket-unsupported")
    assert "WebSocket" in reply.json()["error"]


def test_starlette_knows_where_it_is_mounted_and_its_state(starlette: Replica) -> None:
    told = starlette.call("/", headers={"Host": "h:1"}).json()
    assert told == {"url": "http://h:1/function/hello/", "path": "/function/hello/", "state": "state"}


def test_starlette_finds_what_is_mounted_in_it(starlette: Replica) -> None:
    assert b"StaticFiles" in starlette.call("/static/handler.py").body


def test_starlette_streams(starlette: Replica) -> None:
    assert starlette.call("/stream").body == b"0\n1\n2\n"


def test_starlette_sends_files_with_their_length(starlette: Replica) -> None:
    reply = starlette.call("/file")
    assert int(reply.headers["Content-Length"]) == len(reply.body) == len(STARLETTE)
    assert starlette.call("/file", method="HEAD").headers["Content-Length"] == str(len(STARLETTE))


def test_starlettes_background_tasks_run_after_the_answer(starlette: Replica) -> None:
    assert starlette.call("/after", headers={"X-Call-Id": "b1"}).body == b"told"
    until(lambda: [record for record in starlette.records() if (record.text, record.call_id) == ("background", "b1")])


def test_a_sync_endpoint_keeps_nobody_from_being_answered(starlette: Replica, tmp_path: object) -> None:
    go_on = f"{tmp_path}/go"
    with starlette.connect() as sock:
        sock.sendall(f"GET /blocking?until={go_on} HTTP/1.1\r\nHost: x\r\nX-Call-Id: s1\r\n\r\n".encode())
        until(lambda: "began /function/hello/blocking" in starlette.lines())
        assert starlette.call("/_/health").status == 200
        assert starlette.call("/stream").status == 200
        open(go_on, "w").close()
        assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    [record] = [record for record in starlette.records() if record.text.startswith("began")]
    assert record.call_id == "s1"


def test_a_stream_ends_when_its_client_leaves(starlette: Replica) -> None:
    with starlette.connect() as sock:
        sock.sendall(b"GET /endless HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(100)
    until(lambda: "left" in starlette.lines())
    assert starlette.call("/count").status == 200
    assert [line for line in starlette.lines() if "Traceback" in line] == []


def test_a_slow_client_holds_the_stream_back(starlette: Replica) -> None:
    def stands_still() -> int:
        before = int(starlette.call("/count").body)
        return before if before == int(starlette.call("/count").body) else 0

    with starlette.connect() as sock:
        sock.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
        sock.recv(100)
        assert until(stands_still) < 200


def test_fastapi_checks_and_answers(zygote: Zygote) -> None:
    replica = zygote.serve(FASTAPI, contract="asgi")
    headers = {"Content-Type": "application/json", "X-Call-Id": "f1"}
    assert replica.call("/items", b'{"name": "a", "price": 1.5}', headers=headers).json() == {"twice": 3.0}
    assert replica.call("/items", b'{"name": "a"}', headers=headers).status == 422
    assert b"/function/hello/openapi.json" in replica.call("/docs").body
    [record] = [record for record in replica.records() if record.text == "an item a"]
    assert record.call_id == "f1"


def test_what_fastapi_lets_through_is_in_the_log_alone(zygote: Zygote) -> None:
    replica = zygote.serve(FASTAPI, contract="asgi")
    reply = replica.call("/raises", headers={"X-Call-Id": "f2"})
    assert (reply.status, b"secret" in reply.body) == (500, False)
    until(lambda: [r for r in replica.records() if "KeyError: 'secret'" in r.text and r.call_id == "f2"])


def test_head_of_an_answer_without_end_keeps_nobody_from_being_answered(zygote: Zygote) -> None:
    source = (
        ONLY_HTTP
        + """
    await send({"type": "http.response.start", "status": 200})
    while scope["method"] == "HEAD":
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
    await send({"type": "http.response.body", "body": b"here"})
"""
    )
    replica = zygote.serve(source, contract="asgi", timeout_seconds=2.0)
    assert replica.call("/", method="HEAD").status == 200
    assert replica.call("/").body == b"here"
