"""The user's logins for registries, as `docker login` left them: a file, or helper programs that the file names.

Read for one push, given to the server for that one request, and kept nowhere.
"""

import json
import shutil
import subprocess
from base64 import b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faasctl.config import tilde
from faasctl.errors import CliError, failed

HUB = "docker.io"
_HUB_ADDRESS = "https://index.docker.io/v1/"
"""What Docker Hub is called in these files."""
_HUB_NAMES = ("index.docker.io", "registry-1.docker.io", HUB)
_TOKEN = "<token>"  # noqa: S105 (what a helper says in place of a user)
_HELPER_SECONDS = 30.0
"""It may ask the user for something."""


def login_header(registry: str, env: Mapping[str, str]) -> str | None:
    """The login for a registry as Docker's engine takes it, in base64; None where there is none. CliError where the
    file or its helper program cannot be read; it repeats nothing of either."""
    path = config_path(env)
    document = _read(path)
    if document is None:
        return None
    helper = _by_host(document.get("credHelpers")).get(registry) or document.get("credsStore")
    found = _ask(str(helper), registry, path) if helper else None
    found = found or _login(_by_host(document.get("auths")).get(registry))
    return None if found is None else urlsafe_b64encode(json.dumps(found).encode()).decode()


def config_path(env: Mapping[str, str]) -> Path:
    """Where docker itself looks."""
    folder = env.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path(env.get("HOME") or "~").expanduser() / ".docker") / "config.json"


def registry_of(image: str) -> str:
    """The registry that an image's name stands for."""
    head, slash, _ = image.partition("/")
    return head if slash and ("." in head or ":" in head or head == "localhost") else HUB


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError):
        raise _unreadable(path, "it is not JSON") from None
    if not isinstance(document, dict):
        raise _unreadable(path, "it holds no JSON object")
    return document


def _by_host(section: Any) -> dict[str, Any]:
    """A section's entries by registry; keys may be addresses."""
    return {_host(str(key)): value for key, value in section.items()} if isinstance(section, dict) else {}


def _host(address: str) -> str:
    host = address.rpartition("://")[2].partition("/")[0].lower()
    return HUB if host in _HUB_NAMES else host


def _login(entry: Any) -> dict[str, str] | None:
    if not isinstance(entry, dict):
        return None
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"])}
    try:
        user, colon, password = b64decode(str(entry.get("auth") or ""), validate=True).decode().partition(":")
    except (Error, ValueError):
        return None
    return {"username": user, "password": password.rstrip("\0")} if colon and user else None


def _ask(helper: str, registry: str, path: Path) -> dict[str, str] | None:
    """Of a helper program: the registry goes in, a user and a secret come out."""
    program = f"docker-credential-{helper}"
    found = None if "/" in helper else shutil.which(program)
    if found is None:
        raise _unreadable(path, f"it names the program {program}, which is not on PATH")
    address = _HUB_ADDRESS if registry == HUB else registry
    try:
        done = subprocess.run(
            [found, "get"], input=address.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        raise _unreadable(path, f"{program}, which it names, did not answer") from None
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode:
        if "not found" in said:
            return None
        why = said.partition("\n")[0][:200] or f"exit code {done.returncode}"
        raise _unreadable(path, f"{program}, which it names, said: {why}")
    try:
        answer = json.loads(said)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise _unreadable(path, f"what {program} answered is no login") from None
    if not secret:
        return None
    return {"identitytoken": secret} if user == _TOKEN else {"username": user, "password": secret}


def _unreadable(path: Path, why: str) -> CliError:
    return failed("docker-config-unreadable", f"cannot read the logins in {tilde(path)}: {why}")
