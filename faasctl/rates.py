"""Calls and errors per second, out of counters that were read now and then. No clock: the time comes along."""

from collections import deque
from dataclasses import dataclass
from itertools import pairwise

WINDOW_SECONDS = 30.0
BUCKETS = 8
_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Rate:
    """Of one function, over the window or as much of it as was seen."""

    calls_per_second: float
    """Between the last two readings."""
    calls: int
    errors: int
    trend: str
    """Calls over the window as a row of bars, the latest last."""


class Rates:
    """Readings of many functions' counters."""

    def __init__(self) -> None:
        self._readings: dict[str, deque[tuple[float, int, int]]] = {}

    def read(self, now: float, name: str, calls: int, errors: int) -> Rate:
        """Counters only rise; one that fell belongs to a server that began anew."""
        readings = self._readings.setdefault(name, deque())
        if readings and calls < readings[-1][1]:
            readings.clear()
        readings.append((now, calls, errors))
        while readings[0][0] < now - WINDOW_SECONDS and len(readings) > 2:
            readings.popleft()
        before, first = readings[max(0, len(readings) - 2)], readings[0]
        seconds = now - before[0]
        return Rate(
            calls_per_second=(calls - before[1]) / seconds if seconds > 0 else 0.0,
            calls=calls - first[1],
            errors=max(0, errors - first[2]),
            trend=_bars(_buckets(now, readings)),
        )

    def keep(self, names: set[str]) -> None:
        """Functions that are gone are forgotten."""
        for name in self._readings.keys() - names:
            del self._readings[name]


def _buckets(now: float, readings: "deque[tuple[float, int, int]]") -> list[float]:
    """Calls in each part of the window; what fell between two readings counts where the later one is."""
    buckets = [0.0] * BUCKETS
    for (_, before, _), (at, calls, _) in pairwise(readings):
        place = int((at - now + WINDOW_SECONDS) / WINDOW_SECONDS * BUCKETS)
        buckets[min(max(place, 0), BUCKETS - 1)] += calls - before
    return buckets


def _bars(buckets: list[float]) -> str:
    most = max(buckets)
    if most <= 0:
        return _LEVELS[0] * len(buckets)
    return "".join(_LEVELS[max(1, round(value / most * 7)) if value else 0] for value in buckets)
