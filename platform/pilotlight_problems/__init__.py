"""The one table of what can go wrong: from it come the API's answers, the terminal's errors, `faasctl explain` and the
troubleshooting page.

A package of its own, because the server and faasctl both read it and import nothing of each other (see
platform/decisions). Standard library only, and only values.
"""

import difflib
from typing import NamedTuple


class Row(NamedTuple):
    """One kind of error."""

    slug: str
    """Its name: `type` of problem+json, `error[SLUG]` on a terminal, the argument of `faasctl explain`."""
    status: int
    """The HTTP status that says it; 0 where only faasctl says it."""
    exit_code: int
    """What faasctl exits with."""
    sentence: str
    """What it means, in one line."""
    cause: str
    """How it comes about."""
    cure: str
    """The next thing to do; the error's help where who raises it knows nothing better."""


def rows() -> dict[str, Row]:
    """All rows by slug, grouped as the troubleshooting page shows them."""
    if not _rows:
        found: dict[str, Row] = {}
        for group in groups().values():
            for row in group:
                if row.slug in found:
                    raise ValueError(f"two rows for {row.slug}")
                found[row.slug] = row
        _rows.update(found)  # at once: several threads may ask first
    return _rows


def groups() -> dict[str, tuple[Row, ...]]:
    """The rows under the headings of the troubleshooting page."""
    from pilotlight_problems import api, building, calling, containers, keeping, serving, starting, terminal

    return {
        "Calling a function": calling.ROWS,
        "Starting a function": starting.ROWS,
        "Containers and their images": containers.ROWS,
        "Building": building.ROWS,
        "Secrets, keys and namespaces": keeping.ROWS,
        "The server's API": api.ROWS,
        "Starting a server": serving.ROWS,
        "The command line and the stack file": terminal.ROWS,
    }


def find(slug: str) -> Row:
    """The row; that of `internal` for a slug that has none, as one of another release's server may."""
    return rows().get(slug) or rows()["internal"]


def told(slug: str, detail: str, cure: str | None = None) -> str:
    """As a terminal shows it, for programs that have no more than this to say."""
    return f"error[{slug}]: {detail}\n  = help: {cure or find(slug).cure}"


def near(slug: str) -> list[str]:
    """Slugs that somebody may have meant, the nearest first, at most three."""
    return difflib.get_close_matches(slug, rows(), n=3, cutoff=0.7)


_rows: dict[str, Row] = {}
