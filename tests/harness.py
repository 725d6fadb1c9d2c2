"""A real server for tests, benches and the demo: started by the command line, on free ports, in a folder of its own."""

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
READY = re.compile(r"is ready on (http://\S+)")
ACTIVATE = """
import fcntl, os, sys
numbers = [fcntl.fcntl(int(number), fcntl.F_DUPFD_CLOEXEC, 100) for number in sys.argv[1].split(",")]
os.closerange(3, 100)
for place, number in enumerate(numbers, 3):
    os.dup2(number, place)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(numbers)))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""What systemd does for a service with sockets."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, slots=True)
class Ran:
    code: int
    out: str
    err: str


class Server:
    """`faasctl serve` in a temporary folder. `stop` ends it and says what it left behind."""

    def __init__(
        self,
        *flags: str,
        settings: Mapping[str, object] | None = None,
        variables: Mapping[str, str] | None = None,
        keep_folder: bool = False,
        sockets: Sequence[socket.socket] = (),
    ) -> None:
        # Not pytest's folder: functions run as another user when tests run as root, and must reach theirs.
        self.folder = Path(tempfile.mkdtemp(prefix="pl-"))
        self.folder.chmod(0o711)
        self.data_dir = self.folder / "data"
        self.log = self.folder / "server.log"
        self._flags = [*flags, *(f"--set={name}={value}" for name, value in (settings or {}).items())]
        self._variables = dict(variables or {})
        self._keep_folder = keep_folder
        self._sockets = sockets
        """Listening: the public one, then that for metrics; as passed by a service manager."""
        self._process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def __enter__(self) -> "Server":
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of every command of this server's user."""
        own = {
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "FAASCTL_SERVER": self.url,
            "NO_COLOR": "1",
        }
        return os.environ | self._variables | own

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self._process is not None
        return self._process.pid

    def start(self, *, port: int = 0, variables: Mapping[str, str] | None = None) -> None:
        """Returns when it is ready; AssertionError with its log when it does not get there."""
        command = [sys.executable, "-m", "faasctl", "serve", f"--data-dir={self.data_dir}"]
        command += [f"--port={port}", "--metrics-port=0", *self._flags]
        numbers = [sock.fileno() for sock in self._sockets]
        if numbers:
            command = [sys.executable, "-c", ACTIVATE, ",".join(map(str, numbers)), *command]
        with self.log.open("ab") as log:
            begin = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment | dict(variables or {}),
                start_new_session=True,
                pass_fds=numbers,
            )
        match = wait_for(lambda: READY.search(self.log.read_text()[begin:]) or self._over(), seconds=60)
        assert match is not True, f"the server ended:\n{self.log.read_text()}"
        self.url = match[1]

    def stop(self, how: signal.Signals = signal.SIGTERM, *, seconds: float = 60) -> int:
        """Ends the supervisor (unless it ended) and removes the folder; its exit code."""
        code = self.end(how, seconds=seconds)
        if not self._keep_folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        return code

    def end(self, how: signal.Signals = signal.SIGTERM, *, seconds: float = 60) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(how)
        return self._process.wait(seconds)

    def faasctl(self, *arguments: str, stdin: bytes | None = None, cwd: Path | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "faasctl", *arguments],
            input=stdin if stdin is not None else b"",
            capture_output=True,
            env=self.environment,
            cwd=cwd or self.folder,
            timeout=300,
            check=False,
        )
        return Ran(done.returncode, done.stdout.decode(), done.stderr.decode())

    def call(
        self,
        path: str,
        body: bytes | None = None,
        *,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: bool = False,
        timeout: float = 70,
    ) -> Answer:
        """One request on a connection of its own."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout)
        sent = dict(headers or {}) | ({"Authorization": self._basic()} if auth else {})
        try:
            connection.request(method or ("POST" if body is not None else "GET"), path, body, sent)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def api(self, method: str, path: str, data: object | None = None) -> Answer:
        body = json.dumps(data).encode() if data is not None else None
        return self.call(path, body, method=method, headers={"Content-Type": "application/json"}, auth=True)

    def function(self, name: str) -> dict[str, Any]:
        answer = self.api("GET", f"/api/v1/functions/{name}")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.json()
        return found

    def write_function(self, name: str, handler: str, requirements: str = "", **spec: object) -> Path:
        """A handler's folder and a stack file of this one function; the stack file's path."""
        folder = self.folder / "functions" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "handler.py").write_text(handler)
        (folder / "requirements.txt").write_text(requirements)
        stack = folder.parent / f"{name}.yaml"
        entry = {"lang": "python3-http", "handler": f"./{name}", "image": f"{name}:latest"} | spec
        document = {"version": "1.0", "provider": {"name": "openfaas"}, "functions": {name: entry}}
        stack.write_text(json.dumps(document))
        return stack

    def deploy(self, name: str, handler: str, requirements: str = "", **spec: object) -> Ran:
        ran = self.faasctl("up", "-f", str(self.write_function(name, handler, requirements, **spec)))
        assert ran.code == 0, (ran, self.log.read_text()[-4000:])
        return ran

    def processes(self) -> dict[str, list[int]]:
        """Pids of the server's children by program: router, app, zygote (with its replicas)."""
        found: dict[str, list[int]] = {"router": [], "app": [], "zygote": []}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                line = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            if str(self.data_dir) not in line:
                continue
            for program, word in (
                ("router", "pilotlight.router"),
                ("app", "pilotlight.app"),
                ("zygote", "bootstrap.py"),
            ):
                if word in line:
                    found[program].append(int(entry.name))
        return found

    def _basic(self) -> str:
        auth = self.data_dir / "auth"
        pair = f"{(auth / 'basic-auth-user').read_text()}:{(auth / 'basic-auth-password').read_text()}"
        return "Basic " + base64.b64encode(pair.encode()).decode()

    def _over(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None


def wait_for(condition: Callable[[], Any], *, seconds: float = 30.0, what: str = "the condition") -> Any:
    """The first truthy value of `condition`; AssertionError when there is none in time."""
    deadline = time.monotonic() + seconds
    while True:
        if value := condition():
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not hold within {seconds:g} s")
        time.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
