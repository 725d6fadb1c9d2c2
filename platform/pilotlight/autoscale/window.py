"""A function's concurrency over time: what is waiting or in flight, weighted by how long it was so.

Buckets of one second, as Knative's KPA has them. An average is taken over the whole window, also while less of it has
passed: "stable" is what has lasted, and until then the waiting requests themselves ask for replicas.
"""

import math

from pilotlight.autoscale.buckets import Buckets


class LoadWindow:
    """Times are seconds of one monotonic clock and never run backwards; an earlier one counts as the latest known."""

    def __init__(self, *, seconds: int = 60) -> None:
        self._seconds = seconds
        self._buckets = Buckets()
        self._level = 0.0
        self._at: float | None = None

    def record(self, now: float, concurrency: float) -> None:
        """From `now` on, so many requests are waiting or in flight."""
        self._advance(now)
        self._level = concurrency

    def average(self, now: float, *, over_seconds: int) -> float:
        """Mean concurrency over the last `over_seconds` (at most the window)."""
        self._advance(now)
        since = now - over_seconds
        total = 0.0
        for second, area in self._buckets:
            covered = min(second + 1, now) - max(second, since)
            lasted = min(second + 1, now) - second
            if covered > 0 and lasted > 0:
                total += area * min(1.0, covered / lasted)
        return total / over_seconds

    def _advance(self, now: float) -> None:
        if self._at is None:
            self._at = now
        start = max(self._at, now - self._seconds)
        while start < now:
            second = math.floor(start)
            end = min(now, second + 1)
            self._buckets.add(second, self._level * (end - start))
            start = end
        self._at = max(now, self._at)
        self._buckets.forget(now - self._seconds)
