"""The table of commands: their names, one line each, grouped by the day's work; a command's module is imported when
it is called."""

import sys
from importlib import import_module
from typing import Any

import click

from faasctl.errors import CliError, usage
from faasctl.words import did_you_mean

GROUPS: dict[str, dict[str, str]] = {
    "Write": {
        "new": "Start a function: a handler, its test, a stack file entry.",
        "build": "Build the functions of a stack file without deploying them.",
        "up": "Build and deploy the functions of a stack file.",
    },
    "Run": {
        "deploy": "Deploy from a stack file, or what was built before.",
        "invoke": "Call a function: body in, body out.",
        "remove": "Remove functions.",
    },
    "Look": {
        "list": "Show the functions, their state and why.",
        "describe": "Show all about one function: callable? why so? any trouble?",
        "logs": "Show what functions printed.",
    },
    "Keep": {
        "serve": "Run the server on this machine.",
        "version": "Show the version.",
        "help": "Help on a command, or on exit-codes, stack-file, addresses.",
    },
}
ALIASES = {"ls": "list", "rm": "remove", "delete": "remove"}
NAMES = [name for commands in GROUPS.values() for name in commands]

HABITS = {
    "ps": "`faasctl list` shows the functions, `faasctl describe NAME` one's replicas",
    "status": "`faasctl list` shows the functions, `faasctl describe NAME` all about one",
    "call": "call a function with `faasctl invoke`",
    "run": "call a function with `faasctl invoke`, start the server with `faasctl serve`",
    "exec": "call a function with `faasctl invoke`",
    "start": "a function starts when it is called; start the server with `faasctl serve`",
    "stop": "a function stops when nobody calls it; `faasctl remove` takes it away",
    "server": "start the server with `faasctl serve`",
    "tail": "follow what functions print with `faasctl logs -f NAME`",
    "log": "what functions print is shown by `faasctl logs NAME`",
    "push": "Pilotlight needs no registry; `faasctl deploy` uploads your source",
    "publish": "Pilotlight needs no registry; `faasctl deploy` uploads your source",
    "apply": "deploy a stack file with `faasctl up`",
    "launch": "deploy a stack file with `faasctl up`",
    "create": "make a function with `faasctl new NAME`, deploy it with `faasctl up`",
    "init": "make a function with `faasctl new NAME`",
    "store": "there is no function store; make a function with `faasctl new NAME`",
    "template": "the server has its templates; make a function with `faasctl new NAME`",
    "install": "what a function needs stands in its requirements.txt; `faasctl up` installs it",
    "info": "`faasctl describe NAME` shows all about a function, `faasctl version` the version",
    "get": "`faasctl list` shows the functions, `faasctl describe NAME` all about one",
    "show": "`faasctl describe NAME` shows all about a function",
    "inspect": "`faasctl describe NAME` shows all about a function",
    "scale": "set `scale: {min, max}` in the stack file, then: faasctl up",
    "login": "the server stores its login for the user who starts it; see: faasctl help addresses",
    "logout": "logins are stored in a file; see: faasctl help addresses",
    "whoami": "logins are stored in a file; see: faasctl help addresses",
}
"""Words that people bring from other tools, and what does it here."""


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
        formatter.write("Functions on your own machine: nothing runs while nobody calls.\n\n")
        formatter.write("Usage: faasctl COMMAND [OPTIONS]\n\n")
        for title, commands in GROUPS.items():
            for number, (name, text) in enumerate(commands.items()):
                formatter.write(f"{'' if number else title:<7}{name:<10}{text}\n")
        formatter.write("\nFirst time:  faasctl serve   then   faasctl new hello && faasctl up\n")


def unknown_command(word: str) -> CliError:
    if word in HABITS:
        return usage(f"no command `{word}`: {HABITS[word]}")
    near = did_you_mean(word, [*NAMES, *ALIASES])
    return usage(f"no command `{word}`" + (f"; {near}" if near else ""), "See: faasctl --help")


def _print_version(ctx: click.Context, _parameter: click.Parameter, value: Any) -> None:
    if value and not ctx.resilient_parsing:
        from faasctl import __version__

        sys.stdout.write(f"faasctl {__version__}\n")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version)
def cli() -> None:
    """Functions on your own machine: nothing runs while nobody calls."""
