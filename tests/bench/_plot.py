"""Lines over time as an SVG, drawn by hand: panels above each other, a line for each series, marks for events."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, LEFT, RIGHT = 960, 70, 170
PANEL, GAP, TOP, BOTTOM = 260, 70, 60, 50
COLOURS = ("#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a", "#787774")


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    unit: str
    series: dict[str, list[tuple[float, float]]]
    """Points (minutes, value) by name."""


@dataclass(frozen=True, slots=True)
class Mark:
    at: float
    """Minutes."""
    name: str


def svg(title: str, panels: Sequence[Panel], marks: Sequence[Mark] = ()) -> str:
    height = TOP + len(panels) * PANEL + (len(panels) - 1) * GAP + BOTTOM
    last = max((x for panel in panels for points in panel.series.values() for x, _ in points), default=1.0) or 1.0
    names = sorted({name for panel in panels for name in panel.series} | {mark.name for mark in marks})
    colours = {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        _text(LEFT, 24, title, size=16),
    ]
    for number, panel in enumerate(panels):
        parts += _panel(panel, TOP + number * (PANEL + GAP), last, marks, colours)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, top: float, last: float, marks: Sequence[Mark], colours: dict[str, str]) -> list[str]:
    right, bottom = WIDTH - RIGHT, top + PANEL
    most = max((y for points in panel.series.values() for _, y in points), default=1.0)
    ys, xs = _ticks(most), _ticks(last)

    def place(x: float, y: float) -> tuple[float, float]:
        return LEFT + x / last * (right - LEFT), bottom - y / ys[-1] * PANEL

    parts = [_text(LEFT, top - 8, f"{panel.title} [{panel.unit}]")]
    for y in ys:
        level = place(0, y)[1]
        parts += [_line(LEFT, level, right, level, "#dddddd"), _text(LEFT - 8, level + 4, f"{y:g}", anchor="end")]
    for x in (x for x in xs if x <= last):
        at = place(x, 0)[0]
        parts += [_line(at, bottom, at, bottom + 5, "#333333"), _text(at, bottom + 19, f"{x:g}", anchor="middle")]
    parts += [_line(LEFT, bottom, right, bottom, "#333333"), _line(LEFT, top, LEFT, bottom, "#333333")]
    parts.append(_text(right, bottom + 36, "time [min]", anchor="end"))
    for mark in marks:
        at = place(mark.at, 0)[0]
        parts.append(_line(at, bottom - 12, at, bottom, colours[mark.name], width=2))
    for number, (name, points) in enumerate(panel.series.items()):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[name]}" stroke-width="1.8"/>')
        parts += _legend(name, colours[name], right, top + 12 + 20 * number)
    if marks:
        shown = [name for name in sorted({mark.name for mark in marks}) if name not in panel.series]
        for number, name in enumerate(shown, len(panel.series)):
            parts += _legend(name, colours[name], right, top + 12 + 20 * number)
        parts.append(_text(right + 14, bottom, "short strokes: kills"))
    return parts


def _legend(name: str, colour: str, right: float, y: float) -> list[str]:
    return [_line(right + 14, y - 4, right + 38, y - 4, colour, width=3), _text(right + 44, y, name)]


def _ticks(most: float) -> list[float]:
    """About six round values from 0 to at least `most`."""
    rough = max(most, 1e-9) / 5
    unit = 10 ** math.floor(math.log10(rough))
    step = next(factor * unit for factor in (1, 2, 2.5, 5, 10) if factor * unit >= rough)
    return [round(number * step, 9) for number in range(math.ceil(most / step - 1e-9) + 1)]


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 13) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="#222222">'
        f"{html.escape(text)}</text>"
    )
