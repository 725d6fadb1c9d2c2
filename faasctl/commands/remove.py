"""`faasctl remove`: functions by name, or all of a stack file after a question."""

import os
import sys
from urllib.parse import quote

import click

from faasctl.commands._common import client_of, function_missing, json_option, namespace_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.errors import CliError, ExitCode, usage
from faasctl.output import Screen

EXAMPLES = """
faasctl remove hello
faasctl remove -f stack.yaml --yes
"""


@make_command("remove", EXAMPLES, help="Remove the functions named, or all of a stack file.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("-f", "--yaml", "stack_file", metavar="FILE", help="Remove what this stack file has.")
@click.option("--filter", "pattern", metavar="GLOB", help="Of the stack file, only those whose name matches.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen,
    names: tuple[str, ...],
    stack_file: str | None,
    pattern: str | None,
    yes: bool,
    namespace: str | None,
    server: str | None,
) -> None:
    spaces = dict.fromkeys(names, namespace)
    gateway = None
    if not names or stack_file or pattern:
        from faasctl.stack import load_stack

        stack = load_stack(stack_file, os.environ)
        gateway, stack_file = stack.gateway, stack.file
        spaces = {each.name: namespace or each.spec.get("namespace") for each in stack.select(names, pattern)}
    if not names and not yes:
        _ask(screen, list(spaces))
    client = client_of(server, gateway=gateway, stack_file=stack_file)
    removed = []
    for name, space in spaces.items():
        try:
            client.json("DELETE", f"/api/v1/functions/{quote(name, safe='')}", query={"namespace": space})
        except CliError as error:
            if error.exit_code == ExitCode.NOT_FOUND:
                raise function_missing(client, name, space) from error
            raise
        removed.append(name)
        screen.say(f"{name}  removed; requests in flight are finished")
    if screen.json:
        screen.document({"removed": removed})


def _ask(screen: Screen, names: list[str]) -> None:
    """Names on the command line are consent; a whole stack file is not."""
    if screen.json or not sys.stdin.isatty():
        raise usage(f"this would remove {', '.join(names)}", "Name them, or say --yes.")
    if not click.confirm(f"Remove {', '.join(names)}?", err=True):
        raise click.Abort
