"""Source in; progress, and a reference or a reason, out."""

import asyncio
import gzip
import io
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from pilotlight.api.builds import AT_ONCE
from pilotlight.builder.base import Choices, Progress
from pilotlight.core.errors import InvalidRequirements
from tests.integration.api.memory import Api, Report, Start, until

URL = "http://api/api/v1/builds?name=hello&template=python3-http"
PATH = "/api/v1/builds?name=hello&template=python3-http"
REFERENCE = "bundle/hello@sha256:" + "a" * 64
BYTES_LIMIT = 2 * 2**20


def a_line(number: int) -> Progress:
    return Progress(step="source", message=f"line {number}", seconds=0.5)


async def events_of(api: Api, **options: Any) -> list[dict[str, Any]]:
    async with api.http.post(URL, **options) as answer:
        assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
        return [msgspec.json.decode(line) async for line in answer.content]


def say_three(progress: Report) -> None:
    for number in range(3):
        progress(a_line(number))


class Stuck:
    """A build that says one thing and then waits until it is cancelled."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def __call__(self, progress: Report) -> None:
        progress(a_line(1))
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()


async def test_progress_comes_in_order_and_ends_with_the_reference(api: Api) -> None:
    async def building(progress: Report) -> None:
        for number in range(5):
            progress(a_line(number))
            await asyncio.sleep(0)

    api.control.building = building
    *lines, last = await events_of(api, data=b"a tar")
    assert [(line["event"], line["message"]) for line in lines] == [("progress", f"line {n}") for n in range(5)]
    assert set(lines[0]) == {"event", "step", "message", "seconds"}
    assert (last["event"], last["reference"], last["environment"]) == ("built", REFERENCE, "e" * 64)
    assert last["seconds"] >= 0
    assert api.control.uploads == [b"a tar"]
    await until(lambda: api.staged() == [])


async def test_a_line_is_sent_before_the_build_is_over(api: Api) -> None:
    api.control.building = Stuck()
    async with api.http.post(URL, data=b"a tar") as answer:
        assert msgspec.json.decode(await answer.content.readline())["message"] == "line 1"


async def test_progress_may_come_from_a_thread(api: Api) -> None:
    async def building(progress: Report) -> None:
        await asyncio.to_thread(say_three, progress)

    api.control.building = building
    assert [event["event"] for event in await events_of(api, data=b"a tar")] == ["progress"] * 3 + ["built"]


async def test_a_build_without_a_word_still_ends_with_built(api: Api) -> None:
    (only,) = await events_of(api, data=b"a tar")
    assert only["event"] == "built"


async def test_a_failure_after_the_first_line_is_the_last_line(api: Api) -> None:
    async def building(progress: Report) -> None:
        progress(a_line(1))
        await asyncio.sleep(0.01)
        raise InvalidRequirements("nope==1 is not there", slug="requirement-not-found")

    api.control.building = building
    first, last = await events_of(api, data=b"a tar")
    assert (first["event"], last["event"]) == ("progress", "failed")
    assert (last["problem"]["type"], last["problem"]["status"]) == ("requirement-not-found", 400)


async def test_a_crash_after_the_first_line_is_internal(api: Api) -> None:
    async def building(progress: Report) -> None:
        progress(a_line(1))
        raise ZeroDivisionError("a secret thought")

    api.control.building = building
    with capture_logs() as logged:
        last = (await events_of(api, data=b"a tar"))[-1]
    assert (last["event"], last["problem"]["type"]) == ("failed", "internal")
    assert "secret" not in str(last)
    assert [entry["id"] for entry in logged] == [last["problem"]["id"]]


async def test_a_failure_before_the_first_line_has_its_status(api: Api) -> None:
    path = "/api/v1/builds?name=hello&template=cobol"
    status, problem = await api.call("POST", path, data=b"a tar")
    assert (status, problem["type"]) == (404, "not-found")
    assert api.staged() == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("template=python3-http", "name"),
        ("name=hello", "template"),
        ("name=Hello&template=python3-http", "name"),
        ("name=hello&template=../etc", "template"),
        ("name=hello&template=python3-http&namespace=A", "namespace"),
        ("name=hello&template=python3-http&lang=x", "lang"),
    ],
)
async def test_wrong_parameters_are_refused_before_the_upload(api: Api, query: str, field: str) -> None:
    status, problem = await api.call("POST", f"/api/v1/builds?{query}", data=b"a tar")
    assert (status, problem["field"]) == (400, field)
    assert api.control.uploads == []


async def test_an_empty_upload_is_refused(api: Api) -> None:
    status, problem = await api.call("POST", PATH)
    assert (status, problem["type"]) == (400, "invalid-source")


async def test_an_upload_of_exactly_the_limit_is_taken(api: Api) -> None:
    assert (await events_of(api, data=io.BytesIO(b"x" * BYTES_LIMIT)))[-1]["event"] == "built"
    assert api.control.uploads == [b"x" * BYTES_LIMIT]


async def test_an_upload_over_the_limit_is_refused_with_a_sentence(api: Api) -> None:
    status, problem = await api.call("POST", PATH, data=io.BytesIO(b"x" * (BYTES_LIMIT + 1)))
    assert (status, problem["type"]) == (413, "too-large")
    assert "2 MiB" in problem["detail"]


async def test_a_chunked_upload_over_the_limit_is_refused_when_it_gets_there(api: Api) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(BYTES_LIMIT // 2**16 + 1):
            yield b"x" * 2**16

    status, problem = await api.call("POST", PATH, data=endless())
    assert (status, problem["type"]) == (413, "too-large")
    assert api.staged() == []


async def test_a_chunked_upload_is_taken(api: Api) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for part in (b"a ", b"t", b"ar"):
            yield part

    await events_of(api, data=chunks())
    assert api.control.uploads == [b"a tar"]


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
async def test_a_gzip_reaches_the_builder_as_it_was_sent(api: Api, headers: dict[str, str]) -> None:
    packed = gzip.compress(b"a tar")
    await events_of(api, data=packed, headers=headers | {"Content-Type": "application/x-tar"})
    assert api.control.uploads == [packed]


async def test_another_content_encoding_is_refused(api: Api) -> None:
    status, problem = await api.call("POST", PATH, data=b"a tar", headers={"Content-Encoding": "br"})
    assert (status, "br" in problem["detail"]) == (400, True)


async def test_a_client_that_leaves_cancels_its_build_and_leaves_no_file(api: Api) -> None:
    stuck = api.control.building = Stuck()
    answer = await api.http.post(URL, data=b"a tar")
    await answer.content.readline()
    assert len(api.staged()) == 1
    answer.close()
    await asyncio.wait_for(stuck.cancelled.wait(), 10)
    await until(lambda: api.staged() == [])


async def test_a_client_that_leaves_during_its_upload_leaves_no_file(api: Api) -> None:
    async with api.connected(f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome".encode()):
        await until(lambda: len(api.staged()) == 1)
    await until(lambda: api.staged() == [])
    assert api.control.uploads == []


async def test_only_so_many_builds_at_once(api: Api) -> None:
    api.control.building = Stuck()
    async with AsyncExitStack() as under_way:
        for _ in range(AT_ONCE):
            one = await under_way.enter_async_context(api.http.post(URL, data=b"a tar"))
            await one.content.readline()
        status, problem = await api.call("POST", PATH, data=b"a tar")
    assert (status, problem["type"]) == (503, "unavailable")
    assert problem["detail"] == "16 builds are under way already"


async def test_who_expects_100_is_asked_for_the_body_only_when_it_is_wanted(api: Api) -> None:
    head = "HTTP/1.1\r\nHost: a\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    refused = await api.raw(f"POST /api/v1/builds?name=Hello&template=a {head}".encode(), until=b"\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 400 ")
    taken = await api.raw(f"POST {PATH} {head}a tar".encode())
    assert taken.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")


async def test_a_full_disk_is_said_and_leaves_no_file(api: Api) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**19, hard))  # a file cannot grow further, as on a full disk
    try:
        status, problem = await api.call("POST", PATH, data=b"x" * 2**20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (status, problem["type"]) == (507, "storage-full")
    assert api.staged() == []


async def test_a_stalled_upload_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotlight.api.reading.STALL_SECONDS", 0.05)
    request = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nsome"
    head = await api.raw(request.encode(), until=b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"Connection: close" in head


async def test_a_stopping_server_ends_a_build_with_a_failed_line(start: Start) -> None:
    request = f"POST {PATH} HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na tar".encode()
    async with AsyncExitStack() as after, start() as api:
        stuck = api.control.building = Stuck()
        reader, _ = await after.enter_async_context(api.connected(request))
        await reader.readuntil(b"line 1")
    assert stuck.cancelled.is_set()
    rest = await reader.read()
    assert b'"failed"' in rest
    assert b"the server is stopping" in rest
    assert rest.endswith(b"0\r\n\r\n")
    assert api.staged() == []


async def test_what_a_build_is_told_beside_its_source_reaches_the_builder(api: Api) -> None:
    query = "&layout=template&options=dev,,xml,dev&build_args=A=1&build_args=B=x%3Dy%20z"
    headers = [("X-Build-Secret", "npmrc=dG9rZW49MQ=="), ("X-Build-Secret", "pip.conf=eA==")]
    async with api.http.post(URL + query, data=b"a tar", headers=headers) as answer:
        assert answer.status == 200
        assert b'"built"' in await answer.read()
    assert api.control.choices == [
        Choices(
            uploaded_template=True,
            options=("dev", "xml"),
            arguments={"A": "1", "B": "x=y z"},
            secrets={"npmrc": b"token=1", "pip.conf": b"x"},
        )
    ]
    assert "token" not in repr(api.control.choices)


@pytest.mark.parametrize(
    ("query", "headers", "field", "says"),
    [
        ("&layout=flat", [], "layout", "layout: "),
        ("&build_args=A", [], "build_args", "'A' must be NAME=VALUE"),
        ("&build_args=A-B=1", [], "build_args", "'A-B=1' must be NAME=VALUE"),
        ("&name=x", [], "name", "given more than once"),
        ("", ["no name"], "build_secrets", "'no name' must be one name"),
        ("", ["a=eA==", "a=eA=="], "build_secrets", "'a' must be one name"),
        ("", ["a=%"], "build_secrets", "a is not base64"),
        ("", ["a="], "build_secrets", "a has 0 bytes"),
        ("", [f"a={'eHh4' * 1700}"], "build_secrets", "a has 5100 bytes; 1 to 5000 are taken"),
        ("", [f"a{n}=eA==" for n in range(17)], "build_secrets", "at most 16, not 17"),
    ],
)
async def test_what_makes_no_sense_is_refused_before_the_upload(
    api: Api, query: str, headers: list[str], field: str, says: str
) -> None:
    given = [("X-Build-Secret", header) for header in headers]
    async with api.http.post(URL + query, data=b"a tar", headers=given) as answer:
        problem = await answer.json(content_type=None)
    assert (answer.status, problem["field"]) == (400, field)
    assert says in problem["detail"]
    assert api.control.uploads == []
