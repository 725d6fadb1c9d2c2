"""What a build and a deploy say while they run: rows that fill in on a terminal, one line per change elsewhere."""

import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from faasctl.output import Screen, printable
from faasctl.words import milliseconds

if TYPE_CHECKING:
    from rich.live import Live
    from rich.text import Text

_WIDE_COLUMNS = 110
"""From here on a row has room for its phases; on a narrower terminal its end is cut."""


class Progress(Protocol):
    """One function's way to being live. `word` is the step: uploaded, built, proved, live."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def doing(self, word: str, text: str) -> None:
        """The step has begun, or has something new to say."""
        ...

    def done(self, word: str, text: str, spent_ms: float | None = None, detail: str = "") -> None: ...

    def failed(self, word: str, text: str, spent_ms: float) -> None: ...

    def unchanged(self, revision: int, spent_ms: float) -> None:
        """It was live like this before: the steps so far are not worth their rows."""
        ...


def progress_for(screen: Screen, function: str, template: str, began: float) -> Progress:
    """`began` is when the command did, on the monotonic clock."""
    return Rows(function, template) if screen.live else Lines(screen, function, began)


class Lines:
    """`  0.063s hello: built: environment 3f9c1a`: elapsed seconds first, only on change."""

    def __init__(self, screen: Screen, function: str, began: float) -> None:
        self._screen, self._function, self._began = screen, function, began
        self._last = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def doing(self, word: str, text: str) -> None:
        if text:
            self._line(text)

    def done(self, word: str, text: str, spent_ms: float | None = None, detail: str = "") -> None:
        self._line(f"{word}{' ' if word == 'uploaded' else ': '}{text}{f' ({detail})' if detail else ''}")

    def failed(self, word: str, text: str, spent_ms: float) -> None:
        self._line(f"not {word}: {text}")

    def unchanged(self, revision: int, spent_ms: float) -> None:
        self._line(f"unchanged (revision {revision})")

    def _line(self, text: str) -> None:
        if text != self._last:
            self._screen.say(f"{time.monotonic() - self._began:7.3f}s {self._function}: {text}")
            self._last = text


class Rows:
    """One row for each step, the present one with a spinner, on standard error of a terminal."""

    def __init__(self, function: str, template: str) -> None:
        self._function, self._template = function, template
        self._rows: list[Text] = []
        self._live: Live | None = None
        self._wide = True

    def __enter__(self) -> Self:
        from rich.console import Console
        from rich.live import Live

        console = Console(stderr=True, highlight=False)
        self._wide = console.width >= _WIDE_COLUMNS
        self._live = Live(console=console, refresh_per_second=8, transient=True)
        self._live.start()
        self._rows = [self._text(("bold", self._function), ("", f"  {self._template}"))]
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is None:
            return
        self._live.stop()
        for row in self._rows:
            self._live.console.print(row)

    def doing(self, word: str, text: str) -> None:
        from rich.spinner import Spinner

        self._show(Spinner("dots", self._row_text("", word, text)))

    def done(self, word: str, text: str, spent_ms: float | None = None, detail: str = "") -> None:
        self._rows.append(self._row_text("✓", word, text, spent_ms, detail))
        self._show()

    def failed(self, word: str, text: str, spent_ms: float) -> None:
        self._rows.append(self._row_text("✗", word, text, spent_ms))
        self._show()

    def unchanged(self, revision: int, spent_ms: float) -> None:
        text = f"  unchanged (revision {revision})   {milliseconds(spent_ms)}"
        self._rows = [self._text(("bold", self._function), ("", text))]
        self._show()

    def _show(self, *pending: object) -> None:
        from rich.console import Group

        if self._live is not None:
            self._live.update(Group(*self._rows, *pending), refresh=True)  # type: ignore[arg-type]

    def _row_text(self, mark: str, word: str, text: str, spent_ms: float | None = None, detail: str = "") -> "Text":
        spent = "" if spent_ms is None else milliseconds(spent_ms)
        colour = "red" if mark == "✗" else "green"
        head = f"  {mark} " if mark else "  "
        room = 44 if self._wide else 30
        return self._text((colour, head), ("", f"{word:<10} {text:<{room}} {spent:>8}"), ("dim", f"   {detail}"))

    def _text(self, *parts: tuple[str, str]) -> "Text":
        from rich.text import Text

        return Text.assemble(*((printable(text), style) for style, text in parts), no_wrap=True, overflow="ellipsis")
