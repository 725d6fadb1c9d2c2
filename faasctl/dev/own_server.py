"""A server for one session: beside the stack file, on a free port, and gone afterwards with all that it made."""

import contextlib
import ctypes
import fcntl
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
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from faasctl.config import DEFAULT_URL, Credentials, Server, credentials_path, read_logins
from faasctl.errors import CliError, failed
from faasctl.logins import forget_login, store_login

FOLDER = ".pilotlight"
DEFAULT_PORT = 8080
START_SECONDS = 60.0
STOP_SECONDS = 45.0
_READY = re.compile(r"is ready on (http://\S+)")
_LOOK_SECONDS = 0.01
_LAST_LINES = 5
_PR_SET_PDEATHSIG = 1
_PYTHON = (sys.executable, "-P", "-m")
"""Nothing of the user's own folder is imported by the server."""


class OwnServer:
    """Started, asked, and stopped by one session. `notes` has what its user should know."""

    def __init__(self, project: Path, *, port: int | None, keep: bool, env: Mapping[str, str]) -> None:
        self._port = port
        self._keep = keep
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None
        self._former: tuple[str, str] | None = None
        """Whose login was stored for this address before."""
        self._settings: dict[str, object] = {}
        self._asked = 0
        self.notes: list[str] = []
        self.url = ""
        self.folder, self._removable, self._lock = _claimed(project, keep=keep)

    @property
    def kept(self) -> bool:
        """Whether its data outlive the session."""
        return not self._removable

    @property
    def log(self) -> Path:
        return self.folder / "server.log"

    def start(self) -> Server:
        """Returns when it is ready."""
        if find_spec("pilotlight") is None:
            raise failed("server-missing", "the server is not installed beside faasctl", "pip install pilotlight")
        port = self._free_port()
        self._settings = {
            "data_dir": str(self.folder.absolute()),
            "port": port,
            "metrics_port": 0,
            "control": {"drain_seconds": 2.0, "kill_grace_seconds": 2.0},
        }
        logins = credentials_path(self._env)
        with contextlib.suppress(CliError):  # the supervisor says what is wrong with the file
            self._former = read_logins(logins).get(f"http://127.0.0.1:{port}")
        command = [*_PYTHON, "pilotlight.supervisor", "--settings-json", json.dumps(self._settings)]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--credentials-file", str(logins)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=dict(self._env),
                start_new_session=True,  # a Ctrl-C on the terminal is the session's alone
                preexec_fn=_end_with_parent(),
            )
        self.url = self._ready()
        self._describe()
        return Server(url=self.url, origin="faasctl dev", credentials=self._credentials())

    def ended(self) -> str | None:
        """How it ended by itself, with its last lines; None while it runs."""
        if self._process is None or self._process.poll() is None:
            return None
        code = self._process.returncode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        last = "\n".join(self._last_lines())
        return f"the server {how}" + (f"; its last words:\n{last}" if last else "")

    def stop(self) -> bool:
        """End it, and remove what was made for this session; whether it was started at all. Interrupted, it insists;
        interrupted again, it kills."""
        if self._process is not None and self._process.poll() is not None:
            self._stop_orphans()
        elif self._process is not None:
            self._process.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            while self._process.poll() is None and time.monotonic() < deadline:
                try:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        self._process.wait(0.2)
                except KeyboardInterrupt:
                    self._insist()
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            if self._process.returncode != 0:
                self._stop_orphans()
        self._clean_up()
        return self._process is not None

    def _stop_orphans(self) -> None:
        """A supervisor that was killed could not end what runs; its next start would adopt it, and there is none."""
        command = [*_PYTHON, "pilotlight.app", "--stop-all", "--settings-json", json.dumps(self._settings)]
        with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STOP_SECONDS, check=False)

    def _insist(self) -> None:
        self._asked += 1
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM if self._asked < 2 else signal.SIGKILL)

    def _clean_up(self) -> None:
        if self.url:
            path = credentials_path(self._env)
            with contextlib.suppress(CliError):
                if self._former is None:
                    forget_login(path, self.url)
                else:
                    store_login(path, self.url, *self._former)
        if self._removable:
            shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self._lock)

    def _free_port(self) -> int:
        """The one that was asked for, else 8080, else a free one, which is said."""
        if self._port is not None:
            if self._port and not _is_free(self._port):
                detail = f"port {self._port} of 127.0.0.1 is in use"
                raise failed("port-in-use", detail, "Leave --port out to get a free one, or choose another.")
            return self._port
        if _is_free(DEFAULT_PORT):
            return DEFAULT_PORT
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        self.notes.append(f"port {DEFAULT_PORT} is in use; this session is on {port} (--port chooses one)")
        return port

    def _ready(self) -> str:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = _READY.search(self.log.read_text(errors="replace"))
            if found is not None:
                return found[1]
            if (ended := self.ended()) is not None:
                raise failed("dev-server", f"the session's own server did not start: {ended}")
            time.sleep(_LOOK_SECONDS)
        last = "\n".join(self._last_lines())  # the log itself goes with the session
        detail = f"the session's own server was not ready within {START_SECONDS:g} s; its last words:\n{last}"
        raise failed("dev-server", detail)

    def _credentials(self) -> Credentials:
        auth = self.folder / "auth"
        try:
            user, password = ((auth / f"basic-auth-{name}").read_text().strip() for name in ("user", "password"))
        except OSError as error:
            raise failed("dev-server", f"cannot read the login of the session's own server: {error}") from None
        return Credentials(user=user, password=password, origin=str(auth))

    def _describe(self) -> None:
        """For the next session that is started in this folder; what is locked may be the folder itself."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()} {self.url}".encode(), 0)

    def _last_lines(self) -> list[str]:
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
        return []


def _claimed(project: Path, *, keep: bool) -> tuple[Path, bool, int]:
    """The session's folder, whether it is removed at the end, and its lock."""
    folder = project / FOLDER
    made = not folder.exists()
    try:
        folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, exist_ok=True)
        lock = os.open(folder / "dev.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        return _temporary(project)
    _lock(lock, project)
    if not _others_may_enter(folder):
        if made:
            shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)
        return _temporary(project)
    marker = folder / "kept"
    if keep:
        marker.touch()
    with contextlib.suppress(OSError):
        (folder / ".gitignore").write_text("*\n")
    return folder, not marker.exists(), lock


def _lock(fd: int, project: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        said = ""
        with contextlib.suppress(OSError):
            said = os.pread(fd, 200, 0).decode(errors="replace")
        os.close(fd)
        pid, _, url = said.partition(" ")
        where = (f" on {url}" if url else "") + (f" (process {pid})" if pid else "")
        detail = f"another `faasctl dev` works on {project.absolute()}{where}"
        raise failed("dev-twice", detail, "End it with Ctrl-C there, or use it: it watches the same files.") from None


def _temporary(project: Path) -> tuple[Path, bool, int]:
    """Where the project's folder cannot be written, or functions' user cannot get there."""
    lock = os.open(project, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _lock(lock, project)
    folder = Path(tempfile.mkdtemp(prefix="pilotlight-dev-"))
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
    return folder, True, lock


def _others_may_enter(folder: Path) -> bool:
    """Started as root, functions run as another user, who must be able to walk to the bundles."""
    if os.geteuid() != 0:
        return True
    place = folder.resolve()
    return all(os.stat(each).st_mode & 0o001 for each in (place, *place.parents))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _end_with_parent() -> Callable[[], None]:
    """Run in the child: should this process be killed, its server is asked to stop."""
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return ask


def is_default(url: str) -> bool:
    """Whether commands in another terminal find it without being told."""
    return url == DEFAULT_URL
