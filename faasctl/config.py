"""Which server, and as whom: each answer remembers where it came from, since that is what people get wrong.

The address is the first of: --server, FAASCTL_SERVER, OPENFAAS_URL, `provider: gateway:` of the stack file, the stored
login, the default. The password is the one stored for that address, or stands in the address itself.
"""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from faasctl.errors import CliError, ExitCode, Problem, usage

DEFAULT_URL = "http://127.0.0.1:8080"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    user: str
    password: str
    origin: str
    """For people: the file, or the words "the address itself"."""
    own: bool = False
    """It stood in the address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    url: str
    """Without a slash at its end, and without a password."""
    origin: str
    """For people: what chose this address."""
    credentials: Credentials | None = None
    others: tuple[str, ...] = ()
    """Where the address is the default: those for which a login is stored, and which may have been meant."""


def choose_server(
    flag: str | None, *, gateway: str | None = None, stack_file: str = "the stack file", env: Mapping[str, str]
) -> Server:
    """The server to talk to; `gateway` is what the stack file says, if one was read."""
    path = credentials_path(env)
    logins = read_logins(path)
    text, origin = _address(flag, gateway, stack_file, env, logins, path)
    parts = _parse(text, origin)
    url = f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}{parts.path.rstrip('/')}"
    if parts.password is not None:
        user = unquote(parts.username or "admin")
        own = Credentials(user=user, password=unquote(parts.password), origin="the address itself", own=True)
        return Server(url=url, origin=origin, credentials=own)
    others = tuple(each for each in logins if each != url) if text == DEFAULT_URL else ()
    return Server(url=url, origin=origin, credentials=_login_for(url, logins, path), others=others)


def server_here(flag: str | None, env: Mapping[str, str]) -> Server:
    """The server of a command that reads no stack file; the one in this folder may name it."""
    gateway = stack_file = None
    if flag is None and not any(env.get(name) for name in ("FAASCTL_SERVER", "OPENFAAS_URL")):
        gateway, stack_file = _gateway_here(env)
    return choose_server(flag, gateway=gateway, stack_file=stack_file or "the stack file", env=env)


def given_server(address: str | None) -> Server:
    """The server whose address is an argument of the command, or that of this folder without one."""
    if address is None:
        return server_here(None, os.environ)
    return replace(choose_server(address, env=os.environ), origin="the command line")


def credentials_path(env: Mapping[str, str]) -> Path:
    """Where logins are kept, and where `faasctl serve` tells its server to put its own."""
    base = env.get("XDG_CONFIG_HOME") or str(Path(env.get("HOME") or "~").expanduser() / ".config")
    return Path(base) / "pilotlight" / "credentials.json"


def read_logins(path: Path) -> dict[str, tuple[str, str]]:
    """Address to (user, password); an absent file is an empty one, a broken one is told."""
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _unreadable(path, "it is not JSON") from error
    if not isinstance(data, dict):
        raise _unreadable(path, "it does not hold a JSON object")
    return {
        url: (str(entry["user"]), str(entry["password"]))
        for url, entry in data.items()
        if isinstance(entry, dict) and "user" in entry and "password" in entry
    }


def default_data_dir() -> Path:
    """Where `faasctl serve` lets its server keep everything."""
    if os.geteuid() == 0:
        return Path("/var/lib/pilotlight")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "pilotlight"


def tilde(path: Path) -> str:
    """The path with the home directory as ~."""
    try:
        return f"~/{path.relative_to(Path.home())}"
    except (ValueError, RuntimeError):
        return str(path)


def _gateway_here(env: Mapping[str, str]) -> tuple[str | None, str | None]:
    """`provider: gateway:` of a stack file in this folder; one with mistakes says nothing here."""
    for name in ("stack.yaml", "stack.yml"):
        try:
            with open(name, "rb") as file:
                data = file.read(1 << 20)
        except OSError:
            continue
        # YAML takes 20 ms to import, and most files do not name a server.
        if b"gateway" in data:
            from faasctl.stack import gateway_in

            return gateway_in(data, name, env), name
        break
    return None, None


def _address(
    flag: str | None,
    gateway: str | None,
    stack_file: str,
    env: Mapping[str, str],
    logins: Mapping[str, tuple[str, str]],
    path: Path,
) -> tuple[str, str]:
    if flag:
        return flag, "--server"
    for name in ("FAASCTL_SERVER", "OPENFAAS_URL"):
        if env.get(name):
            return env[name], f"the environment variable {name}"
    # Every stack file that `faas-cli new` wrote names the default address; it says no more than silence does.
    if gateway and gateway.rstrip("/") != DEFAULT_URL:
        return gateway, f"`provider: gateway:` in {stack_file}"
    if len(logins) == 1:
        return next(iter(logins)), f"the login stored in {tilde(path)}"
    nothing = "no FAASCTL_SERVER or OPENFAAS_URL, no `gateway:` in a stack file"
    if len(logins) > 1:
        nothing += f", and {len(logins)} logins in {tilde(path)}"
    return DEFAULT_URL, f"the default address; {nothing}"


def _parse(text: str, origin: str) -> SplitResult:
    """The address in parts; `localhost:9000` means http."""
    example = "Write it as http://127.0.0.1:8080 or https://faas.example.org."
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        _ = parts.port
    except ValueError as error:
        # What Python says quotes the address: of one with a password, a part of that.
        why = "" if "@" in text else f" ({error})"
        raise usage(f"{_masked(text)!r} is no address of a server{why}; it came from {origin}", example) from None
    if "@" in parts.path:
        escape = "In a password / # ? and @ are written as %2F %23 %3F and %40."
        raise usage(f"{_masked(text)!r} is no address of a server; it came from {origin}", escape)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise usage(f"{_masked(text)!r} is no address of a server; it came from {origin}", example)
    if any(character <= " " or character == "\x7f" for character in text):
        raise usage(f"{_masked(text)!r} holds a blank or a control character; it came from {origin}", example)
    return parts


def _masked(text: str) -> str:
    """A password in an address is never repeated."""
    head, at, tail = text.rpartition("@")
    return f"...{at}{tail}" if head else text


def _login_for(url: str, logins: Mapping[str, tuple[str, str]], path: Path) -> Credentials | None:
    for candidate in (url, *_same_machine(url)):
        if candidate in logins:
            user, password = logins[candidate]
            return Credentials(user=user, password=password, origin=_dated(path))
    return None


def _dated(path: Path) -> str:
    """The file of logins with its day, for a password may be older than the server that refuses it."""
    try:
        day = time.strftime("%Y-%m-%d", time.localtime(path.stat().st_mtime))
    except OSError:
        return tilde(path)
    return f"{tilde(path)}, last changed {day}"


def _same_machine(url: str) -> list[str]:
    """localhost and 127.0.0.1 are one server with one password."""
    names = ("//localhost", "//127.0.0.1")
    return [url.replace(one, other, 1) for one, other in (names, names[::-1]) if f"{one}:" in f"{url}:"]


def _unreadable(path: Path, why: str) -> CliError:
    return CliError(
        ExitCode.CREDENTIALS,
        Problem(
            slug="credentials-unreadable",
            detail=f"cannot read the stored logins in {tilde(path)}: {why}",
            help=("Correct the file or remove it; `faasctl serve` writes its own login again.",),
        ),
    )
