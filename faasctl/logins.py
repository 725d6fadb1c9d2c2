"""Changing the file of logins: whole or not at all, one after the other, and readable by its owner alone."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from faasctl.config import read_logins, tilde
from faasctl.errors import CliError, failed


def store_login(path: Path, url: str, user: str, password: str) -> None:
    """Raises CliError when the file is damaged or cannot be written."""
    with _alone(path):
        _change(path, _known(path) | {url: {"user": user, "password": password}})


def forget_login(path: Path, url: str) -> bool:
    """Whether there was one."""
    if url not in _known(path):
        return False
    with _alone(path):
        known = _known(path)
        known.pop(url, None)
        _change(path, known)
    return True


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Nobody else changes it meanwhile: a server that starts writes its login there, too, under the same lock. That is
    the folder's, since the file itself is replaced."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_write(path, error) from None
    try:
        with suppress(OSError):  # some network file systems lock no folder
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _known(path: Path) -> dict[str, Any]:
    read_logins(path)  # a damaged file is told, never overwritten
    try:
        known: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    return known


def _change(path: Path, logins: dict[str, Any]) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(json.dumps(logins, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> CliError:
    detail = f"cannot write {tilde(path)}: {error.strerror or error}"
    return failed("cannot-write", detail, "Look at the folder's rights, or set XDG_CONFIG_HOME to one of yours.")
