"""A real zygote, driven as a provider drives it: descriptors in, frames out, replicas called over their sockets."""

import contextlib
import http.client
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotlight_runtime import launch
from pilotlight_runtime.logs import Record, parse_line

RUNTIME = Path(__file__).resolve().parents[3] / "runtime" / "pilotlight_runtime"
DEADLINE = 20.0
_numbers = itertools.count(1)


def until(condition: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """The condition's first true value."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s")
        time.sleep(0.005)
    return value


def alive(pid: int) -> bool:
    """Running: a zombie that nobody has waited for yet does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


class _UnixHTTPConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("function", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Replica:
    """What a provider holds of a replica."""

    def __init__(self, folder: Path) -> None:
        self.id = f"r{next(_numbers)}"
        self.address = folder / f"{self.id}.sock"
        self.log = folder / f"{self.id}.log"
        self.log_previous = folder / f"{self.id}.log.1"
        self.channel, self._theirs = socket.socketpair()
        self.channel.settimeout(DEADLINE)
        self.pid = 0
        self.launched: dict[str, Any] = {}

    def descriptors(self) -> list[int]:
        """Freshly opened; the caller closes them."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(self.address))
        listener.listen(128)
        append = os.O_CREAT | os.O_APPEND
        log = os.open(self.log, os.O_RDWR | append, 0o644)
        previous = os.open(self.log_previous, os.O_RDWR | os.O_CREAT, 0o644)
        return [listener.detach(), self._theirs.detach(), log, previous]

    def close(self) -> None:
        self.channel.close()
        self._theirs.close()

    def hear(self) -> dict[str, Any]:
        return launch.receive(self.channel)[0]

    def ready(self) -> dict[str, Any]:
        message = self.hear()
        assert message["type"] == "ready", message
        return message

    def failed(self) -> dict[str, Any]:
        message = self.hear()
        assert message["type"] == "failed", message
        return message

    def keep(self) -> None:
        with contextlib.suppress(launch.ChannelClosed):  # it may have failed and ended already
            launch.send(self.channel, {"type": "keep"})

    def connect(self) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(DEADLINE)
        sock.connect(str(self.address))
        return sock

    def call(
        self, path: str = "/", body: bytes | None = None, *, method: str = "GET", headers: dict[str, str] | None = None
    ) -> Reply:
        connection = _UnixHTTPConnection(self.address, DEADLINE)
        try:
            connection.request(method if body is None else "POST", path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def records(self) -> list[Record]:
        return [parse_line(line) for line in self.log.read_bytes().splitlines()]

    def lines(self) -> list[str]:
        return [record.text for record in self.records()]


class Zygote:
    """A zygote's process and the control connection to it."""

    def __init__(self, folder: Path, variables: dict[str, str], **config: Any) -> None:
        self.folder = folder
        self.control_path = folder / f"zygote{next(_numbers)}.sock"
        self._replicas: list[Replica] = []
        self._start(variables, {"spares": 1, "idle_end_seconds": 900} | config)
        self.connect()

    def _start(self, variables: dict[str, str], config: dict[str, Any]) -> None:
        defaults: dict[str, Any] = {"environment": "e1", "namespace": "n1", "preimports": [], "prime": None}
        read, write = os.pipe()
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.control_path))
            listener.listen()
            os.write(write, json.dumps(defaults | config).encode())
            os.close(write)
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    str(RUNTIME / "bootstrap.py"),
                    "zygote",
                    "--control-fd",
                    str(listener.fileno()),
                    "--config-fd",
                    str(read),
                ],
                pass_fds=(listener.fileno(), read),
                env={"PATH": "/usr/bin:/bin"} | variables,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        os.close(read)

    def connect(self) -> dict[str, Any]:
        """Anew; the old connection, if there is one, is not closed before."""
        control, self.control = getattr(self, "control", None), socket.socket(socket.AF_UNIX)
        self.control.settimeout(DEADLINE)
        self.control.connect(str(self.control_path))
        self.hello = self.hear("hello")
        if control is not None:
            control.close()
        return self.hello

    def hear(self, kind: str) -> dict[str, Any]:
        """The next message of this kind; others are passed over."""
        while True:
            message, _ = launch.receive(self.control)
            if message["type"] == kind:
                return message

    def say(self, message: dict[str, Any]) -> None:
        launch.send(self.control, message)

    def wait_for_spares(self, count: int) -> None:
        ready = self.hello["spares"]
        while ready != count:
            ready = self.hear("spares")["ready"]

    def bundle(self, handler: str, **files: str) -> Path:
        """A folder with the function's files: `utils="..."` becomes utils.py."""
        bundle = self.folder / f"bundle{next(_numbers)}"
        (bundle / "function").mkdir(parents=True)
        for name, text in ({"handler": handler} | files).items():
            (bundle / "function" / f"{name}.py").write_text(text)
        return bundle

    def ask(self, replica: Replica, bundle: Path, **order: Any) -> None:
        """Both halves of a launch."""
        defaults: dict[str, Any] = {
            "type": "launch", "id": replica.id, "function": "hello.openfaas-fn", "revision": "7", "bundle": str(bundle),
            "contract": "http", "handler": "handler", "variables": {}, "secrets_dir": None, "memory_mib": None,
            "open_files": 1024, "processes": 4096, "concurrency": None, "timeout_seconds": 10.0,
            "max_stream_seconds": 3600.0, "debug": False,
            "idle_end_seconds": 900,
        }  # fmt: skip
        launch.send(replica.channel, defaults | order)
        descriptors = replica.descriptors()
        message = {"type": "launch", "id": replica.id, "function": "hello.openfaas-fn", "revision": "7"}
        launch.send(self.control, message, descriptors)
        for fd in descriptors:
            os.close(fd)

    def new(self) -> Replica:
        """One to be launched with `ask`."""
        self._replicas.append(Replica(self.folder))
        return self._replicas[-1]

    def launch(self, handler: str | Path, *, keep: bool = True, **order: Any) -> Replica:
        """A replica of the handler, launched but perhaps not ready."""
        replica = self.new()
        self.ask(replica, handler if isinstance(handler, Path) else self.bundle(handler), **order)
        replica.launched = self.hear("launched")
        replica.pid = replica.launched["pid"]
        if keep:
            replica.keep()
        return replica

    def serve(self, handler: str | Path, **order: Any) -> Replica:
        """A replica of the handler that is ready."""
        replica = self.launch(handler, **order)
        replica.ready()
        return replica

    def status_of(self, replica: Replica) -> int:
        """How the replica ended: its exit code, or the signal's number below zero."""
        while (end := self.hear("ended"))["id"] != replica.id:
            pass
        return os.waitstatus_to_exitcode(end["status"])

    def end(self) -> None:
        self.control.close()
        self.process.kill()
        self.process.wait()
        for replica in self._replicas:
            replica.close()
            if replica.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(replica.pid, signal.SIGKILL)
