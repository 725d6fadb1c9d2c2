"""`faasctl version`: the client's own, without asking a server."""

import sys

import click

from faasctl import __version__
from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option
from faasctl.output import Screen


@make_command("version", "faasctl version\nfaasctl version --json", help="Show the version.")
@json_option
@click.pass_obj
def command(screen: Screen) -> None:
    if screen.json:
        screen.document({"name": "faasctl", "version": __version__, "python": sys.version.split()[0]})
    else:
        screen.data(f"faasctl {__version__}")
