"""`faasctl up`: the stack file's functions, built and live."""

import time
from typing import TYPE_CHECKING, Any

import click

from faasctl.commands._build import build_of, build_options
from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, overrides_of, spec_options, stack_options
from faasctl.output import DIM, Screen
from faasctl.words import milliseconds

if TYPE_CHECKING:
    from faasctl.stack_builds import Build

EXAMPLES = """
faasctl up
faasctl up hello --env GREETING=hi
"""


@make_command("up", EXAMPLES, help="Build and deploy the functions of a stack file; all of them, or those named.")
@stack_options
@spec_options
@build_options
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, /, server: str | None, **options: Any) -> None:
    roll_out_stack(screen, Choice.of(options), overrides_of(options), build_of(options), server=server)


def roll_out_stack(
    screen: Screen, choice: Choice, overrides: dict[str, Any], build: "Build", *, server: str | None
) -> None:
    """What `up` does, and `deploy` without an image."""
    from faasctl.building import with_build
    from faasctl.rollout import Rollout, roll_out

    began = time.monotonic()
    stack, functions = choice.read(screen)
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    results = roll_out(Rollout(client, screen, began), with_build(functions, build), overrides)
    if screen.person_reads:
        screen.say((f"{milliseconds((time.monotonic() - began) * 1000)} in all", DIM))
        if len(results) == 1 and results[0]["revision"] == 1 and not results[0]["unchanged"]:
            screen.say(f"\nTry it:  faasctl invoke {results[0]['name']} -d world")
