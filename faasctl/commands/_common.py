"""What several commands have in common: options, and the way to a server."""

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from faasctl.errors import CliError, ExitCode, Problem, usage
from faasctl.output import Screen
from faasctl.words import nearest

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


def stack_options(function: F) -> F:
    """-f, --filter and names, for commands that work on a stack file."""
    function = click.argument("names", nargs=-1, metavar="[NAME]...")(function)
    function = click.option("--filter", "pattern", metavar="GLOB", help="Only functions whose name matches.")(function)
    return click.option(
        "-f", "--yaml", "stack_file", metavar="FILE", help="The stack file. [default: stack.yaml or stack.yml here]"
    )(function)


def spec_options(function: F) -> F:
    """What overrides a stack file's words."""
    for flags, metavar, text in (
        (("--secret", "secrets"), "NAME", "A secret to mount; may be repeated."),
        (("--annotation", "annotations"), "KEY=VALUE", "Add an annotation; may be repeated."),
        (("-l", "--label", "labels"), "KEY=VALUE", "Add a label; may be repeated."),
        (("-e", "--env", "variables"), "KEY=VALUE", "Set an environment variable; may be repeated."),
    ):
        function = click.option(*flags, metavar=metavar, multiple=True, help=text)(function)
    return function


def overrides_of(
    variables: Iterable[str], labels: Iterable[str], annotations: Iterable[str], secrets: Iterable[str]
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "environment": pairs(variables, "--env"),
        "labels": pairs(labels, "--label"),
        "annotations": pairs(annotations, "--annotation"),
        "secrets": list(secrets),
    }
    return {key: value for key, value in found.items() if value}


def pairs(texts: Iterable[str], option: str, *, separator: str = "=") -> dict[str, str]:
    """KEY=VALUE words as a mapping."""
    result: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not found or not name:
            raise usage(f"{option} {text!r}: write it as KEY{separator}VALUE")
        result[name] = value
    return result


def server_of(flag: str | None, *, gateway: str | None = None, stack_file: str | None = None) -> "Server":
    """The server to talk to; without a stack file at hand, the one in this folder may name it."""
    from faasctl.config import choose_server

    if gateway is None and flag is None and not any(os.environ.get(n) for n in ("FAASCTL_SERVER", "OPENFAAS_URL")):
        gateway, stack_file = _gateway_here()
    return choose_server(flag, gateway=gateway, stack_file=stack_file or "the stack file", env=os.environ)


def client_of(flag: str | None, *, gateway: str | None = None, stack_file: str | None = None) -> "Client":
    from faasctl.client import Client

    return Client(server_of(flag, gateway=gateway, stack_file=stack_file))


def function_missing(client: "Client", name: str, namespace: str | None) -> CliError:
    """The error for a name that the server does not know, with the names that come near, if it tells its names."""
    detail = f"no function `{name}` in namespace `{namespace or 'openfaas-fn'}`"
    help_line = "See what there is: faasctl list"
    try:
        found = client.get("/api/v1/functions", namespace=namespace).get("functions") or []
        near = nearest(name, [str(entry.get("name")) for entry in found])
    except CliError:
        near = []
    if near:
        from faasctl.words import either

        detail += f"; did you mean {either(near)}?"
    return CliError(ExitCode.NOT_FOUND, Problem(slug="function-not-found", detail=detail, help=(help_line,)))


def _gateway_here() -> tuple[str | None, str | None]:
    """`provider: gateway:` of a stack file in this folder; one with mistakes says nothing here."""
    for name in ("stack.yaml", "stack.yml"):
        try:
            with open(name, "rb") as file:
                data = file.read(1 << 20)
        except OSError:
            continue
        # YAML takes 20 ms to import, and most files do not name a server.
        if b"gateway" in data:
            from faasctl.stack import gateway_in

            return gateway_in(data, name, os.environ), name
        break
    return None, None


def _set_json(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value and isinstance(ctx.obj, Screen):
        ctx.obj.json = True
