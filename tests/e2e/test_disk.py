"""The disk: full, and only what is new fails; over its budget, and what nobody refers to goes; in the middle of a build
when the control plane is killed, and nothing is left."""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.harness import Ran, Server, wait_for
from tests.integration.builder.conftest import source_distribution
from tests.load import Outcome, steady

TALKS = "def handle(event, context):\n    print('x' * 500)\n    return '{}'\n"
PLAIN = "def handle(event, context):\n    return '{}'\n"


@pytest.fixture
def links() -> Iterator[Path]:
    """A folder of packages that builds can reach, unlike pytest's own."""
    with tempfile.TemporaryDirectory(prefix="pl-links-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.fixture
def small_disk() -> Iterator[Server]:
    """A server whose data directory is a disk of 128 MiB, to which its own log goes, too."""
    server = Server()
    server.log = server.data_dir / "server.log"
    server.data_dir.mkdir(mode=0o711)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m,mode=0711", "tmpfs", server.data_dir], capture_output=True
    )
    try:
        if mounted.returncode:
            pytest.skip("a file system cannot be mounted here (that takes root)")
        with server:
            yield server
    finally:
        if not mounted.returncode:
            subprocess.run(["umount", "--lazy", server.data_dir], check=False)
        shutil.rmtree(server.folder, ignore_errors=True)


def fill(server: Server) -> Path:
    """To the last byte, also of the page that the server's log ends in."""
    filler = server.data_dir / "filler"
    for path, size in ((filler, 2**20), (filler, 4096), (server.log, 1)):
        with path.open("ab", buffering=0) as file, suppress(OSError):
            while file.write(b"\n" * size) == size:
                pass
    return filler


def under_load(server: Server, name: str, act: Callable[[], None], *, seconds: float = 6) -> Outcome:
    """What calls of a function answered while something else was done."""
    outcomes: list[Outcome] = []

    def call() -> None:
        outcomes.append(asyncio.run(steady(f"{server.url}/function/{name}", rate=100, seconds=seconds)))

    thread = threading.Thread(target=call)
    thread.start()
    act()
    thread.join()
    return outcomes[0]


def reference(ran: Ran) -> str:
    [line] = [line for line in ran.out.split() if line.startswith("bundle/")]
    return line


def test_a_full_disk_fails_what_is_new_with_a_sentence_and_all_else_goes_on(small_disk: Server) -> None:
    server = small_disk
    server.deploy("warm", TALKS.format("warm"))
    server.deploy("cold", TALKS.format("cold"))
    assert server.api("POST", "/system/scale-function/cold", {"serviceName": "cold", "replicas": 0}).status == 202
    wait_for(lambda: not server.function("cold")["replicas"], what="no replica")
    built = reference(server.faasctl("build", "-f", str(server.write_function("late", PLAIN.format("late")))))
    filler = fill(server)

    def try_everything() -> None:
        ran = server.faasctl("up", "-f", str(server.write_function("new", PLAIN.format("new"))))
        assert (ran.code, "error[storage-full]: new: " in ran.err, "Free space" in ran.err) == (1, True, True), ran.err
        answer = server.api("PUT", "/api/v1/functions/late", {"name": "late", "image": built})
        assert (answer.status, answer.json()["type"]) == (507, "storage-full")
        assert server.call("/function/cold", b"").body == b"cold"
        assert server.api("GET", "/api/v1/functions/late").status == 404
        [app] = server.processes()["app"]
        os.kill(app, signal.SIGKILL)
        wait_for(lambda: server.processes()["app"] not in ([], [app]), what="another control plane")
        wait_for(lambda: server.api("GET", "/api/v1/functions").status == 200, what="its API")
        assert server.faasctl("logs", "warm", "--tail", "1").code == 0

    outcome = under_load(server, "warm", try_everything)
    assert (outcome.failed(), outcome.errors[:3]) == (0, [])

    assert server.end() == 0
    fill(server)
    server.log = server.folder / "second.log"  # the line that tells its address has to be written somewhere
    server.start()
    assert server.call("/function/warm", b"").body == b"warm"
    assert server.api("DELETE", "/api/v1/functions/cold").status in (200, 202, 204)

    filler.unlink()
    server.deploy("new", PLAIN.format("new"))
    answer = server.api("PUT", "/api/v1/functions/late", {"name": "late", "image": built})
    assert answer.status in (200, 201), answer
    assert [server.call(f"/function/{name}").body for name in ("new", "late")] == [b"new", b"late"]
    assert server.call("/function/cold").status == 404
    assert list((server.data_dir / "staging").iterdir()) == []


def test_over_its_budget_what_nobody_refers_to_goes_and_is_told_apart_from_what_never_was() -> None:
    settings = {"disk.budget_mib": 0, "disk.min_age_seconds": 0.5, "disk.interval_seconds": 0.2}
    with Server(settings=settings) as server:
        bundles = server.data_dir / "bundles"
        old = reference(server.faasctl("build", "-f", str(server.write_function("f", PLAIN.format("one")))))
        server.deploy("f", PLAIN.format("one"))
        server.deploy("f", PLAIN.format("two"))
        wait_for(lambda: [path.name for path in bundles.iterdir()] == [server.function("f")["bundle"]])
        answer = server.api("PUT", "/api/v1/functions/f", {"name": "f", "image": old})
        assert (answer.status, answer.json()["type"]) == (404, "bundle-not-found")
        assert server.api("POST", "/system/scale-function/f", {"serviceName": "f", "replicas": 0}).status == 202
        wait_for(lambda: not server.function("f")["replicas"], what="no replica")
        assert server.call("/function/f").body == b"two"
        server.deploy("f", PLAIN.format("one"))
        assert server.call("/function/f").body == b"one"


def test_an_upload_that_a_kill_cut_off_leaves_nothing(own_server: Server) -> None:
    address = urlsplit(own_server.url)
    staging = own_server.data_dir / "staging"
    with socket.create_connection((address.hostname or "", address.port or 0)) as client:
        head = (
            "POST /api/v1/builds?name=x&template=python3-http HTTP/1.1\r\nHost: x\r\nContent-Length: 90000000\r\n"
            f"Authorization: {own_server._basic()}\r\n\r\n"
        )
        client.sendall(head.encode() + b"x" * 5_000_000)
        wait_for(lambda: [path for path in staging.iterdir() if path.stat().st_size > 2**20], what="a part of it")
        kill_app(own_server)
    wait_for(lambda: list(staging.iterdir()) == [], what="an empty staging folder")


def test_a_build_that_a_kill_cut_off_leaves_nothing_on_the_disk_and_nothing_running(links: Path) -> None:
    source_distribution(
        links, "slow", "import time\nopen('/proc/self/comm', 'w').write('slowbuild')\ntime.sleep(120)\n"
    )
    with Server(variables={"UV_FIND_LINKS": str(links), "UV_NO_INDEX": "1"}) as server:
        staging = server.data_dir / "staging"
        ran: list[Ran] = []
        stack = str(server.write_function("x", PLAIN.format("x"), "slow\n"))
        client = threading.Thread(target=lambda: ran.append(server.faasctl("build", "-f", stack)))
        client.start()
        wait_for(lambda: started_from(staging), what="the package's own build")
        kill_app(server)
        client.join()
        wait_for(lambda: list(staging.iterdir()) == [] and started_from(staging) == [], what="nothing left")
        assert ran[0].code == 1
        assert "Traceback" not in ran[0].err
        assert list((server.data_dir / "environments").iterdir()) == []


def kill_app(server: Server) -> None:
    [app] = server.processes()["app"]
    os.kill(app, signal.SIGKILL)
    wait_for(lambda: server.processes()["app"] not in ([], [app]), what="another control plane")
    wait_for(lambda: server.api("GET", "/api/v1/functions").status == 200, what="its API")


def started_from(staging: Path) -> list[str]:
    """Processes that builds in there started, and that sleep in a package's own code."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if str(staging).encode() in Path("/proc", entry, "environ").read_bytes():
                found.append(Path("/proc", entry, "comm").read_text().strip())
        except OSError:
            continue
    return [name for name in found if name == "slowbuild"]
