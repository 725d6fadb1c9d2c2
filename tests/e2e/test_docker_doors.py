"""Functions in containers call functions: through a door of the router, and through nothing else of it."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.engines import BASE_IMAGE, docker_engine
from tests.harness import Server, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(300)]
CALLER = """
import os

def handle(event, context):
    if event.body == b"where":
        return os.environ["PILOTLIGHT_GATEWAY"]
    reply = context.call("callee", b"from a container")
    return f"{reply.status} {reply.text}"
"""
CALLEE = "def handle(event, context):\n    return b'heard ' + event.body\n"
ASK = """
import sys, urllib.error, urllib.request
for path in sys.argv[2:]:
    try:
        print(path, urllib.request.urlopen(sys.argv[1] + path, timeout=5).status)
    except urllib.error.HTTPError as error:
        print(path, error.code)
    except OSError as error:
        print(path, "no answer")
"""
PATHS = ("/function/callee", "/system/functions", "/api/v1/functions", "/healthz", "/")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    docker_engine()
    with Server("--provider=docker") as made:
        made.deploy("callee", CALLEE)
        made.deploy("caller", CALLER)
        yield made


def calls(server: Server) -> bytes:
    return server.call("/function/caller", b"call").body


def test_a_function_calls_a_function_that_is_cold(server: Server) -> None:
    server.api("POST", "/api/v1/functions/callee/scale", {"replicas": 0})
    wait_for(lambda: not server.function("callee")["replicas_detail"], what="scale to zero")
    assert calls(server) == b"200 heard from a container"


def test_a_container_of_the_functions_network_finds_functions_alone(server: Server) -> None:
    gateway = server.call("/function/caller", b"where").body.decode()
    assert urlsplit(gateway).port == urlsplit(server.url).port
    (network,) = networks_of(gateway)
    assert asked_from(network, gateway) == ["/function/callee 200", *(f"{path} 404" for path in PATHS[1:])]


def test_a_container_of_another_network_finds_nothing(server: Server) -> None:
    gateway = server.call("/function/caller", b"where").body.decode()
    assert asked_from("bridge", gateway) == [f"{path} no answer" for path in PATHS]


def test_the_public_address_is_not_for_containers(server: Server) -> None:
    (network,) = networks_of(server.call("/function/caller", b"where").body.decode())
    assert asked_from(network, server.url) == [f"{path} no answer" for path in PATHS]


def test_functions_call_on_after_a_router_and_a_control_plane_were_killed(server: Server) -> None:
    for program in ("router", "app"):
        (pid,) = server.processes()[program]
        os.kill(pid, signal.SIGKILL)
        assert calls(server) == b"200 heard from a container"
        wait_for(lambda p=program, old=pid: server.processes()[p] not in ([], [old]), what=f"another {program}")  # type: ignore[misc]
    wait_for(lambda: server.api("GET", "/api/v1/functions").status == 200, what="the API")
    assert calls(server) == b"200 heard from a container"


def networks_of(gateway: str) -> list[str]:
    """Names of the networks with that gateway."""
    host = urlsplit(gateway).hostname
    found = docker_engine().do(lambda client: client.networks())
    return [each["Name"] for each in found if host in [c.get("Gateway") for c in each["IPAM"]["Config"] or []]]


def asked_from(network: str, url: str) -> list[str]:
    """What a container on that network is answered at each of the paths."""
    engine = docker_engine()
    config = engine.do(lambda client: client.create_host_config(network_mode=network))
    command = ["python3", "-c", ASK, url, *PATHS]
    made = engine.do(lambda client: client.create_container(BASE_IMAGE, command, host_config=config))
    try:
        engine.do(lambda client: client.start(made))
        engine.do(lambda client: client.wait(made))
        return engine.do(lambda client: client.logs(made)).decode().splitlines()
    finally:
        with suppress(Exception):
            engine.do(lambda client: client.remove_container(made, force=True))
