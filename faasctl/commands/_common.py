"""What several commands have in common: options, and the way to a server."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from faasctl.errors import CliError, ExitCode, Problem, usage
from faasctl.output import Screen
from faasctl.words import did_you_mean, nearest, parse_duration

if TYPE_CHECKING:
    from faasctl.client import Client
    from faasctl.config import Server

F = TypeVar("F", bound=Callable[..., Any])


class ExamplesFirst(click.Command):
    """A command whose help begins with its sentence and its examples."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = [line.strip() for line in examples.strip().splitlines()]

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_help_text(ctx, formatter)
        with formatter.section("Examples"):
            for line in self.examples:
                formatter.write(f"  {line}\n")


class Family(ExamplesFirst, click.Group):
    """A command with commands of its own."""

    def member(self, name: str, examples: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
        """As `command` below, for one of the family."""
        return self.command(name, cls=ExamplesFirst, examples=examples, **settings)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, {"ls": "list", "rm": "remove", "delete": "remove"}.get(cmd_name, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = did_you_mean(args[0], self.commands)
            known = f"There are: {', '.join(self.commands)}"
            raise usage(f"no command `{self.name} {args[0]}`" + (f"; {near}" if near else ""), known) from error


def family(name: str, examples: str, **settings: Any) -> Callable[[Callable[..., Any]], Family]:
    return click.group(name, cls=Family, examples=examples, **settings)


def command(name: str, examples: str, **settings: Any) -> Callable[[Callable[..., Any]], click.Command]:
    return click.command(name, cls=ExamplesFirst, examples=examples, **settings)


def server_option(function: F) -> F:
    return click.option(
        "-s",
        "--server",
        "-g",
        "--gateway",
        "server",
        metavar="URL",
        envvar=None,
        help="The server's address. [env: FAASCTL_SERVER, OPENFAAS_URL]",
    )(function)


def namespace_option(function: F) -> F:
    return click.option("-n", "--namespace", metavar="NAME", help="The functions' namespace.")(function)


def json_option(function: F) -> F:
    return click.option(
        "-j",
        "--json",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=_set_json,
        help="One JSON document on stdout, errors as JSON on stderr.",
    )(function)


def pairs(texts: Iterable[str], option: str, *, separator: str = "=") -> dict[str, str]:
    """KEY=VALUE words as a mapping."""
    result: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not found or not name:
            raise usage(f"{option} {text!r}: write it as KEY{separator}VALUE")
        result[name] = value
    return result


def seconds_of(option: str, text: str) -> float:
    """What a duration on the command line is in seconds."""
    try:
        return parse_duration(text)
    except ValueError:
        raise usage(f'{option} {text!r} is no duration; write it as "10m" or "1h30m"', "See: --help") from None


def server_of(flag: str | None, *, gateway: str | None = None, stack_file: str | None = None) -> "Server":
    """The server to talk to; without a stack file at hand, the one in this folder may name it."""
    from faasctl.config import choose_server, server_here

    if gateway is None:
        return server_here(flag, os.environ)
    return choose_server(flag, gateway=gateway, stack_file=stack_file or "the stack file", env=os.environ)


def client_of(flag: str | None, *, gateway: str | None = None, stack_file: str | None = None) -> "Client":
    from faasctl.client import Client

    return Client(server_of(flag, gateway=gateway, stack_file=stack_file))


@contextmanager
def named(client: "Client", name: str, namespace: str | None) -> Iterator[None]:
    """A function that the server does not know is told with the names that come near."""
    try:
        yield
    except CliError as error:
        if [problem.slug for problem in error.problems] == ["function-not-found"]:
            raise function_missing(client, name, namespace) from error
        raise


def path_of(name: str, part: str = "") -> str:
    """A function's place in the API."""
    from urllib.parse import quote

    return f"/api/v1/functions/{quote(name, safe='')}{part}"


def function_missing(client: "Client", name: str, namespace: str | None) -> CliError:
    """The error for a name that the server does not know, with the names that come near, if it tells its names."""
    detail = f"no function `{name}` in namespace `{namespace or 'openfaas-fn'}`"
    help_line = "See what there is: faasctl list"
    try:
        found = client.get("/api/v1/functions", namespace=namespace).get("functions") or []
        near = nearest(name, [each for each in (str(entry.get("name")) for entry in found) if each != name])
        elsewhere = [str(entry.get("namespace")) for entry in found if entry.get("name") == name]
    except CliError:
        near, elsewhere = [], []
    if elsewhere:
        help_line = f"There is one in namespace {elsewhere[0]}: add -n {elsewhere[0]}"
    if near:
        from faasctl.words import either

        detail += f"; did you mean {either(near)}?"
    return CliError(ExitCode.NOT_FOUND, Problem(slug="function-not-found", detail=detail, help=(help_line,)))


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Screen):
        ctx.obj.json = True
