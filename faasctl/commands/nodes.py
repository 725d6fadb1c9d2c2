"""`faasctl nodes`: the machines that functions run on, whether they answer, and what they have."""

from typing import Any

import click

from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.output import BOLD, GREEN, RED, Screen, Span

EXAMPLES = """
faasctl nodes
faasctl nodes --json
"""


@make_command("nodes", EXAMPLES, help="Show the machines: state, processors, memory, devices.")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, server: str | None) -> None:
    answer = client_of(server).get("/api/v1/nodes")
    if screen.json:
        screen.document(answer)
        return
    rows = [_row(each) for each in answer.get("nodes") or []]
    screen.table(["NODE", "STATE", "CPUS", "MEMORY", "DEVICES", "LABELS"], rows)


def _row(node: dict[str, Any]) -> list[Span]:
    labels = ", ".join(f"{key}={value}" for key, value in (node.get("labels") or {}).items())
    return [
        (str(node.get("name")), BOLD),
        (f"away: {away}", RED) if (away := node.get("away")) else ("ready", GREEN),
        f"{int(node['cpu_milli']) / 1000:g}" if node.get("cpu_milli") else "-",
        gib(int(node["memory_mib"])) if node.get("memory_mib") else "-",
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
