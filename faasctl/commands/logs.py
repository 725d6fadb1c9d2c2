"""`faasctl logs`: what functions printed, several at once, live on request."""

import queue
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from faasctl.commands._common import command as make_command
from faasctl.commands._common import function_missing, json_option, namespace_option, server_of, server_option
from faasctl.config import Server
from faasctl.errors import CliError, ExitCode, usage
from faasctl.output import BLUE, CYAN, DIM, GREEN, RED, YELLOW, Screen, Span
from faasctl.words import clock, parse_duration, to_unix

EXAMPLES = """
faasctl logs hello --since 10m
faasctl logs -f hello resize
"""
_COLOURS = (CYAN, YELLOW, GREEN, BLUE)
_HELD_LINES = 10_000


@make_command("logs", EXAMPLES, help="Show what functions printed; the last 100 lines unless told otherwise.")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("-f", "--follow", is_flag=True, help="Go on as lines come, until Ctrl-C.")
@click.option("--tail", type=click.IntRange(min=0), metavar="N", help="So many of the last lines. [default: 100]")
@click.option("--since", metavar="DURATION", help="Only lines of the last 10m, 1h30m, ...")
@namespace_option
@server_option
@json_option
@click.pass_obj
def command(
    screen: Screen,
    names: tuple[str, ...],
    follow: bool,
    tail: int | None,
    since: str | None,
    namespace: str | None,
    server: str | None,
) -> None:
    query: dict[str, object] = {
        "tail": 100 if tail is None and since is None else tail,
        "since": None if since is None else _moment(since),
        "follow": "true" if follow else None,
        "namespace": namespace,
    }
    names = tuple(dict.fromkeys(names))
    printer = _Printer(screen, names)
    streams = [(name, _lines(server_of(server), name, query)) for name in names]
    for name, line in _together(streams) if follow and len(names) > 1 else _in_order(streams):
        printer.show(name, line)


def _moment(since: str) -> str:
    try:
        seconds = parse_duration(since)
    except ValueError:
        raise usage(f'--since {since!r} is no duration; write it as "10m" or "1h30m"') from None
    return datetime.fromtimestamp(max(0.0, time.time() - seconds), UTC).isoformat().replace("+00:00", "Z")


def _lines(server: Server, name: str, query: dict[str, object]) -> Iterator[dict[str, Any]]:
    """One function's lines on a connection of its own."""
    from faasctl.client import Client

    client = Client(server)
    path = f"/api/v1/functions/{quote(name, safe='')}/logs"
    try:
        with client.lines("GET", path, query=query, seconds=None if query["follow"] else 60.0) as lines:
            yield from lines
    except CliError as error:
        if error.exit_code == ExitCode.NOT_FOUND:
            raise function_missing(client, name, str(query["namespace"] or "") or None) from error
        raise


def _in_order(streams: list[tuple[str, Iterator[dict[str, Any]]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What is there already, by time; a single function's lines as they come."""
    if len(streams) == 1:
        ((name, lines),) = streams
        yield from ((name, line) for line in lines)
        return
    everything = [(name, line) for name, lines in streams for line in lines]
    yield from sorted(everything, key=lambda each: to_unix(each[1].get("time")) or 0.0)


def _together(streams: list[tuple[str, Iterator[dict[str, Any]]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Several followed streams as one, in the order in which lines arrive; a thread reads each."""
    arrived: queue.Queue[tuple[str, dict[str, Any] | CliError | None]] = queue.Queue(_HELD_LINES)

    def read(name: str, lines: Iterator[dict[str, Any]]) -> None:
        try:
            for line in lines:
                arrived.put((name, line))
            arrived.put((name, None))
        except CliError as error:
            arrived.put((name, error))

    for name, lines in streams:
        threading.Thread(target=read, args=(name, lines), daemon=True).start()
    open_streams = len(streams)
    while open_streams:
        name, found = arrived.get()
        if isinstance(found, CliError):
            raise found
        if found is None:
            open_streams -= 1
        else:
            yield name, found


class _Printer:
    """Time, name where there are several, call id, text."""

    def __init__(self, screen: Screen, names: tuple[str, ...]) -> None:
        self._screen = screen
        self._width = max(map(len, names)) if len(names) > 1 else 0
        self._colours = {name: _COLOURS[number % len(_COLOURS)] for number, name in enumerate(names)}

    def show(self, name: str, line: dict[str, Any]) -> None:
        if self._screen.json:
            self._screen.line_of_json({"function": name, **line})
            return
        at = to_unix(line.get("time"))
        spans: list[Span] = [(clock(at, millis=True) if at is not None else "-", DIM), " "]
        if self._width:
            spans += [(f"{name:<{self._width}}", self._colours[name]), "  "]
        call, stream = str(line.get("call_id") or "·"), str(line.get("stream") or "")
        mark: Span = ("!", RED) if stream == "stderr" else " "
        text = str(line.get("text", "")).rstrip("\n")
        spans += [(f"{call[:8]:<8}", DIM), mark, " ", (text, DIM if stream == "system" else "")]
        self._screen.data(*spans)
        self._screen.flush()
