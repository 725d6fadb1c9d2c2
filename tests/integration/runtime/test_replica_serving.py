"""What a replica answers over its socket."""

import contextlib
import http.client
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.runtime.zygote_harness import Replica, Reply, Zygote, until

ECHO = """
def handle(event, context):
    return {"method": event.method, "path": event.path, "query": dict(event.query), "body": event.body.decode(),
            "host": event.headers["HOST"], "call": context.call_id, "function": context.function,
            "namespace": context.namespace, "revision": context.revision}
"""
# What the async and the sync handlers below wait for is a file, so that a test decides when they go on.
WAITING = """
import time, pathlib, asyncio
def handle(event, context):
    print("began", event.path)
    while not pathlib.Path(event.body.decode()).exists():
        time.sleep(0.005)
    print("went on")
    return "done"
"""
ASYNC_WAITING = """
import pathlib, asyncio
async def handle(event, context):
    print("began", event.path)
    try:
        while not pathlib.Path(event.body.decode()).exists():
            await asyncio.sleep(0.005)
    except asyncio.CancelledError:
        print("cancelled")
        raise
    return "done"
"""


def test_a_handler_sees_the_request_and_where_it_runs(zygote: Zygote) -> None:
    reply = zygote.serve(ECHO).call("/a%20b?x=1&y=2&x=3", b"text", headers={"X-Call-Id": "c1"})
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.json() == {
        "method": "POST", "path": "/a b", "query": {"x": "1", "y": "2"}, "body": "text", "host": "function",
        "call": "c1", "function": "hello", "namespace": "openfaas-fn", "revision": "7",
    }  # fmt: skip


def test_an_async_handler_answers_and_has_a_hundred_slots(zygote: Zygote) -> None:
    replica = zygote.launch("async def handle(event, context):\n    return (event.body, 201, {'X-A': 'b'})\n")
    ready = replica.ready()
    assert (ready["slots"], ready["asynchronous"]) == (100, True)
    reply = replica.call(body=b"x")
    assert (reply.status, reply.headers["X-A"], reply.body) == (201, "b", b"x")


def test_ready_tells_slots_and_phases(zygote: Zygote) -> None:
    ready = zygote.launch("def handle(event, context): pass\n").ready()
    assert (ready["slots"], ready["asynchronous"]) == (4, False)
    assert list(ready["phases"]) == ["load", "init", "listen"]


def test_init_runs_before_the_first_request(zygote: Zygote) -> None:
    source = "def init(context):\n    global name\n    name = context.function\ndef handle(e, c):\n    return name\n"
    assert zygote.serve(source).call().body == b"hello"


def test_an_async_init_runs_on_the_loop_of_the_handlers(zygote: Zygote) -> None:
    source = """
import asyncio
async def init():
    global loop
    loop = asyncio.get_running_loop()
async def handle(event, context):
    return str(loop is asyncio.get_running_loop())
"""
    assert zygote.serve(source).call().body == b"True"


@pytest.mark.parametrize(
    "source",
    [
        "def handle(e, c):\n    yield 'a'\n    yield b'b'\n    yield ''\n    yield 'c'\n",
        "async def handle(e, c):\n    for x in 'abc':\n        yield x\n",
        "async def handle(e, c):\n    return {'statusCode': 200, 'body': iter('abc')}\n",
        "async def g():\n    for x in 'abc':\n        yield x\ndef handle(e, c):\n    return (g(), 200)\n",
    ],
    ids=["sync", "async", "sync-of-async", "async-of-sync"],
)
def test_an_iterator_is_streamed(zygote: Zygote, source: str) -> None:
    reply = zygote.serve(source).call()
    assert (reply.headers["Transfer-Encoding"], reply.body) == ("chunked", b"abc")


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_a_stream_that_breaks_is_cut_off(zygote: Zygote, prefix: str) -> None:
    replica = zygote.serve(f"{prefix}def handle(e, c):\n    yield 'x' * 10\n    raise KeyError('midway')\n")
    with replica.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: f\r\nX-Call-Id: c9\r\n\r\n")
        received = _receive_all(sock)
    assert b"xxxxxxxxxx" in received
    assert not received.endswith(b"0\r\n\r\n")
    until(lambda: "KeyError: 'midway'" in replica.lines())


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_a_stream_that_breaks_before_its_first_piece_is_a_500(zygote: Zygote, prefix: str) -> None:
    reply = zygote.serve(f"{prefix}def handle(e, c):\n    raise KeyError('early')\n    yield\n").call()
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (500, "handler-raised")


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_a_slow_reader_holds_a_stream_up(zygote: Zygote, prefix: str) -> None:
    source = f"""
{prefix}def handle(event, context):
    for number in range(200):
        print(number)
        yield b"x" * 100_000
"""
    replica = zygote.serve(source)
    with replica.connect() as sock:
        sock.sendall(b"GET / HTTP/1.0\r\nHost: f\r\n\r\n")
        until(lambda: len(replica.lines()) > 3)
        assert replica.call("/_/health").status == 200
        assert len(replica.lines()) < 50
        assert len(_receive_all(sock).partition(b"\r\n\r\n")[2]) == 20_000_000


def test_a_handler_that_raises_is_a_500_and_its_traceback_is_in_the_log(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    return 1 / 0\n")
    reply = replica.call(headers={"X-Call-Id": "c42"})
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (500, "handler-raised")
    assert reply.json() == {"error": "The function failed; its log says why.", "call_id": "c42"}
    records = replica.records()
    assert [record.text for record in records][-1] == "ZeroDivisionError: division by zero"
    assert {(record.stream, record.call_id) for record in records} == {("e", "c42")}
    assert not any("pilotlight_runtime" in record.text for record in records)


def test_with_debug_the_traceback_is_in_the_answer(zygote: Zygote) -> None:
    reply = zygote.serve("async def handle(event, context):\n    return 1 / 0\n", debug=True).call()
    assert reply.json()["error"] == "ZeroDivisionError: division by zero"
    assert reply.json()["traceback"].splitlines()[1].endswith('handler.py", line 2, in handle')


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_a_handler_that_exits_ends_its_call_only(zygote: Zygote, prefix: str) -> None:
    replica = zygote.serve(f"{prefix}def handle(event, context):\n    raise SystemExit(3)\n")
    assert [replica.call().status, replica.call().status] == [500, 500]


def test_an_answer_of_a_wrong_type_is_named(zygote: Zygote) -> None:
    reply = zygote.serve("def handle(event, context):\n    return {1, 2}\n").call()
    assert (reply.status, reply.headers["X-Pilotlight-Error"]) == (500, "bad-answer")
    assert reply.json()["error"].startswith("The function returned a value of type set; allowed are None, str")


def test_a_connection_is_kept_alive_and_pipelining_keeps_the_order(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    return event.path\n")
    with replica.connect() as sock:
        sock.sendall(b"".join(b"GET /%d HTTP/1.1\r\nHost: f\r\n\r\n" % number for number in range(50)))
        sock.sendall(b"GET /last HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n")
        answers = _receive_all(sock)
    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in answers.split(b"HTTP/1.1 200 OK\r\n")[1:]]
    assert bodies == [*[b"/%d" % number for number in range(50)], b"/last"]


def test_head_has_the_length_and_no_body(zygote: Zygote) -> None:
    reply = zygote.serve("def handle(event, context):\n    return 'four'\n").call(method="HEAD")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, "4", b"")


def test_head_of_a_stream_ends_the_iterator_unread(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    print('pulled')\n    yield 'x'\n")
    assert (replica.call(method="HEAD").body, replica.lines()) == (b"", [])


def test_100_continue_is_said(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    return event.body\n")
    with replica.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert sock.recv(1000).endswith(b"\r\n\r\nok")


def test_bodies_come_whole_however_they_are_framed(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context):\n    return str(len(event.body))\n")
    assert replica.call(body=b"x" * 3_000_000).body == b"3000000"
    with replica.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")
        sock.sendall(b"3\r\nabc\r\n" * 1000 + b"0\r\n\r\n")
        assert _receive_all(sock).endswith(b"\r\n\r\n3000")


def test_a_body_beyond_all_bounds_is_refused(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context): pass\n")
    with replica.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n" % 2**40)
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_what_is_no_http_is_told_so(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context): pass\n")
    with replica.connect() as sock:
        sock.sendall(b"\x16\x03\x01\x02\x00")
        assert sock.recv(1000).startswith(b"HTTP/1.1 400 ")
    assert replica.call().status == 200


def test_probes_are_answered_while_every_slot_is_taken(zygote: Zygote, gate: "Gate") -> None:
    replica = zygote.serve(WAITING, concurrency=1)
    with gate.calling(replica):
        assert [replica.call(f"/_/{probe}").status for probe in ("health", "ready", "health?x=1")] == [200] * 3
        assert replica.call("/_/other").headers["X-Pilotlight-Busy"] == "1"


@pytest.mark.parametrize("path", [b"/", b"/_/health"])
def test_a_connection_ends_when_its_client_asks_for_it(zygote: Zygote, path: bytes) -> None:
    replica = zygote.serve("def handle(event, context): pass\n")
    with replica.connect() as sock:
        sock.sendall(b"GET %b HTTP/1.1\r\nHost: f\r\nConnection: close\r\n\r\n" % path)
        assert b"Connection: close\r\n" in _receive_all(sock)


def test_garbage_after_an_answer_is_told_so_too(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context): pass\n")
    with replica.connect() as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: f\r\n\r\n\x16\x03\x01\x02")
        answers = _receive_all(sock)
    assert (answers.count(b"HTTP/1.1 200 "), answers.count(b"HTTP/1.1 400 ")) == (1, 1)


@pytest.mark.parametrize("source", [WAITING, ASYNC_WAITING], ids=["sync", "async"])
def test_beyond_its_slots_a_replica_refuses_with_the_marker(zygote: Zygote, gate: "Gate", source: str) -> None:
    replica = zygote.serve(source, concurrency=2)
    with gate.calling(replica), gate.calling(replica):
        refused = replica.call(body=b"a body that is dropped")
        assert (refused.status, refused.headers["X-Pilotlight-Busy"]) == (503, "1")
    assert [reply.body for reply in gate.replies] == [b"done", b"done"]
    assert replica.call(body=gate.path).body == b"done"


def test_a_refused_connection_can_be_used_again(zygote: Zygote, gate: "Gate") -> None:
    replica = zygote.serve(WAITING, concurrency=1)
    with replica.connect() as sock:
        with gate.calling(replica):
            sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 4\r\n\r\nbody")
            assert sock.recv(1000).startswith(b"HTTP/1.1 503 ")
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n" % len(gate.path) + gate.path)
        assert sock.recv(1000).startswith(b"HTTP/1.1 200 ")


def test_sync_calls_run_side_by_side_up_to_the_slots(zygote: Zygote) -> None:
    source = "import threading\nall = threading.Barrier(8)\ndef handle(e, c):\n    all.wait(10)\n    return 'met'\n"
    replica = zygote.serve(source, concurrency=8)
    with ThreadPoolExecutor(8) as pool:
        assert {reply.body for reply in pool.map(lambda _: replica.call(), range(8))} == {b"met"}


@pytest.mark.parametrize("how", ["close", "half-close"])
def test_an_async_handler_is_cancelled_when_its_client_goes(zygote: Zygote, gate: "Gate", how: str) -> None:
    replica = zygote.serve(ASYNC_WAITING, concurrency=1)
    sock = _begin(replica, gate.path)
    sock.close() if how == "close" else sock.shutdown(socket.SHUT_WR)
    until(lambda: "cancelled" in replica.lines())
    gate.open()
    assert until(lambda: replica.call(body=gate.path).status == 200), "the slot is free again"
    sock.close()


@pytest.mark.parametrize("how", ["close", "half-close"])
def test_a_sync_handler_runs_to_its_end_when_its_client_goes(zygote: Zygote, gate: "Gate", how: str) -> None:
    replica = zygote.serve(WAITING, concurrency=1)
    sock = _begin(replica, gate.path)
    sock.close() if how == "close" else sock.shutdown(socket.SHUT_WR)
    assert replica.call().status == 503, "its slot is taken until then"
    gate.open()
    until(lambda: "went on" in replica.lines())
    assert until(lambda: replica.call(body=gate.path).status == 200)
    sock.close()


@pytest.mark.parametrize("prefix", ["", "async "], ids=["sync", "async"])
def test_a_stream_whose_client_goes_is_closed(zygote: Zygote, prefix: str) -> None:
    source = f"""
{prefix}def handle(event, context):
    try:
        while True:
            yield b"x" * 1000
    finally:
        print("closed")
"""
    replica = zygote.serve(source, concurrency=1)
    with _begin(replica, b"") as sock:
        sock.recv(100)
    until(lambda: "closed" in replica.lines())
    assert until(lambda: replica.call("/_/ready").status == 200)


def test_a_client_that_goes_within_its_request_frees_the_slot(zygote: Zygote) -> None:
    replica = zygote.serve("def handle(event, context): pass\n", concurrency=1)
    with replica.connect() as sock:
        sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: 10\r\n\r\nhalf")
        until(lambda: replica.call().status == 503)
    assert until(lambda: replica.call().status == 200)


def test_what_init_set_in_its_context_is_there_in_every_call(zygote: Zygote) -> None:
    source = """
import decimal
def init():
    decimal.getcontext().prec = 5
def handle(event, context):
    return str(decimal.getcontext().prec)
"""
    assert zygote.serve(source).call().body == b"5"


class Gate:
    """Calls of WAITING that go on when the test says so."""

    def __init__(self, path: str) -> None:
        self.path = path.encode()
        self.replies: list[Reply] = []
        self._inside = 0

    def open(self) -> None:
        with open(self.path, "w"):
            pass

    def calling(self, replica: Replica) -> "_Calling":
        return _Calling(self, replica)


class _Calling:
    def __init__(self, gate: Gate, replica: Replica) -> None:
        self._gate, self._replica = gate, replica
        self._thread = threading.Thread(target=self._call)

    def _call(self) -> None:
        self._gate.replies.append(self._replica.call("/gated", self._gate.path))

    def __enter__(self) -> None:
        begun = self._replica.lines().count("began /gated")
        self._thread.start()
        until(lambda: self._replica.lines().count("began /gated") > begun)

    def __exit__(self, *_: object) -> None:
        self._gate.open()
        self._thread.join()


@pytest.fixture
def gate(folder: object, request: pytest.FixtureRequest) -> Gate:
    return Gate(f"{folder}/gate-{abs(hash(request.node.name))}")


def _begin(replica: Replica, body: bytes) -> socket.socket:
    """A call that is in its handler."""
    sock = replica.connect()
    sock.sendall(b"POST / HTTP/1.1\r\nHost: f\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    if body:
        until(lambda: "began /" in replica.lines())
    return sock


def _receive_all(sock: socket.socket) -> bytes:
    parts = []
    try:
        while part := sock.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@pytest.mark.parametrize("prefix", ["", "async "])
@pytest.mark.parametrize("pieces", ["yield b'a'; sys.exit(1)", "sys.exit(1); yield b'a'"])
def test_a_stream_that_exits_ends_its_call_only(zygote: Zygote, prefix: str, pieces: str) -> None:
    source = f"""
import sys
{prefix}def stream():
    {pieces}
{prefix}def handle(event, context):
    return "here" if event.path == "/other" else stream()
"""
    replica = zygote.serve(source)
    with contextlib.suppress(http.client.IncompleteRead):
        assert replica.call("/").status == 500
    until(lambda: any("SystemExit" in line for line in replica.lines()))
    assert replica.call("/other").body == b"here"
