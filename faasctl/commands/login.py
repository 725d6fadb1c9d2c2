"""`faasctl login`: a server's password, tried at once and then stored; the local server's without typing it."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option, server_option
from faasctl.config import Credentials, Server, choose_server, credentials_path, default_data_dir, given_server, tilde
from faasctl.errors import CliError, ExitCode, Problem, failed, usage
from faasctl.output import Screen

EXAMPLES = """
faasctl login --local
faasctl login https://faas.example.org --password-stdin < password.txt
"""
_PASSWORD_BYTES = 64 * 1024


@make_command(
    "login",
    EXAMPLES,
    help="Store the password of a Pilotlight server, after trying it.\n\nRegistries of images have passwords of their "
    "own: `docker login REGISTRY` stores one, and `faasctl push` uses it.",
)
@click.argument("url", required=False)
@click.option("-u", "--username", "--user", "user", metavar="NAME", help="[default: admin]")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("-p", "--password", metavar="TEXT", help="Every process of the machine can read it here.")
@click.option("--local", is_flag=True, help="Read the credential of the server on this machine.")
@click.option("--data-dir", metavar="DIR", help="With --local: the server's data. [default: as faasctl serve]")
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen,
    url: str | None,
    user: str | None,
    password_stdin: bool,
    password: str | None,
    local: bool,
    data_dir: str | None,
    server: str | None,
) -> None:
    if url and server and url != server:
        raise usage("the address was given twice, and differently", "Give it once: faasctl login URL")
    if sum((password_stdin, password is not None, local)) > 1:
        raise usage("--local, --password-stdin and --password exclude each other", "Give one of them.")
    if local:
        target = _local(Path(data_dir).expanduser() if data_dir else default_data_dir(), url or server)
    else:
        target = _remote(screen, url or server, user, password, stdin=password_stdin)
    _try(target)
    _store(screen, target)


def _local(folder: Path, url: str | None) -> Server:
    """What the server keeps in its data directory: its address, user and password."""
    try:
        found = json.loads((folder / "server.json").read_bytes())
        user, password = ((folder / "auth" / f"basic-auth-{name}").read_text().strip() for name in ("user", "password"))
        address = url or str(found["url"])
    except FileNotFoundError:
        detail = f"no server keeps its data in {tilde(folder)}"
        raise failed(
            "no-local-server",
            detail,
            "Start one: faasctl serve",
            "or name its folder: faasctl login --local --data-dir DIR",
        ) from None
    except PermissionError:
        detail = f"{tilde(folder)} belongs to another user"
        raise failed(
            "no-local-server", detail, f"sudo cat {folder}/auth/basic-auth-password | faasctl login --password-stdin"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise failed(
            "no-local-server", f"cannot read {tilde(folder)}: {error}", "Start the server once more; it writes it."
        ) from None
    server = choose_server(address, env={})
    return replace(
        server,
        origin="--server" if url else f"{tilde(folder)}/server.json",
        credentials=Credentials(user=user, password=password, origin=f"{tilde(folder)}/auth"),
    )


def _remote(screen: Screen, url: str | None, user: str | None, password: str | None, *, stdin: bool) -> Server:
    server = given_server(url)
    own = server.credentials if server.credentials is not None and server.credentials.own else None
    if password is not None:
        screen.say("note: a password on the command line can be seen by others; --password-stdin hides it")
    elif own is not None and not stdin:
        password, user = own.password, user or own.user
    user = user or (own.user if own else "admin")
    if password is None:
        password = _from_stdin() if stdin else _asked(server, user)
    origin = "standard input" if stdin else "this command"
    return replace(server, credentials=Credentials(user=user, password=password, origin=origin))


def _from_stdin() -> str:
    password = sys.stdin.buffer.read(_PASSWORD_BYTES).decode("utf-8", "replace").rstrip("\r\n")
    if not password:
        raise usage(
            "--password-stdin: standard input holds no password",
            "As in: cat password.txt | faasctl login URL --password-stdin",
        )
    return password


def _asked(server: Server, user: str) -> str:
    if not sys.stdin.isatty():
        raise usage(
            "no password was given", "Pipe it in with --password-stdin; on the server's machine: faasctl login --local"
        )
    answer: str = click.prompt(f"Password of {user} at {server.url}", hide_input=True, err=True)
    return answer


def _try(server: Server) -> None:
    """Asks for something that only those who may are told; a refusal is told in words that fit here."""
    from faasctl.client import Client

    try:
        Client(server).get("/api/v1/nodes")
    except CliError as error:
        known = server.credentials
        if error.problems[0].slug == "not-pilotlight":
            raise _registry_meant(server, error.problems[0]) from None
        if error.exit_code != ExitCode.CREDENTIALS or known is None:
            raise
        detail = f"{server.url} refused user `{known.user}` with the password from {known.origin}"
        help_lines = (
            "On the server's machine: faasctl login --local",
            "The password stands there in DATA/auth/basic-auth-password.",
        )
        origin = f"the address: {server.origin}"
        problem = Problem(slug="credentials-refused", detail=detail, origin=origin, help=help_lines)
        raise CliError(ExitCode.CREDENTIALS, problem) from None


def _registry_meant(server: Server, problem: Problem) -> CliError:
    """People who push images try to log in to their registry here."""
    host = server.url.partition("://")[2]
    other = f"If that is a registry of images: docker login {host}"
    return CliError(ExitCode.UNREACHABLE, replace(problem, help=(*problem.helps(), other)))


def _store(screen: Screen, server: Server) -> None:
    from faasctl.config import read_logins
    from faasctl.logins import store_login

    known = server.credentials
    if known is None:
        return
    path = credentials_path(os.environ)
    store_login(path, server.url, known.user, known.password)
    if screen.json:
        screen.document({"server": server.url, "user": known.user, "file": str(path)})
    screen.say(f"Logged in to {server.url} as {known.user}; stored in {tilde(path)}.")
    host = server.url.partition("://")[2]
    if server.url.startswith("http:") and not host.startswith(("127.", "localhost", "[::1]")):
        screen.say("note: http:// does not hide the password on its way; give the server TLS")
    chosen = choose_server(None, env=os.environ)
    if chosen.url != server.url:
        many = len(read_logins(path))
        why = f"{many} logins are stored" if "login" in chosen.origin or many > 1 else chosen.origin
        screen.say(f"note: {why}, so name it: --server {server.url}, or export FAASCTL_SERVER={server.url}")
