"""`faasctl remove`: functions by name, or all of a stack file or of a namespace once that was agreed to."""

import sys
from typing import TYPE_CHECKING, Any

import click

from faasctl.commands._common import client_of, json_option, named, namespace_option, path_of, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, stack_options
from faasctl.errors import usage
from faasctl.output import Screen
from faasctl.words import plural

if TYPE_CHECKING:
    from faasctl.client import Client
    from faasctl.errors import CliError

EXAMPLES = """
faasctl remove hello
faasctl remove -f stack.yaml --yes
"""


@make_command("remove", EXAMPLES, help="Remove the functions named, those of a stack file, or all.")
@stack_options
@click.option("--all", "everything", is_flag=True, help="All functions of the server, or of the namespace.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen, /, everything: bool, yes: bool, namespace: str | None, server: str | None, **options: Any
) -> None:
    choice = Choice.of(options)
    of_a_stack = bool(choice.stack_files or choice.pattern or choice.expression)
    gateway = stack_file = None
    chosen: list[tuple[str, str | None]]
    if everything:
        if choice.names or of_a_stack:
            raise usage("--all goes without names and stack files", "faasctl remove --all")
        client = client_of(server)
        found = client.get("/api/v1/functions", namespace=namespace).get("functions") or []
        chosen = [(str(each["name"]), str(each["namespace"])) for each in found]
    else:
        chosen = [(name, namespace) for name in dict.fromkeys(choice.names)]
        if not choice.names or of_a_stack:
            stack, functions = choice.read(screen)
            gateway, stack_file = stack.gateway, stack.file
            chosen = [(each.name, namespace or each.spec.get("namespace")) for each in functions]
        client = client_of(server, gateway=gateway, stack_file=stack_file)
    if (everything or not choice.names) and chosen and not yes:
        _ask(screen, [name for name, _ in chosen])
    removed, error = _remove(screen, client, chosen)
    if screen.json:
        screen.document({"removed": removed})
    elif not chosen:
        screen.say("There was nothing to remove.")
    if error is not None:
        raise error


def _remove(
    screen: Screen, client: "Client", chosen: list[tuple[str, str | None]]
) -> "tuple[list[str], CliError | None]":
    from faasctl.each import try_each

    def one(function: tuple[str, str | None]) -> str:
        name, space = function
        with named(client, name, space):
            client.json("DELETE", path_of(name), query={"namespace": space})
        screen.say(f"{name}  removed; requests in flight are finished.  Bring it back with: faasctl up")
        return name

    several = len({name for name, _ in chosen}) < len(chosen)
    things = {f"{name}.{space}" if several else name: (name, space) for name, space in chosen}
    return try_each(screen, things, one, done="Removed")


def _ask(screen: Screen, names: list[str]) -> None:
    """Names on the command line are consent; a whole stack file is not."""
    shown = ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
    if screen.json or not sys.stdin.isatty():
        raise usage(f"this would remove {plural(len(names), 'function')}: {shown}", "Name them, or say --yes.")
    if not click.confirm(f"Remove {shown}?", err=True):
        raise click.Abort
