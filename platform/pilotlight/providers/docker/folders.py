"""What containers need of this machine's file system: a folder of secrets each, and a note of what was ready.

    RUN/docker/secrets/ID/NAME   mounted read-only into the container; in memory, elsewhere if RUN is on a disk
    RUN/docker/told/ID           the container whose end was told already, and which is about to be removed
    RUN/docker/ready/ID.json     slots and phases of a replica that became ready, for the next control plane

The secrets' parent is for us alone, so on this machine nobody else reaches them; in the container they are for all its
users, of whom we know nothing.
"""

import os
import shutil
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from pilotlight.config import claim_private_dir
from pilotlight.providers.process.records import secrets_dir, write_secret, write_whole

PART = "docker"
"""Of a run directory."""


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    slots: int
    phases: dict[str, float] = {}


class Folders:
    def __init__(self, run_dir: Path) -> None:
        self._run = run_dir
        self._own = run_dir / PART
        self._secrets = secrets_dir(run_dir, PART)
        self._ready = self._own / "ready"
        self._told = self._own / "told"

    def claim(self) -> None:
        if not self._run.exists():
            claim_private_dir(self._run)
        for folder in (self._own, self._ready, self._told, self._secrets):
            claim_private_dir(folder)

    def store_secrets(self, replica: str, secrets: Mapping[str, bytes]) -> str | None:
        """The folder to mount; None without secrets."""
        if not secrets:
            return None
        folder = self._secrets / replica
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o755)
        folder.chmod(0o755)
        write_secrets(str(folder), secrets)
        return str(folder)

    def holds(self, replica: str, secrets: Mapping[str, bytes]) -> bool:
        """Whether its folder has these secrets and no others."""
        folder = self._secrets / replica
        try:
            names = set(os.listdir(folder)) if folder.exists() else set()
            return names == set(secrets) and all((folder / name).read_bytes() == secrets[name] for name in names)
        except OSError:
            return False

    def note_ready(self, replica: str, ready: Ready) -> None:
        write_whole(f"{self._ready}/{replica}.json", msgspec.json.encode(ready))

    def ready(self, replica: str) -> Ready | None:
        try:
            return msgspec.json.decode((self._ready / f"{replica}.json").read_bytes(), type=Ready)
        except (OSError, msgspec.MsgspecError):
            return None

    def note_told(self, replica: str, container: str) -> None:
        (self._told / replica).write_text(container)

    def was_told(self, replica: str, container: str) -> bool:
        try:
            return (self._told / replica).read_text() == container
        except OSError:
            return False

    def drop(self, replica: str) -> None:
        (self._told / replica).unlink(missing_ok=True)
        shutil.rmtree(self._secrets / replica, ignore_errors=True)
        (self._ready / f"{replica}.json").unlink(missing_ok=True)

    def sweep(self, replicas: Collection[str]) -> None:
        """Remove what belongs to none of these."""
        for entry in os.scandir(self._secrets):
            if entry.name not in replicas:
                shutil.rmtree(entry.path, ignore_errors=True)
        for entry in (*os.scandir(self._ready), *os.scandir(self._told)):
            if entry.name.removesuffix(".json") not in replicas:
                os.unlink(entry.path)

    def remove(self) -> None:
        shutil.rmtree(self._secrets, ignore_errors=True)
        shutil.rmtree(self._own, ignore_errors=True)
        with suppress(OSError):  # others' files are in it
            self._run.rmdir()


def write_secrets(folder: str, secrets: Mapping[str, bytes]) -> None:
    """For all users of the container that sees the folder."""
    for name, value in secrets.items():
        write_secret(folder, name, value, mode=0o444)
