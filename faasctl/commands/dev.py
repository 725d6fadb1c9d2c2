"""`faasctl dev`: a server of its own, the stack's functions on it, and every save answering."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._stack import Choice, stack_options
from faasctl.errors import failed, usage
from faasctl.output import BOLD, DIM, Screen, Span
from faasctl.words import milliseconds, plural

EXAMPLES = """
faasctl dev
faasctl dev hello --port 9000
"""


def _no_provider(_context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    """Who has functions that run as containers looks for this option here."""
    if value is not None:
        raise usage(
            "no option `--provider`: dev runs functions as processes",
            f"With containers: faasctl serve --provider {value}, and in another terminal: faasctl up",
        )


@make_command("dev", EXAMPLES, help="Serve the functions of a stack file, and each save of their code, until Ctrl-C.")
@stack_options
@click.option("--port", type=click.IntRange(0, 65535), metavar="N", help="[default: 8080, or a free one]")
@click.option("--provider", hidden=True, expose_value=False, callback=_no_provider)
@click.option("--keep", is_flag=True, help="Keep the data for the next session: it starts with built environments.")
@click.pass_obj
def command(_screen: Screen, /, port: int | None, keep: bool, **options: Any) -> None:
    from faasctl.dev.own_server import OwnServer
    from faasctl.dev.session import Talk

    began, talk, choice = time.monotonic(), Talk(), Choice.of(options)
    stack, functions = choice.read(talk)
    _end_on_signals()
    server = OwnServer(stack.reads[0].parent, port=port, keep=keep, env=os.environ)
    try:
        session = _begun(talk, choice, server, stack, functions, began)
        while not (ended := server.ended()):
            if paths := session.watcher.wait(lambda: server.ended() is None):
                session.on_save(paths)
        raise failed("dev-server", ended)
    except KeyboardInterrupt:
        if talk.live:
            talk.say("")  # the terminal shows ^C
        raise
    finally:
        talk.quiet = True
        ran = server.stop()
        talk.quiet = False
        if ran:
            talk.say(f"stopped {plural(len(functions), 'function')}, nothing left running")


def _begun(talk: Any, choice: Choice, server: Any, stack: Any, functions: Any, began: float) -> Any:
    """The session, with all functions deployed that can be."""
    from faasctl.client import Client
    from faasctl.dev.own_server import is_default
    from faasctl.dev.session import Session

    session = Session(talk, Client(server.start()), lambda: choice.read(talk), stack, functions)
    for note in server.notes:
        talk.say("note: ", note)
    data = "kept" if server.kept else "removed at the end"
    watched = " ".join(_short(root) for root in session.watcher.roots)
    first: list[Span] = [("pilotlight dev", BOLD), f"   {server.url}   "]
    talk.say(*first, (f"data in {_short(server.folder)} ({data})   watching {watched}", DIM))
    if not is_default(server.url):
        talk.say((f"in another terminal:   export FAASCTL_SERVER={server.url}", DIM))
    session.begin()
    talk.event(f"ready in {milliseconds((time.monotonic() - began) * 1000)}", ("   Ctrl-C ends it", DIM))
    return session


def _short(path: Path) -> str:
    """From here where it lies below this folder, else from the root."""
    here = Path.cwd()
    shown = str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
    return f"{shown}/" if path.is_dir() else shown


def _end_on_signals() -> None:
    """A closed terminal and a service manager mean what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
