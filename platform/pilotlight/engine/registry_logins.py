"""Logins for registries: those of a Docker configuration file, and those that a function brings as a secret.

A secret called `dockerconfigjson`, or ending in `.dockerconfigjson`, holds a Docker config.json, as Kubernetes' secrets
of that type do. It is for pulling the function's image and never gets into the function itself. Only logins that stand
in it count: no program that it names is ever run.
"""

import base64
import binascii
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotlight.core.errors import RevisionFailed, StartFailed

SECRET = "dockerconfigjson"  # noqa: S105 (a name)
HUB = "docker.io"
_HUB_ADDRESS = "https://index.docker.io/v1/"
"""What Docker Hub is called in these files."""
_TOKEN = "<token>"  # noqa: S105 (what a helper says in place of a user)
_HELPER_SECONDS = 20.0
_LIMIT_BYTES = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A user and a password, or a token in their place. It says nothing of itself in a log."""

    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)

    def sent(self) -> dict[str, str]:
        """As engines want it."""
        if self.token:
            return {"identitytoken": self.token}
        return {"username": self.user, "password": self.password}


def header(login: Login | None) -> str:
    """The value of an engine's X-Registry-Auth."""
    return base64.urlsafe_b64encode(json.dumps(login.sent() if login else {}).encode()).decode()


def parse_header(value: str) -> Login | None:
    """What `header` wrote, or docker's own client; None where it says nothing. ValueError, which repeats nothing of it,
    for what is none."""
    try:
        decoded = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4))
    except (binascii.Error, ValueError):
        raise ValueError("it is no base64") from None
    return _login(_object(decoded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Logins:
    """What a configuration file says."""

    by_registry: Mapping[str, Login]
    helpers: Mapping[str, str]
    """Programs by registry."""
    store: str | None
    """The program for all others."""

    def helper_for(self, registry: str) -> str | None:
        return self.helpers.get(registry) or self.store


def parse_logins(data: bytes) -> Logins:
    """Of a config.json. ValueError, which repeats nothing of it, where it is none."""
    document = _object(data)
    found = {}
    for address, entry in _mapping(document, "auths").items():
        login = _login(entry)
        if login is not None:
            found[host_of(str(address))] = login
    helpers = {host_of(str(name)): str(program) for name, program in _mapping(document, "credHelpers").items()}
    return Logins(by_registry=found, helpers=helpers, store=str(document.get("credsStore") or "") or None)


def host_of(address: str) -> str:
    """The registry that a key of these files stands for: `https://index.docker.io/v1/` is docker.io."""
    host = address.partition("://")[2] if "://" in address else address
    host = host.partition("/")[0].lower()
    return HUB if host in ("index.docker.io", "registry-1.docker.io", HUB) else host


def login_for(registry: str, secrets: Mapping[str, bytes], config: Path | None) -> Login | None:
    """The function's own first, then that of the server's user. Blocks: it may run a program. Raises RevisionFailed for
    a secret that is no configuration, StartFailed where the server's cannot be read."""
    return _of_secrets(registry, secrets) or _of_file(registry, config or default_config(os.environ))


def is_login(secret: str) -> bool:
    """Whether a secret of this name is for pulling alone."""
    return secret == SECRET or secret.endswith(f".{SECRET}")


def for_the_function(secrets: Mapping[str, bytes]) -> dict[str, bytes]:
    """Those that get into the function."""
    return {name: value for name, value in secrets.items() if not is_login(name)}


def default_config(env: Mapping[str, str]) -> Path:
    """Where docker itself looks."""
    folder = env.get("DOCKER_CONFIG")
    return (Path(folder) if folder else Path.home() / ".docker") / "config.json"


def _of_secrets(registry: str, secrets: Mapping[str, bytes]) -> Login | None:
    for name, value in secrets.items():
        if not is_login(name):
            continue
        try:
            found = parse_logins(value).by_registry
        except ValueError as error:
            raise RevisionFailed(
                f"the secret {name} is no Docker configuration: {error}",
                slug="registry-login",
                hint=f"Set it again: faasctl secret update {name} --from-file ~/.docker/config.json",
            ) from None
        if registry in found:
            return found[registry]
    return None


def _of_file(registry: str, path: Path) -> Login | None:
    try:
        with path.open("rb") as file:
            data = file.read(_LIMIT_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    try:
        logins = parse_logins(data)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None
    helper = logins.helper_for(registry)
    try:
        return (_ask(helper, registry) if helper else None) or logins.by_registry.get(registry)
    except ValueError as error:
        raise _unreadable(path, str(error)) from None


def _ask(helper: str, registry: str) -> Login | None:
    """Of a helper program, as its protocol has it; ValueError where it fails."""
    program = f"docker-credential-{helper}"
    found = shutil.which(program)
    if found is None or "/" in helper:
        raise ValueError(f"it names the program {program}, which is not there")
    address = _HUB_ADDRESS if registry == HUB else registry
    try:
        done = subprocess.run(
            [found, "get"], input=address.encode(), capture_output=True, timeout=_HELPER_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ValueError(f"{program}, which it names, did not answer") from error
    if done.returncode:
        said = done.stdout.decode(errors="replace").strip()
        if "not found" in said:
            return None
        raise ValueError(f"{program}, which it names, said: {said[:200] or f'exit code {done.returncode}'}")
    try:
        answer = json.loads(done.stdout)
        user, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"what {program} answered is no login") from None
    if not secret:
        return None
    return Login(token=secret) if user == _TOKEN else Login(user=user, password=secret)


def _login(entry: Any) -> Login | None:
    """Of one entry; None where a program keeps it, or nothing is in it."""
    if not isinstance(entry, dict):
        return None
    if token := entry.get("identitytoken"):
        return Login(token=str(token))
    if entry.get("username") and entry.get("password"):
        return Login(user=str(entry["username"]), password=str(entry["password"]))
    return login_of(str(entry.get("auth") or ""))


def login_of(encoded: str) -> Login | None:
    """Of base64 of `user:password`."""
    try:
        user, colon, password = base64.b64decode(encoded, validate=True).decode().rstrip("\0").partition(":")
    except (binascii.Error, ValueError):
        return None
    return Login(user=user, password=password) if colon and user and password else None


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 (the same to who sent it)
    return document


def _mapping(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = document.get(key)
    return value if isinstance(value, dict) else {}


def _unreadable(path: Path, why: str) -> StartFailed:
    return StartFailed(
        f"the logins in the server's {path} cannot be read: {why}",
        slug="registry-login",
        hint="Correct the file, or install the program that it names, on the server's machine.",
    )
