"""`faasctl logout`: a stored password is forgotten; the server keeps its own."""

import os

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option, server_option
from faasctl.config import credentials_path, given_server, read_logins, tilde
from faasctl.errors import CliError, ExitCode, Problem, usage
from faasctl.output import Screen

EXAMPLES = """
faasctl logout
faasctl logout https://faas.example.org
"""


@make_command("logout", EXAMPLES, help="Forget the password of a Pilotlight server. (A registry's: docker logout.)")
@click.argument("url", required=False)
@click.option("--all", "everything", is_flag=True, help="Forget them all.")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, url: str | None, everything: bool, server: str | None) -> None:
    from faasctl.logins import forget_login

    if everything and (url or server):
        raise usage("--all goes without an address", "faasctl logout --all")
    path = credentials_path(os.environ)
    logins = read_logins(path)
    found = given_server(url or server)
    forgotten = [each for each in (logins if everything else [found.url]) if forget_login(path, each)]
    if not forgotten and not everything:
        stored = f"Stored are: {', '.join(logins)}" if logins else f"{tilde(path)} holds none."
        problem = Problem(
            slug="not-logged-in", detail=f"no login is stored for {found.url}", origin=found.origin, help=(stored,)
        )
        raise CliError(ExitCode.NOT_FOUND, problem)
    if screen.json:
        screen.document({"forgotten": forgotten})
    for each in forgotten:
        screen.say(f"Forgot the password of {each}.")
    if not forgotten:
        screen.say("No login was stored.")
