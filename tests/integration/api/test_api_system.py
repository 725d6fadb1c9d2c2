"""/system: what OpenFaaS' own clients send, and what they look for in the answers."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from pilotlight.core.errors import RevisionFailed, SourceLocation
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.providers.base import LogLine
from tests.integration.api.memory import Api

IMAGE = "bundle/hello@sha256:" + "a" * 64
DEPLOYMENT = {"service": "hello", "image": IMAGE}
KEY = FunctionKey("hello.openfaas-fn")


async def test_info_has_the_shape_of_a_gateway(api: Api) -> None:
    status, body = await api.call("GET", "/system/info")
    assert (status, body["provider"]["provider"], body["provider"]["orchestration"]) == (200, "pilotlight", "process")
    assert body["version"]["release"] == body["provider"]["version"]["release"] == "1.2.3"
    assert body["arch"]
    assert body["version"]["sha"]


async def test_a_new_function_is_deployed_as_faas_cli_does_it(api: Api) -> None:
    assert await api.call("PUT", "/system/functions", json=DEPLOYMENT) == (404, f"function: {KEY} not found\n")
    assert await api.call("POST", "/system/functions", json=DEPLOYMENT) == (202, "")
    assert await api.call("PUT", "/system/functions", json=DEPLOYMENT) == (202, "")
    assert await api.call("POST", "/system/functions", json=DEPLOYMENT) == (409, f"function: {KEY} already exists\n")


async def test_what_was_sent_comes_back(api: Api) -> None:
    sent = {
        **DEPLOYMENT,
        "envProcess": "python index.py",
        "envVars": {"A": "1"},
        "labels": {"team": "x", "com.openfaas.scale.min": "2"},
        "annotations": {"topic": "cron"},
        "limits": {"memory": "128Mi", "cpu": "100m"},
        "requests": {"memory": "64M"},
        "readOnlyRootFilesystem": True,
        "network": "func_functions",
        "registryAuth": "",
    }
    assert (await api.call("POST", "/system/functions", json=sent))[0] == 202
    status, (function,) = await api.call("GET", "/system/functions")
    kept = ("image", "envProcess", "envVars", "annotations", "limits", "requests", "readOnlyRootFilesystem")
    assert status == 200
    assert {name: function[name] for name in kept} == {name: sent[name] for name in kept}
    assert function["labels"].items() >= {"team": "x", "faas_function": "hello"}.items()
    assert (function["name"], function["namespace"]) == ("hello", "openfaas-fn")
    assert (function["replicas"], function["availableReplicas"], function["invocationCount"]) == (1, 1, 7)
    assert function["createdAt"] == "2023-11-14T22:13:20Z"


async def test_nulls_are_absent_and_empty_things_are_left_out(api: Api) -> None:
    nulls = dict.fromkeys(("labels", "annotations", "envVars", "limits", "secrets", "constraints", "namespace"))
    assert (await api.call("POST", "/system/functions", json=DEPLOYMENT | nulls))[0] == 202
    _, function = await api.call("GET", "/system/function/hello")
    assert not {"envVars", "limits", "secrets", "constraints", "envProcess"} & set(function)
    assert function["annotations"] == {}  # clients in Go take what is not there for a pointer to nothing
    assert function["labels"] == {"faas_function": "hello"}


async def test_a_chunked_body_is_taken(api: Api) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b'{"service":"hello",'
        yield msgspec.json.encode({"image": IMAGE})[1:]

    assert (await api.call("POST", "/system/functions", data=body()))[0] == 202


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{", "failed to unmarshal request: "),
        (b"[]", "failed to unmarshal request: "),
        (b'{"image":"x"}', "validation failed: service: is required\n"),
        (b'{"service":"hello"}', "validation failed: image: is required\n"),
        (
            b'{"service":"He llo","image":"x"}',
            "validation failed: service: (He llo) is invalid, must be a valid DNS entry\n",
        ),
        (b'{"service":"hello","image":"x","limits":{"memory":"lots"}}', "memory: "),
        (b'{"service":"hello","image":"x","envVars":3}', "environment: "),
        (b'{"service":3,"image":"x"}', "name: "),
    ],
)
async def test_a_wrong_deployment_is_refused_in_plain_text(api: Api, body: bytes, text: str) -> None:
    async with api.http.post("http://api/system/functions", data=body) as answer:
        said = await answer.text()
        assert (answer.status, answer.content_type) == (400, "text/plain")
    assert said.startswith(text)
    assert said.endswith("\n")


async def test_a_failed_revision_says_where_and_what_serves(api: Api) -> None:
    where = SourceLocation(file="handler.py", line=3)
    api.control.failure = RevisionFailed("invalid syntax", location=where, state="revision 1 keeps serving")
    answer = await api.call("POST", "/system/functions", json=DEPLOYMENT)
    assert answer == (422, "invalid syntax (handler.py, line 3)\nrevision 1 keeps serving\n")


async def test_an_image_that_lacks_something_says_how_it_gets_it(api: Api) -> None:
    api.control.failure = RevisionFailed("it ended", slug="image-writes", state="nothing was deployed")
    _, text = await api.call("POST", "/system/functions", json=DEPLOYMENT)
    what, serves, cure = text.splitlines()
    assert (what, serves) == ("it ended", "nothing was deployed")
    assert 'pilotlight.dev/readonly_root_filesystem: "false"' in cure


async def test_a_slow_deploy_is_accepted_before_the_client_gives_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotlight.api.system.DEPLOY_ANSWER_SECONDS", 0.01)
    api.control.deploy_gate = asyncio.Event()
    labels = {"com.openfaas.scale.min": "2"}
    assert await api.call("POST", "/system/functions", json=DEPLOYMENT | {"labels": labels}) == (202, "")
    assert not api.control.views
    status, function = await api.call("GET", "/system/function/hello")
    assert (status, function["replicas"], function["availableReplicas"], function["image"]) == (200, 2, 0, IMAGE)
    assert [one["name"] for one in (await api.call("GET", "/system/functions"))[1]] == ["hello"]
    assert (await api.call("GET", "/system/logs?name=hello"))[
        1
    ] == f"function {KEY} not found yet: it is being deployed\n"
    api.control.deploy_gate.set()


async def test_a_deploy_that_fails_after_its_answer_says_why_there_is_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pilotlight.api.system.DEPLOY_ANSWER_SECONDS", 0.01)
    api.control.deploy_gate = asyncio.Event()
    assert await api.call("POST", "/system/functions", json=DEPLOYMENT) == (202, "")
    api.control.failure = RevisionFailed("exited with code 1")
    api.control.deploy_gate.set()
    async with asyncio.timeout(5):
        while (await api.call("GET", "/system/function/hello"))[0] != 404:
            await asyncio.sleep(0.01)
    api.control.failure = None
    answer = await api.call("GET", "/system/logs?name=hello")
    assert answer == (404, f"function {KEY} not found: its last deploy failed: exited with code 1\n")
    assert (await api.call("POST", "/system/functions", json=DEPLOYMENT))[0] == 202
    await api.call("DELETE", "/system/functions", json={"functionName": "hello"})
    assert (await api.call("GET", "/system/logs?name=hello"))[1] == f"function {KEY} not found\n"


@pytest.mark.parametrize(
    ("query", "body"),
    [("", {"namespace": "dev"}), ("?namespace=dev", {}), ("?namespace=prod", {"namespace": "dev"})],
)
async def test_a_namespace_comes_in_the_body_or_else_in_the_query(api: Api, query: str, body: dict[str, str]) -> None:
    for name in ("dev", "prod"):
        await api.control.namespaces.create(name, {}, {})
    assert (await api.call("POST", f"/system/functions{query}", json=DEPLOYMENT | body))[0] == 202
    assert list(api.control.views) == ["hello.dev"]
    scaled = {"serviceName": "hello", "replicas": 4} | body
    assert (await api.call("POST", f"/system/scale-function/hello{query}", json=scaled))[0] == 202
    assert api.control.views[FunctionKey("hello.dev")].wanted == 4
    assert (await api.call("DELETE", f"/system/functions{query}", json={"functionName": "hello"} | body))[0] == 202
    assert not api.control.views


async def test_deleting_nothing_and_nobody(api: Api) -> None:
    assert (await api.call("DELETE", "/system/functions", json={"functionName": ""}))[0] == 400
    answer = await api.call("DELETE", "/system/functions", json={"functionName": "nobody"})
    assert answer == (404, "function nobody.openfaas-fn not found\n")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"replicas":-1}', b'{"replicas":"2"}', b'{"replicas":1e99}'])
async def test_a_wrong_scale_is_refused(api: Api, hello: FunctionSpec, body: bytes) -> None:
    status, text = await api.call("POST", "/system/scale-function/hello", data=body)
    assert (status, text.startswith("Error unmarshalling request body")) == (400, True)


async def test_scaling_nobody(api: Api) -> None:
    answer = await api.call("POST", "/system/scale-function/nobody", json={"replicas": 1})
    assert answer == (404, "function nobody.openfaas-fn not found\n")


@pytest.mark.parametrize("path", ["hello", "hello.openfaas-fn", "hello?namespace=openfaas-fn"])
async def test_a_function_is_found_by_name_and_address(api: Api, hello: FunctionSpec, path: str) -> None:
    status, function = await api.call("GET", f"/system/function/{path}")
    assert (status, function["name"], "usage" in function) == (200, "hello", False)


async def test_nobody_is_404_without_a_body(api: Api) -> None:
    assert await api.call("GET", "/system/function/nobody") == (404, "")
    assert await api.call("GET", "/system/function/nobody?usage=1") == (404, "")
    assert await api.call("GET", "/system/function/No%20Body") == (404, "")


async def test_usage_is_in_millicores_and_bytes(api: Api, hello: FunctionSpec) -> None:
    _, function = await api.call("GET", "/system/function/hello?usage=1")
    assert function["usage"]["cpu"] == pytest.approx(500)  # 0.1 s of processor in 0.2 s
    assert function["usage"]["totalMemoryBytes"] == 8 * 2**20


async def test_functions_are_listed_by_namespace_and_without_one_those_of_the_default(
    api: Api, hello: FunctionSpec
) -> None:
    await api.control.namespaces.create("dev", {}, {})
    await api.call("POST", "/system/functions", json=DEPLOYMENT | {"service": "other", "namespace": "dev"})
    for query, names in (("", ["hello"]), ("?namespace=", ["hello"]), ("?namespace=dev", ["other"])):
        _, functions = await api.call("GET", f"/system/functions{query}")
        assert [function["name"] for function in functions] == names
    assert await api.call("GET", "/system/functions?namespace=nowhere") == (400, "namespace not valid\n")


def a_line(time: float, text: str, replica: str = "r1") -> LogLine:
    return LogLine(time=time, replica=replica, stream="stdout", text=text)


async def logs(api: Api, query: str) -> list[dict[str, Any]]:
    async with api.http.get(f"http://api/system/logs?{query}") as answer:
        assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
        return [msgspec.json.decode(line) async for line in answer.content]


async def test_a_log_line_has_their_fields(api: Api, hello: FunctionSpec) -> None:
    api.control.lines = [a_line(1.5, "two")]
    (line,) = await logs(api, "name=hello&namespace=&tail=-1&follow=false&instance=")
    expected = {"name": "hello", "namespace": "openfaas-fn", "instance": "r1", "text": "two"}
    assert line == expected | {"timestamp": "1970-01-01T00:00:01.500000Z"}


@pytest.mark.parametrize(
    ("query", "texts"),
    [
        ("tail=-1", ["one", "two", "three"]),
        ("tail=0", ["one", "two", "three"]),
        ("tail=1", ["three"]),
        ("instance=r2", ["two"]),
        ("instance=r1&tail=2", ["one", "three"]),
        ("instance=r2&tail=1", ["two"]),
        ("since=1970-01-01T00:00:01.123456789Z", ["two", "three"]),
        ("", ["one", "two", "three"]),
    ],
)
async def test_logs_can_be_narrowed(api: Api, hello: FunctionSpec, query: str, texts: list[str]) -> None:
    api.control.lines = [a_line(0.0, "one"), a_line(1.5, "two", "r2"), a_line(2.0, "three")]
    assert [line["text"] for line in await logs(api, f"name=hello&{query}")] == texts


@pytest.mark.parametrize("query", ["", "name=hello&tail=x", "name=hello&since=yesterday", "name=hello&follow=x"])
async def test_a_log_request_that_cannot_be_read_is_422(api: Api, hello: FunctionSpec, query: str) -> None:
    status, text = await api.call("GET", f"/system/logs?{query}")
    assert (status, text.startswith("could not parse the log request")) == (422, True)


async def test_logs_of_nobody_are_not_found(api: Api) -> None:
    assert (await api.call("GET", "/system/logs?name=nobody"))[0] == 404


async def test_an_unknown_path_and_a_wrong_method_are_plain_text_too(api: Api) -> None:
    assert await api.call("GET", "/system/function") == (404, "there is no /system/function here\n")
    assert (await api.call("PATCH", "/system/functions"))[0] == 405
