"""The middle: brings a drawing of any size to the 8x8 cells that the model knows, and asks for a prediction."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotlight_runtime.typing import Context, Event, Result

CELLS = 8
FULL = 16.0
"""The ink of a cell that is all ink."""
Rows = list[list[float]]


def handle(event: Event, context: Context) -> Result:
    cells = cells_of(json.loads(event.body)["rows"])
    print(f"normalised to {CELLS}x{CELLS} cells")
    reply = context.call("prediction", {"cells": cells}).raise_for_status()
    answer: dict[str, Any] = reply.json()
    return answer


def cells_of(rows: Rows) -> list[float]:
    """The drawing's inked part, as high as the 8x8 cells and in the middle of their width, row by row."""
    box = _inked(rows)
    height, width = len(box), len(box[0])
    side = max(height, width)
    left, top = (side - width) / 2, (side - height) / 2
    step = side / CELLS
    return [
        round(FULL * _mean(box, row * step - top, column * step - left, step), 3)
        for row in range(CELLS)
        for column in range(CELLS)
    ]


def _inked(rows: Rows) -> Rows:
    """Without empty rows and columns around."""
    inked_rows = [index for index, row in enumerate(rows) if any(row)]
    inked_columns = [index for index, column in enumerate(zip(*rows, strict=True)) if any(column)]
    first, last = inked_columns[0], inked_columns[-1]
    return [row[first : last + 1] for row in rows[inked_rows[0] : inked_rows[-1] + 1]]


def _mean(box: Rows, top: float, left: float, step: float) -> float:
    """The mean ink of a square of the box; outside of it is paper."""
    total = 0.0
    for row in range(max(0, int(top)), min(len(box), int(top + step) + 1)):
        high = min(row + 1, top + step) - max(row, top)
        for column in range(max(0, int(left)), min(len(box[0]), int(left + step) + 1)):
            wide = min(column + 1, left + step) - max(column, left)
            total += box[row][column] * max(0.0, high) * max(0.0, wide)
    return total / (step * step)
