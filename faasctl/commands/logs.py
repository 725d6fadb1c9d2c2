"""`faasctl logs`: what functions printed, several at once, live on request."""

import time
from collections.abc import Iterator
from typing import Any

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import json_option, namespace_option, seconds_of, server_of, server_option
from faasctl.errors import usage
from faasctl.following import Source, in_order, together
from faasctl.output import BLUE, CYAN, DIM, GREEN, MAGENTA, RED, YELLOW, Screen, Span
from faasctl.words import clock, parse_duration, plural, short_call, to_unix

EXAMPLES = """
faasctl logs -f hello resize
faasctl logs --call 01M7XQ2K4T --since 1h
"""
_COLOURS = (CYAN, YELLOW, GREEN, BLUE, MAGENTA)
_TAIL = 100
_CALL_WINDOW_SECONDS = 86_400.0
"""To search all logs for a call takes a server as long as they are; a day is what people look back."""


@make_command("logs", EXAMPLES, help=f"Show what functions printed; the last {_TAIL} lines unless told otherwise.")
@click.argument("names", nargs=-1, metavar="NAME...")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
@click.option("--tail", "--lines", type=click.IntRange(min=0), metavar="N", help="So many of the last lines.")
@click.option("--all", "everything", is_flag=True, help="All lines that are kept.")
@click.option("--since", metavar="TIME", help="Only lines of the last 10m, 1h30m, ..., or since 2026-11-20T14:00:00Z.")
@click.option("--call", metavar="ID", help="Only lines of this call; of all functions when none is named.")
@click.option("--instance", metavar="ID", help="Only lines of this replica.")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen,
    names: tuple[str, ...],
    follow: bool,
    tail: int | None,
    everything: bool,
    since: str | None,
    call: str | None,
    instance: str | None,
    namespace: str | None,
    server: str | None,
) -> None:
    if not names and call is None:
        raise usage("whose logs? no NAME was given", "faasctl logs NAME, or for one call: faasctl logs --call ID")
    if everything and tail is not None:
        raise usage("--all and --tail exclude each other", "Give one of them.")
    if follow and not names:
        raise usage("-f needs a NAME", f"faasctl logs -f NAME --call {call}")
    if tail is None and not (everything or since or call):
        tail = _TAIL
    query = {
        "tail": tail if instance is None else None,
        "since": _moment(since, call if not names else None),
        "call": call,
        "namespace": namespace,
    }
    names = tuple(dict.fromkeys(names))
    found = server_of(server)
    sources = [Source(found, name, query, follow=follow) for name in names] or [Source(found, None, query)]
    shown = _shown(together(screen, sources) if follow else in_order(sources), instance, None if follow else tail)
    _show(screen, names, shown, follow=follow, cut_at=tail if tail == _TAIL and not follow else None)


def _show(
    screen: Screen, names: tuple[str, ...], lines: Iterator[dict[str, Any]], *, follow: bool, cut_at: int | None
) -> None:
    printer = _Printer(screen, names)
    try:
        for line in lines:
            printer.show(line)
    except KeyboardInterrupt:
        if follow:
            screen.say((f"({plural(len(names), 'function')}, {plural(printer.count, 'line')})", DIM))
        raise
    if not printer.count and not follow:
        further = f" by {', '.join(names)}; --all and --since look further back." if names else " under this id."
        screen.say(f"Nothing was printed{further}")
    elif cut_at is not None and printer.count >= cut_at and screen.person_reads:
        screen.say((f"(the last {cut_at} lines; --all shows what there is before)", DIM))


def _shown(lines: Iterator[dict[str, Any]], instance: str | None, tail: int | None) -> Iterator[dict[str, Any]]:
    if instance is None:
        return lines
    wanted = (line for line in lines if line.get("replica") == instance)
    if tail is None:
        return wanted
    from collections import deque

    return iter(deque(wanted, maxlen=tail))


def _moment(since: str | None, call: str | None) -> str | None:
    """As the API takes it; a search over all functions has a bound."""
    if since is None:
        return None if call is None else f"{time.time() - _CALL_WINDOW_SECONDS:.3f}"
    try:
        return f"{max(0.0, time.time() - parse_duration(since)):.3f}"
    except ValueError:
        moment = to_unix(since)
    if moment is None:
        seconds_of("--since", since)  # raises: it is neither
    return f"{moment:.3f}"


class _Printer:
    """Time, name where there are several, call id, text."""

    def __init__(self, screen: Screen, names: tuple[str, ...]) -> None:
        self._screen = screen
        self._named = len(names) != 1
        self._width = max(map(len, names), default=0)
        self._colours: dict[str, str] = {}
        self.count = 0
        for name in names:
            self._colour(name)

    def show(self, line: dict[str, Any]) -> None:
        self.count += 1
        if self._screen.json:
            self._screen.line_of_json(line)
            return
        at = to_unix(line.get("time"))
        name = str(line.get("function"))
        spans: list[Span] = [(clock(at, millis=True) if at is not None else "-", DIM), " "]
        if self._named:
            spans += [(f"{name:<{self._width}}", self._colour(name)), "  "]
        call, stream = str(line.get("call_id") or "·"), str(line.get("stream") or "")
        mark: Span = ("!", RED) if stream == "stderr" else " "
        text = str(line.get("text", "")).rstrip("\n")
        if self._screen.person_reads:
            call = short_call(call)
        spans += [(f"{call:<8}", DIM), mark, " ", (text, DIM if stream == "system" else "")]
        self._screen.data(*spans)
        self._screen.flush()

    def _colour(self, name: str) -> str:
        """Its own for as long as the command runs."""
        return self._colours.setdefault(name, _COLOURS[len(self._colours) % len(_COLOURS)])
