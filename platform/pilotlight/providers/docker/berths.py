"""Berths: what a pool's container sees of this machine, three folders, mounted read-only before it is known for whom.

    RUN/docker/z/ID/zygote.sock    /run/pilotlight: nothing but the socket at which its zygote finds the provider
    DATA/containers/ID/            /home/app/function: a claim links the files of a bundle into it
    secrets/ID/                    /var/openfaas/secrets: a claim writes them; in memory

    RUN/docker/r/HASH.sock         where replicas of zygotes listen; no container sees it, they get it as a descriptor
    RUN/docker/claims/ID.json      which replica the container became; written before anybody hears of it

Nothing here can be written to from inside, so no path that we open again is a function's to change. Files of a bundle
are links of the builder's: ten replicas with the same model have it once in the page cache.
"""

import errno
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from pilotlight.config import claim_private_dir
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.docker.folders import PART, write_secrets
from pilotlight.providers.process.records import secrets_dir as secrets_of
from pilotlight.providers.process.records import socket_name, write_whole

_ID = re.compile(r"[0-9a-f]{8}|s[0-9a-f]{12}")
_NOT_LINKED = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EACCES)


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A container that was made for nobody, and became a replica."""

    replica: str
    zygote: str
    """The id that it was made with."""
    container: str
    function: FunctionKey
    revision: str
    concurrency: int
    cpu_milli: int | None = None
    memory_mib: int | None = None
    notes: tuple[str, ...] = ()
    paused: bool = False
    """It was a paused standby, which has no zygote."""
    spare_log: str = ""
    """Under which path its log was made, if that was a spare one; see logfiles.py."""
    slots: int = 0
    """0: not known to be ready."""
    phases: dict[str, float] = {}


@dataclass(frozen=True, slots=True)
class Berth:
    """The folders of one container, as they are called on this machine."""

    id: str
    socket_dir: str
    bundle_dir: str
    secrets_dir: str

    @property
    def socket(self) -> str:
        return f"{self.socket_dir}/zygote.sock"


class Berths:
    def __init__(self, run_dir: Path, data_dir: Path, secrets_dir: Path | None = None) -> None:
        """`secrets_dir`: in memory; that of all containers unless it is given."""
        self._own = run_dir / PART
        self._zygotes = self._own / "z"
        self._sockets = self._own / "r"
        self._claims = self._own / "claims"
        self._bundles = data_dir / "containers"
        self._secrets = secrets_dir or secrets_of(run_dir, PART)

    def claim_folders(self) -> None:
        for folder in (self._zygotes, self._sockets, self._claims, self._bundles):
            claim_private_dir(folder)

    def of(self, zygote: str) -> Berth:
        if not is_zygote_id(zygote):
            raise ValueError(f"{zygote!r} is no zygote's id")  # it becomes a part of paths that are removed
        return Berth(zygote, str(self._zygotes / zygote), str(self._bundles / zygote), str(self._secrets / zygote))

    def make(self, zygote: str) -> Berth:
        """Empty folders, which everybody inside may read."""
        berth = self.of(zygote)
        try:
            for folder in (berth.socket_dir, berth.bundle_dir, berth.secrets_dir):
                os.mkdir(folder, 0o755)
                os.chmod(folder, 0o755)  # noqa: S103 (whoever the image's user is)
        except BaseException:
            self.drop(zygote)
            raise
        return berth

    def is_fresh(self, zygote: str) -> bool:
        """Its container's folders are there (a run directory may be lost while the engine goes on), and hold nothing of
        a claim that ended in a crash."""
        berth = self.of(zygote)
        if not all(os.path.isdir(folder) for folder in (berth.socket_dir, berth.bundle_dir, berth.secrets_dir)):
            return False
        return not os.listdir(berth.bundle_dir) and not os.listdir(berth.secrets_dir)

    def fill(self, berth: Berth, bundle: Path, values: Mapping[str, bytes]) -> None:
        """What a function brings: its files, and the values of its secrets."""
        link_tree(bundle, Path(berth.bundle_dir))
        write_secrets(berth.secrets_dir, values)

    def replica_socket(self, replica: str) -> str:
        return f"{self._sockets}/{socket_name(replica)}"

    def write(self, claim: Claim) -> None:
        """Whole or not at all. Not synced: after a power cut the containers are gone, too."""
        write_whole(str(self._claim_path(claim.zygote)), msgspec.json.encode(claim))

    def claim_of(self, zygote: str) -> Claim | None:
        return _read_claim(self._claim_path(zygote))

    def claims(self) -> Iterator[Claim]:
        """One that cannot be read says nothing about any container."""
        return filter(None, map(_read_claim, self._claims.glob("*.json")))

    def unlink_socket(self, replica: str) -> None:
        _unlink(self.replica_socket(replica))

    def drop(self, zygote: str, replica: str | None = None) -> None:
        """The claim goes last: what a crash leaves behind is still known by it. `replica`: whose it was to its end."""
        berth = self.of(zygote)
        for folder in (berth.socket_dir, berth.bundle_dir, berth.secrets_dir):
            shutil.rmtree(folder, ignore_errors=True)
        if replica is not None:
            _unlink(self.replica_socket(replica))
        _unlink(str(self._claim_path(zygote)))

    def sweep(self, zygotes: Collection[str]) -> None:
        """Remove what belongs to none of these; secrets are swept with those of all containers."""
        known = set(zygotes)
        sockets = {self.replica_socket(claim.replica) for claim in self.claims() if claim.zygote in known}
        for folder in (self._zygotes, self._bundles):
            for entry in os.scandir(folder):
                if entry.name not in known:
                    shutil.rmtree(entry.path, ignore_errors=True)
        for entry in os.scandir(self._sockets):
            if entry.path not in sockets:
                _unlink(entry.path)
        for entry in os.scandir(self._claims):
            if entry.name.partition(".")[0] not in known or entry.name.endswith(".tmp"):
                _unlink(entry.path)

    def remove(self) -> None:
        shutil.rmtree(self._bundles, ignore_errors=True)

    def _claim_path(self, zygote: str) -> Path:
        return self._claims / f"{zygote}.json"


def _read_claim(path: Path) -> Claim | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Claim)
    except (OSError, msgspec.MsgspecError):
        return None


def new_zygote_id() -> str:
    return secrets.token_hex(4)


def new_standby_id() -> str:
    return "s" + secrets.token_hex(6)


def is_zygote_id(text: str) -> bool:
    """Also a standby's."""
    return _ID.fullmatch(text) is not None


def link_tree(source: Path, target: Path) -> None:
    """All files below `source` appear below `target`, which exists: as links, or as copies on another file system."""
    for entry in os.scandir(source):
        made = target / entry.name
        if entry.is_dir(follow_symlinks=False):
            made.mkdir(mode=0o755)
            made.chmod(0o755)
            link_tree(Path(entry.path), made)
        elif entry.is_file(follow_symlinks=False):
            _link(entry.path, str(made))


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NOT_LINKED:
            raise
        shutil.copyfile(source, target, follow_symlinks=False)
        shutil.copymode(source, target)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)
