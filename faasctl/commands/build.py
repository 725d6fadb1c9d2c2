"""`faasctl build`: a reference for each function, on stdout."""

import os
import time

import click

from faasctl.commands._common import client_of, json_option, server_option, stack_options
from faasctl.commands._common import command as make_command
from faasctl.output import Screen

EXAMPLES = """
faasctl build
faasctl deploy --name hello --image $(faasctl build hello)
"""


@make_command("build", EXAMPLES, help="Build the functions of a stack file without deploying them.")
@stack_options
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen, names: tuple[str, ...], pattern: str | None, stack_file: str | None, server: str | None
) -> None:
    from faasctl.rollout import Rollout, copied
    from faasctl.stack import load_stack

    stack = load_stack(stack_file, os.environ)
    functions = [function for function in stack.select(names, pattern) if names or function.handler is not None]
    for note in stack.notes:
        screen.say("note: ", note)
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    rollout = Rollout(client, screen, time.monotonic(), copied(stack))
    results = []
    for function in functions:
        results.append(rollout.build(function))
        if not screen.json:
            screen.data(results[-1]["reference"])
    if screen.json:
        screen.document({"functions": results})
