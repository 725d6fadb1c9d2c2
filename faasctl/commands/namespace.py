"""`faasctl namespace`: rooms for functions and their secrets."""

from typing import Any
from urllib.parse import quote

import click

from faasctl.commands._common import client_of, family, json_option, pairs, server_option
from faasctl.output import BOLD, Screen, Span
from faasctl.words import ago, to_unix

EXAMPLES = """
faasctl namespace create dev
faasctl namespace list
"""


@family("namespace", EXAMPLES, help="Create, list and remove namespaces.")
def command() -> None:
    pass


@command.member("create", "faasctl namespace create dev\nfaasctl up -n dev", help="Make a namespace.")
@click.argument("name")
@click.option("-l", "--label", "labels", metavar="KEY=VALUE", multiple=True, help="A label; may be repeated.")
@click.option("--annotation", "annotations", metavar="KEY=VALUE", multiple=True, help="May be repeated.")
@server_option
@json_option
@click.pass_obj
def create(
    screen: Screen, name: str, labels: tuple[str, ...], annotations: tuple[str, ...], server: str | None
) -> None:
    body = {"name": name, "labels": pairs(labels, "--label"), "annotations": pairs(annotations, "--annotation")}
    answer = client_of(server).json("POST", "/api/v1/namespaces", body=body)
    if screen.json:
        screen.document(answer)
    screen.say(f"{name}  created.  Next: faasctl up -n {name}")


@command.member("list", "faasctl namespace list\nfaasctl namespace list -q", help="Show the namespaces.")
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@server_option
@json_option
@click.pass_obj
def list_(screen: Screen, quiet: bool, server: str | None) -> None:
    answer = client_of(server).get("/api/v1/namespaces")
    found = answer.get("namespaces") or []
    if screen.json:
        screen.document(answer)
    elif quiet:
        for each in found:
            screen.data(str(each.get("name")))
    else:
        screen.table(["NAMESPACE", "FUNCTIONS", "CREATED", "LABELS"], map(_row, found))


@command.member("remove", "faasctl namespace remove dev\nfaasctl namespace rm dev", help="Remove an empty namespace.")
@click.argument("name")
@server_option
@json_option
@click.pass_obj
def remove(screen: Screen, name: str, server: str | None) -> None:
    client_of(server).json("DELETE", f"/api/v1/namespaces/{quote(name, safe='')}")
    if screen.json:
        screen.document({"removed": name})
    screen.say(f"{name}  removed, with its secrets.")


def _row(namespace: dict[str, Any]) -> list[Span]:
    created = to_unix(namespace.get("created_at"))
    labels = ", ".join(f"{key}={value}" for key, value in (namespace.get("labels") or {}).items())
    return [
        (str(namespace.get("name")), BOLD),
        str(namespace.get("functions", "-")),
        "-" if created is None else ago(created),
        labels or "-",
    ]
