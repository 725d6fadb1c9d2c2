"""click's view of the menu: a command's module is imported when it is called."""

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Any

import click

from faasctl.errors import CliError, usage
from faasctl.menu import ALIASES, HABITS, NAMES, first_page
from faasctl.words import did_you_mean


class Commands(click.Group):
    """A group that knows its commands' help without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return NAMES

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in NAMES:
            return None
        command = import_module(f"faasctl.commands.{name}").command
        return command if isinstance(command, click.Command) else None

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise unknown_command(args[0]) from error

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write(first_page())


def unknown_command(word: str, topics: Iterable[str] = ()) -> CliError:
    if word in HABITS:
        return usage(f"no command `{word}`: {HABITS[word]}", "All commands: faasctl --help")
    near = did_you_mean(word, [*NAMES, *ALIASES, *topics])
    return usage(f"no command `{word}`" + (f"; {near}" if near else ""), "All commands: faasctl --help")


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        from faasctl import __version__

        sys.stdout.write(f"faasctl {__version__}\n")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version)
def cli() -> None:
    """Functions on your own machine: nothing runs while nobody calls."""
