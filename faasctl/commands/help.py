"""`faasctl help`: a command's page, or one of the topics that belong to no command."""

import click

from faasctl.cli import cli, unknown_command
from faasctl.commands._common import command as make_command
from faasctl.errors import ExitCode
from faasctl.output import Screen, table

EXIT_CODES = {
    ExitCode.OK: "it was done",
    ExitCode.FAILED: "it failed: a build, a deploy, or the function answered 4xx or 5xx",
    ExitCode.USAGE: "the command line or the stack file is wrong; nothing was sent",
    ExitCode.UNREACHABLE: "no Pilotlight server at the address",
    ExitCode.CREDENTIALS: "the server refused the user or the password",
    ExitCode.NOT_FOUND: "there is no such function",
    ExitCode.TIMED_OUT: "no answer in time",
    ExitCode.INTERRUPTED: "interrupted (Ctrl-C)",
}
ADDRESSES = """The server is the first of these that there is:
  1  --server URL (or --gateway, -s, -g)
  2  FAASCTL_SERVER, then OPENFAAS_URL, in the environment
  3  `provider: gateway:` of the stack file, unless it is http://127.0.0.1:8080
  4  the stored login, when there is just one
  5  http://127.0.0.1:8080

A server stores its login in ~/.config/pilotlight/credentials.json of the user who runs `faasctl serve`
($XDG_CONFIG_HOME counts), so that no login is needed on the same machine. Elsewhere the address may carry it:
  export FAASCTL_SERVER=https://USER:PASSWORD@faas.example.org
"""


@make_command("help", "faasctl help deploy\nfaasctl help exit-codes", help="Show help on a command or a topic.")
@click.argument("topic", required=False)
@click.pass_context
def command(context: click.Context, topic: str | None) -> None:
    screen: Screen = context.obj
    root = context.find_root()
    match topic:
        case None:
            screen.data(root.get_help())
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
            found = cli.get_command(root, topic)
            if found is None:
                raise unknown_command(topic)
            with click.Context(found, info_name=topic, parent=root) as page:
                screen.data(found.get_help(page))
