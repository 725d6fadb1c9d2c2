"""The parent of a server: holds the sockets and the lock, and starts the router and the control plane again.

Nothing but the standard library, and hardly anything to do, so that it is the one process that does not fail. Its
children hold the read end of a pipe each, their *lifeline*: at its end the router drains and the control plane leaves
zygotes and replicas running for the next start. That is what happens when the supervisor is killed, and what `keep`
does on purpose. A child that ends with code 2 before the server was ready has said why it cannot run with these
settings: then the server stops.

    python -m pilotlight.supervisor --settings-json JSON [--credentials-file PATH]
"""

import argparse
import contextlib
import ipaddress
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotlight import __version__
from pilotlight.claims import (
    CannotServe,
    credentials,
    inherited,
    listen,
    locked,
    merge_json,
    notify,
    reachable,
    url,
    write_whole,
)
from pilotlight_runtime.process import set_not_dumpable

CANNOT_RUN = 2
"""A child's exit code, at the server's start: starting it again would not help."""
STEADY_SECONDS = 10.0
"""A child that lived this long has started well; its next end is its first again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
STOP_ALL_SECONDS = 30.0
SLACK_SECONDS = 5.0
LETS_GO_SECONDS = 0.2
OPEN_FILES = 65_536

DEFAULTS: dict[str, Any] = {
    "host": "127.0.0.1",
    "port": 8080,
    "metrics_port": 8082,
    "provider": "process",
    "auth": True,
    "keep": False,
}
"""Of the settings that are read here, as config.py has them (it is not imported: it needs more than the library)."""
CONTROL_DEFAULTS = {"drain_seconds": 30.0, "kill_grace_seconds": 10.0}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    set_not_dumpable()
    _raise_file_limit()
    try:
        settings = DEFAULTS | json.loads(options.settings_json)
        with locked(Path(settings["data_dir"])) as lock, contextlib.ExitStack() as closers:
            passed = inherited()
            settings |= {"host": passed[0].getsockname()[0]} if passed else {}
            passed += [listen(settings, name) for name in ("port", "metrics_port")[len(passed) :]]
            public, metrics = (closers.enter_context(sock) for sock in passed[:2])
            settings |= {"port": public.getsockname()[1], "metrics_port": metrics.getsockname()[1]}
            return Supervisor(settings, options, public, metrics, lock).run()
    except CannotServe as error:
        _say(str(error), file=sys.stderr)
        return 1


@dataclass(slots=True)
class Child:
    """A program that is kept running."""

    name: str
    command: list[str]
    fds: tuple[int, ...]
    """Inherited, besides the lifeline."""
    lifeline: tuple[int, int] = field(default_factory=os.pipe)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    ends: int = 0
    """Since it last started well."""
    due: float | None = 0.0
    """When it is to be started; None while it runs."""

    def start(self) -> None:
        """In a session of its own: a Ctrl-C on the terminal is the supervisor's alone."""
        read, _write = self.lifeline
        self.started, self.due = time.monotonic(), None
        try:
            self.process = subprocess.Popen(
                [*self.command, "--lifeline-fd", str(read)],
                pass_fds=(*self.fds, read),
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:  # no memory, too many processes: it may be better soon
            self.due = self.started + LONGEST_PAUSE
            _say(f"pilotlight: the {self.name} could not be started: {error.strerror}", file=sys.stderr)

    def ended(self, status: int) -> str:
        """It ended by itself; a line that says how, and when it is started again."""
        assert self.process is not None  # noqa: S101 (only what was started ends)
        self.process.returncode = code = os.waitstatus_to_exitcode(status)
        now = time.monotonic()
        self.ends = 1 if now - self.started >= STEADY_SECONDS else self.ends + 1
        pause = 0.0 if self.ends == 1 else min(FIRST_PAUSE * 2 ** min(self.ends - 2, 10), LONGEST_PAUSE)
        self.due = now + pause
        again = f"; it is started again in {pause:.1f} s" if pause else "; it is started again"
        return f"the {self.name} ended: {_how(code)}{again}"

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def signal(self, number: int) -> None:
        if self.running and self.process is not None:
            self.process.send_signal(number)

    def cut_lifeline(self) -> None:
        os.close(self.lifeline[1])


class Supervisor:
    def __init__(
        self,
        settings: dict[str, Any],
        options: argparse.Namespace,
        public: socket.socket,
        metrics: socket.socket,
        lock: int,
    ) -> None:
        self._settings = settings
        self._limits = CONTROL_DEFAULTS | settings.get("control", {})
        self._data = Path(settings["data_dir"])
        self._credentials_file: Path | None = options.credentials_file
        self._json = ["--settings-json", json.dumps(settings)]
        self._control_command: list[str] = options.control_command
        self._url = url(settings["host"], settings["port"])
        sockets = (public.fileno(), metrics.fileno())
        numbers = ["--public-fd", str(sockets[0]), "--metrics-fd", str(sockets[1])]
        # What a router listens on besides lies in this pair, and with that outlives it; see router/doors.py.
        self._shelf = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        shelf = tuple(end.fileno() for end in self._shelf)
        numbers += ["--shelf-fds", *map(str, shelf)]
        self.router = Child("router", [*options.router_command, *numbers, *self._json], (*sockets, *shelf))
        # The control plane holds the lock, too: none is started while the one of a killed server still ends.
        self.control = Child("control plane", [*self._control_command, *self._json], (lock,))
        self._children = (self.control, self.router)
        self._stop_asked = 0
        self._hopeless = False
        self._ready = False
        self._user = self._password = ""

    def run(self) -> int:
        """Until a signal asks for the end."""
        wakeup, woken = _signal_pipe(self._asked_to_stop)
        with wakeup, woken:
            self._describe()
            threading.Thread(target=self._announce, daemon=True).start()
            while not self._stop_asked and not self._hopeless:
                self._start_due()
                _sleep_until_signal(wakeup, self._next_due())
                self._reap(restarting=True)
            self._stop(wakeup)
        (self._data / "server.json").unlink(missing_ok=True)
        return 1 if self._hopeless else 0

    def _asked_to_stop(self) -> None:
        self._stop_asked += 1

    def _start_due(self) -> None:
        for child in self._children:
            if child.due is not None and child.due <= time.monotonic():
                child.start()

    def _next_due(self) -> float | None:
        dues = [child.due for child in self._children if child.due is not None]
        return min(dues) if dues else None

    def _reap(self, *, restarting: bool) -> None:
        """Wait for every child that has ended; as process 1 of a container, for strangers' orphans, too."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for child in self._children:
                if child.process is not None and child.process.pid == pid and child.running:
                    line = child.ended(status)
                    if restarting:
                        self._after_end(child, line)

    def _after_end(self, child: Child, line: str) -> None:
        assert child.process is not None  # noqa: S101
        if child.process.returncode == CANNOT_RUN and not self._ready:
            self._hopeless = True
        else:
            _say(f"pilotlight: {line}", file=sys.stderr)

    # Stopping

    def _stop(self, wakeup: socket.socket) -> None:
        """The router first, so that no request loses its replica; asked a second time, everything at once."""
        notify("STOPPING=1")
        if self._hopeless:  # nothing was served; and what one of them said against it is to be the last word
            self._kill(self.router, wakeup)
            self._end(self.control, self._limits["kill_grace_seconds"] + STOP_ALL_SECONDS, wakeup)
            return
        _say("pilotlight: stopping; interrupt once more to stop at once", file=sys.stderr)
        if self._settings["keep"]:
            self._stop_keeping(wakeup)
            return
        self._end(self.router, self._limits["drain_seconds"] + SLACK_SECONDS, wakeup)
        self._end(self.control, self._limits["kill_grace_seconds"] + STOP_ALL_SECONDS, wakeup)
        clean = self.control.process is not None and self.control.process.returncode == 0
        if not clean:
            self._stop_all()

    def _stop_keeping(self, wakeup: socket.socket) -> None:
        """The router is not waited for: it has let go of the port, and finishes what it has while the next server
        serves already. It ends by itself within `drain_seconds`. In a container whose first process this is, it would
        end with us, and what it has with it."""
        longest = self._limits["drain_seconds"] + SLACK_SECONDS
        for child in self._children:
            child.cut_lifeline()
        self._wait(self.router, longest if os.getpid() == 1 else LETS_GO_SECONDS, wakeup)
        self._wait(self.control, longest, wakeup)
        self._kill(self.control, wakeup)

    def _end(self, child: Child, seconds: float, wakeup: socket.socket) -> None:
        child.signal(signal.SIGTERM)
        self._wait(child, seconds, wakeup)
        if child.running:
            _say(f"pilotlight: the {child.name} did not end in time and is killed", file=sys.stderr)
            self._kill(child, wakeup)

    def _kill(self, child: Child, wakeup: socket.socket) -> None:
        child.signal(signal.SIGKILL)
        self._wait(child, SLACK_SECONDS, wakeup, patient=True)

    def _wait(self, child: Child, seconds: float, wakeup: socket.socket, *, patient: bool = False) -> None:
        """Until it has ended, the time is up, or (unless patient) somebody asks to stop once more."""
        deadline = time.monotonic() + seconds
        while child.running and time.monotonic() < deadline and (patient or self._stop_asked < 2):
            _sleep_until_signal(wakeup, deadline)
            self._reap(restarting=False)

    def _stop_all(self) -> None:
        """The control plane could not end its replicas: somebody else has to."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            command = [*self._control_command, "--stop-all", *self._json]
            subprocess.run(command, stdin=subprocess.DEVNULL, timeout=STOP_ALL_SECONDS, check=False)

    # Telling

    def _describe(self) -> None:
        """A file from which clients on this machine learn where the server is; and what its operator must know."""
        described = {
            "url": self._url,
            "metrics_url": url(self._settings["host"], self._settings["metrics_port"]),
            "pid": os.getpid(),
        }
        try:
            write_whole(self._data / "server.json", json.dumps(described))
        except OSError as error:  # a full disk; who was told the address needs no file
            _say(f"pilotlight: {self._data / 'server.json'} was not written ({error.strerror}).", file=sys.stderr)
        if self._settings["auth"]:
            self._user, self._password = credentials(self._data / "auth")
        if self._settings["provider"] == "process" and not _is_loopback(self._settings["host"]):
            _say(
                f"pilotlight: {self._settings['host']} can be reached from other machines. Functions run as processes "
                "of this one, and are as trusted as you are; bind to 127.0.0.1 or use containers for others' code.",
                file=sys.stderr,
            )

    def _announce(self) -> None:
        """Once the control plane answers through the router, everything does."""
        address = (reachable(self._settings["host"]), self._settings["port"])
        while not _answers(address):
            time.sleep(0.05)
        self._ready = True
        self._introduce()
        notify("READY=1")
        who = f" (user admin, password in {self._data / 'auth' / 'basic-auth-password'})"
        _say(f"Pilotlight {__version__} is ready on {self._url}{who if self._settings['auth'] else ''}")

    def _introduce(self) -> None:
        """To the command line of who started it: a server that never served is none that one is logged in to."""
        if self._credentials_file is None or not self._settings["auth"]:
            return
        complaint = merge_json(self._credentials_file, {self._url: {"user": self._user, "password": self._password}})
        if complaint:
            _say(f"pilotlight: {complaint}.", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="pilotlight.supervisor", description="Run a Pilotlight server.")
    parser.add_argument("--settings-json", required=True, help="settings as config.py describes them, as JSON")
    parser.add_argument("--credentials-file", type=Path, help="where the CLI keeps servers' credentials")
    python = [sys.executable, "-P", "-m"]
    parser.add_argument("--router-command", type=json.loads, default=[*python, "pilotlight.router"], help="for tests")
    parser.add_argument("--control-command", type=json.loads, default=[*python, "pilotlight.app"], help="for tests")
    return parser.parse_args(arguments)


def _raise_file_limit() -> None:
    """A router needs a descriptor for each connection; many systems start programs with 1,024."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _signal_pipe(asked_to_stop: Callable[[], None]) -> tuple[socket.socket, socket.socket]:
    """A socket that becomes readable with every signal; a stop is noted by the handler itself."""
    wakeup, woken = socket.socketpair()
    wakeup.setblocking(False)
    woken.setblocking(False)
    signal.set_wakeup_fd(woken.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: asked_to_stop())
    return wakeup, woken


def _sleep_until_signal(wakeup: socket.socket, deadline: float | None) -> None:
    wakeup.settimeout(None if deadline is None else max(0.001, deadline - time.monotonic()))
    with contextlib.suppress(TimeoutError):
        wakeup.recv(4096)


def _answers(address: tuple[str, int]) -> bool:
    """Whether the control plane does: the router has an answer of its own for /healthz. It may well be a 401."""
    with contextlib.suppress(OSError), socket.create_connection(address, timeout=2) as sock:
        sock.sendall(b"GET /system/info HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return sock.recv(64)[:10] in (b"HTTP/1.1 2", b"HTTP/1.1 4")
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _how(code: int) -> str:
    if code >= 0:
        return f"exited with code {code}"
    with contextlib.suppress(ValueError):
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    return f"killed by signal {-code}"


def _say(text: str, *, file: Any = None) -> None:
    """To the terminal, if there still is one."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=file or sys.stdout, flush=True)


if __name__ == "__main__":
    sys.exit(main())
