"""`faasctl top`: functions live, those in trouble first; drawn only when something changed, and seldom enough to cost
next to nothing. Off a terminal it is one table."""

import os
import select
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import click

from faasctl.client import Client
from faasctl.commands._common import client_of, json_option, namespace_option, server_option
from faasctl.commands._common import command as make_command
from faasctl.errors import CliError
from faasctl.facts import STATE_STYLES, Facts, busy_of, by_trouble, number, replicas_of, share, why_of
from faasctl.output import BOLD, DIM, RED, Screen, Span, cut, paint, takes_colour
from faasctl.output import table as as_table
from faasctl.rates import Rate, Rates
from faasctl.words import plural, thousands

EXAMPLES = """
faasctl top
faasctl top hello resize --interval 2
"""
_HEAD = ("FUNCTION", "STATE", "REPL", "BUSY", "WAIT", "CALLS/S", "ERR", "30 s", "WHY")
_ORDERS = ("trouble", "calls", "name")
_CPU_SHARE = 0.01
"""Of one processor, at most, on average: a reading that took long is followed by a longer pause."""
_LONGEST_PAUSE_SECONDS = 15.0


@make_command("top", EXAMPLES, help="Watch functions live, those in trouble first. q quits, s sorts otherwise.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--interval", type=click.FloatRange(0.25, 3600), default=1.0, metavar="SECONDS", help="[default: 1]")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(screen: Screen, names: tuple[str, ...], interval: float, namespace: str | None, server: str | None) -> None:
    watch = _Watch(client_of(server), names, namespace)
    watch.read()
    if screen.person_reads and sys.stdin.isatty():
        _live(screen, watch, interval)
        return
    time.sleep(interval)  # a rate needs two readings
    watch.read()
    if screen.json:
        screen.document(watch.document())
        return
    for line in watch.table():
        screen.data(*line)


@dataclass
class _Watch:
    """What is shown, and how it is read."""

    client: Client
    names: tuple[str, ...]
    namespace: str | None
    order: str = "trouble"
    rates: Rates = field(default_factory=Rates)
    functions: list[tuple[Facts, Rate]] = field(default_factory=list)
    trouble: str = ""
    """Why the last reading failed."""

    def read(self) -> None:
        answer = self.client.get("/api/v1/functions", namespace=self.namespace)
        now = time.monotonic()
        chosen = [each for each in answer.get("functions") or [] if not self.names or each.get("name") in self.names]
        self.functions = [(each, self._rate(now, each)) for each in chosen]
        self.rates.keep({_key(each) for each in chosen})
        self.trouble = ""

    def read_again(self) -> None:
        """A server that is away for a moment does not end the show."""
        try:
            self.read()
        except CliError as error:
            self.trouble = error.problems[0].detail

    def document(self) -> dict[str, Any]:
        return {
            "functions": [
                {**each, "calls_per_second": round(rate.calls_per_second, 2)} for each, rate in self._sorted()
            ]
        }

    def summary(self) -> list[Span]:
        count = {name: sum(number(each, name) for each, _ in self.functions) for name in ("ready_replicas", "waiting")}
        rate = sum(rate.calls_per_second for _, rate in self.functions)
        words = [
            plural(len(self.functions), "function"),
            plural(count["ready_replicas"], "replica"),
            f"{rate:.0f} calls/s",
            f"{thousands(count['waiting'])} waiting",
        ]
        line: list[Span] = [
            ("pilotlight", BOLD),
            f"  {self.client.server.url.partition('://')[2]}   {' · '.join(words)}",
        ]
        return [*line, "   ", (self.trouble, RED)] if self.trouble else line

    def table(self) -> list[list[Span]]:
        head: list[Span] = [(word, DIM) for word in _HEAD]
        return as_table([head, *(_row(each, rate) for each, rate in self._sorted())], gap=2)

    def _rate(self, now: float, function: Facts) -> Rate:
        return self.rates.read(now, _key(function), number(function, "calls"), number(function, "errors"))

    def _sorted(self) -> list[tuple[Facts, Rate]]:
        orders: dict[str, Callable[[tuple[Facts, Rate]], Any]] = {
            "trouble": lambda pair: by_trouble(pair[0]),
            "calls": lambda pair: (-pair[1].calls_per_second, _key(pair[0])),
            "name": lambda pair: _key(pair[0]),
        }
        return sorted(self.functions, key=orders[self.order])


def _key(function: Facts) -> str:
    return f"{function.get('name')}.{function.get('namespace')}"


def _row(function: Facts, rate: Rate) -> list[Span]:
    state = str(function.get("state", "?"))
    name = str(function.get("name"))
    failing: Span = (share(rate.errors, rate.calls), RED if rate.errors else "")
    return [
        (name if len(name) <= 24 else f"{name[:23]}…", BOLD),
        (state, STATE_STYLES.get(state, "")),
        replicas_of(function),
        busy_of(function),
        thousands(number(function, "waiting")),
        f"{rate.calls_per_second:.1f}" if rate.calls_per_second < 100 else thousands(round(rate.calls_per_second)),
        failing,
        rate.trend,
        why_of(function),
    ]


def _live(screen: Screen, watch: _Watch, interval: float) -> None:
    """Until q or Ctrl-C; the screen that was there comes back."""
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    colour = takes_colour(sys.stdout)
    shown = ""
    began, due = time.process_time(), time.monotonic() + interval
    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            picture = _picture(watch, console.size.width, console.size.height, colour=colour)
            if picture != shown:
                live.update(Text.from_ansi(picture, no_wrap=True, overflow="crop"), refresh=True)
                shown = picture
            key = pressed(max(0.0, due - time.monotonic()))
            if key in ("q", "Q"):
                return
            if key in ("s", "S"):
                watch.order = _ORDERS[(_ORDERS.index(watch.order) + 1) % len(_ORDERS)]
            elif time.monotonic() >= due:
                pause = max(interval, min((time.process_time() - began) / _CPU_SHARE, _LONGEST_PAUSE_SECONDS))
                began = time.process_time()
                watch.read_again()
                due = time.monotonic() + pause


@contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key; empty when none came. Keys are not shown meanwhile."""
    import termios
    import tty

    number = sys.stdin.fileno()
    before = termios.tcgetattr(number)

    def pressed(seconds: float) -> str:
        ready = select.select([number], [], [], seconds)[0]
        return os.read(number, 1).decode("latin-1") if ready else ""

    tty.setcbreak(number)
    try:
        yield pressed
    finally:
        termios.tcsetattr(number, termios.TCSADRAIN, before)


def _picture(watch: _Watch, width: int, height: int, *, colour: bool) -> str:
    """Exactly what fits: a line of sums, the table, a line of keys."""
    rows = watch.table()
    room = max(1, height - 4)
    more = f"{len(rows) - 1 - room} more   " if len(rows) - 1 > room else ""
    lines = [watch.summary(), [], *rows[: room + 1]]
    lines += [[]] * (height - 1 - len(lines))
    lines.append([(f"{more}sorted by {watch.order}   q quit   s sort otherwise", DIM)])
    return "\n".join(paint(cut(line, width), colour=colour) for line in lines[:height])
