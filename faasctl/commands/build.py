"""`faasctl build`: a reference for each function, on stdout."""

import time
from typing import Any

import click

from faasctl.commands._build import build_of, build_options
from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, stack_options
from faasctl.output import Screen

EXAMPLES = """
faasctl build
faasctl deploy --name hello --image $(faasctl build hello)
"""


@make_command("build", EXAMPLES, help="Build the functions of a stack file without deploying them.")
@stack_options
@build_options
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, /, server: str | None, **options: Any) -> None:
    from faasctl.building import with_build
    from faasctl.rollout import Rollout, build_all

    choice, build = Choice.of(options), build_of(options)
    stack, chosen = choice.read(screen)
    functions = [function for function in chosen if choice.names or function.handler is not None]
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    build_all(Rollout(client, screen, time.monotonic()), with_build(functions, build))
