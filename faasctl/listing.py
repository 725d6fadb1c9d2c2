"""Functions as a table, one row for each. Without click, so that a plain `faasctl list` need not wait for it."""

from collections.abc import Callable
from typing import Any

from faasctl.client import Client
from faasctl.facts import (
    STATE_STYLES,
    Facts,
    busy_of,
    by_trouble,
    error_share,
    last_call,
    number,
    replicas_of,
    why_of,
)
from faasctl.output import BOLD, Screen, Span
from faasctl.words import thousands

ORDERS: dict[str, Callable[[Facts], Any]] = {
    "name": lambda each: str(each.get("name")),
    "calls": lambda each: (-number(each, "calls"), str(each.get("name"))),
    "errors": lambda each: (-number(each, "errors"), str(each.get("name"))),
    "created": lambda each: (-float(each.get("created_at") or 0), str(each.get("name"))),
    "trouble": by_trouble,
}
ORDERS |= {"invocations": ORDERS["calls"], "creation": ORDERS["created"]}  # OpenFaaS' words


def show(
    screen: Screen,
    client: Client,
    *,
    namespace: str | None = None,
    order: str = "name",
    quiet: bool = False,
    verbose: bool = False,
) -> None:
    """`order` is one of ORDERS."""
    answer = client.get("/api/v1/functions", namespace=namespace)
    functions = sorted(answer.get("functions") or [], key=ORDERS[order])
    if screen.json:
        screen.document({**answer, "functions": functions})
    elif quiet:
        for each in functions:
            screen.data(str(each.get("name")))
    elif not functions:
        where = f" in namespace {namespace}" if namespace else ""
        screen.say(f"No functions on {client.server.url}{where} yet.  Next: faasctl new hello && faasctl up")
    else:
        _print(screen, functions, verbose=verbose)


def _print(screen: Screen, functions: list[Facts], *, verbose: bool) -> None:
    """Columns beyond the usual ones: what -v asks for, and the namespace where there are several."""
    more = ["revision", "image"] if verbose else []
    if verbose or len({each.get("namespace") for each in functions}) > 1:
        more.insert(0, "namespace")
    head = ["NAME", "STATE", "REPLICAS", "BUSY", "WAIT", "CALLS", "ERR", "LAST CALL", *map(str.upper, more), "WHY"]
    screen.table(head, [_row(each, more) for each in functions])


def _row(function: Facts, more: list[str]) -> list[Span]:
    state = str(function.get("state", "?"))
    row: list[Span] = [
        (str(function.get("name")), BOLD),
        (state, STATE_STYLES.get(state, "")),
        replicas_of(function),
        busy_of(function),
        str(function.get("waiting", 0)),
        thousands(number(function, "calls")),
        error_share(function),
        last_call(function),
    ]
    return [*row, *(str(function.get(word, "-")) for word in more), why_of(function)]
