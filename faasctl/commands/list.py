"""`faasctl list`: one row for each function, with its state and the reason of it."""

import click

from faasctl.commands._common import client_of, json_option, namespace_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.listing import ORDERS, show
from faasctl.output import Screen

EXAMPLES = """
faasctl list
faasctl list --json | jq -r '.functions[] | select(.state == "failing").name'
"""


@make_command("list", EXAMPLES, help="Show the functions, their state and why.")
@namespace_option
@click.option(
    "--sort",
    "order",
    type=click.Choice(list(ORDERS)),
    default="name",
    metavar="WORD",
    help="name, calls, errors, created or trouble. [default: name]",
)
@click.option("-q", "--quiet", is_flag=True, help="Names only.")
@click.option("-v", "--verbose", is_flag=True, help="Revision, image and namespace too.")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, namespace: str | None, order: str, quiet: bool, verbose: bool, server: str | None) -> None:
    show(screen, client_of(server), namespace=namespace, order=order, quiet=quiet, verbose=verbose)
