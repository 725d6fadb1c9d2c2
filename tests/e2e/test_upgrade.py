"""A new version of the platform takes over from the old one, under load, and no request fails.

The test plays systemd: it holds the listening socket and passes it to both servers (decision 6).
"""

import asyncio
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from pilotlight_runtime import __version__
from tests.figures import roles
from tests.harness import ROOT, Server, wait_for
from tests.load import Outcome, steady

PACKAGES = ("platform/pilotlight", "runtime/pilotlight_runtime", "faasctl")
OLD = "0.0.9"
WHO = "import os\n\ndef handle(event, context):\n    return str(os.getpid())\n"
SLOW = "import os, time\n\ndef handle(event, context):\n    time.sleep(4)\n    return str(os.getpid())\n"


@pytest.fixture
def upgraded() -> Iterator[tuple[Server, dict[str, str]]]:
    """A server that keeps, and the variables that make it an older one."""
    with socket.create_server(("127.0.0.1", 0), backlog=4096) as public:
        server = Server("--keep", sockets=[public])
        try:
            yield server, _older_copy(server.folder / "old")
        finally:
            server.end()
            _end_what_was_kept(server)
            shutil.rmtree(server.folder, ignore_errors=True)


def test_no_warm_request_fails_while_a_new_version_takes_over(upgraded: tuple[Server, dict[str, str]]) -> None:
    server, old = upgraded
    server.start(variables=old)
    assert f"Pilotlight {OLD} is ready" in server.log.read_text()
    server.deploy("who", WHO, scale={"max": 1})
    server.deploy("slow", SLOW, scale={"max": 1})
    pids = {name: server.call(f"/function/{name}").body for name in ("who", "slow")}

    load, slow = asyncio.run(_take_over(server))

    assert load.failed() == 0, (load.statuses, load.errors[:5])
    assert slow.failed() == 0, slow.errors  # it was in the old router, which finished it
    assert set(load.bodies) == {pids["who"]}  # the new version adopted the old one's replica
    assert set(slow.bodies) == {pids["slow"]}
    assert f"Pilotlight {__version__} is ready" in server.log.read_text()
    assert server.call("/function/who").body == pids["who"]


def test_new_replicas_have_the_new_versions_runtime(upgraded: tuple[Server, dict[str, str]]) -> None:
    server, old = upgraded
    server.start(variables=old)
    server.deploy("who", WHO)
    first = int(server.call("/function/who").body)
    server.end()
    server.start()
    assert int(server.call("/function/who").body) == first
    old_layer = _layer(first)
    server.api("POST", "/api/v1/functions/who/scale", {"replicas": 0})
    wait_for(lambda: not psutil.pid_exists(first), what="the end of the old replica")
    second = int(server.call("/function/who").body)
    assert OLD in (old_layer / "pilotlight_runtime" / "__init__.py").read_text()
    assert __version__ in (_layer(second) / "pilotlight_runtime" / "__init__.py").read_text()
    wait_for(lambda: len(roles(server)["zygote"]) == 1, what="the end of the old zygote")


async def _take_over(server: Server) -> tuple[Outcome, Outcome]:
    slow = asyncio.create_task(steady(f"{server.url}/function/slow", rate=1, seconds=1, connections=1))
    load = asyncio.create_task(steady(f"{server.url}/function/who", rate=100, seconds=7))
    await asyncio.sleep(1.5)
    assert await asyncio.to_thread(server.end) == 0
    await asyncio.to_thread(server.start)
    return await load, await slow


def _older_copy(folder: Path) -> dict[str, str]:
    """The checkout under another version's number, ahead of the installed one."""
    for part in (*PACKAGES, "templates"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for package in PACKAGES:
        init = folder / package / "__init__.py"
        init.write_text(re.sub(r'__version__ = ".*"', f'__version__ = "{OLD}"', init.read_text()))
    places = [str((folder / package).parent) for package in PACKAGES]
    return {"PYTHONPATH": os.pathsep.join(places)}


def _layer(pid: int) -> Path:
    """Where a replica's runtime lies; it has its zygote's command line."""
    bootstrap = next(word for word in psutil.Process(pid).cmdline() if word.endswith("bootstrap.py"))
    return Path(bootstrap).parents[1]


def _end_what_was_kept(server: Server) -> None:
    for pid in server.processes()["zygote"]:
        os.kill(pid, signal.SIGKILL)
