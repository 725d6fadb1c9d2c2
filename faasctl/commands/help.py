"""`faasctl help`: a command's page, or one of the topics that belong to no command."""

import click

from faasctl.cli import cli, unknown_command
from faasctl.commands._common import command as make_command
from faasctl.errors import ExitCode
from faasctl.menu import TOPICS
from faasctl.output import Screen, table

EXIT_CODES = {
    ExitCode.OK: "it was done",
    ExitCode.FAILED: "it failed: a build, a deploy, or the function answered 4xx or 5xx",
    ExitCode.USAGE: "the command line or the stack file is wrong; nothing was sent",
    ExitCode.UNREACHABLE: "no Pilotlight server at the address",
    ExitCode.CREDENTIALS: "the server refused the user or the password, or a function its key",
    ExitCode.NOT_FOUND: "there is no such function, secret, namespace or login",
    ExitCode.TIMED_OUT: "no answer in time",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}
ADDRESSES = """The server is the first of these that there is:
  1  --server URL (or --gateway, -s, -g)
  2  FAASCTL_SERVER, then OPENFAAS_URL, in the environment
  3  `provider: gateway:` of the stack file, unless it is http://127.0.0.1:8080
  4  the stored login, when there is just one
  5  http://127.0.0.1:8080

Logins are stored in ~/.config/pilotlight/credentials.json ($XDG_CONFIG_HOME counts), readable by you alone:
  faasctl serve            stores its own for the user who runs it, so that no login is needed on the same machine
  faasctl login --local    reads that of a server on this machine which another user started, or systemd
  faasctl login URL        asks for the password, or takes it from a pipe with --password-stdin
An address may carry its login as well, for a single command or a script:
  export FAASCTL_SERVER=https://USER:PASSWORD@faas.example.org

Registries of images have passwords of their own: `docker login REGISTRY` stores one, and `faasctl push` uses it.

A password is sent to a Pilotlight server only: each connection asks first who is there. HTTPS_PROXY, HTTP_PROXY and
NO_PROXY count, but never for this machine. Certificates are checked; SSL_CERT_FILE names others to trust.
"""


@make_command("help", "faasctl help deploy\nfaasctl help exit-codes", help="Show help on a command or a topic.")
@click.argument("topic", required=False)
@click.argument("part", required=False)
@click.pass_context
def command(context: click.Context, topic: str | None, part: str | None) -> None:
    screen: Screen = context.obj
    root = context.find_root()
    match topic:
        case None:
            screen.data(root.get_help())
        case "topics":
            for line in table([[name, text] for name, text in TOPICS.items()]):
                screen.data(*line)
        case "exit-codes":
            for line in table([[f"{code.value:>3}", text] for code, text in EXIT_CODES.items()]):
                screen.data(*line)
        case "addresses":
            screen.data(ADDRESSES.rstrip())
        case "stack-file":
            from faasctl.stack_help import stack_lines

            for text in stack_lines():
                screen.data(text)
        case _:
            screen.data(_page(root, topic, part))


def _page(root: click.Context, topic: str, part: str | None) -> str:
    """A command's page, or that of a command in its family."""
    found = cli.get_command(root, topic)
    if found is None:
        raise unknown_command(topic, ("topics", *TOPICS))
    with click.Context(found, info_name=topic, parent=root) as page:
        if part is None or not isinstance(found, click.Group):
            return found.get_help(page)
        _, inner, _ = found.resolve_command(page, [part])
        if inner is None:
            return found.get_help(page)
        with click.Context(inner, info_name=part, parent=page) as inner_page:
            return inner.get_help(inner_page)
