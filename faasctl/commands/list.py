"""`faasctl list`: one row for each function, with its state and the reason of it."""

from typing import Any

import click

from faasctl.commands._common import client_of, json_option, namespace_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.output import BOLD, DIM, GREEN, RED, YELLOW, Screen, Span, table
from faasctl.words import thousands

EXAMPLES = """
faasctl list
faasctl list --json | jq -r '.functions[] | select(.state == "failing").name'
"""
STATE_STYLES = {"ready": GREEN, "starting": YELLOW, "failing": RED, "crash-looping": RED}


@make_command("list", EXAMPLES, help="Show the functions, their state and why.")
@namespace_option
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@click.option("-v", "--verbose", is_flag=True, help="Image and namespace too.")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, namespace: str | None, quiet: bool, verbose: bool, server: str | None) -> None:
    client = client_of(server)
    answer = client.get("/api/v1/functions", namespace=namespace)
    functions = sorted(answer.get("functions") or [], key=lambda each: str(each.get("name")))
    if screen.json:
        screen.document({**answer, "functions": functions})
    elif quiet:
        for each in functions:
            screen.data(str(each.get("name")))
    elif not functions:
        screen.say(f"No functions on {client.server.url} yet.  Next: faasctl new hello && faasctl up")
    else:
        for line in table([_head(verbose), *(_row(each, verbose) for each in functions)]):
            screen.data(*line)


def _head(verbose: bool) -> list[Span]:
    words = ["NAME", "STATE", "REPLICAS", "IN FLIGHT", "WAITING", "CALLS", "ERR", "REV"]
    words += ["NAMESPACE", "IMAGE"] if verbose else []
    return [(word, DIM) for word in [*words, "WHY"]]


def _row(function: dict[str, Any], verbose: bool) -> list[Span]:
    state = str(function.get("state", "?"))
    row: list[Span] = [
        (str(function.get("name")), BOLD),
        (state, STATE_STYLES.get(state, "")),
        replicas_of(function),
        str(function.get("in_flight", 0)),
        str(function.get("waiting", 0)),
        thousands(int(function.get("calls") or 0)),
        error_share(function),
        str(function.get("revision", "-")),
    ]
    if verbose:
        row += [str(function.get("namespace", "")), str(function.get("image", ""))]
    return [*row, str(function.get("why") or "")]


def replicas_of(function: dict[str, Any]) -> str:
    """2/2: ready of wanted; a plain 0 when none are."""
    wanted, ready = int(function.get("replicas") or 0), int(function.get("ready_replicas") or 0)
    return f"{ready}/{wanted}" if wanted or ready else "0"


def error_share(function: dict[str, Any]) -> str:
    calls, errors = int(function.get("calls") or 0), int(function.get("errors") or 0)
    if not calls:
        return "-"
    share = 100 * errors / calls
    return f"{share:.0f} %" if share == 0 or share >= 1 else "<1 %"
