"""stdout is data, stderr is talk; colour only where a person looks, and no control byte that we did not write.

A line is made of spans: plain text, or text with a style. Text from servers, functions and files may hold anything,
so control characters in a span are shown, never sent.
"""

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import IO

from faasctl.errors import CliError, Place, Problem

Span = str | tuple[str, str]
"""Text, or (text, style)."""

BOLD, DIM, RED, GREEN, YELLOW, BLUE, MAGENTA, CYAN = "1", "2", "31", "32", "33", "34", "35", "36"
ERROR = "1;31"
_BAR_WIDTH = 24
_BAR_PARTS = " ▏▎▍▌▋▊▉"

_CONTROL = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if code != 0x0A}
_CONTROL[0x09] = " "


class Screen:
    """Where one command prints; made once in `main`, reached as `click.Context.obj`."""

    def __init__(self, *, stdout: IO[str] | None = None, stderr: IO[str] | None = None) -> None:
        self._stdout = stdout or sys.stdout
        self._stderr = stderr or sys.stderr
        self.json = False
        """Set by --json: one document on stdout, errors as one problem+json object on stderr, no talk."""

    @property
    def live(self) -> bool:
        """Whether progress may be redrawn."""
        return not self.json and is_terminal(self._stderr)

    @property
    def person_reads(self) -> bool:
        """Whether the result goes to a terminal, so that a word about what to do next is welcome."""
        return not self.json and is_terminal(self._stdout)

    def data(self, *spans: Span) -> None:
        self._stdout.write(paint(spans, colour=takes_colour(self._stdout)) + "\n")

    def table(self, head: Sequence[str], rows: Iterable[Sequence[Span]]) -> None:
        """Rows under their heading; on a terminal no line is wider than it."""
        width = None
        if is_terminal(self._stdout):
            from shutil import get_terminal_size

            width = get_terminal_size().columns
        for line in table([[(word, DIM) for word in head], *rows]):
            self.data(*(line if width is None else cut(line, width)))

    def document(self, value: object) -> None:
        import json

        self._stdout.write(json.dumps(value, indent=2) + "\n")

    def line_of_json(self, value: object) -> None:
        import json

        self._stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
        self._stdout.flush()

    def raw(self, block: bytes) -> None:
        """Bytes as they are: the body of an answer."""
        self._stdout.flush()
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()

    def say(self, *spans: Span) -> None:
        if self.json:
            return
        self._stdout.flush()
        self._stderr.write(paint(spans, colour=takes_colour(self._stderr)) + "\n")
        self._stderr.flush()

    def error(self, error: CliError) -> None:
        self._stdout.flush()
        if self.json:
            import json

            self._stderr.write(json.dumps(error.to_json()) + "\n")
        else:
            self._stderr.write(render_error(error, colour=takes_colour(self._stderr)))
        self._stderr.flush()

    def flush(self) -> None:
        self._stdout.flush()


def is_terminal(stream: IO[str]) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def takes_colour(stream: IO[str]) -> bool:
    return is_terminal(stream) and not os.environ.get("NO_COLOR")


def paint(spans: Sequence[Span], *, colour: bool) -> str:
    parts = []
    for span in spans:
        text, style = (span, "") if isinstance(span, str) else span
        text = printable(text)
        parts.append(f"\x1b[{style}m{text}\x1b[0m" if colour and style else text)
    return "".join(parts)


def printable(text: str) -> str:
    """The text with its control characters shown instead of sent; line breaks stay."""
    return text.translate(_CONTROL)


def table(rows: Iterable[Sequence[Span]], *, gap: int = 3) -> list[list[Span]]:
    """Rows as lines of spans, each column as wide as its widest cell; the last column is not padded."""
    cells = [[(span, "") if isinstance(span, str) else span for span in row] for row in rows]
    widths = [max(len(printable(text)) for text, _ in column) for column in zip(*cells, strict=True)]
    lines: list[list[Span]] = []
    for row in cells:
        line: list[Span] = []
        for (text, style), width in zip(row[:-1], widths[:-1], strict=True):
            line += [(text, style), " " * (width + gap - len(printable(text)))]
        lines.append([*line, row[-1]])
    return lines


def bars(phases: Mapping[str, float], *, indent: int) -> Iterable[list[Span]]:
    """Milliseconds as bars of one scale: where they went."""
    longest = max(phases.values(), default=0.0) or 1.0
    wide = max(map(len, phases), default=0)
    for name, value in phases.items():
        yield [" " * indent, f"{name:<{wide}}{value:>9.1f}  ", _bar(value / longest if value >= 0.05 else 0.0)]


def _bar(share: float) -> str:
    eighths = max(1, round(share * _BAR_WIDTH * 8)) if share > 0 else 0
    return "█" * (eighths // 8) + _BAR_PARTS[eighths % 8].strip()


def cut(line: Sequence[Span], width: int) -> list[Span]:
    """The line's first `width` columns; an ellipsis stands for the rest."""
    kept: list[Span] = []
    left = width
    for number, span in enumerate(line):
        text, style = (span, "") if isinstance(span, str) else span
        text = printable(text)
        rest = number + 1 < len(line)
        if len(text) > left or (rest and len(text) == left and any(_text(each).strip() for each in line[number + 1 :])):
            return [*kept, (text[: max(0, left - 1)].rstrip() + "…", style)]
        kept.append((text, style))
        left -= len(text)
    return kept


def _text(span: Span) -> str:
    return span if isinstance(span, str) else span[0]


def render_error(error: CliError, *, colour: bool = False) -> str:
    lines = [paint(spans, colour=colour) for problem in error.problems for spans in _problem_lines(problem)]
    if error.summary:
        lines += ["", printable(error.summary)] if error.problems else [printable(error.summary)]
    return "\n".join(lines) + "\n"


def _problem_lines(problem: Problem) -> Iterable[list[Span]]:
    yield [(f"error[{problem.slug}]", ERROR), ": ", (problem.detail, BOLD)]
    margin = 2
    if problem.place is not None:
        margin = max(margin, len(str(problem.place.line or "")) + 1)
        yield from _excerpt(problem.place, margin)
    for word, text in (("from", problem.origin), ("help", "\n".join(problem.helps())), ("state", problem.state)):
        if text:
            first, *rest = text.split("\n")
            yield [" " * margin, ("= ", CYAN), (f"{word}: ", CYAN), first]
            for line in rest:
                yield [" " * (margin + 2 + len(word) + 2), line]


def _excerpt(place: Place, margin: int) -> Iterable[list[Span]]:
    yield [" " * margin, ("--> ", CYAN), str(place)]
    if place.line is None or place.source is None:
        return
    source = place.source.rstrip("\r\n").expandtabs(1)
    number = f"{place.line:>{margin}}"
    column = place.column if place.column is not None and place.column <= len(source) + 1 else None
    # A line of a minified file would fill the screen; what the caret points at must stay.
    if len(source) > 160:
        cut = max(0, (column or 1) - 80)
        source, column = source[cut : cut + 160], column - cut if column else None
    yield [" " * (margin + 1), ("|", CYAN)]
    yield [(f"{number} |", CYAN), " ", source]
    if column is not None:
        width = max(1, min(place.width, len(source) - column + 1))
        remark = f" {place.remark}" if place.remark else ""
        before = " " * (1 + _columns(source[: column - 1]))
        yield [" " * (margin + 1), ("|", CYAN), before, ("^" * width + remark, ERROR)]
    elif place.remark:
        yield [" " * (margin + 1), ("|", CYAN), " ", (place.remark, ERROR)]


def _columns(text: str) -> int:
    """How wide a terminal draws it, so that the caret stands under its character."""
    text = printable(text)
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)
