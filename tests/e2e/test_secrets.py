"""A secret's way from the user to the handler, and that it is nowhere else: one marker, searched for everywhere."""

import base64
import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from pilotlight.config import run_dir_of
from pilotlight.providers.process.records import secrets_dir
from tests.harness import Server, wait_for

MARKER = "marker-8c1f-in-no-other-place"
BINARY = b"\x00\x01binary\xff"
PRINTS_WHAT_IT_HAS = """
import hashlib, os

def init():
    print("starting with", sorted(os.listdir(os.environ["PILOTLIGHT_SECRETS"])))

def handle(event, context):
    if event.path == "/raise":
        raise RuntimeError("a handler's own error")
    folder = os.environ["PILOTLIGHT_SECRETS"]
    names = sorted(os.listdir(folder))
    read = {name: open(os.path.join(folder, name), "rb").read() for name in names}
    return {
        "digests": {name: hashlib.sha256(value).hexdigest() for name, value in read.items()},
        "environment": dict(os.environ),
        "mode": oct(os.stat(folder).st_mode & 0o777),
    }
"""


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture
def uses(server: Server) -> str:
    """A function with the marker in its secret, that was called, failed, scaled, listed and deployed again."""
    if server.api("GET", "/api/v1/functions/uses").status == 404:
        value = base64.b64encode(BINARY).decode()
        assert server.api("POST", "/system/secrets", {"name": "binary", "rawValue": value}).status == 202
        assert server.api("PUT", "/api/v1/secrets/token", {"value": "first"}).status == 201
        server.deploy("uses", PRINTS_WHAT_IT_HAS, secrets=["token", "binary"], auth="key")
        assert server.api("PUT", "/api/v1/secrets/token", {"value": MARKER}).status == 200
        server.deploy("uses", PRINTS_WHAT_IT_HAS, secrets=["token", "binary"], auth="key")
    return "uses"


def key_of(server: Server, name: str) -> str:
    """Also of a server whose control plane is just coming back."""
    answer = wait_for(lambda: (a := server.api("GET", f"/api/v1/functions/{name}/key")).status == 200 and a)
    return str(answer.json()["key"])


def call(server: Server, name: str, path: str = "") -> bytes:
    answer = server.call(f"/function/{name}{path}", headers={"X-Function-Key": key_of(server, name)})
    return answer.body


def folders(server: Server) -> Path:
    return secrets_dir(run_dir_of(server.data_dir))


def test_a_handler_finds_the_present_values_as_files_for_it_alone(server: Server, uses: str) -> None:
    said = json.loads(call(server, uses))
    expected = {"token": MARKER.encode(), "binary": BINARY}
    assert said["digests"] == {name: hashlib.sha256(value).hexdigest() for name, value in expected.items()}
    assert said["mode"] == "0o700"
    assert MARKER not in json.dumps(said["environment"])


def test_it_is_in_no_file_no_answer_and_no_process(server: Server, uses: str) -> None:
    call(server, uses)
    call(server, uses, "/raise")
    key = key_of(server, uses)
    answers = [
        server.api("GET", path).body.decode()
        for path in (
            "/api/v1/functions",
            f"/api/v1/functions/{uses}",
            f"/api/v1/functions/{uses}/logs",
            "/api/v1/secrets",
            "/api/v1/secrets/token",
            "/system/functions",
            f"/system/function/{uses}?usage=1",
            "/system/secrets",
            f"/system/logs?name={uses}",
        )
    ]
    commands = (["list"], ["list", "--json"], ["describe", uses], ["logs", uses], ["secret", "list"])
    answers += [ran.out + ran.err for ran in (server.faasctl(*command) for command in commands)]
    for value in (MARKER, base64.b64encode(MARKER.encode()).decode(), key):
        assert [answer for answer in answers if value in answer] == []
        assert holders(server.folder, value.encode()) == []
        assert in_processes(server, value.encode()) == []


def holders(folder: Path, value: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and value in path.read_bytes()]


def in_processes(server: Server, value: bytes) -> list[str]:
    """Of all our processes: arguments and environments, as the kernel shows them to root and to their user."""
    found = []
    pids = [server.pid, *(pid for group in server.processes().values() for pid in group)]
    for pid in pids:
        for name in ("environ", "cmdline"):
            try:
                content = Path(f"/proc/{pid}/{name}").read_bytes()
            except OSError:
                continue
            if value in content:
                found.append(f"{pid} {name}")
    return found


def test_the_search_would_find_it(server: Server, uses: str, tmp_path: Path) -> None:
    (tmp_path / "leak").write_text(f"x{MARKER}x")
    assert holders(tmp_path, MARKER.encode()) == [tmp_path / "leak"]
    assert in_processes(server, b"pilotlight.app") != []


def test_a_replica_that_is_killed_leaves_no_secret_behind(server: Server, uses: str) -> None:
    call(server, uses)
    [folder] = folders(server).iterdir()
    os.kill(pid_of(server, folder.name), signal.SIGKILL)
    wait_for(lambda: not folder.exists(), what="the folder's removal")


def test_one_that_ends_while_there_is_no_control_plane_leaves_none_either(server: Server, uses: str) -> None:
    call(server, uses)
    [folder] = folders(server).iterdir()
    for pid in (*server.processes()["app"], pid_of(server, folder.name)):
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not folder.exists(), what="the folder's removal")
    assert MARKER not in call(server, uses).decode()


def pid_of(server: Server, replica: str) -> int:
    record = run_dir_of(server.data_dir) / "records" / f"replica-{replica}.json"
    return int(json.loads(record.read_bytes())["pid"])


def test_its_key_opens_a_function_and_nothing_else_does(server: Server, uses: str) -> None:
    key = key_of(server, uses)
    assert server.call(f"/function/{uses}", headers={"X-Function-Key": key}).status == 200
    for headers in ({}, {"X-Function-Key": "plk_wrong"}, {"X-Function-Key": key[:-1]}):
        assert server.call(f"/function/{uses}", headers=headers).status == 401
    rotated = server.api("POST", f"/api/v1/functions/{uses}/key/rotate").json()["key"]
    assert server.call(f"/function/{uses}", headers={"X-Function-Key": key}).status == 401
    assert server.call(f"/function/{uses}", headers={"X-Function-Key": rotated}).status == 200


def test_everything_goes_with_the_server() -> None:
    with Server() as server:
        server.api("PUT", "/api/v1/secrets/token", {"value": MARKER})
        server.deploy("uses", "def handle(event, context):\n    return 'ok'\n", secrets=["token"])
        folder = folders(server)
        assert len(list(folder.iterdir())) == 1
        server.end()
        assert not folder.exists()
