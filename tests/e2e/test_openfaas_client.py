"""A day of an OpenFaaS client against a whole server, through the router: what it sends, and what it looks for."""

import http.client
import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from tests.harness import Answer, Server, wait_for

HANDLER = """
def handle(event, context):
    print("called with", event.body.decode())
    return "answer"
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(scope="module")
def image(server: Server) -> str:
    """A reference to deploy, as `faasctl build` gives it to a user of another client."""
    ran = server.faasctl("build", "-f", str(server.write_function("hello", HANDLER)), "--json")
    assert ran.code == 0, ran
    return next(word for word in ran.out.replace('"', " ").split() if word.startswith("bundle/"))


@pytest.fixture
def hello(server: Server, image: str) -> Iterator[str]:
    assert chunked(server, "POST", "/system/functions", {"service": "hello", "image": image}).status == 202
    wait_for(lambda: found(server, "hello")["availableReplicas"], what="the function")
    yield "hello"
    server.api("DELETE", "/system/functions", {"functionName": "hello", "namespace": ""})


def chunked(server: Server, method: str, path: str, data: object) -> Answer:
    """As the client sends it when it shows what it sends: without a length."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    body = json.dumps(data).encode()
    headers = {"Authorization": server._basic(), "Content-Type": "application/json"}
    connection.request(method, path, iter([body[:5], body[5:]]), headers, encode_chunked=True)
    response = connection.getresponse()
    answer = Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    connection.close()
    return answer


def found(server: Server, name: str) -> dict[str, object]:
    answer = server.api("GET", f"/system/function/{name}?usage=1")
    assert answer.status == 200
    view: dict[str, object] = answer.json()
    return view


def test_it_is_let_in_with_its_password_only(server: Server) -> None:
    assert server.api("GET", "/system/functions").status == 200
    answer = server.call("/system/functions")
    assert (answer.status, answer.body) == (401, b"invalid credentials\n")
    assert answer.headers["www-authenticate"] == 'Basic realm="Restricted"'
    assert server.call("/healthz").status == server.call("/healthz", method="HEAD").status == 200


def test_a_deploy_updates_first_and_creates_then(server: Server, image: str) -> None:
    new = {"service": "new", "image": image, "network": "func_functions", "labels": None, "annotations": None}
    answer = server.api("PUT", "/system/functions", new)
    assert (answer.status, answer.body) == (404, b"function: new.openfaas-fn not found\n")
    assert (created := server.api("POST", "/system/functions", new)).status == 202
    assert created.body == b""
    assert server.api("PUT", "/system/functions", new).status == 202
    assert server.api("DELETE", "/system/functions", {"functionName": "new"}).status == 202
    assert server.api("GET", "/system/function/new").status == 404


def test_an_image_of_a_registry_is_refused_in_one_sentence(server: Server) -> None:
    answer = server.api("POST", "/system/functions", {"service": "new", "image": "functions/alpine:latest"})
    assert answer.status == 400
    first, _, rest = answer.body.partition(b"\n")
    assert first == b"image: functions/alpine:latest is no bundle, and the process provider runs nothing else"
    assert rest == b"nothing was deployed; no revision of it serves\n"


def test_replicas_are_true_at_once(server: Server, hello: str) -> None:
    assert found(server, hello)["replicas"] == 1
    for replicas in (3, 0):
        scaled = {"serviceName": hello, "replicas": replicas}
        assert server.api("POST", f"/system/scale-function/{hello}", scaled).status == 202
        assert found(server, hello)["replicas"] == replicas
    assert server.call(f"/function/{hello}", b"x").body == b"answer"
    assert found(server, hello)["replicas"] == 1
    wait_for(lambda: found(server, hello)["availableReplicas"] == 1)


def test_a_minimum_is_there_with_the_answer(server: Server, image: str) -> None:
    labels = {"com.openfaas.scale.min": "2", "com.openfaas.scale.max": "3"}
    assert server.api("POST", "/system/functions", {"service": "two", "image": image, "labels": labels}).status == 202
    view = found(server, "two")
    assert (view["replicas"], view["labels"], view["annotations"]) == (2, labels | {"faas_function": "two"}, {})
    server.api("DELETE", "/system/functions", {"functionName": "two"})


def test_calls_are_counted_and_usage_is_given(server: Server, hello: str) -> None:
    before = found(server, hello)["invocationCount"]
    assert isinstance(before, int | float)
    for _ in range(3):
        server.call(f"/function/{hello}", b"x")
    view = wait_for(lambda: (v := found(server, hello))["invocationCount"] == before + 3 and v)
    assert view["usage"]["totalMemoryBytes"] > 0


def test_logs_come_line_by_line(server: Server, hello: str) -> None:
    server.call(f"/function/{hello}", b"first")
    server.call(f"/function/{hello}", b"second")

    def texts(query: str) -> list[str]:
        answer = server.api("GET", f"/system/logs?name={hello}&follow=false{query}")
        assert (answer.status, answer.headers["content-type"]) == (200, "application/x-ndjson")
        lines = [json.loads(line) for line in answer.body.splitlines()]
        assert {line["name"] for line in lines} <= {hello}
        return [line["text"] for line in lines]

    wait_for(lambda: texts("&tail=2") == ["called with first", "called with second"])
    assert texts("&since=2999-01-01T00:00:00Z") == []
    assert texts("&instance=nobody") == []


def test_a_secret_and_a_namespace_of_its_own(server: Server, image: str) -> None:
    namespace = {"name": "dev", "labels": {"openfaas": "1"}, "annotations": {"openfaas": "1"}}
    assert server.api("POST", "/system/namespace/", namespace).status == 201
    assert server.api("GET", "/system/namespace/dev").json() == namespace
    assert server.api("POST", "/system/secrets", {"name": "token", "namespace": "dev", "value": "v"}).status == 202
    spec = {"service": "hello", "image": image, "namespace": "dev", "secrets": ["token"]}
    assert server.api("POST", "/system/functions", spec).status == 202
    assert server.call("/function/hello.dev", b"x").body == b"answer"
    assert server.api("DELETE", "/system/namespace/dev", {"name": "dev"}).status == 409
    assert server.api("DELETE", "/system/functions?namespace=dev", {"functionName": "hello"}).status == 202
    assert server.api("DELETE", "/system/secrets", {"name": "token", "namespace": "dev"}).status == 202
    assert server.api("DELETE", "/system/namespace/dev", {"name": "dev"}).status == 202
    assert server.api("GET", "/system/namespaces").json() == ["openfaas-fn"]
