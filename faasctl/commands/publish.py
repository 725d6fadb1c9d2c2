"""`faasctl publish`: build and push in one, as a pipeline does it."""

from typing import Any

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option, server_option
from faasctl.commands._stack import Choice, stack_options
from faasctl.commands.push import LOGINS, push_stack, tag_option
from faasctl.errors import usage
from faasctl.output import Screen

EXAMPLES = """
faasctl publish
faasctl publish --tag sha --platforms linux/amd64
"""


@make_command("publish", EXAMPLES, help="Build the functions of a stack file and push their images." + LOGINS)
@stack_options
@tag_option
@click.option("--platforms", metavar="LIST", help="As linux/amd64,linux/arm64. [default: the engine's own]")
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, /, server: str | None, tag: str, platforms: str | None, **options: Any) -> None:
    push_stack(screen, Choice.of(options), server=server, tag=tag, platforms=_platforms(platforms))


def _platforms(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(word.strip() for word in text.split(","))
    for word in found:
        if word.count("/") not in (1, 2) or not all(word.split("/")):
            raise usage(f"--platforms {text!r}: write it as OS/PROCESSOR, as in linux/amd64,linux/arm64")
    return found
