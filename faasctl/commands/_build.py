"""Options of the commands that build: what the image's build is given besides the stack file's words."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from faasctl.stack_builds import Build

F = TypeVar("F", bound=Callable[..., Any])


def build_options(function: F) -> F:
    """--build-arg and --build-option; `build_of` gathers them."""
    for flags, metavar, text in (
        (("-o", "--build-option", "option_names"), "NAME", "An option of the template's build; may be repeated."),
        (("-b", "--build-arg", "arguments"), "NAME=VALUE", "An argument of the image's build; may be repeated."),
    ):
        function = click.option(*flags, metavar=metavar, multiple=True, help=text)(function)
    return function


def build_of(options: dict[str, Any]) -> "Build":
    """Taken out of a command's options."""
    from faasctl.building import given_build

    return given_build(options.pop("arguments"), options.pop("option_names"))
