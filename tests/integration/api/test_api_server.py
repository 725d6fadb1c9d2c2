"""The socket, what is not HTTP, what is nowhere, and the end."""

import asyncio
import socket
import stat
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import msgspec
import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from yarl import URL

from pilotlight.core.errors import Conflict
from pilotlight.core.spec import FunctionSpec
from pilotlight.providers.base import LogLine
from tests.integration.api.memory import Api, Start, until

IMAGE = "bundle/hello@sha256:" + "a" * 64
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
spec_fields = st.sampled_from(
    ["name", "image", "scale", "limits", "labels", "environment", "service", "envVars", "annotations", "namespace"]
)
bodies = st.binary(max_size=40) | st.builds(
    lambda extra, base: msgspec.json.encode(base | extra),
    st.dictionaries(spec_fields | st.text(max_size=8), json_values, max_size=4),
    st.sampled_from([{}, {"name": "hello", "image": IMAGE}, {"service": "hello", "image": IMAGE}]),
)
targets = st.sampled_from(
    [
        ("POST", "/api/v1/functions"),
        ("PUT", "/api/v1/functions/hello"),
        ("POST", "/api/v1/functions/hello/scale"),
        ("POST", "/system/functions"),
        ("PUT", "/system/functions"),
        ("DELETE", "/system/functions"),
        ("POST", "/system/scale-function/hello"),
    ]
)
readings = st.sampled_from(
    [
        "/api/v1/functions",
        "/api/v1/functions/hello",
        "/api/v1/functions/hello/logs",
        "/system/functions",
        "/system/function/hello",
        "/system/logs",
    ]
)
parameters = st.dictionaries(
    st.sampled_from(["name", "namespace", "tail", "since", "follow", "instance", "x"]), st.text(max_size=12), max_size=4
)
searching = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@searching
@given(target=targets, body=bodies)
async def test_no_body_is_a_crash(api: Api, target: tuple[str, str], body: bytes) -> None:
    await api.control.deploy(FunctionSpec(name="hello", image=IMAGE))
    status, answer = await api.call(*target, data=body)
    assert status < 500, answer


@pytest.mark.parametrize(
    "member",
    [
        b'"limits":{"memory":"%d"}',
        b'"limits":{"cpu":"%d"}',
        b'"scale":{"min":%d}',
        b'"namespace":%d',
        b'"annotations":{"pilotlight.dev/timeout":"%d"}',
        b'"labels":{"com.openfaas.scale.min":%d}',
    ],
)
async def test_no_number_is_too_large_to_be_refused(api: Api, member: bytes) -> None:
    huge = member.replace(b"%d", b"9" * 4000)
    for path, name in (("/api/v1/functions", b"name"), ("/system/functions", b"service")):
        body = b'{"%s":"hello","image":"x",%s}' % (name, huge)
        assert (await api.call("POST", path, data=body))[0] in (201, 202, 400)


@searching
@given(path=readings, query=parameters)
async def test_no_query_is_a_crash(api: Api, path: str, query: dict[str, str]) -> None:
    await api.control.deploy(FunctionSpec(name="hello", image=IMAGE))
    api.control.lines = [LogLine(time=1.0, replica="r1", stream="stdout", text="one")]
    api.control.more_lines.set()
    status, answer = await api.call("GET", path, params=query)
    assert status < 500, answer


@searching
@given(name=st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=12).filter(lambda t: "/" not in t))
async def test_no_name_is_a_crash(api: Api, name: str) -> None:
    path = URL.build(scheme="http", host="api", path="/").joinpath("api", "v1", "functions", name)
    async with api.http.get(path) as answer:
        assert answer.status < 500


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost\r\n\r\n",
        b"GET /" + b"a" * 10_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 10_000 + b"\r\n\r\n",
        b"POST /system/functions HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"PUT /api/v1/functions/a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_no_http_gets_a_problem_and_no_more(api: Api, request_bytes: bytes) -> None:
    answer = await api.raw(request_bytes)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"aiohttp" not in head
    assert b"application/problem+json" in head
    assert msgspec.json.decode(body)["type"] == "malformed-request"


async def test_a_path_that_is_no_utf8_is_not_found(api: Api) -> None:
    for path in (b"/\xff", b"/api/v1/functions/%ff", b"/system/function/x\xff?y=\xfe"):
        answer = await api.raw(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert answer.split()[1] in (b"400", b"404")


async def test_an_unknown_path_names_the_nearest(api: Api) -> None:
    status, problem = await api.call("GET", "/api/v1/function")
    assert (status, problem["type"]) == (404, "path-not-found")
    assert "`/api/v1/functions`" in problem["hint"]


async def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    async with api.http.patch("http://api/api/v1/functions") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD, POST")
        assert msgspec.json.decode(await answer.read())["hint"] == "Allowed here: GET, HEAD, POST."


async def test_the_front_page_says_where_things_are(api: Api) -> None:
    status, text = await api.call("GET", "/")
    assert status == 200
    assert "http://127.0.0.1:8080/api/v1" in text


async def test_health_is_ok(api: Api) -> None:
    assert await api.call("GET", "/healthz") == (200, "OK")
    assert await api.call("HEAD", "/healthz") == (200, "")


async def test_answers_are_signed_with_our_name_only(api: Api) -> None:
    async with api.http.get("http://api/healthz") as answer:
        assert answer.headers["Server"] == "pilotlight/1.2.3"


async def test_the_socket_is_for_its_owner_and_goes_with_the_server(start: Start) -> None:
    async with start() as api:
        assert stat.S_IMODE(api.socket.stat().st_mode) == 0o600
    assert not api.socket.exists()


async def test_a_socket_that_a_killed_server_left_is_replaced(start: Start, home: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(home / "api.sock"))
    left.close()
    async with start() as api:
        assert (await api.call("GET", "/healthz"))[0] == 200


async def test_a_socket_on_which_someone_answers_is_left_alone(api: Api, start: Start) -> None:
    with pytest.raises(Conflict, match="another server"):
        async with start():
            pass
    assert (await api.call("GET", "/healthz"))[0] == 200


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_a_server_too_busy_to_answer_is_left_alone(start: Start, home: Path, run: Callable[..., None]) -> None:
    async def start_once() -> None:
        with pytest.raises(Conflict, match="another server"):
            async with start():
                pass

    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(home / "api.sock"))
        busy.listen(0)
        waiting.connect(str(home / "api.sock"))  # the backlog is full now
        run(start_once())
    assert (home / "api.sock").is_socket()


async def test_a_file_in_the_way_is_left_alone(start: Start, home: Path) -> None:
    (home / "api.sock").write_text("mine")
    with pytest.raises(Conflict, match="no socket"):
        async with start():
            pass
    assert (home / "api.sock").read_text() == "mine"


async def test_uploads_that_a_killed_server_left_are_swept(start: Start, home: Path) -> None:
    (home / "staging").mkdir()
    (home / "staging" / "upload-abc").write_bytes(b"half")
    async with start() as api:
        assert api.staged() == []


async def test_following_logs_does_not_hold_up_the_end(start: Start) -> None:
    request = b"GET /api/v1/functions/hello/logs?follow=true HTTP/1.1\r\nHost: a\r\n\r\n"
    async with AsyncExitStack() as after, start(close_seconds=30) as api:
        await api.control.deploy(FunctionSpec(name="hello", image=IMAGE))
        reader, _ = await after.enter_async_context(api.connected(request))
        await reader.readuntil(b"\r\n\r\n")
    assert await reader.read() == b"0\r\n\r\n"
    assert api.control.logs_closed.is_set()


async def test_an_upload_that_hangs_does_not_hold_up_the_end(start: Start) -> None:
    request = b"POST /api/v1/builds?name=hello&template=a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"
    async with AsyncExitStack() as after, start(close_seconds=5) as api:
        reader, _ = await after.enter_async_context(api.connected(request))
        await until(lambda: len(api.staged()) == 1)
    assert (await reader.read()).startswith(b"HTTP/1.1 503 ")
    assert api.staged() == []


def test_it_serves_on_uvloop_too(start: Start) -> None:
    async def serve_once() -> None:
        async with start() as api:
            assert stat.S_IMODE(api.socket.stat().st_mode) == 0o600
            assert (await api.call("GET", "/healthz"))[0] == 200
            with pytest.raises(Conflict):
                async with start():
                    pass
        assert not api.socket.exists()

    uvloop.run(serve_once())
