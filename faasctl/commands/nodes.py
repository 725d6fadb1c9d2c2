"""`faasctl nodes`: the machines that functions run on, and what they have."""

from typing import Any

import click

from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.output import BOLD, Screen, Span

EXAMPLES = """
faasctl nodes
faasctl nodes --json
"""


@make_command("nodes", EXAMPLES, help="Show the machines, with their processors, memory and devices.")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, server: str | None) -> None:
    answer = client_of(server).get("/api/v1/nodes")
    if screen.json:
        screen.document(answer)
        return
    screen.table(["NODE", "CPUS", "MEMORY", "DEVICES", "LABELS"], [_row(each) for each in answer.get("nodes") or []])


def _row(node: dict[str, Any]) -> list[Span]:
    labels = ", ".join(f"{key}={value}" for key, value in (node.get("labels") or {}).items())
    return [
        (str(node.get("name")), BOLD),
        f"{int(node.get('cpu_milli') or 0) / 1000:g}",
        gib(int(node.get("memory_mib") or 0)),
        _devices(node.get("devices") or []) or "-",
        labels or "-",
    ]


def _devices(devices: list[dict[str, Any]]) -> str:
    """`2 x H100 80 GiB`: equal ones once."""
    kinds: dict[str, int] = {}
    for each in devices:
        kind = f"{each.get('model')} {gib(int(each.get('memory_mib') or 0))}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(kind if count == 1 else f"{count} x {kind}" for kind, count in kinds.items())


def gib(mib: int) -> str:
    return f"{mib} MiB" if mib < 1024 else f"{mib / 1024:.1f} GiB" if mib < 10_240 else f"{mib / 1024:.0f} GiB"
