"""/api/v1: functions, logs, nodes."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from pilotlight.api.work import Work
from pilotlight.core.errors import RevisionFailed, SourceLocation, StorageFull
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.providers.base import LogLine
from tests.integration.api.memory import Api, until

IMAGE = "bundle/hello@sha256:" + "a" * 64
KEY = FunctionKey("hello.openfaas-fn")


async def test_info_says_what_answers(api: Api) -> None:
    assert await api.call("GET", "/api/v1/info") == (
        200,
        {"name": "pilotlight", "version": "1.2.3", "provider": "process"},
    )


async def test_put_of_a_new_function_creates_it(api: Api) -> None:
    status, body = await api.call("PUT", "/api/v1/functions/hello", json={"image": IMAGE})
    assert status == 201
    assert (body["revision"], body["unchanged"], body["applied"], body["url"]) == (1, False, True, "/function/hello")
    assert body["phases"] == {"claim": 0.5}
    assert body["function"]["spec"]["image"] == IMAGE


async def test_put_again_changes_nothing_and_says_so(api: Api, hello: FunctionSpec) -> None:
    status, body = await api.call("PUT", "/api/v1/functions/hello", json={"image": hello.image})
    assert (status, body["unchanged"], body["revision"]) == (200, True, 1)


async def test_put_of_a_changed_spec_is_a_new_revision(api: Api, hello: FunctionSpec) -> None:
    body = {"image": hello.image, "environment": {"A": "1"}, "scale": {"max": 3}}
    status, answer = await api.call("PUT", "/api/v1/functions/hello", json=body)
    assert (status, answer["revision"]) == (200, 2)
    assert answer["function"]["spec"]["scale"]["max"] == 3


async def test_post_creates(api: Api) -> None:
    status, body = await api.call("POST", "/api/v1/functions", json={"name": "hello", "image": IMAGE})
    assert (status, body["function"]["name"]) == (201, "hello")


async def test_post_of_a_function_that_is_there_is_a_conflict(api: Api, hello: FunctionSpec) -> None:
    status, body = await api.call("POST", "/api/v1/functions", json={"name": "hello", "image": IMAGE})
    assert (status, body["type"], body["status"]) == (409, "conflict", 409)
    assert body["hint"]


async def test_the_path_may_name_the_namespace(api: Api) -> None:
    await api.control.namespaces.create("dev", {}, {})
    _, body = await api.call("PUT", "/api/v1/functions/hello.dev", json={"image": IMAGE})
    assert (body["function"]["namespace"], body["url"]) == ("dev", "/function/hello.dev")


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/api/v1/functions/hello", {"name": "other", "image": IMAGE}, "name"),
        ("/api/v1/functions/hello.dev", {"namespace": "prod", "image": IMAGE}, "namespace"),
        ("/api/v1/functions/hello.dev?namespace=prod", {"image": IMAGE}, "namespace"),
        ("/api/v1/functions/Hello", {"image": IMAGE}, "name"),
        ("/api/v1/functions/hello", {"image": IMAGE, "concurency": 3}, "concurency"),
        ("/api/v1/functions/hello", {"image": 3}, "image"),
        ("/api/v1/functions/hello?naemspace=x", {"image": IMAGE}, "naemspace"),
        ("/api/v1/functions/hello?namespace=a&namespace=b", {"image": IMAGE}, "namespace"),
    ],
)
async def test_a_wrong_deploy_is_refused_with_its_field(api: Api, path: str, body: Any, field: str) -> None:
    status, problem = await api.call("PUT", path, json=body)
    assert (status, problem["field"]) == (400, field)
    assert field in problem["detail"]
    assert not api.control.views


async def test_a_mistyped_parameter_is_answered_with_the_nearest(api: Api) -> None:
    _, problem = await api.call("GET", "/api/v1/functions?namespaec=x")
    assert problem["hint"] == "Did you mean `namespace`?"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"\\ud800"', b"[]", b"null", b"9" * 5000])
async def test_a_body_that_is_no_json_object_is_a_bad_request(api: Api, body: bytes) -> None:
    status, problem = await api.call("PUT", "/api/v1/functions/hello", data=body)
    assert (status, problem["status"]) == (400, 400)


async def test_a_json_body_has_a_bound(api: Api) -> None:
    status, problem = await api.call("PUT", "/api/v1/functions/hello", data=io.BytesIO(b" " * (4 * 2**20 + 1)))
    assert (status, problem["type"]) == (413, "too-large")
    assert "4 MiB" in problem["detail"]


async def test_a_json_body_may_be_chunked_but_not_compressed(api: Api) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"image":'
        yield msgspec.json.encode(IMAGE) + b"}"

    assert (await api.call("PUT", "/api/v1/functions/hello", data=body()))[0] == 201
    encoded = {"Content-Encoding": "gzip"}
    assert (await api.call("PUT", "/api/v1/functions/hello", data=b"x", headers=encoded))[0] == 400


async def test_one_function_comes_with_its_replicas(api: Api, hello: FunctionSpec) -> None:
    status, body = await api.call("GET", "/api/v1/functions/hello")
    assert (status, body["replicas"], body["ready_replicas"], body["calls"], body["errors"]) == (200, 1, 1, 7, 1)
    (replica,) = body["replicas_detail"]
    assert (replica["id"], replica["memory_mib"], list(replica["phases"])) == ("r1", 8.0, ["claim", "load"])
    assert body["last_end"] is None


async def test_functions_are_listed_without_their_replicas(api: Api, hello: FunctionSpec) -> None:
    await api.control.namespaces.create("dev", {}, {})
    await api.control.deploy(FunctionSpec(name="other", namespace="dev", image=IMAGE))
    _, everything = await api.call("GET", "/api/v1/functions?namespace=")
    assert [function["name"] for function in everything["functions"]] == ["hello", "other"]
    assert "replicas_detail" not in everything["functions"][0]
    _, dev = await api.call("GET", "/api/v1/functions?namespace=dev")
    assert [function["url"] for function in dev["functions"]] == ["/function/other.dev"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["nobody", "No%20Body", "..", "a.b.c", "hello.%2e"])
async def test_a_function_that_is_not_there_is_not_found(api: Api, method: str, name: str) -> None:
    status, problem = await api.call(method, f"/api/v1/functions/{name}")
    assert (status, problem["type"]) in ((404, "function-not-found"), (404, "path-not-found"))


async def test_delete_removes_it(api: Api, hello: FunctionSpec) -> None:
    assert await api.call("DELETE", "/api/v1/functions/hello") == (200, {"removed": KEY})
    assert (await api.call("DELETE", "/api/v1/functions/hello"))[0] == 404


async def test_scale_answers_with_the_function(api: Api, hello: FunctionSpec) -> None:
    status, body = await api.call("POST", "/api/v1/functions/hello/scale", json={"replicas": 3})
    assert (status, body["function"]["replicas"]) == (200, 3)


@pytest.mark.parametrize("body", [{}, {"replicas": -1}, {"replicas": "3"}, {"replicas": 1, "more": 2}, []])
async def test_a_wrong_scale_is_refused(api: Api, hello: FunctionSpec, body: Any) -> None:
    assert (await api.call("POST", "/api/v1/functions/hello/scale", json=body))[0] == 400


async def test_nodes_are_listed(api: Api) -> None:
    _, body = await api.call("GET", "/api/v1/nodes")
    assert (body["nodes"][0]["name"], body["nodes"][0]["cpu_milli"]) == ("local", 2000)


async def test_a_failed_revision_says_where_and_what_still_serves(api: Api, hello: FunctionSpec) -> None:
    api.control.failure = RevisionFailed(
        "invalid syntax",
        slug="handler-syntax",
        state="revision 1 keeps serving",
        location=SourceLocation(file="handler.py", line=3, column=5, source="def ("),
    )
    status, problem = await api.call("PUT", "/api/v1/functions/hello", json={"image": IMAGE})
    assert (status, problem["type"], problem["file"], problem["line"]) == (422, "handler-syntax", "handler.py", 3)
    assert problem["state"] == "revision 1 keeps serving"


async def test_a_full_disk_keeps_its_status(api: Api) -> None:
    api.control.failure = StorageFull("the disk is full")
    assert (await api.call("PUT", "/api/v1/functions/hello", json={"image": IMAGE}))[0] == 507


async def test_a_crash_gives_an_id_and_no_traceback(api: Api) -> None:
    api.control.failure = ZeroDivisionError("a secret thought")
    with capture_logs() as logged:
        status, problem = await api.call("GET", "/api/v1/functions")
    assert (status, problem["type"]) == (500, "internal")
    assert "secret" not in str(problem)
    assert problem["id"] in problem["detail"]
    assert [(entry["id"], entry["exc_info"]) for entry in logged] == [(problem["id"], api.control.failure)]


async def test_a_deploy_goes_on_when_its_client_leaves(api: Api) -> None:
    api.control.deploy_gate = asyncio.Event()
    put = asyncio.create_task(api.call("PUT", "/api/v1/functions/hello", json={"image": IMAGE}))
    await api.control.deploy_started.wait()
    put.cancel()
    await asyncio.wait([put])
    api.control.deploy_gate.set()
    await until(lambda: KEY in api.control.views)


async def test_work_that_is_impatient_leaves_the_change_running() -> None:
    work, gate = Work(), asyncio.Event()
    assert await work.complete_within(0.01, gate.wait()) is None
    gate.set()
    await work.close()


async def test_work_cancels_what_does_not_finish_in_time() -> None:
    work, never = Work(finish_seconds=0.01), asyncio.Event()
    change = asyncio.create_task(work.complete(never.wait()))
    await asyncio.sleep(0)
    await work.close()
    with pytest.raises(asyncio.CancelledError):
        await change


def a_line(time: float, text: str) -> LogLine:
    return LogLine(time=time, replica="r1", stream="stdout", text=text, call_id="c1")


async def test_logs_are_lines_of_json(api: Api, hello: FunctionSpec) -> None:
    api.control.lines = [a_line(1.0, "one"), a_line(2.5, "two")]
    async with api.http.get("http://api/api/v1/functions/hello/logs?tail=1") as answer:
        assert answer.content_type == "application/x-ndjson"
        text = await answer.read()
    expected = {"time": 2.5, "replica": "r1", "stream": "stdout", "text": "two", "call_id": "c1"}
    assert msgspec.json.decode(text) == expected
    assert text.endswith(b"\n")


@pytest.mark.parametrize("since", ["2", "1970-01-01T00:00:02Z", "1970-01-01T01:00:02%2B01:00"])
async def test_logs_since_a_moment(api: Api, hello: FunctionSpec, since: str) -> None:
    api.control.lines = [a_line(1.0, "one"), a_line(2.5, "two")]
    async with api.http.get(f"http://api/api/v1/functions/hello/logs?since={since}") as answer:
        assert [msgspec.json.decode(line)["text"] async for line in answer.content] == ["two"]


@pytest.mark.parametrize(
    "query", ["tail=x", "tail=-2", "follow=maybe", "since=yesterday", "since=nan", "tail=1&tail=2"]
)
async def test_wrong_log_parameters_name_their_field(api: Api, hello: FunctionSpec, query: str) -> None:
    status, problem = await api.call("GET", f"/api/v1/functions/hello/logs?{query}")
    assert (status, problem["field"]) == (400, query.partition("=")[0])


async def test_following_logs_gives_a_line_when_it_comes(api: Api, hello: FunctionSpec) -> None:
    async with api.http.get("http://api/api/v1/functions/hello/logs?follow=true") as answer:
        api.control.lines.append(a_line(3.0, "late"))
        api.control.more_lines.set()
        assert msgspec.json.decode(await answer.content.readline())["text"] == "late"
        assert await answer.content.read() == b""


async def test_following_ends_when_the_client_leaves(api: Api, hello: FunctionSpec) -> None:
    answer = await api.http.get("http://api/api/v1/functions/hello/logs?follow=true")
    answer.close()
    async with asyncio.timeout(5):
        await api.control.logs_closed.wait()


@pytest.mark.parametrize("failure", [OSError("the disk is gone"), StorageFull("the disk is full")])
async def test_a_stream_that_breaks_is_cut_and_not_ended(api: Api, hello: FunctionSpec, failure: Exception) -> None:
    api.control.lines, api.control.logs_failure = [a_line(1.0, "one")], failure
    answer = await api.raw(b"GET /api/v1/functions/hello/logs HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.count(b"HTTP/1.1") == 1
    assert b'"one"' in answer
    assert not answer.endswith(b"0\r\n\r\n")


async def test_logs_of_nobody_are_not_found(api: Api) -> None:
    assert (await api.call("GET", "/api/v1/functions/nobody/logs"))[0] == 404
