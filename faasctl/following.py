"""Lines of several logs as one: merged by time, or as they come for as long as somebody looks on.

A server that restarts ends every stream; what is followed is asked for again from the last line on.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from faasctl.client import Client
from faasctl.commands._common import named, path_of
from faasctl.config import Server
from faasctl.errors import CliError
from faasctl.output import DIM, Screen
from faasctl.words import to_unix

RETRY_SECONDS = 0.5
AWAY_SECONDS = 120.0
"""A server that is away for longer than this is not restarting."""
_HELD_LINES = 10_000
_PASSING = ("server-gone", "server-unreachable", "unavailable", "control-plane-down", "server-error")


@dataclass(frozen=True, slots=True)
class Source:
    """One function's log, or with no name that of one call over all functions."""

    server: Server
    name: str | None
    query: dict[str, Any]
    follow: bool = False

    def lines(
        self, *, since: float | None = None, opened: Callable[[], None] = lambda: None
    ) -> Iterator[dict[str, Any]]:
        """On a connection of its own; `since` (Unix seconds) takes the place of what was asked for first."""
        client = Client(self.server)
        query = self.query if since is None else self.query | {"since": repr(since), "tail": None}
        if self.name is None:
            asked = {name: value for name, value in query.items() if name in ("call", "since")}
            with client.lines("GET", "/api/v1/logs", query=asked, seconds=60.0) as lines:
                yield from lines
            return
        query = query | {"follow": "true" if self.follow else None}
        with named(client, self.name, query["namespace"]):
            seconds = None if self.follow else 60.0
            with client.lines("GET", path_of(self.name, "/logs"), query=query, seconds=seconds) as lines:
                opened()
                for line in lines:
                    yield {"function": self.name, **line}


def in_order(sources: list[Source]) -> Iterator[dict[str, Any]]:
    """What is there already, by time; a single log's lines as they come."""
    if len(sources) == 1:
        yield from sources[0].lines()
        return
    everything = [(to_unix(line.get("time")) or 0.0, line) for source in sources for line in source.lines()]
    for _, line in sorted(everything, key=itemgetter(0)):
        yield line


def together(screen: Screen, sources: list[Source]) -> Iterator[dict[str, Any]]:
    """Followed logs in the order in which their lines arrive; a thread reads each."""
    arrived: queue.Queue[dict[str, Any] | CliError | str] = queue.Queue(_HELD_LINES)
    for source in sources:
        threading.Thread(target=_read, args=(source, arrived), daemon=True).start()
    told = ""
    while True:
        found = arrived.get()
        if isinstance(found, CliError):
            raise found
        if isinstance(found, str):
            if found != told:  # each of the logs has noticed it
                screen.say((found, DIM))
            told = found
        else:
            yield found


def _read(source: Source, arrived: "queue.Queue[dict[str, Any] | CliError | str]") -> None:
    """Into the queue: lines, words about the server, and in the end the error that ended it."""
    place, connected, away_since = _Place(), False, 0.0

    def opened() -> None:
        nonlocal connected, away_since
        if away_since:
            arrived.put("(the server is back)")
        connected, away_since = True, 0.0

    while True:
        try:
            for line in place.unseen(source.lines(since=place.time, opened=opened)):
                arrived.put(line)
        except CliError as error:
            away_since = away_since or time.monotonic()
            if not connected or not _passes(error) or time.monotonic() - away_since > AWAY_SECONDS:
                arrived.put(error)
                return
            arrived.put("(the server is away; waiting for it)")
        time.sleep(RETRY_SECONDS)


class _Place:
    """How far a log was read: the last line's time, and how many lines had it."""

    def __init__(self) -> None:
        self.time: float | None = None
        self._lines = 0

    def unseen(self, lines: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """What comes after the place; asked for since its time, a log begins with what was read."""
        again = self._lines
        for line in lines:
            at = to_unix(line.get("time"))
            if again and at == self.time:
                again -= 1
                continue
            if at is not None and (self.time is None or at >= self.time):
                self._lines = self._lines + 1 if at == self.time else 1
                self.time = at
            yield line


def _passes(error: CliError) -> bool:
    """Whether it is what a server's restart looks like."""
    return all(problem.slug in _PASSING for problem in error.problems)
