"""`faasctl secret`: values go in and never come out again; functions find them as files."""

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from faasctl.commands._common import client_of, family, json_option, namespace_option, server_option
from faasctl.errors import usage
from faasctl.output import BOLD, YELLOW, Screen, Span
from faasctl.words import ago, size, to_unix

EXAMPLES = """
faasctl secret create api-key --from-file key.txt
faasctl secret list
"""
_LIMIT_BYTES = 2**20


@family("secret", EXAMPLES, help="Create, list, update and remove secrets. A function names those that it gets.")
def command() -> None:
    pass


def _value_options(function: Any) -> Any:
    for option in (
        click.option("--trim/--no-trim", default=True, help="Without white space around the value. [default: yes]"),
        click.option("--from-literal", metavar="TEXT", help="The value; other users of this machine can see it."),
        click.option("--from-file", metavar="FILE", help="The value is this file's content; - is standard input."),
        click.argument("name"),
    ):
        function = option(function)
    return namespace_option(server_option(json_option(click.pass_obj(function))))


@command.member(
    "create",
    "faasctl secret create api-key --from-file key.txt\npass api-key | faasctl secret create api-key",
    help="Make a secret, from a file, from the words or from standard input.",
)
@click.option("--replace", is_flag=True, help="Replace one that is there.")
@_value_options
def create(screen: Screen, replace: bool, **options: Any) -> None:
    _put(screen, "replace" if replace else "create", **options)


@command.member(
    "set",
    "faasctl secret set api-key --from-file key.txt\npass api-key | faasctl secret set api-key",
    help="Make a secret, or replace one that is there.",
)
@_value_options
def set_(screen: Screen, **options: Any) -> None:
    _put(screen, "replace", **options)


@command.member(
    "update",
    "faasctl secret update api-key --from-file key.txt\npass api-key | faasctl secret update api-key",
    help="Replace the value of a secret that is there, and fail where there is none.",
)
@_value_options
def update(screen: Screen, **options: Any) -> None:
    _put(screen, "update", **options)


@command.member("list", "faasctl secret list\nfaasctl secret list -q", help="Show the secrets, without their values.")
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def list_(screen: Screen, quiet: bool, namespace: str | None, server: str | None) -> None:
    client = client_of(server)
    answer = client.get("/api/v1/secrets", namespace=namespace)
    found = answer.get("secrets") or []
    if screen.json:
        screen.document(answer)
    elif quiet:
        for each in found:
            screen.data(str(each.get("name")))
    elif not found:
        screen.say(f"No secrets on {client.server.url} yet.  Next: faasctl secret create NAME --from-file FILE")
    else:
        screen.table(["SECRET", "NAMESPACE", "SIZE", "SET", "USED BY"], map(_row, found))


@command.member("remove", "faasctl secret remove api-key\nfaasctl secret rm api-key -n dev", help="Remove secrets.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Even one that functions use; they cannot start any more.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def remove(screen: Screen, names: tuple[str, ...], force: bool, namespace: str | None, server: str | None) -> None:
    from faasctl.each import try_each

    client = client_of(server)

    def one(name: str) -> str:
        client.json("DELETE", _path(name), query={"namespace": namespace, "force": "true" if force else None})
        screen.say(f"{name}  removed.")
        return name

    removed, error = try_each(screen, {name: name for name in names}, one, done="Removed")
    if screen.json:
        screen.document({"removed": removed})
    if error is not None:
        raise error


def _put(
    screen: Screen,
    how: str,
    *,
    name: str,
    from_file: str | None,
    from_literal: str | None,
    trim: bool,
    namespace: str | None,
    server: str | None,
) -> None:
    value = _value(name, from_file, from_literal, trim=trim)
    body = _as_json(value)
    client, query = client_of(server), {"namespace": namespace}
    if how == "create":
        answer = client.json("POST", "/api/v1/secrets", query=query, body={"name": name, **body})
    else:
        if how == "update":
            client.json("GET", _path(name), query=query)  # tells of one that is not there
        answer = client.json("PUT", _path(name), query=query, body=body)
    if screen.json:
        screen.document(answer)
    word = {"create": "created", "update": "updated"}.get(how, "set")
    screen.say(f"{name}  {word}, {size(len(value))}.{_who_is_behind(answer)}")


def _value(name: str, path: str | None, literal: str | None, *, trim: bool) -> bytes:
    """The secret's bytes; no error ever repeats them."""
    if path is not None and literal is not None:
        raise usage("--from-file and --from-literal both give the value", "Use one of them.")
    if literal is not None:
        value = literal.encode("utf-8", "surrogateescape")
    elif path is not None and path != "-":
        value = _read(path)
    elif sys.stdin.isatty():
        raise usage("no value was given", f"faasctl secret create {name} --from-file FILE, or pipe the value in")
    else:
        value = sys.stdin.buffer.read(_LIMIT_BYTES + 1)
    value = value.strip() if trim else value
    if not value:
        raise usage(f"the value of {name} is empty", "Look at what you pipe in, or at the file.")
    if len(value) > _LIMIT_BYTES:
        raise usage(f"the value of {name} is larger than 1 MiB", "Put large data into the function's folder.")
    return value


def _read(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_LIMIT_BYTES + 1)
    except OSError as error:
        raise usage(f"cannot read {path}: {error.strerror}", "Name a file that you can read.") from None


def _as_json(value: bytes) -> dict[str, str]:
    """Text as it is, other bytes in base64."""
    try:
        return {"value": value.decode("utf-8")}
    except UnicodeDecodeError:
        from base64 import b64encode

        return {"raw_value": b64encode(value).decode()}


def _path(name: str) -> str:
    return f"/api/v1/secrets/{quote(name, safe='')}"


def _who_is_behind(answer: dict[str, Any]) -> str:
    """Functions that run with an older value."""
    behind = (answer.get("secret") or answer).get("outdated_in") or []
    if not behind:
        return ""
    return f"  {', '.join(map(str, behind))}: has the new value after its next deploy (faasctl up)"


def _row(secret: dict[str, Any]) -> list[Span]:
    moment = to_unix(secret.get("set_at"))
    users = ", ".join(str(each) for each in secret.get("used_by") or []) or "-"
    locked: Span = (f"{users}  locked: the server has another key file", YELLOW)
    return [
        (str(secret.get("name")), BOLD),
        str(secret.get("namespace", "")),
        size(float(secret.get("size_bytes") or 0)),
        "-" if moment is None else ago(moment),
        locked if secret.get("locked") else users,
    ]
