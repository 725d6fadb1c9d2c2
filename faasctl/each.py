"""Several things by one command: each is tried, each failure is told where it happened, and one account ends it."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar

from faasctl.errors import CliError, ExitCode
from faasctl.output import Screen

T = TypeVar("T")
R = TypeVar("R")

_HOPELESS = frozenset({ExitCode.UNREACHABLE, ExitCode.CREDENTIALS})
"""What fails like this fails for the next one as well."""


def try_each(
    screen: Screen, things: Mapping[str, T], act: Callable[[T], R], *, done: str
) -> tuple[list[R], CliError | None]:
    """What came of each that went well, and the error to end with, None when all did.

    `done` begins the account, as "Deployed". An error of the server that the next would meet too ends it early. On a
    screen for JSON the error carries the problems of all, since there may be one object only.
    """
    results: list[R] = []
    well: list[str] = []
    errors: dict[str, CliError] = {}
    for name, thing in things.items():
        try:
            results.append(act(thing))
            well.append(name)
        except CliError as error:
            errors[name] = error
            if len(things) > 1 and not screen.json:
                screen.error(error)
            if is_hopeless(error):
                break
    if len(things) == 1 or not errors:
        return results, next(iter(errors.values()), None)
    problems = [problem for error in errors.values() for problem in error.problems] if screen.json else []
    untried = [name for name in things if name not in errors and name not in well]
    return results, CliError(_exit_of(errors.values()), *problems, summary=account(done, well, list(errors), untried))


def is_hopeless(error: CliError) -> bool:
    """Whether asking the same server for another thing can only fail again."""
    return error.exit_code in _HOPELESS or any(problem.slug == "server-silent" for problem in error.problems)


def account(done: str, well: list[str], failed: list[str], untried: list[str]) -> str:
    """`Deployed: a, b. Not deployed: c. Not tried: d.`"""
    parts = [f"{done}: {', '.join(well) or 'none'}.", f"Not {done.lower()}: {', '.join(failed)}."]
    return " ".join([*parts, f"Not tried: {', '.join(untried)}."] if untried else parts)


def _exit_of(errors: Iterable[CliError]) -> ExitCode:
    """The one that all have, or that of a failure."""
    codes = {error.exit_code for error in errors}
    return codes.pop() if len(codes) == 1 else ExitCode.FAILED
