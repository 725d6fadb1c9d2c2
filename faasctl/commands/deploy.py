"""`faasctl deploy`: as `up`, and without a stack file for what was built before."""

import time
from typing import TYPE_CHECKING, Any

import click

from faasctl.commands._build import build_of, build_options
from faasctl.commands._common import client_of, json_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, overrides_of, spec_options, stack_options
from faasctl.commands.up import roll_out_stack
from faasctl.errors import CliError, usage
from faasctl.output import Screen

if TYPE_CHECKING:
    from faasctl.stack import Function, Stack

EXAMPLES = """
faasctl deploy
faasctl deploy --name hello --image bundle/hello@sha256:...
"""


@make_command("deploy", EXAMPLES, help="Deploy from a stack file, or a reference that was built before.")
@stack_options
@click.option("--image", metavar="REFERENCE", help="What `faasctl build` printed, or an image; nothing is built.")
@click.option("--name", metavar="NAME", help="With --image: the function, without a stack file.")
@spec_options
@build_options
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, /, image: str | None, name: str | None, server: str | None, **options: Any) -> None:
    from dataclasses import replace

    from faasctl.stack_builds import AS_IT_IS

    choice, overrides, build = Choice.of(options), overrides_of(options), build_of(options)
    if image is None:
        names = (*choice.names, name) if name else choice.names
        roll_out_stack(screen, replace(choice, names=names), overrides, build, server=server)
    elif build != AS_IT_IS:
        raise usage("--build-arg and --build-option are for a build; with --image nothing is built")
    elif name is not None:
        _deploy_image(screen, name, image, overrides, server)
    else:
        _deploy_stack_image(screen, choice, image, overrides, server)


def _deploy_image(screen: Screen, name: str, image: str, overrides: dict[str, Any], server: str | None) -> None:
    from faasctl.rollout import Rollout, roll_out
    from faasctl.stack import Function

    function = Function(name=name, lang="", handler=None, image=image, spec={"name": name})
    roll_out(Rollout(client_of(server), screen, time.monotonic()), [function], overrides)


def _deploy_stack_image(
    screen: Screen, choice: Choice, image: str, overrides: dict[str, Any], server: str | None
) -> None:
    """The stack file's words about one function, with another image."""
    from dataclasses import replace

    from faasctl.rollout import Rollout, roll_out

    stack, functions = _read(screen, choice, image)
    if len(functions) != 1:
        raise usage(f"--image goes with one function; {stack.file} has {len(functions)}", "Name one of them.")
    function = replace(functions[0], image=image, handler=None)
    client = client_of(server, gateway=stack.gateway, stack_file=stack.file)
    roll_out(Rollout(client, screen, time.monotonic()), [function], overrides)


def _read(screen: Screen, choice: Choice, image: str) -> "tuple[Stack, list[Function]]":
    """Who names a function that no stack file has may mean none."""
    from dataclasses import replace

    try:
        return choice.read(screen)
    except CliError as error:
        slugs = {problem.slug for problem in error.problems}
        if len(choice.names) != 1 or not slugs <= {"stack-no-function", "stack-missing"}:
            raise
        without = f"Without a stack file: faasctl deploy --name {choice.names[0]} --image {image}"
        problems = [replace(problem, help=(*problem.helps(), without)) for problem in error.problems]
        raise CliError(error.exit_code, *problems) from error
