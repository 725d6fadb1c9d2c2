"""Calls of functions through the real router: what passes, what is added, and what is refused."""

import asyncio
import json
import re
import time

import pytest

from pilotlight_runtime.http1 import chunk
from tests.integration.router.rig import Request, Rig, slowly, stream


async def test_a_call_reaches_its_function_and_comes_back(rig: Rig) -> None:
    replica = await rig.function()
    answer = await rig.call("/function/f/a/b?c=d")
    assert (answer.status, answer.body) == (200, b"hello")
    assert replica.requests[0].line == "GET /a/b?c=d HTTP/1.1"


@pytest.mark.parametrize(
    ("path", "seen"),
    [("/function/f", "/"), ("/function/f?a=b", "/?a=b"), ("/function/f.openfaas-fn/", "/"), ("/function/f/?/", "/?/")],
)
async def test_a_function_sees_the_path_after_its_name(rig: Rig, path: str, seen: str) -> None:
    replica = await rig.function()
    assert (await rig.call(path)).status == 200
    assert replica.requests[0].line == f"GET {seen} HTTP/1.1"


async def test_a_body_is_passed_with_its_length(rig: Rig) -> None:
    replica = await rig.function()
    await rig.call(method="POST", body=b"x" * 100_000)
    assert replica.requests[0].body == b"x" * 100_000
    assert replica.requests[0].headers["content-length"] == "100000"


async def test_a_chunked_body_is_passed_in_chunks(rig: Rig) -> None:
    replica = await rig.function()
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for piece in (b"one", b"two", b""):
        await asyncio.sleep(0.01)
        caller.write(chunk(piece))
    assert (await caller.answer()).status == 200
    assert replica.requests[0].body == b"onetwo"


async def test_a_connection_carries_one_call_after_the_other(rig: Rig) -> None:
    replica = await rig.function()
    caller = await rig.caller()
    for _ in range(3):
        caller.send("POST", "/function/f", b"body")
        assert (await caller.answer()).body == b"hello"
    assert replica.connections == 1


async def test_pipelined_calls_are_answered_in_order(rig: Rig) -> None:
    async def echo(request: Request) -> None:
        await request.answer(request.line.encode())

    await rig.function(echo)
    caller = await rig.caller()
    caller.write(b"".join(b"GET /function/f/%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20)))
    answers = [(await caller.answer()).body for _ in range(20)]
    assert answers == [b"GET /%d HTTP/1.1" % number for number in range(20)]


async def test_pipelined_bodies_reach_their_calls(rig: Rig) -> None:
    async def echo(request: Request) -> None:
        await asyncio.sleep(0.01)
        await request.answer(request.body)

    await rig.function(echo)
    caller = await rig.caller()
    for number in range(5):
        caller.send("POST", "/function/f", b"body %d" % number)
    caller.send("GET", "/function/none")
    caller.send("POST", "/function/f", b"last")
    answers = [await caller.answer() for _ in range(7)]
    assert [answer.body for answer in answers[:5]] == [b"body %d" % number for number in range(5)]
    assert [answer.status for answer in answers[5:]] == [404, 200]


async def test_an_http10_caller_that_keeps_alive_is_kept(rig: Rig) -> None:
    await rig.function()
    caller = await rig.caller()
    for _ in range(2):
        caller.write(b"GET /function/f HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        answer = await caller.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "keep-alive")


async def test_a_slow_caller_gets_all_of_an_answer_that_ends_the_connection(rig: Rig) -> None:
    async def large(request: Request) -> None:
        await request.answer(b"x" * 8_000_000)

    await rig.function(large)
    reader, writer = await asyncio.open_connection("127.0.0.1", rig.port, limit=1000)
    writer.write(b"GET /function/f HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    read = 0
    for pause in [1.5] * 3 + [0.0] * 10_000:
        await asyncio.sleep(pause)
        if not (data := await reader.read(1_000_000 if pause == 0 else 1000)):
            break
        read += len(data)
    writer.close()
    assert read > 8_000_000


async def test_the_answer_to_head_has_a_length_and_no_body(rig: Rig) -> None:
    async def only_a_head(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n")

    await rig.function(only_a_head)
    caller = await rig.caller()
    for _ in range(2):
        caller.send("HEAD", "/function/f")
        answer = await caller.answer(to_head=True)
        assert (answer.status, answer.headers["content-length"]) == (200, "1234")


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answers_without_a_body_keep_the_connection(rig: Rig, status: str) -> None:
    async def bodiless(request: Request) -> None:
        request.writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())

    await rig.function(bodiless)
    caller = await rig.caller()
    for _ in range(2):
        caller.send("GET", "/function/f")
        assert (await caller.answer()).status == int(status[:3])


async def test_an_http10_caller_gets_a_body_that_ends_with_the_connection(rig: Rig) -> None:
    await rig.function(stream)
    caller = await rig.caller()
    caller.write(b"GET /function/f HTTP/1.0\r\n\r\n")
    text = await caller.closed()
    assert b"Transfer-Encoding" not in text
    assert text.endswith(b"\r\n\r\nonetwothree")


async def test_a_body_without_a_length_is_chunked_for_the_caller(rig: Rig) -> None:
    async def until_the_end(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\n\r\nall of it")
        request.writer.close()

    await rig.function(until_the_end)
    answer = await rig.call()
    assert (answer.body, answer.whole) == (b"all of it", True)


async def test_each_piece_of_a_stream_arrives_when_it_was_sent(rig: Rig) -> None:
    goes_on = asyncio.Event()

    async def events(request: Request) -> None:
        request.writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        request.writer.write(chunk(b"data: 1\n\n"))
        await goes_on.wait()
        request.writer.write(chunk(b"data: 2\n\n") + b"0\r\n\r\n")

    await rig.function(events)
    caller = await rig.caller()
    caller.send("GET", "/function/f")
    async with asyncio.timeout(5):
        await caller.reader.readuntil(b"data: 1\n\n\r\n")
    goes_on.set()
    async with asyncio.timeout(5):
        assert (await caller.reader.readuntil(b"0\r\n\r\n")).endswith(b"data: 2\n\n\r\n0\r\n\r\n")


async def test_early_hints_are_passed_on(rig: Rig) -> None:
    async def hints(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n")
        await request.answer(b"page")

    await rig.function(hints)
    answer = await rig.call()
    assert (answer.interim, answer.body) == ([103], b"page")


async def test_a_continue_is_said_before_the_body_is_there(rig: Rig) -> None:
    await rig.function()
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    async with asyncio.timeout(5):
        assert await caller.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.write(b"body")
    assert (await caller.answer()).status == 200


async def test_a_body_that_is_too_large_is_not_asked_for(rig: Rig) -> None:
    await rig.function(body_limit_bytes=3)
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n")
    answer = await caller.answer()
    assert (answer.status, answer.interim, answer.headers["connection"]) == (413, [], "close")


# Headers.


async def test_a_function_is_told_who_calls(rig: Rig) -> None:
    replica = await rig.function()
    await rig.call(X_Forwarded_For="10.0.0.1")
    seen = replica.requests[0].headers
    assert seen["x-forwarded-for"] == "10.0.0.1, 127.0.0.1"
    assert (seen["x-forwarded-host"], seen["x-forwarded-proto"]) == ("faas.test", "http")
    assert seen["host"] == "faas.test"
    assert abs(int(seen["x-start-time"]) / 1e9 - time.time()) < 60


async def test_hop_by_hop_headers_end_at_the_router_both_ways(rig: Rig) -> None:
    async def noisy(request: Request) -> None:
        await request.answer(
            headers="Connection: keep-alive, X-Inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nX-Stays: 1\r\n"
        )

    replica = await rig.function(noisy)
    answer = await rig.call(Connection="X-Outer", X_Outer="1", TE="trailers", Proxy_Authorization="secret", X_Stays="1")
    gone = {"connection", "x-outer", "te", "proxy-authorization", "x-inner", "keep-alive"}
    assert not gone & (replica.requests[0].headers.keys() | answer.headers.keys())
    assert (replica.requests[0].headers["x-stays"], answer.headers["x-stays"]) == ("1", "1")


async def test_call_ids_are_made_for_every_call(rig: Rig) -> None:
    replica = await rig.function()
    answers = [await rig.call() for _ in range(2)]
    ids = [answer.headers["x-call-id"] for answer in answers]
    assert all(re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids)
    assert ids == [request.headers["x-call-id"] for request in replica.requests]
    assert ids[0] != ids[1]


@pytest.mark.parametrize(
    ("given", "taken"), [("abc-1.2_3", True), ("a b", False), ("x" * 129, False), ("<script>", False)]
)
async def test_a_callers_own_id_is_taken_over_when_it_is_sane(rig: Rig, given: str, taken: bool) -> None:
    replica = await rig.function()
    answer = await rig.call(X_Call_Id=given)
    assert (answer.headers["x-call-id"] == given) is taken
    assert answer.headers["x-call-id"] == replica.requests[0].headers["x-call-id"]


async def test_an_answer_says_how_long_it_took(rig: Rig) -> None:
    await rig.function(slowly)
    answer = await rig.call()
    assert 0.3 <= float(answer.headers["x-duration-seconds"]) < 5
    assert int(answer.headers["x-start-time"]) > 10**18


async def test_the_content_type_falls_back_to_the_requests_then_to_text(rig: Rig) -> None:
    async def untyped(request: Request) -> None:
        await request.answer(b"x")

    await rig.function(untyped)
    assert (await rig.call()).headers["content-type"] == "text/plain"
    assert (await rig.call(Content_Type="application/json")).headers["content-type"] == "application/json"


# Refusals.


async def test_an_unknown_function_is_404_with_names_that_look_like_it(rig: Rig) -> None:
    await rig.link.route(rig.route(name="resize"))
    answer = await rig.call("/function/resise")
    problem = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
    assert problem["type"] == "function-not-found"
    assert "`resize`" in problem["hint"]
    assert problem["call_id"] == answer.headers["x-call-id"]
    assert answer.headers["x-openfaas-internal"] == "gateway"


async def test_other_methods_are_405(rig: Rig) -> None:
    await rig.function()
    answer = await rig.call(method="TRACE")
    assert (answer.status, "POST" in answer.headers["allow"]) == (405, True)


@pytest.mark.parametrize(
    "path", ["/_/other", "/_/", "/%5f/x", "//_/x", "/a/../_/x", "/./_/x", "/_%2fx", "/_/health/../x"]
)
async def test_internal_paths_cannot_be_reached_from_outside(rig: Rig, path: str) -> None:
    replica = await rig.function()
    assert (await rig.call(f"/function/f{path}")).status == 404
    assert replica.requests == []


@pytest.mark.parametrize("path", ["/_/health", "/_/ready?x", "/_health", "/a_/b", "/x%20y"])
async def test_other_paths_and_the_two_open_ones_can_be_reached(rig: Rig, path: str) -> None:
    await rig.function()
    assert (await rig.call(f"/function/f{path}")).status == 200


async def test_a_body_over_the_limit_is_413(rig: Rig) -> None:
    replica = await rig.function(body_limit_bytes=1000)
    answer = await rig.call(method="POST", body=b"x" * 1001)
    assert (answer.status, answer.headers["x-pilotlight-limit"]) == (413, "body")
    assert replica.requests == []


async def test_a_chunked_body_over_the_limit_is_413_as_soon_as_it_is(rig: Rig) -> None:
    async def reads_all(request: Request) -> None:
        await request.reader.read()

    await rig.function(reads_all, body_limit_bytes=1000, read_body=False)
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    caller.write(chunk(b"x" * 600))
    caller.write(chunk(b"x" * 600))
    answer = await caller.answer()
    assert (answer.status, answer.headers["connection"]) == (413, "close")


async def test_after_a_refusal_the_rest_of_a_small_body_is_skipped(rig: Rig) -> None:
    caller = await rig.caller()
    caller.write(b"POST /function/none HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc")
    assert (await caller.answer()).status == 404
    caller.write(b"def")
    caller.send("GET", "/healthz")
    assert (await caller.answer()).body == b"OK"


async def test_a_head_over_the_limit_is_431(rig: Rig) -> None:
    answer = await rig.call("/function/f", X_Long="x" * 9000)
    assert (answer.status, answer.headers["x-pilotlight-limit"]) == (431, "header")


async def test_what_is_no_http_is_400_and_closed(rig: Rig) -> None:
    caller = await rig.caller()
    caller.write(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\nGET / HTTP/1.1\r\n\r\n")
    answer = await caller.answer()
    assert (answer.status, answer.json()["type"]) == (400, "malformed-request")
    assert await caller.closed() == b""


async def test_who_sends_half_a_head_is_let_go(rig: Rig) -> None:
    caller = await rig.caller()
    caller.write(b"GET /function/f HTTP/1.1\r\nHost:")
    assert await caller.closed() == b""


async def test_an_idle_connection_is_closed(rig: Rig) -> None:
    caller = await rig.caller()
    caller.send("GET", "/healthz")
    await caller.answer()
    assert await caller.closed() == b""


async def test_connections_over_the_limit_wait_for_room(rig: Rig) -> None:
    await rig.function()
    callers = [await rig.caller() for _ in range(rig.settings.router.connections)]
    late = await rig.caller()
    late.send("GET", "/function/f")
    for caller in callers:
        caller.close()
    assert (await late.answer()).status == 200


# Around functions.


async def test_healthz_is_answered_by_the_router_itself(lonely: Rig) -> None:
    answer = await lonely.call("/healthz")
    assert (answer.status, answer.body) == (200, b"OK")


async def test_metrics_have_openfaas_names(rig: Rig) -> None:
    await rig.function()
    await rig.call()
    await rig.call(method="TRACE")
    text = await rig.metrics()
    assert 'gateway_function_invocation_total{function_name="f.openfaas-fn",code="200"} 1' in text
    assert 'gateway_functions_seconds_bucket{function_name="f.openfaas-fn",code="200",le="+Inf"} 1' in text
    assert 'gateway_function_invocation_total{function_name="f.openfaas-fn",code="405"} 1' in text
    assert 'gateway_function_invocation_started{function_name="f.openfaas-fn"} 2' in text


async def test_a_websocket_becomes_a_tunnel(rig: Rig) -> None:
    async def echo(request: Request) -> None:
        assert request.headers["upgrade"] == "websocket"
        request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        while data := await request.reader.read(1000):
            request.writer.write(data.upper())
        request.writer.close()

    await rig.function(echo)
    caller = await rig.caller()
    caller.send("GET", "/function/f", Connection="Upgrade", Upgrade="websocket")
    async with asyncio.timeout(5):
        head = await caller.reader.readuntil(b"\r\n\r\n")
        assert b"Upgrade: websocket" in head
        for word in (b"\x00one\r\n\r\n", b"two"):
            caller.write(word)
            assert await caller.reader.readexactly(len(word)) == word.upper()


async def test_other_upgrades_are_not_offered_to_functions(rig: Rig) -> None:
    replica = await rig.function()
    assert (await rig.call(Connection="Upgrade, HTTP2-Settings", Upgrade="h2c", HTTP2_Settings="x")).status == 200
    assert not {"upgrade", "connection", "http2-settings"} & replica.requests[0].headers.keys()


@pytest.mark.parametrize("asked", [{}, {"Connection": "Upgrade", "Upgrade": "h2c"}])
async def test_a_function_switches_to_no_protocol_that_it_was_not_asked_for(rig: Rig, asked: dict[str, str]) -> None:
    async def tunnels(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        await request.reader.read()

    replica = await rig.function(tunnels)
    caller = await rig.caller()
    caller.send("POST", "/function/f", b"x", **asked)
    answer = await caller.answer()
    assert (answer.status, answer.json()["type"]) == (502, "replica-died")
    caller.send("GET", "/healthz", Authorization="Basic c2VjcmV0")
    assert (await caller.answer()).body == b"OK"
    assert len(replica.requests) == 1


async def test_errors_of_functions_pass_as_they_are(rig: Rig) -> None:
    async def fails(request: Request) -> None:
        await request.answer(json.dumps({"error": "no"}).encode(), "500 Oops", "X-Pilotlight-Error: handler-raised\r\n")

    await rig.function(fails)
    answer = await rig.call()
    assert (answer.status, answer.json()) == (500, {"error": "no"})
