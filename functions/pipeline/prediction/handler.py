"""The model: which digit's mean scan is nearest to the cells that came? Small, and without a dependency.

`means.json` is made by train.py from the same scans as the example `digits`, whose network reads far better.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pilotlight_runtime.typing import Context, Event, Result

MEANS: list[list[float]] = []
SHARPNESS = 0.02
"""Turns squared distances into shares: so much less likely is a digit for each unit that it is farther away."""


def init() -> None:
    MEANS[:] = json.loads(Path(__file__).with_name("means.json").read_text())


def handle(event: Event, context: Context) -> Result:
    scores = scores_of(json.loads(event.body)["cells"])
    digit = scores.index(max(scores))
    print(f"it is a {digit}")
    return {"digit": digit, "confidence": round(scores[digit], 3)}


def scores_of(cells: list[float]) -> list[float]:
    """Each digit's share of the belief; together 1."""
    distances = [sum((ink - usual) ** 2 for ink, usual in zip(cells, mean, strict=True)) for mean in MEANS]
    nearest = min(distances)
    weights = [math.exp(-SHARPNESS * (distance - nearest)) for distance in distances]
    return [weight / sum(weights) for weight in weights]
