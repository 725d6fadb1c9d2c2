"""A supervisor over stand-ins, and the questions that tests ask of it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

STANDIN = Path(__file__).with_name("standin.py")


class Server:
    """A supervisor that was started in a folder; `settings` are its port and what the test adds."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.output = folder / "output"
        settings = {"data_dir": str(self.data), "port": 0, "metrics_port": 0} | settings
        command = [sys.executable, "-m", "pilotlight.supervisor", "--settings-json", json.dumps(settings)]
        command += ["--credentials-file", str(folder / "cli" / "credentials.json")]
        for option, role in (("--router-command", "router"), ("--control-command", "control")):
            command += [option, json.dumps([sys.executable, str(STANDIN), role, str(folder)])]
        with self.output.open("a") as output:
            self.process = subprocess.Popen(command, stdout=output, stderr=output)

    def said(self) -> str:
        return self.output.read_text()

    def until_ready(self) -> "Server":
        eventually(lambda: "is ready on" in self.said())
        return self

    def address(self) -> tuple[str, int]:
        url = json.loads((self.data / "server.json").read_text())["url"]
        return "127.0.0.1", int(url.rpartition(":")[2])

    def pid(self, role: str) -> int:
        return int((self.folder / f"{role}.pid").read_text() or 0)

    def log(self, role: str) -> list[str]:
        path = self.folder / f"{role}.log"
        return path.read_text().splitlines() if path.exists() else []

    def ask(self) -> bytes:
        with socket.create_connection(self.address(), timeout=10) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return sock.recv(1024)

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def eventually(holds: Callable[[], object], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers over the same folder; everything of them is gone after the test."""
    servers: list[Server] = []

    def start_server(**settings: object) -> Server:
        servers.append(Server(tmp_path, **settings))
        return servers[-1]

    yield start_server
    for server in servers:
        server.process.kill()
        server.process.wait()
    for role in ("router", "control"):
        if (tmp_path / f"{role}.pid").exists():
            with_pid = int((tmp_path / f"{role}.pid").read_text())
            eventually(lambda pid=with_pid: _gone(pid))  # type: ignore[misc]


def _gone(pid: int) -> bool:
    """Its lifeline has ended with the supervisor."""
    try:
        return os.readlink(f"/proc/{pid}/exe") == "" or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    except OSError:
        return True
