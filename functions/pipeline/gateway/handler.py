"""The door: takes a drawing of a digit, refuses what is none, and has the rest of the pipeline read it.

A drawing is text, a line for each row, in which blanks, dots and zeros are paper and everything else is ink; or JSON,
{"rows": [[0, 0.5, 1], ...]}, with each cell's ink from 0 to 1.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotlight_runtime.typing import Context, Event, Result

PAPER = " .0"
MOST_CELLS = 128
"""In a row, and rows."""
Rows = list[list[float]]


class NoDrawing(ValueError):
    """The sentence says what is wrong with it."""


async def handle(event: Event, context: Context) -> Result:
    try:
        rows = rows_of(event.body, event.headers.get("Content-Type", ""))
    except NoDrawing as error:
        return {"error": str(error)}, 400
    print(f"a drawing of {len(rows)} rows")
    reply = await context.call("processing", {"rows": rows})
    if not reply.ok:
        print(f"processing answered {reply.status}: {reply.text}")
        return {"error": "The drawing could not be read; try again later."}, 502
    answer: dict[str, Any] = reply.json()
    return answer


def rows_of(body: bytes, content_type: str) -> Rows:
    """Rows of equal length, with each cell's ink. NoDrawing when the body holds none."""
    rows = _from_json(body) if content_type.startswith("application/json") else _from_text(body)
    width = max(map(len, rows), default=0)
    if not 2 <= len(rows) <= MOST_CELLS or not 2 <= width <= MOST_CELLS:
        raise NoDrawing(f"A drawing has from 2 to {MOST_CELLS} rows and columns; this has {len(rows)} and {width}.")
    if not any(ink > 0 for row in rows for ink in row):
        raise NoDrawing("The drawing is empty: no cell of it has ink.")
    return [row + [0.0] * (width - len(row)) for row in rows]


def _from_text(body: bytes) -> Rows:
    try:
        lines = body.decode().strip("\r\n").splitlines()
    except UnicodeDecodeError:
        raise NoDrawing("The drawing is neither text nor JSON.") from None
    return [[0.0 if cell in PAPER else 1.0 for cell in line.rstrip()] for line in lines]


def _from_json(body: bytes) -> Rows:
    try:
        rows: Any = json.loads(body)["rows"]
        drawing = [[float(ink) for ink in row] for row in rows]
    except (ValueError, TypeError, KeyError):
        raise NoDrawing('The JSON must be {"rows": [[0, 0.5, 1], ...]}.') from None
    if not all(0 <= ink <= 1 for row in drawing for ink in row):
        raise NoDrawing("Each cell's ink must be from 0 to 1.")
    return drawing
