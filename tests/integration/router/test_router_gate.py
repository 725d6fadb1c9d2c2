"""Who comes as far as a function: pages of other sites, keys, calls in a circle; and what is answered before that."""

import asyncio
import hashlib
from typing import Any

import pytest

from pilotlight.core.errors import Failure
from pilotlight.core.spec import Cors, function_key
from pilotlight_runtime.http1 import chunk
from tests.integration.router.rig import Caller, Request, Rig, until

F = function_key("f")
APP = "https://app.example.org"
KEY = "pk_something_long"
DIGESTS = (hashlib.sha256(KEY.encode()).hexdigest(),)
PREFLIGHT: dict[str, Any] = {
    "Origin": APP,
    "Access_Control_Request_Method": "POST",
    "Access_Control_Request_Headers": "content-type",
}


# CORS.


async def test_a_preflight_wakes_nothing_and_needs_no_key(rig: Rig) -> None:
    await rig.link.route(rig.route(cors=Cors(origins=(APP,)), key_digests=DIGESTS))
    answer = await rig.call(method="OPTIONS", **PREFLIGHT)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert answer.headers["access-control-allow-headers"] == "content-type"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "gateway_function_invocation_started{" not in await rig.metrics()
    assert rig.link.levels(F) == []


async def test_preflights_and_calls_share_a_connection(rig: Rig) -> None:
    replica = await rig.function(cors=Cors(origins=("*",)))
    caller = await rig.caller()
    for _ in range(2):
        caller.send("OPTIONS", "/function/f", **PREFLIGHT)
        assert (await caller.answer()).status == 204
        caller.send("POST", "/function/f", b"x", Origin=APP)
        answer = await caller.answer()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "*")
    assert [request.headers["origin"] for request in replica.requests] == [APP, APP]


async def test_options_of_nobody_special_reach_the_function(rig: Rig) -> None:
    replica = await rig.function(cors=Cors(origins=("*",)))
    assert (await rig.call(method="OPTIONS")).status == 200
    assert replica.requests[0].line.startswith("OPTIONS ")


async def test_without_cors_a_preflight_is_the_functions_to_answer(rig: Rig) -> None:
    replica = await rig.function()
    answer = await rig.call(method="OPTIONS", **PREFLIGHT)
    assert (answer.status, len(replica.requests)) == (200, 1)
    assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_the_functions_own_cors_headers_are_not_doubled(rig: Rig) -> None:
    async def own(request: Request) -> None:
        await request.answer(b"x", headers="Access-Control-Allow-Origin: *\r\nVary: Accept\r\n")

    await rig.function(own, cors=Cors(origins=(APP,)))
    caller = await rig.caller()
    caller.send("GET", "/function/f", Origin=APP)
    head = (await caller.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.count("Access-Control-Allow-Origin:") == 1
    assert f"Access-Control-Allow-Origin: {APP}\r\n" in head
    assert "Vary: Accept\r\n" in head
    assert "Vary: Origin\r\n" in head


@pytest.mark.parametrize(
    ("route", "method", "body", "status"),
    [
        ({"key_digests": DIGESTS}, "GET", None, 401),
        ({"body_limit_bytes": 3}, "POST", b"four", 413),
        ({"queue": 0}, "GET", None, 429),
        ({"failure": Failure(slug="import-failed", detail="No.")}, "GET", None, 503),
        ({"timeout_seconds": 0.1}, "GET", None, 504),
        ({}, "TRACE", None, 405),
    ],
)
async def test_a_page_can_read_the_routers_own_errors(
    rig: Rig, route: dict[str, Any], method: str, body: bytes | None, status: int
) -> None:
    await rig.link.route(rig.route(cors=Cors(origins=(APP,)), **route))
    answer = await rig.call(method=method, body=body, Origin=APP)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, APP)
    assert "X-Call-Id" in answer.headers["access-control-expose-headers"]


async def test_a_page_can_read_that_a_replica_died(rig: Rig) -> None:
    async def dies(request: Request) -> None:
        request.writer.transport.abort()

    await rig.function(dies, cors=Cors(origins=(APP,)))
    answer = await rig.call(method="POST", Origin=APP)
    assert (answer.status, answer.headers["access-control-allow-origin"]) == (502, APP)


# Keys.


@pytest.mark.parametrize("headers", [{"Authorization": f"Bearer {KEY}"}, {"X_Function_Key": KEY}])
async def test_a_key_opens_and_the_function_does_not_see_it(rig: Rig, headers: dict[str, Any]) -> None:
    replica = await rig.function(key_digests=DIGESTS)
    assert (await rig.call(method="POST", body=b"x", **headers)).status == 200
    assert KEY not in str(replica.requests[0].headers)
    assert "authorization" not in replica.requests[0].headers


@pytest.mark.parametrize(
    ("headers", "slug"),
    [({}, "key-required"), ({"X_Function_Key": "no"}, "key-refused"), ({"Authorization": "Bearer no"}, "key-refused")],
)
async def test_without_the_key_nothing_is_woken(rig: Rig, headers: dict[str, Any], slug: str) -> None:
    await rig.link.route(rig.route(key_digests=DIGESTS))
    answer = await rig.call(method="POST", body=b"x", **headers)
    assert (answer.status, answer.json()["type"]) == (401, slug)
    assert answer.headers["www-authenticate"].startswith("Bearer")
    await until(lambda: any(level.codes == {401: 1} for level in rig.link.levels(F)))
    assert all(level.waiting == level.in_flight == 0 for level in rig.link.levels(F))


@pytest.mark.parametrize(
    ("method", "path", "depth", "status"),
    [("TRACE", "", "0", 405), ("GET", "/_/secret", "0", 404), ("GET", "", "17", 508)],
)
async def test_a_stranger_is_told_nothing_but_that_it_takes_a_key(
    rig: Rig, method: str, path: str, depth: str, status: int
) -> None:
    """And strangers' calls count as that alone: as 401, by which a function is not scaled."""
    await rig.function(key_digests=DIGESTS)
    target = f"/function/f{path}"
    assert (await rig.call(target, method, X_Pilotlight_Depth=depth)).status == 401
    assert (await rig.call(target, method, X_Pilotlight_Depth=depth, X_Function_Key=KEY)).status == status


async def test_a_key_that_is_replaced_counts_from_the_next_call(rig: Rig) -> None:
    replica = await rig.function(key_digests=DIGESTS)
    await rig.link.route(rig.route(replica, key_digests=("0" * 64,)))
    assert (await rig.call(X_Function_Key=KEY)).status == 401
    await rig.link.route(rig.route(replica))
    assert (await rig.call()).status == 200


async def test_a_refused_call_leaves_its_connection_usable(rig: Rig) -> None:
    await rig.function(key_digests=DIGESTS, body_limit_bytes=10)
    caller = await rig.caller()
    for headers, body, status in (
        ({}, b"x", 401),
        ({"X_Function_Key": KEY}, b"too much for it", 413),
        ({"X_Function_Key": KEY}, b"x", 200),
    ):
        caller.send("POST", "/function/f", body, **headers)
        assert (await caller.answer()).status == status


# Depth.


async def test_calls_in_a_circle_are_ended(rig: Rig) -> None:
    replica = await rig.function()
    assert (await rig.call(X_Pilotlight_Depth="16")).status == 200
    assert replica.requests[0].headers["x-pilotlight-depth"] == "16"
    answer = await rig.call(X_Pilotlight_Depth="17", X_Call_Id="mine")
    assert (answer.status, answer.json()["type"]) == (508, "call-depth-exceeded")
    assert (answer.headers["x-call-id"], len(replica.requests)) == ("mine", 1)


@pytest.mark.parametrize("depth", ["-1", "many", "1e3", "99999999999999999999", ""])
async def test_a_depth_that_is_no_number_counts_as_none(rig: Rig, depth: str) -> None:
    replica = await rig.function()
    assert (await rig.call(X_Pilotlight_Depth=depth)).status == 200
    assert "x-pilotlight-depth" not in replica.requests[0].headers


# Asynchronous calls.


@pytest.mark.parametrize("path", ["/async-function/f", "/async-function/none/a?b=c"])
async def test_an_asynchronous_call_is_refused_with_a_sentence(lonely: Rig, path: str) -> None:
    answer = await lonely.call(path, "POST", b"x")
    assert (answer.status, answer.json()["type"]) == (501, "not-supported")
    assert "/function/NAME" in answer.json()["hint"]


async def test_other_methods_of_asynchronous_calls_are_not_allowed(lonely: Rig) -> None:
    caller = await lonely.caller()
    for method in ("GET", "PUT", "DELETE"):
        caller.send(method, "/async-function/f")
        answer = await caller.answer()
        assert (answer.status, answer.headers["allow"]) == (405, "POST")


# What is turned away while its body still comes.


async def test_a_rotated_key_ends_in_time_while_no_control_plane_is_there(rig: Rig) -> None:
    await rig.function(key_digests=DIGESTS, key_seconds={DIGESTS[0]: 0.2})
    assert (await rig.call(X_Function_Key=KEY)).status == 200
    await rig.link.stop()
    async with asyncio.timeout(5):
        while (answer := await rig.call(X_Function_Key=KEY)).status == 200:
            await asyncio.sleep(0.02)
    assert (answer.status, answer.json()["type"]) == (401, "key-refused")


async def test_a_refused_body_is_read_and_dropped(rig: Rig) -> None:
    await rig.function(key_digests=DIGESTS)
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
    assert (await caller.answer()).status == 401
    caller.write(b"67890")
    caller.send("GET", "/function/f", X_Function_Key=KEY)
    assert (await caller.answer()).status == 200


async def test_a_refused_body_without_a_length_ends_the_connection(rig: Rig) -> None:
    await rig.function(key_digests=DIGESTS)
    caller = await rig.caller()
    caller.write(b"POST /function/f HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk(b"x"))
    answer = await caller.answer()
    assert (answer.status, answer.headers["connection"]) == (401, "close")


# A control plane that hangs.


async def _hanging(rig: Rig) -> asyncio.Server:
    """An API that takes requests and says nothing."""

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    return await asyncio.start_unix_server(listen, rig.settings.api_socket)


@pytest.mark.parametrize("path", ["/api/v1/functions", "/ui/"])
async def test_a_control_plane_that_hangs_is_told_of_in_time(rig: Rig, path: str) -> None:
    async with await _hanging(rig):
        answer = await rig.call(path)
        assert (answer.status, answer.json()["type"]) == (504, "control-plane-timeout")
        assert "Nothing was changed" in answer.json()["detail"]


async def test_clients_of_openfaas_are_told_so_in_plain_text(rig: Rig) -> None:
    async with await _hanging(rig):
        answer = await rig.call("/system/functions")
        assert (answer.status, answer.headers["content-type"]) == (504, "text/plain; charset=utf-8")
        assert b"Nothing was changed" in answer.body


async def test_a_followed_log_may_be_silent_for_longer(rig: Rig) -> None:
    async with await _hanging(rig):
        follower = await rig.caller()
        follower.send("GET", "/system/logs?name=f&follow=true")
        assert (await rig.call("/system/functions")).status == 504
        await _is_silent(follower)


async def _is_silent(caller: Caller) -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(caller.reader.read(1), 0.2)
