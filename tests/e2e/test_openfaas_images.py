"""OpenFaaS' images run as they are: what their user sees who deploys them with OpenFaaS' own client."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.engines import docker_engine
from tests.foreign_images import SERVER_IMAGE, WATCHDOG_IMAGE, foreign_images
from tests.harness import Answer, Server, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(300)]
WRITABLE = {"pilotlight.dev/readonly_root_filesystem": "false"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    docker_engine()
    foreign_images()
    with Server("--provider=docker") as made:
        yield made


def deployed(server: Server, name: str, image: str = WATCHDOG_IMAGE, *, method: str = "POST", **more: Any) -> Answer:
    """Its answer; when that is 202, and it may be on its way yet, it is there afterwards."""
    answer = server.api(method, "/system/functions", {"service": name, "image": image} | more)
    if answer.status == 202:
        address = f"{name}.{more.get('namespace', 'openfaas-fn')}"
        wait_for(lambda: found(server, address)["availableReplicas"], what=f"{address} to be there")
    return answer


def found(server: Server, name: str) -> dict[str, Any]:
    answer = server.api("GET", f"/system/function/{name}")
    assert answer.status == 200, answer
    status: dict[str, Any] = answer.json()
    return status


def has_available(server: Server, name: str, replicas: int) -> bool:
    return bool(found(server, name)["availableReplicas"] == replicas)


def texts(server: Server, name: str, query: str = "") -> list[str]:
    answer = server.api("GET", f"/system/logs?name={name}{query}")
    assert answer.status == 200, answer
    return [json.loads(line)["text"] for line in answer.body.splitlines()]


def test_a_program_runs_once_for_each_call_and_is_told_all_of_it(server: Server) -> None:
    wanted: dict[str, Any] = {
        "envVars": {"custom": "value"},
        "labels": {"team": "x"},
        "annotations": {"some-json": '{"a": [1, 2]}'},
        "limits": {"memory": "256Mi", "cpu": "500m"},
        "requests": {"memory": "10Mi", "cpu": "10m"},
        "constraints": ["kubernetes.io/arch=amd64"],
        "readOnlyRootFilesystem": True,
    }
    assert deployed(server, "env", envProcess="env", **wanted).status == 202
    called = server.call("/function/env/a/b?c=1&d", b"abc", method="PUT", headers={"X-My": "own", "X-Call-Id": "mine"})
    variables = dict(line.partition("=")[::2] for line in called.body.decode().splitlines())
    head = {"Http_Method": "PUT", "Http_Path": "/a/b", "Http_Query": "c=1&d", "Http_X_My": "own", "custom": "value"}
    assert variables.items() >= (head | {"Http_X_Call_Id": "mine", "OPENFAAS_NAME": "env"}).items()
    assert called.headers["x-call-id"] == "mine"
    assert called.headers["x-start-time"].isdigit()
    assert float(called.headers["x-duration-seconds"]) > 0
    status = found(server, "env")
    assert {name: status[name] for name in wanted if name != "labels"} == {
        k: v for k, v in wanted.items() if k != "labels"
    }
    assert status["labels"] == {"team": "x", "faas_function": "env"}
    assert (status["envProcess"], status["replicas"], status["availableReplicas"]) == ("env", 1, 1)
    lines = wait_for(lambda: (t := texts(server, "env", "&tail=2")) and "Wrote" in t[-1] and t, what="its log")
    assert lines[0].endswith(" Forking fprocess.")  # with their own time before it, as it was printed
    assert lines[1].endswith("s")
    assert [line for line in texts(server, "env") if "Forking" in line] == lines[:1]  # a probe is not a call


def test_it_ends_at_once_at_zero_and_a_call_brings_it_back(server: Server) -> None:
    assert deployed(server, "hash", envProcess="sha512sum").status == 202
    for replicas in (0, 2, 0):
        assert server.api("POST", "/system/scale-function/hash", {"replicas": replicas}).status == 202
        assert found(server, "hash")["replicas"] == replicas
        wait_for(partial(has_available, server, "hash", replicas), what=f"{replicas} replicas")
    wait_for(lambda: sum(server.function("hash")["ends"].values()) >= 3, what="three ends")
    assert list(server.function("hash")["ends"]) == ["stopped"]  # none had to be killed
    called = server.call("/function/hash", b"")
    assert (called.status, called.body[:10]) == (200, b"cf83e1357e")
    assert found(server, "hash")["replicas"] == 1


def test_a_server_behind_a_watchdog_is_waited_for(server: Server) -> None:
    behind = {"mode": "http", "upstream_url": "http://127.0.0.1:5000"}
    assert deployed(server, "late", envProcess="python3 /late.py", envVars=behind).status == 202
    assert server.call("/function/late/etc/hostname").status == 200
    server.api("POST", "/system/scale-function/late", {"replicas": 0})
    wait_for(partial(has_available, server, "late", 0), what="none")
    assert server.call("/function/late/etc/hostname").body == b"late\n"


def test_a_secrets_new_value_comes_with_a_deploy_in_a_namespace_of_its_own(server: Server) -> None:
    labels = {"openfaas": "1"}
    assert server.api("POST", "/system/namespace/", {"name": "dev", "labels": labels}).status == 201
    secret = {"name": "token", "namespace": "dev"}
    assert server.api("POST", "/system/secrets", secret | {"value": "first"}).status == 202
    spec: dict[str, Any] = {"envProcess": "cat /var/openfaas/secrets/token", "secrets": ["token"], "namespace": "dev"}
    assert deployed(server, "teller", **spec).status == 202
    assert server.call("/function/teller.dev").body == b"first"
    assert server.api("PUT", "/system/secrets", secret | {"rawValue": "c2Vjb25k"}).status == 202
    assert server.call("/function/teller.dev").body == b"first"
    assert deployed(server, "teller", method="PUT", **spec).status == 202
    wait_for(lambda: server.call("/function/teller.dev").body == b"second", what="the new value")
    assert server.call("/function/teller").status == 404


def test_limits_below_the_engines_are_raised_and_that_is_said(server: Server) -> None:
    assert deployed(server, "tiny", limits={"cpu": "1m"}).status == 202
    assert server.call("/function/tiny", b"echo").body == b"echo"
    wait_for(lambda: "limits.cpu: 1m is less than a container can have; it has 10m" in texts(server, "tiny"))
    assert found(server, "tiny")["limits"] == {"cpu": "1m"}
    again = {"name": "tiny", "image": WATCHDOG_IMAGE, "limits": {"cpu": "2m"}}
    (note,) = server.api("PUT", "/api/v1/functions/tiny", again).json()["notes"]
    assert note == "limits.cpu: 2m is less than a container can have; it has 10m"


def test_an_image_that_wants_more_than_it_may_is_told_how_it_can(server: Server) -> None:
    refusals = {}
    for name, variables, root in (("writer", {"WRITES": "/home/kept"}, None), ("owner", {"OWNS": "/tmp"}, False)):
        spec = {"name": name, "image": WATCHDOG_IMAGE, "environment": variables, "readonly_root_filesystem": root}
        answer = server.api("PUT", f"/api/v1/functions/{name}", spec)
        refusals[name] = (answer.status, answer.json()["type"])
        assert server.api("GET", f"/system/function/{name}").status == 404
    assert refusals == {"writer": (422, "image-writes"), "owner": (422, "image-rights")}


def test_a_root_that_may_be_written_to_can_be(server: Server) -> None:
    writes: dict[str, Any] = {
        "envProcess": "cat /var/tmp/kept",
        "envVars": {"WRITES": "/var/tmp/kept"},
        "annotations": WRITABLE,
    }
    assert deployed(server, "writer", **writes).status == 202
    assert server.call("/function/writer").body == b"here\n"


def test_a_server_that_knows_nothing_of_functions_is_one(server: Server) -> None:
    assert deployed(server, "files", SERVER_IMAGE).status == 202
    assert server.call("/function/files/hostname").body == b"files\n"
    assert server.call("/function/files/nothing").status == 404
    assert server.call("/function/files", b"x").status == 501
    wait_for(lambda: any('"GET /hostname HTTP/1.1" 200' in line for line in texts(server, "files")), what="its log")
    assert server.api("DELETE", "/system/functions", {"functionName": "files"}).status == 202
    assert server.call("/function/files/hostname").status == 404
