"""Changing the file of logins: whole or not at all, and readable by its owner alone."""

import json
import os
from pathlib import Path
from typing import Any

from faasctl.config import read_logins, tilde
from faasctl.errors import CliError, failed


def store_login(path: Path, url: str, user: str, password: str) -> None:
    """Raises CliError when the file is damaged or cannot be written."""
    _change(path, _known(path) | {url: {"user": user, "password": password}})


def forget_login(path: Path, url: str) -> bool:
    """Whether there was one."""
    known = _known(path)
    if url not in known:
        return False
    del known[url]
    _change(path, known)
    return True


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
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
            file.write(json.dumps(logins, indent=2) + "\n")
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _cannot_write(path, error) from None


def _cannot_write(path: Path, error: OSError) -> CliError:
    detail = f"cannot write {tilde(path)}: {error.strerror or error}"
    return failed("cannot-write", detail, "Look at the folder's rights, or set XDG_CONFIG_HOME to one of yours.")
