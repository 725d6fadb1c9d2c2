"""`faasctl up`: the stack file's functions, built and live."""

import os
import time

import click

from faasctl.commands._common import client_of, json_option, overrides_of, server_option, spec_options, stack_options
from faasctl.commands._common import command as make_command
from faasctl.output import DIM, Screen
from faasctl.words import milliseconds

EXAMPLES = """
faasctl up
faasctl up hello --env GREETING=hi
"""


@make_command("up", EXAMPLES, help="Build and deploy the functions of a stack file; all of them, or those named.")
@stack_options
@spec_options
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen,
    names: tuple[str, ...],
    pattern: str | None,
    stack_file: str | None,
    variables: tuple[str, ...],
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    secrets: tuple[str, ...],
    server: str | None,
) -> None:
    roll_out_stack(
        screen, names, pattern, stack_file, overrides_of(variables, labels, annotations, secrets), server=server
    )


def roll_out_stack(
    screen: Screen,
    names: tuple[str, ...],
    pattern: str | None,
    stack_file: str | None,
    overrides: dict[str, object],
    *,
    server: str | None,
) -> None:
    """What `up` does, and `deploy` without an image."""
    from faasctl.rollout import Rollout, copied, roll_out
    from faasctl.stack import load_stack

    began = time.monotonic()
    stack = load_stack(stack_file, os.environ)
    functions = stack.select(names, pattern)
    for note in stack.notes:
        screen.say("note: ", note)
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    results = roll_out(Rollout(client, screen, began, copied(stack)), functions, overrides)
    if screen.person_reads:
        screen.say((f"{milliseconds((time.monotonic() - began) * 1000)} in all", DIM))
        if len(results) == 1 and results[0]["revision"] == 1 and not results[0]["unchanged"]:
            screen.say(f"\nTry it:  faasctl invoke {results[0]['name']} -d world")
