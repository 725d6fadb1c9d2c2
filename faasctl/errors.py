"""What a user is told when something went wrong: one grammar, few exit codes, always a next step.

error[SLUG]: SUBJECT: what is wrong, in one line
  --> FILE:LINE:COL
   |
 9 |     enviroment:
   |     ^^^^^^^^^^ why, in the fewest words
  = from: where the address or the password came from
  = help: the one next thing to do
  = state: what is serving now
"""

from dataclasses import dataclass
from enum import IntEnum

# The table of errors (pilotlight_problems) is imported when there is one: most commands end without.


class ExitCode(IntEnum):
    """What scripts can tell apart; `faasctl help exit-codes` prints this table."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    CREDENTIALS = 4
    NOT_FOUND = 5
    TIMED_OUT = 6
    INTERRUPTED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A spot in one of the user's own files; line and column count from 1."""

    file: str
    line: int | None = None
    column: int | None = None
    source: str | None = None
    """The line as the user wrote it."""
    width: int = 1
    """How many characters the caret underlines."""
    remark: str = ""
    """Said beside the caret."""

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One error as data: the terminal form and the JSON form are both made from it."""

    slug: str
    detail: str
    place: Place | None = None
    origin: str | None = None
    help: tuple[str, ...] = ()
    state: str | None = None

    def helps(self) -> tuple[str, ...]:
        """What to do next: what the raiser knew, or else the table's cure; a remark at the place may have said it."""
        if self.help or (self.place is not None and self.place.remark):
            return self.help
        from pilotlight_problems import find

        return (find(self.slug).cure,)

    def to_json(self) -> dict[str, object]:
        members: dict[str, object] = {
            "type": self.slug,
            "title": self.slug.replace("-", " "),
            "detail": self.detail,
            "hint": " ".join(line.strip() for line in self.helps()) or None,
            "state": self.state,
            "from": self.origin,
        }
        if self.place is not None:
            members |= {name: getattr(self.place, name) for name in ("file", "line", "column", "source")}
        return {name: value for name, value in members.items() if value is not None}


class CliError(Exception):
    """Ends a command: its problems are printed, its exit code is the process's."""

    def __init__(self, exit_code: ExitCode, *problems: Problem, summary: str | None = None) -> None:
        super().__init__("; ".join(problem.detail for problem in problems))
        self.exit_code = exit_code
        self.problems = problems
        self.summary = summary
        """One more line after the last problem."""

    def to_json(self) -> dict[str, object]:
        """One problem+json object; several problems become its `errors`."""
        if len(self.problems) == 1:
            return self.problems[0].to_json() | ({"summary": self.summary} if self.summary else {})
        detail = self.summary or f"{len(self.problems)} errors"
        return {"type": "several", "detail": detail, "errors": [problem.to_json() for problem in self.problems]}


def failed(slug: str, detail: str, *help_lines: str) -> CliError:
    """With the exit code of the slug's row in the table, and its cure where no help is given."""
    return CliError(exit_code_of(slug), Problem(slug=slug, detail=detail, help=help_lines))


def usage(detail: str, *help_lines: str) -> CliError:
    """A command line that cannot be meant as it stands."""
    return failed("usage", detail, *help_lines)


def exit_code_of(slug: str) -> ExitCode:
    """Of the table; FAILED for a slug that this release does not know."""
    from pilotlight_problems import find

    return ExitCode(find(slug).exit_code)
