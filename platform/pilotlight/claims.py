"""What a server claims on its machine: a data directory, ports, and the files from which its clients learn of it.

Used by the supervisor, so nothing but the standard library.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pilotlight_problems import told

PREDECESSOR_SECONDS = 15.0
"""What a killed server leaves running for a moment (a control plane that ends, a router that drains) is waited for."""
BACKLOG = 4096
FIRST_PASSED_FD = 3
"""As sd_listen_fds(3) has it."""


class CannotServe(Exception):
    """Why there can be no server here; the slug is a row of the table of errors, the cure better than that row's."""

    def __init__(self, slug: str, detail: str, cure: str | None = None) -> None:
        super().__init__(detail)
        self.slug = slug
        self.cure = cure

    def __str__(self) -> str:
        return told(self.slug, str(self.args[0]), self.cure)


@contextlib.contextmanager
def locked(data: Path) -> Iterator[int]:
    """The data directory is one server's; the lock goes with the last process that holds the descriptor."""
    try:
        data.mkdir(mode=0o711 if os.getuid() == 0 else 0o700, parents=True, exist_ok=True)
        fd = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise CannotServe("data-dir-unusable", f"{data} cannot be used: {error.strerror}") from error
    try:
        _take_lock(fd, data)
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield fd
    finally:
        os.close(fd)


def _take_lock(fd: int, data: Path) -> None:
    deadline = time.monotonic() + PREDECESSOR_SECONDS
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 20, 0).decode() or "unknown"
        if Path(f"/proc/{holder}").exists() or time.monotonic() > deadline:
            raise CannotServe("data-dir-in-use", f"another server (process {holder}) uses {data}")
        time.sleep(0.05)  # it was killed, and its control plane is about to end


def listen(settings: dict[str, Any], name: str) -> socket.socket:
    """A listening socket on the port of that name; 0 takes a free one."""
    host, port = settings["host"], settings[name]
    try:
        family, kind, protocol, _name, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise CannotServe("port-unusable", f"{host} is no address of this machine", "Choose another: --host") from error
    deadline = time.monotonic() + PREDECESSOR_SECONDS if (Path(settings["data_dir"]) / "server.json").exists() else 0
    while True:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
        except OSError as error:
            sock.close()
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise _no_port(error, host, port, name.replace("_", "-")) from error
        else:
            sock.listen(BACKLOG)
            return sock
        time.sleep(0.05)  # a server that was killed left its description: its router may still hold the port


def inherited() -> list[socket.socket]:
    """Listening sockets that were opened for this server and passed to it as systemd does (LISTEN_FDS): the public one,
    then that for metrics. Connections that are made while no server runs wait in them."""
    told = {name: os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")}
    if told["LISTEN_PID"] != str(os.getpid()):
        return []
    sockets: list[socket.socket] = []
    try:
        for number in range(int(told["LISTEN_FDS"])):
            sockets.append(socket.socket(fileno=FIRST_PASSED_FD + number))
            sockets[-1].set_inheritable(False)
    except (OSError, ValueError) as error:
        detail = f"LISTEN_FDS says that sockets were passed, and there are none ({error})"
        raise CannotServe("sockets-unusable", detail) from error
    if all(_listens(sock) for sock in sockets):
        return sockets
    for sock in sockets:
        sock.close()
    raise CannotServe("sockets-unusable", "the sockets passed with LISTEN_FDS are no listening TCP sockets")


def _listens(sock: socket.socket) -> bool:
    tcp = sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM
    return tcp and sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def notify(state: str) -> None:
    """A word to systemd (sd_notify), if it started us and listens."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        if address:
            sock.sendto(state.encode(), address)


def _no_port(error: OSError, host: str, port: int, option: str) -> CannotServe:
    if error.errno == errno.EADDRINUSE:
        cure = f"Stop that one, or choose another port: --{option} N (0 takes a free one)."
        whose = ", for metrics," if option == "metrics-port" else ""
        return CannotServe("port-in-use", f"port {port} of {host}{whose} is in use by another program", cure)
    if error.errno == errno.EACCES:
        cure = f"Choose one above 1023: --{option} N"
        return CannotServe("port-unusable", f"port {port} needs rights that this user lacks", cure)
    cure = f"Choose another: --host ADDRESS or --{option} N"
    return CannotServe("port-unusable", f"port {port} of {host} cannot be listened on: {error.strerror}", cure)


def credentials(folder: Path) -> tuple[str, str]:
    """User and password, made at the first start; the user may write others into the files."""
    folder.mkdir(mode=0o700, exist_ok=True)
    values = []
    for name, first in (("basic-auth-user", "admin"), ("basic-auth-password", secrets.token_urlsafe(24))):
        path = folder / name
        if not path.exists():
            write_whole(path, first)
        values.append(path.read_text().strip())
    return values[0], values[1]


def merge_json(path: Path, new: dict[str, Any]) -> str | None:
    """Into a file that others write, too. One that is no JSON object is left as it is; the sentence that says so."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _folder_locked(path.parent):
            known = json.loads(path.read_text()) if path.exists() else {}
            write_whole(path, json.dumps(known | new, indent=2))
    except (ValueError, TypeError, OSError) as error:
        return f"{path} was not changed ({error}); log in with `faasctl login`"
    return None


@contextlib.contextmanager
def _folder_locked(folder: Path) -> Iterator[None]:
    """The lock that faasctl takes, too, when it changes a file there."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def write_whole(path: Path, text: str) -> None:
    """Readable by its owner alone, and never half-written."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    temporary.rename(path)


def url(host: str, port: int) -> str:
    name = reachable(host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def reachable(host: str) -> str:
    """Where a client on this machine finds a server that listens on all addresses."""
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
