"""A server with `--provider docker`, used as its users do: faasctl up, calls, a crash, images that are not ours."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.engines import TEST_IMAGE, docker_engine
from tests.harness import Server, wait_for

pytestmark = [pytest.mark.docker, pytest.mark.xdist_group("docker"), pytest.mark.timeout(300)]
HELLO = "import os\n\ndef handle(event, context):\n    return f'hello {event.body.decode()}, {os.getuid()}'\n"


@pytest.fixture
def server() -> Iterator[Server]:
    docker_engine()
    with Server("--provider=docker") as made:
        yield made


def test_a_function_of_a_template_is_deployed_called_scaled_to_zero_and_called_again(server: Server) -> None:
    assert "unchanged" not in server.deploy("hello", HELLO, concurrency=3).err
    assert server.call("/function/hello", b"ada").body == b"hello ada, 10001"
    assert "unchanged" in server.deploy("hello", HELLO, concurrency=3).err
    assert server.function("hello")["slots"] == 3
    server.api("POST", "/api/v1/functions/hello/scale", {"replicas": 0})
    wait_for(lambda: not server.function("hello")["replicas_detail"], what="scale to zero")
    cold = server.call("/function/hello", b"bob")
    assert (cold.status, cold.body) == (200, b"hello bob, 10001")
    assert "claim;dur=" in cold.headers["server-timing"]


def test_a_handler_that_cannot_be_imported_is_told_with_its_place(server: Server) -> None:
    ran = server.faasctl("up", "-f", str(server.write_function("broken", "import nothing_there\n" + HELLO)))
    assert ran.code == 1
    assert "error[import-failed]" in ran.err
    assert "handler.py:1" in ran.err


def test_an_image_that_is_not_ours_runs_logs_and_goes_without_a_trace(server: Server) -> None:
    answer = server.api("POST", "/system/functions", {"service": "echo", "image": TEST_IMAGE})
    assert answer.status == 202
    wait_for(lambda: server.call("/function/echo", b"to the log").status == 200, what="the function")
    wait_for(lambda: b"to the log" in server.api("GET", "/system/logs?name=echo").body, what="its log")
    assert server.api("DELETE", "/system/functions", {"functionName": "echo"}).status == 202
    engine = docker_engine()
    wait_for(lambda: not engine.do(lambda client: client.containers(filters={"ancestor": TEST_IMAGE})), what="its end")


def test_a_control_plane_that_was_killed_finds_its_containers_again(server: Server) -> None:
    server.deploy("hello", HELLO)
    (before,) = server.function("hello")["replicas_detail"]
    (pid,) = server.processes()["app"]
    os.kill(pid, signal.SIGKILL)
    assert server.call("/function/hello", b"meanwhile").status == 200
    wait_for(lambda: server.processes()["app"] not in ([], [pid]), what="another control plane")
    wait_for(lambda: server.api("GET", "/api/v1/functions/hello").status == 200, what="its API")
    (after,) = server.function("hello")["replicas_detail"]
    assert after["id"] == before["id"]
