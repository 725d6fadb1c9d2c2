"""`faasctl push`: the functions' images in their registry, each with its digest on stdout."""

import time
from typing import Any

import click

from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, stack_options
from faasctl.output import Screen

EXAMPLES = """
faasctl push
faasctl push hello --tag sha
"""
ABOUT = "Push the images of a stack file's functions, under the names it gives them."
LOGINS = "\n\nA registry's password is that of `docker login REGISTRY`; `faasctl login` is for Pilotlight servers."


def tag_option(function: Any) -> Any:
    return click.option(
        "--tag",
        type=click.Choice(["latest", "digest", "sha", "branch", "describe"]),
        default="latest",
        help="What follows the tag of `image:`: nothing, a digest of the build, or git's word for the version.",
    )(function)


@make_command("push", EXAMPLES, help=ABOUT + LOGINS)
@stack_options
@tag_option
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, /, server: str | None, tag: str, **options: Any) -> None:
    push_stack(screen, Choice.of(options), server=server, tag=tag, platforms=())


def push_stack(screen: Screen, choice: Choice, *, server: str | None, tag: str, platforms: tuple[str, ...]) -> None:
    """What `push` does, and `publish` with its own words."""
    from faasctl.pushing import Publishing, Way, push_all, pushable

    began = time.monotonic()
    stack, chosen = choice.read(screen)
    functions = pushable(chosen, choice.names)
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    push_all(Publishing(client, screen, began), functions, Way(tag=tag, platforms=platforms))
