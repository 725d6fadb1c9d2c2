"""`faasctl explain`: an error by its name, from the table that the error itself came from; it asks no server."""

import textwrap

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option
from faasctl.errors import CliError, failed
from faasctl.output import BOLD, Screen, table
from faasctl.words import either
from pilotlight_problems import Row, groups, near, rows

WIDTH = 100
EXAMPLES = """
faasctl explain handler-syntax
faasctl explain
"""


@make_command("explain", EXAMPLES, help="Explain an error by its name, or list them all.")
@click.argument("name", required=False)
@json_option
@click.pass_obj
def command(screen: Screen, name: str | None) -> None:
    if name is None:
        _list(screen)
        return
    row = rows().get(_bare(name))
    if row is None:
        raise _unknown(name)
    if screen.json:
        screen.document(row._asdict())
    else:
        _explain(screen, row)


def _bare(name: str) -> str:
    """`error[NAME]:` as it was pasted from a terminal counts as NAME."""
    return name.strip().removeprefix("error").strip("[]: ").lower()


def _unknown(name: str) -> CliError:
    guesses = near(_bare(name))
    meant = f"; did you mean {either(guesses)}?" if guesses else ""
    return failed("usage", f"no error is called `{name}`{meant}", "All of them: faasctl explain")


def _explain(screen: Screen, row: Row) -> None:
    status = f"HTTP status {row.status}, " if row.status else ""
    screen.data((row.slug, BOLD), f"   {status}exit code {row.exit_code}")
    for word, text in (("", row.sentence), ("Cause: ", row.cause), ("Cure:  ", row.cure)):
        lines = textwrap.wrap(text, WIDTH - 7, break_long_words=False, break_on_hyphens=False)
        screen.data("")
        for number, line in enumerate(lines):
            screen.data(f"{word if number == 0 else ' ' * len(word)}{line}")


def _list(screen: Screen) -> None:
    if screen.json:
        screen.document({"errors": [row._asdict() for row in rows().values()]})
        return
    for title, group in groups().items():
        screen.data((title, BOLD))
        for line in table([[f"  {row.slug}", row.sentence] for row in group]):
            screen.data(*line)
