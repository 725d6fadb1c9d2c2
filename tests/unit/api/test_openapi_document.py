"""The API's description is made of what its endpoints declare, and no route of it goes without."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from pilotlight.api.endpoints import Body, Endpoint, Stream, Upload
from pilotlight.api.openapi import document, field_docs
from pilotlight.api.server import make_app
from pilotlight.builder.image_push import BundlePushes
from pilotlight.core.errors import FunctionNotFound
from pilotlight.core.revision import Bundle
from pilotlight.engine.client import Engine
from tests.integration.api.memory import MemoryControl


class Thing(msgspec.Struct, kw_only=True, rename="camel"):
    """A thing."""

    name: str
    how_many: int = 0
    """Of them,
    in all."""


class Looking(msgspec.Struct, kw_only=True):
    tail: int | None = None
    follow: bool = False
    """Until the client leaves."""


async def handler(_: web.Request) -> web.StreamResponse:
    raise NotImplementedError


def described(**changes: Any) -> dict[str, Any]:
    """The operation of one endpoint."""
    declared: dict[str, Any] = {"method": "GET", "path": "/api/v1/things/{name}", "handler": handler}
    endpoint = Endpoint(**(declared | {"summary": "Things.", "answers": {200: Thing}} | changes))
    [operation] = document([endpoint], version="1")["paths"][endpoint.path].values()
    return dict(operation)


@pytest.fixture
def app(tmp_path: Path) -> web.Application:
    control = MemoryControl(folder=tmp_path)
    return make_app(
        control,
        credentials=None,
        version="1.2.3",
        provider="fake",
        staging_dir=tmp_path,
        upload_limit_mib=1,
        pusher=BundlePushes(_no_engine, _no_bundle),
    )


async def _no_engine() -> Engine:
    raise NotImplementedError


def _no_bundle(digest: str) -> Bundle:
    raise NotImplementedError


@pytest.fixture
async def whole(app: web.Application) -> dict[str, Any]:
    """The document as it is served."""
    [resource] = [one for one in app.router.resources() if one.canonical == "/api/v1/openapi.json"]
    [route] = [one for one in resource if one.method == "GET"]
    answer = await route.handler(None)  # type: ignore[arg-type]
    assert isinstance(answer, web.Response)
    served: dict[str, Any] = json.loads(str(answer.text))
    return served


def refs(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from refs(value)
    elif isinstance(node, list):
        for value in node:
            yield from refs(value)


async def test_every_route_of_the_api_is_described_and_nothing_else(
    app: web.Application, whole: dict[str, Any]
) -> None:
    routes = {
        (route.method, str(route.resource.canonical))
        for route in app.router.routes()
        if route.resource is not None and route.resource.canonical.startswith("/api/") and route.method != "HEAD"
    }
    assert routes == {(method.upper(), path) for path, methods in whole["paths"].items() for method in methods}


async def test_every_operation_has_a_name_of_its_own_and_says_what_it_is(whole: dict[str, Any]) -> None:
    operations = [operation for methods in whole["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", name) for name in names)
    assert all(operation["summary"].endswith(".") for operation in operations)


async def test_whoever_is_asked_for_credentials_is_told_of_401(whole: dict[str, Any]) -> None:
    for methods in whole["paths"].values():
        for operation in methods.values():
            assert ("401" in operation["responses"]) == (operation.get("security") != [])
    assert whole["security"] == [{"basic": []}]


async def test_every_error_is_a_problem(whole: dict[str, Any]) -> None:
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    answers = [
        answer
        for methods in whole["paths"].values()
        for operation in methods.values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert answers
    assert all(answer["content"] == problem for answer in answers)


async def test_what_it_refers_to_is_there(whole: dict[str, Any]) -> None:
    names = {ref.removeprefix("#/components/schemas/") for ref in refs(whole)}
    assert names == whole["components"]["schemas"].keys()


async def test_our_own_answers_are_described_field_by_field(whole: dict[str, Any]) -> None:
    function = whole["components"]["schemas"]["FunctionAnswer"]["properties"]
    assert "Since the last call" in function["idle_seconds"]["description"]
    spec = whole["components"]["schemas"]["FunctionSpec"]["properties"]
    assert (spec["concurrency"]["minimum"], spec["concurrency"]["maximum"]) == (1, 1000)


def test_a_query_is_its_struct_without_null() -> None:
    assert described(query=Looking)["parameters"][1:] == [
        {"name": "tail", "in": "query", "required": False, "schema": {"type": "integer"}},
        {
            "name": "follow",
            "in": "query",
            "required": False,
            "description": "Until the client leaves.",
            "schema": {"type": "boolean", "default": False},
        },
    ]


def test_a_stream_is_described_by_its_lines() -> None:
    content = described(answers={200: Stream(of=Thing)})["responses"]["200"]["content"]
    assert content == {"application/x-ndjson": {"schema": {"$ref": "#/components/schemas/Thing"}}}


def test_what_the_address_says_the_body_may_leave_out() -> None:
    body = described(method="PUT", request=Body(of=Thing, optional=("name",)))["requestBody"]
    schema = body["content"]["application/json"]["schema"]
    assert schema["required"] == []
    assert schema["properties"]["howMany"]["description"] == "Of them, in all."


def test_an_upload_is_bytes_of_its_media_type() -> None:
    body = described(method="POST", request=Upload(media_type="application/x-tar", about="A tar."))["requestBody"]
    assert body["content"]["application/x-tar"]["schema"]["format"] == "binary"


@pytest.mark.parametrize(
    ("changes", "statuses"),
    [
        ({}, "200 400 401 404 500 503"),
        ({"path": "/api/v1/things"}, "200 400 401 500 503"),
        ({"is_open": True}, "200 400 404 500 503"),
        ({"method": "DELETE"}, "200 400 401 403 404 500 503"),
        ({"method": "PUT", "request": Thing}, "200 400 401 403 404 408 413 500 503"),
    ],
)
def test_everybodys_errors_are_said_of_each(changes: dict[str, object], statuses: str) -> None:
    assert list(described(**changes)["responses"]) == statuses.split()


def test_an_endpoints_own_errors_are_named() -> None:
    answer = described(errors=(FunctionNotFound,))["responses"]["404"]
    assert "`function-not-found`" in answer["description"]


def test_the_strings_under_fields_are_their_descriptions() -> None:
    assert field_docs(Thing) == {"howMany": "Of them, in all."}
    assert field_docs(int) == {}


def test_headers_of_an_endpoint_are_parameters_that_may_be_left_out() -> None:
    [parameter] = [each for each in described(headers={"X-Own": "A word."})["parameters"] if each["in"] == "header"]
    assert (parameter["name"], parameter["required"], parameter["description"]) == ("X-Own", False, "A word.")
