"""Options of the commands that work on stack files: which files, which of their functions, what overrides them."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from faasctl.commands._common import pairs
from faasctl.errors import usage
from faasctl.output import Screen

if TYPE_CHECKING:
    from faasctl.stack import Function, Stack

F = TypeVar("F", bound=Callable[..., Any])
CHOICE = ("names", "stack_files", "pattern", "expression", "substitute")
OVERRIDES = ("variables", "labels", "annotations", "secrets", "namespace")


@dataclass(frozen=True, slots=True)
class Choice:
    """What `stack_options` gathered."""

    names: tuple[str, ...] = ()
    stack_files: tuple[str, ...] = ()
    pattern: str | None = None
    expression: str | None = None
    substitute: bool = True

    @staticmethod
    def of(options: dict[str, Any]) -> "Choice":
        """Taken out of a command's options; a --filter and a --regex together cannot be meant."""
        choice = Choice(*(options.pop(name) for name in CHOICE))
        if choice.pattern is not None and choice.expression is not None:
            raise usage("--filter and --regex exclude each other", "Give one of the two.")
        return choice

    def read(self, screen: Screen) -> "tuple[Stack, list[Function]]":
        """The stack, and what was chosen of it; the stack's notes are said."""
        from faasctl.stack import load_stacks

        stack = load_stacks(self.stack_files, os.environ, substitute=self.substitute)
        functions = stack.select(self.names, self.expression or self.pattern, regex=self.expression is not None)
        for note in stack.notes:
            screen.say("note: ", note)
        return stack, functions


def stack_options(function: F) -> F:
    """Names, -f, --filter, --regex and --envsubst; `Choice.of` gathers them."""
    for decorate in (
        click.option("--envsubst", "substitute", type=bool, default=True, metavar="BOOL",
                     help="Whether ${NAME} in the file stands for a variable. [default: true]"),
        click.option("--regex", "expression", metavar="REGEX", help="Only functions whose name the expression finds."),
        click.option("--filter", "pattern", metavar="GLOB", help="Only functions whose name matches."),
        click.option("-f", "--yaml", "stack_files", metavar="FILE", multiple=True,
                     help="The stack file; may be repeated. [default: stack.yaml or stack.yml here]"),
        click.argument("names", nargs=-1, metavar="[NAME]..."),
    ):  # fmt: skip
        function = decorate(function)
    return function


def spec_options(function: F) -> F:
    """What overrides a stack file's words; `overrides_of` gathers it."""
    for flags, metavar, text in (
        (("--secret", "secrets"), "NAME", "A secret to mount; may be repeated."),
        (("-a", "--annotation", "annotations"), "KEY=VALUE", "Add an annotation; may be repeated."),
        (("-l", "--label", "labels"), "KEY=VALUE", "Add a label; may be repeated."),
        (("-e", "--env", "variables"), "KEY=VALUE", "Set an environment variable; may be repeated."),
    ):
        function = click.option(*flags, metavar=metavar, multiple=True, help=text)(function)
    return click.option("-n", "--namespace", metavar="NAME", help="The functions' namespace.")(function)


def overrides_of(options: dict[str, Any]) -> dict[str, Any]:
    """Taken out of a command's options, in the words of the server's spec."""
    variables, labels, annotations, secrets, namespace = (options.pop(name) for name in OVERRIDES)
    found: dict[str, Any] = {
        "environment": pairs(variables, "--env"),
        "labels": pairs(labels, "--label"),
        "annotations": pairs(annotations, "--annotation"),
        "secrets": _unique(secrets),
        "namespace": namespace,
    }
    return {key: value for key, value in found.items() if value}


def _unique(words: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(words))
