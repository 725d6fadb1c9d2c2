"""`context.call` and `pilotlight_runtime.call`: what goes over the wire, and what comes of it."""

import asyncio
import contextvars
import json
import select
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest

import pilotlight_runtime
from pilotlight_runtime import CallFailed, logs, outgoing_wire
from pilotlight_runtime.current import Surroundings, surroundings
from pilotlight_runtime.outgoing import Reply
from pilotlight_runtime.outgoing_wire import close_kept
from tests.integration.runtime.gateway import Gateway, gateway
from tests.integration.runtime.zygote_harness import Zygote, until

SYNC = """
def handle(event, context):
    reply = context.call("other", {"n": 1}, path="/a b?x=1", headers={"X-Mine": "yes"})
    return {"status": reply.status, "text": reply.text, "kind": reply.headers["x-kind"]}
"""
ASYNC = """
import asyncio
async def handle(event, context):
    replies = await asyncio.gather(context.call("one"), context.call("two.team", "text"))
    return [reply.text for reply in replies]
"""
ASGI = """
import pilotlight_runtime
async def app(scope, receive, send):
    if scope["type"] != "http":
        raise NotImplementedError
    reply = await pilotlight_runtime.call("other")
    await send({"type": "http.response.start", "status": reply.status})
    await send({"type": "http.response.body", "body": reply.body})
"""


@pytest.fixture
def router(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    with gateway() as stand_in:
        monkeypatch.setenv("PILOTLIGHT_GATEWAY", stand_in.url)
        monkeypatch.setenv("OPENFAAS_NAMESPACE", "team")
        yield stand_in


def variables(router: Gateway) -> dict[str, str]:
    return {"PILOTLIGHT_GATEWAY": router.url}


def test_a_sync_handler_calls_and_its_id_and_depth_go_along(zygote: Zygote, router: Gateway) -> None:
    replica = zygote.serve(SYNC, variables=variables(router))
    reply = replica.call("/", headers={"X-Call-Id": "c1", "X-Pilotlight-Depth": "3"})
    assert reply.json() == {"status": 200, "text": "answer", "kind": "stand-in"}
    [asked] = router.asked
    assert (asked.method, asked.path) == ("POST", "/function/other.openfaas-fn/a%20b?x=1")
    assert (asked.headers["x-call-id"], asked.headers["x-pilotlight-depth"]) == ("c1", "4")
    assert (asked.headers["x-mine"], asked.headers["content-type"]) == ("yes", "application/json")
    assert json.loads(asked.body) == {"n": 1}


def test_an_async_handler_calls_several_at_once(zygote: Zygote, router: Gateway) -> None:
    replica = zygote.serve(ASYNC, variables=variables(router))
    assert replica.call("/", headers={"X-Call-Id": "c2"}).json() == ["answer", "answer"]
    assert {asked.path for asked in router.asked} == {"/function/one.openfaas-fn", "/function/two.team"}
    assert {asked.headers["x-call-id"] for asked in router.asked} == {"c2"}
    assert {asked.headers["x-pilotlight-depth"] for asked in router.asked} == {"1"}


def test_other_contracts_call_through_the_module(zygote: Zygote, router: Gateway) -> None:
    replica = zygote.serve(ASGI, contract="asgi", variables=variables(router))
    assert replica.call("/", headers={"X-Call-Id": "c3"}).body == b"answer"
    assert router.asked[0].headers["x-call-id"] == "c3"
    source = "import pilotlight_runtime\ndef handler(event, context):\n    return pilotlight_runtime.call('x').text\n"
    assert zygote.serve(source, contract="lambda", variables=variables(router)).call().body == b"answer"


def test_a_callee_is_not_waited_for_longer_than_the_caller_has_left(zygote: Zygote, router: Gateway) -> None:
    router.wait = threading.Event()
    source = """
import pilotlight_runtime
def handle(event, context):
    try:
        context.call("slow")
    except pilotlight_runtime.CallFailed as error:
        print(error)
"""
    replica = zygote.serve(source, variables=variables(router), timeout_seconds=0.3)
    replica.call("/")
    until(lambda: [line for line in replica.lines() if line.startswith("the call of slow failed: it did not answer")])


def test_what_is_not_caught_is_in_the_log_in_a_sentence(zygote: Zygote) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        replica = zygote.serve(SYNC, variables={"PILOTLIGHT_GATEWAY": url})
        assert replica.call().status == 500
    assert any("CallFailed: the call of other failed: the connection to" in line for line in replica.lines())


def test_connections_are_kept(router: Gateway) -> None:
    for _ in range(3):
        assert pilotlight_runtime.call("other").body == b"answer"
    assert len({asked.connection for asked in router.asked}) == 1


@pytest.fixture
async def on_a_loop() -> AsyncIterator[None]:
    yield
    close_kept()
    await asyncio.sleep(0)


@pytest.mark.usefixtures("on_a_loop")
async def test_connections_of_a_loop_are_kept(router: Gateway) -> None:
    for _ in range(3):
        assert (await pilotlight_runtime.call("other")).body == b"answer"
    assert len({asked.connection for asked in router.asked}) == 1


def test_a_connection_that_the_other_closed_is_not_used_again(router: Gateway) -> None:
    router.keep_alive = False
    for _ in range(3):
        assert pilotlight_runtime.call("other").ok
    assert len({asked.connection for asked in router.asked}) == 3


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        (b"raw", b"raw", "application/octet-stream"),
        ("é", "é".encode(), "text/plain; charset=utf-8"),
        ({"a": 1}, b'{"a": 1}', "application/json"),
        ([1], b"[1]", "application/json"),
        (None, b"", None),
    ],
)
def test_a_body_says_its_type(
    router: Gateway, body: bytes | str | dict[str, int] | list[int] | None, sent: bytes, content_type: str | None
) -> None:
    pilotlight_runtime.call("other", body)
    [asked] = router.asked
    assert (asked.body, asked.headers.get("content-type")) == (sent, content_type)
    assert asked.path == "/function/other.team"


def test_head_has_no_body(router: Gateway) -> None:
    reply = pilotlight_runtime.call("other", method="HEAD")
    assert (reply.status, reply.body) == (200, b"")
    assert pilotlight_runtime.call("other", method="get").body == b"answer"


def test_a_failure_of_the_callee_is_a_reply(router: Gateway) -> None:
    router.status, router.body = 404, b'{"error": "There is no function other."}'
    reply = pilotlight_runtime.call("other")
    assert (reply.status, reply.ok) == (404, False)
    with pytest.raises(
        CallFailed, match="the call of other failed: it answered 404: There is no function other"
    ) as caught:
        reply.raise_for_status()
    assert caught.value.reply is reply


@pytest.mark.usefixtures("on_a_loop")
async def test_a_reply_must_be_awaited_on_a_loop(router: Gateway) -> None:
    reply = pilotlight_runtime.call("other")
    with pytest.raises(RuntimeError, match="must be awaited"):
        _ = reply.status
    assert (await reply).status == 200
    assert (await reply).status == 200


@pytest.mark.usefixtures("on_a_loop")
async def test_an_async_call_that_takes_too_long_fails(router: Gateway) -> None:
    router.wait = threading.Event()
    with pytest.raises(CallFailed, match=r"did not answer within 0\.05 s"):
        await pilotlight_runtime.call("other", timeout=0.05)
    router.wait.set()
    router.wait = None
    assert (await pilotlight_runtime.call("other")).ok


@pytest.mark.usefixtures("on_a_loop")
async def test_a_gateway_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing_wire, "RESTART_SECONDS", 0.3)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PILOTLIGHT_GATEWAY", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(CallFailed, match="the connection to"):
            await pilotlight_runtime.call("other")


def test_a_server_that_is_restarted_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then nobody listens; on an event loop just so."""
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PILOTLIGHT_GATEWAY", f"http://127.0.0.1:{door.getsockname()[1]}")
        replies: list[Reply] = []
        calls = [
            threading.Thread(target=lambda: replies.append(pilotlight_runtime.call("other"))),
            threading.Thread(target=lambda: replies.append(asyncio.run(_called()))),
        ]
        for call in calls:
            call.start()
        calls[0].join(0.3)
        assert all(call.is_alive() for call in calls)
        door.listen()
        for _ in calls:
            _answer_once(door)
        for call in calls:
            call.join()
    assert [reply.body for reply in replies] == [b"late"] * 2


async def _called() -> Reply:
    return await pilotlight_runtime.call("other")


def _answer_once(door: socket.socket) -> None:
    connection, _ = door.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlate")


def test_time_that_has_passed_is_not_waited_for(router: Gateway) -> None:
    def late() -> None:
        surroundings.set(Surroundings(2, time.monotonic() - 1))
        pilotlight_runtime.call("other")

    with pytest.raises(CallFailed, match="did not answer"):
        contextvars.copy_context().run(late)
    assert router.asked == []


def test_a_thread_with_the_callers_context_is_in_the_same_call(router: Gateway) -> None:
    def in_a_call() -> None:
        logs.current_call.set("c9")
        surroundings.set(Surroundings(1, time.monotonic() + 10))
        context = contextvars.copy_context()
        thread = threading.Thread(target=context.run, args=(pilotlight_runtime.call, "other"))
        thread.start()
        thread.join()

    contextvars.copy_context().run(in_a_call)
    [asked] = router.asked
    assert (asked.headers["x-call-id"], asked.headers["x-pilotlight-depth"]) == ("c9", "2")


def test_outside_of_a_server_the_variable_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PILOTLIGHT_GATEWAY", raising=False)
    with pytest.raises(CallFailed, match="PILOTLIGHT_GATEWAY is not set"):
        pilotlight_runtime.call("other")


@pytest.mark.parametrize("url", ["ftp://x", "https://x", "http://", "http://x:99999", "localhost:8080"])
def test_a_gateway_that_is_no_address_is_said(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("PILOTLIGHT_GATEWAY", url)
    with pytest.raises(CallFailed, match="it must be written as http://HOST:PORT"):
        pilotlight_runtime.call("other")


@pytest.mark.parametrize("name", ["", "Other", "a/b", "a.b.c", "../x", "a b"])
def test_what_is_no_name_is_refused(router: Gateway, name: str) -> None:
    with pytest.raises(ValueError, match=r"name\.namespace"):
        pilotlight_runtime.call(name)
    assert router.asked == []


def test_what_could_break_a_head_is_refused(router: Gateway) -> None:
    with pytest.raises(ValueError, match="header"):
        pilotlight_runtime.call("other", headers={"a": "x\r\ny: z"})
    with pytest.raises(ValueError, match="method"):
        pilotlight_runtime.call("other", method="GET /")
    pilotlight_runtime.call("other", path="/x\r\ny")
    assert router.asked[0].path == "/function/other.team/x%0D%0Ay"


def test_an_event_loop_of_another_thread_calls_too(router: Gateway) -> None:
    async def two() -> list[int]:
        replies = await asyncio.gather(*(pilotlight_runtime.call("other") for _ in range(2)))
        return [reply.status for reply in replies]

    answers: list[list[int]] = []
    thread = threading.Thread(target=lambda: answers.extend([asyncio.run(two()), asyncio.run(two())]))
    thread.start()
    thread.join()
    assert answers == [[200, 200], [200, 200]]


@pytest.mark.parametrize("prefix", ["", "async "])
def test_each_piece_of_a_stream_has_its_own_time_for_calls(zygote: Zygote, router: Gateway, prefix: str) -> None:
    """The whole stream lasts longer than the timeout, which is for a piece."""
    source = f"""
import time
{prefix}def stream(context):
    for _ in range(4):
        time.sleep(0.4)
        yield b"."
    reply = {"await " if prefix else ""}context.call("other")
    yield reply.body
{prefix}def handle(event, context):
    return stream(context)
"""
    replica = zygote.serve(source, variables=variables(router), timeout_seconds=1.0)
    assert replica.call().body == b"....answer"


async def test_a_busy_loop_sees_that_a_connection_was_closed_before_it_uses_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        monkeypatch.setenv("PILOTLIGHT_GATEWAY", f"http://127.0.0.1:{listener.getsockname()[1]}")

        def answer_each_on_its_own_connection() -> None:
            for _ in range(2):
                with listener.accept()[0] as theirs:
                    theirs.recv(65536)
                    theirs.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        thread = threading.Thread(target=answer_each_on_its_own_connection)
        thread.start()
        assert (await pilotlight_runtime.call("other")).body == b"ok"
        [connection] = outgoing_wire._kept.asynchronous
        own = connection._transport.get_extra_info("socket")
        assert select.select([own.fileno()], [], [], 10)[0]  # closed, while the loop is held up here
        assert (await pilotlight_runtime.call("other")).body == b"ok"
        thread.join()
    close_kept()
