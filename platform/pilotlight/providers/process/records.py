"""The run directory: sockets, secrets, and a small file for each process, from which the next control plane adopts.

    z/ID.sock, z/ID.log     zygotes: control socket, output
    r/ID.sock               replicas: listening socket; ID is a hash, since a socket's path may have 107 bytes
    records/KIND-ID.json    who runs; written whole (a rename) before anybody hears of it
    secrets/ID/             a replica's secrets, readable by its user alone; in memory, elsewhere if this is a disk

Only `secrets` can be reached by the functions' user, and what lies there is never opened by us again.
"""

import errno
import hashlib
import os
import re
import shutil
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from pilotlight.config import Sandbox, claim_private_dir
from pilotlight.core.errors import InvalidInput
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.base import Pool

BACKLOG = 1024
_ID = re.compile(r"[A-Za-z0-9][-A-Za-z0-9_]{0,63}")
_SECRET = re.compile(r"[A-Za-z0-9_][-._A-Za-z0-9]{0,252}")
_PARTS = ("z", "r", "records")
_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 (claimed with owner and mode checks)
_T = TypeVar("_T")


class ZygoteRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    pool: Pool
    """Its preimports are those that this zygote imports."""
    pid: int = 0
    """0: it was about to be started; whoever answers on its socket is it."""
    started: int = 0
    """Clock ticks since boot."""


class ReplicaRecord(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    function: FunctionKey
    revision: str
    zygote: str
    pid: int
    started: int
    socket: str
    spare_log: str = ""
    """Under which path its log was made, if that was a spare one; see logfiles.py."""
    slots: int = 0
    """0: not known to be ready."""
    phases: dict[str, float] = {}
    memory_mib: int = 0
    """The limit that it watches itself; 0: none."""
    inherited_mib: float = 0.0
    """Of the memory that is not files: what it had of its zygote when it began."""


class RunDir:
    def __init__(self, path: Path, sandbox: Sandbox) -> None:
        self._path = path
        self._sandbox = sandbox
        self._secrets = secrets_dir(path)

    def claim(self) -> None:
        """Make it and its parts, or take them over; InvalidInput when they are somebody else's."""
        passable = 0o711 if self._sandbox.uid is not None else 0o700  # to its own secrets, without seeing others'
        claim_private_dir(self._path, passable)
        for part in _PARTS:
            claim_private_dir(self._path / part)
        claim_private_dir(self._secrets, passable)

    def remove(self) -> None:
        """Everything of ours; the directory itself when nothing of others is left in it."""
        for part in _PARTS:
            shutil.rmtree(self._path / part, ignore_errors=True)
        shutil.rmtree(self._secrets, ignore_errors=True)
        with suppress(OSError):
            self._path.rmdir()

    def zygote_socket(self, zygote: str) -> str:
        return f"{self._path}/z/{zygote}.sock"

    def zygote_log(self, zygote: str) -> str:
        return f"{self._path}/z/{zygote}.log"

    def replica_socket(self, replica: str) -> str:
        return f"{self._path}/r/{socket_name(replica)}"

    def write(self, record: ZygoteRecord | ReplicaRecord) -> None:
        """Whole or not at all. Not synced to disk: after a power cut the processes are gone, too."""
        write_whole(self._record(record), msgspec.json.encode(record))

    def zygotes(self) -> list[ZygoteRecord]:
        return self._read("zygote", ZygoteRecord)

    def replicas(self) -> list[ReplicaRecord]:
        return self._read("replica", ReplicaRecord)

    def drop_zygote(self, record: ZygoteRecord) -> None:
        """Its record goes last: what a crash leaves behind is still known by it."""
        _unlink(self.zygote_socket(record.id), self.zygote_log(record.id), self._record(record))

    def drop_replica(self, record: ReplicaRecord) -> None:
        self.drop_start(record.id)
        _unlink(self._record(record))

    def drop_start(self, replica: str) -> None:
        """What was made for a replica before there was a record of it."""
        _unlink(self.replica_socket(replica))
        shutil.rmtree(self._secrets / replica, ignore_errors=True)

    def sweep(self, zygotes: Iterable[str], replicas: Iterable[str]) -> None:
        """Remove what belongs to none of these: the traces of a crash between making and recording."""
        zygotes, replicas = list(zygotes), set(replicas)
        keep = {self.zygote_socket(z) for z in zygotes} | {self.zygote_log(z) for z in zygotes}
        keep |= {self.replica_socket(r) for r in replicas}
        for part in ("z", "r"):
            _unlink(*(entry.path for entry in os.scandir(self._path / part) if entry.path not in keep))
        _unlink(*(entry.path for entry in os.scandir(self._path / "records") if entry.name.endswith(".tmp")))
        for entry in os.scandir(self._secrets):
            if entry.name not in replicas:
                shutil.rmtree(entry.path, ignore_errors=True)

    def store_secrets(self, replica: str, secrets: Mapping[str, bytes]) -> str | None:
        """A folder of files that only the replica's user can read; None without secrets."""
        if not secrets:
            return None
        folder = f"{self._secrets}/{replica}"
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder, 0o700)
        for name, value in secrets.items():
            write_secret(folder, name, value, mode=0o400)
            self._give(f"{folder}/{name}")
        self._give(folder)  # last: from here on what lies in it is not ours to trust
        return folder

    def _give(self, path: str) -> None:
        if self._sandbox.uid is not None and self._sandbox.gid is not None:
            os.chown(path, self._sandbox.uid, self._sandbox.gid)

    def _record(self, record: ZygoteRecord | ReplicaRecord) -> str:
        kind = "zygote" if isinstance(record, ZygoteRecord) else "replica"
        return f"{self._path}/records/{kind}-{record.id}.json"

    def _read(self, kind: str, shape: type[_T]) -> list[_T]:
        """All records of a kind. One that cannot be read says nothing about any process; it is removed."""
        records = []
        for path in sorted((self._path / "records").glob(f"{kind}-*.json")):
            try:
                records.append(msgspec.json.decode(path.read_bytes(), type=shape))
            except (OSError, msgspec.MsgspecError):
                path.unlink(missing_ok=True)
        return records


def check_id(replica: str) -> str:
    """Replica ids become file names; the control plane makes them, so a wrong one is its bug."""
    if not _ID.fullmatch(replica):
        raise InvalidInput(f"replica id {replica!r}: at most 64 letters, digits, - and _", field="id")
    return replica


def listen(path: str) -> socket.socket:
    """A listening unix socket that only we can connect to; one that was left behind is replaced."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(sock.fileno(), 0o600)  # Linux gives the socket's file this mode: at no moment is it wider
        try:
            sock.bind(path)
        except OSError:
            _unlink(path)
            sock.bind(path)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def secrets_dir(run_dir: Path, *below: str) -> Path:
    """In the run directory (`below` these of its folders), unless that is on a disk and there is memory to be had: a
    secret that lay on a disk can be found there later."""
    if is_in_memory(run_dir.parent) or not is_in_memory(_SHARED_MEMORY) or not os.access(_SHARED_MEMORY, os.W_OK):
        return run_dir.joinpath(*below, "secrets")
    owner = run_dir.name.rpartition("-")[2]
    return _SHARED_MEMORY / "-".join(("pilotlight", str(os.getuid()), owner, *below, "secrets"))


def write_secret(folder: str, name: str, value: bytes, *, mode: int) -> None:
    """A file that was not there; InvalidInput for what is no name of one."""
    if not _SECRET.fullmatch(name):
        raise InvalidInput(f"secret {name!r}: that is no name for a file", field="secrets")
    fd = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with open(fd, "wb") as file:
        file.write(value)
        os.fchmod(file.fileno(), mode)  # whatever the umask is


def write_whole(path: str, data: bytes) -> None:
    """The whole file or none of it. Not synced to disk."""
    fd = os.open(f"{path}.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        if os.write(fd, data) != len(data):  # a disk that becomes full takes a part, and says so the next time
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(fd)
    os.rename(f"{path}.tmp", path)


def socket_name(replica: str) -> str:
    """A hash: a socket's path may have 107 bytes."""
    return f"{hashlib.blake2s(replica.encode(), digest_size=6).hexdigest()}.sock"


def is_in_memory(path: Path) -> bool:
    """Whether files there live in memory (they may still be swapped out)."""
    try:
        device = path.stat().st_dev
        mounts = Path("/proc/self/mountinfo").read_text()
    except OSError:
        return False
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[2] == number:
            return after.split()[0] in ("tmpfs", "ramfs")
    return False


def _unlink(*paths: str) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)
