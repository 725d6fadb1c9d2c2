"""A rate over time: what was added (calls, processor seconds) in the last seconds, from counters that only grow.

Counters of several sources may start again at zero, or jump when one comes back after it was away; neither is load.
"""

import math
from collections.abc import Mapping

from pilotlight.autoscale.buckets import Buckets

READING_SECONDS = 1.0
"""A counter of calls that changes is read at least this often."""


class RateWindow:
    """Buckets of one second. Times are seconds of one monotonic clock; an earlier one counts as the latest known."""

    def __init__(self, *, seconds: int = 60) -> None:
        self._seconds = seconds
        self._buckets = Buckets()
        self._at = -math.inf

    def add(self, now: float, amount: float, *, since: float) -> None:
        """So much came evenly from `since` (at the earliest the last addition) to now."""
        start, end = max(since, self._at), max(now, self._at)
        lasted, at = end - start, max(start, end - self._seconds)
        while at < end:
            second = math.floor(at)
            until = min(end, second + 1)
            self._buckets.add(second, amount * ((until - at) / lasted))
            at = until
        if not lasted:
            self._buckets.add(math.floor(end), amount)
        self._at = end
        self._buckets.forget(self._at - self._seconds)

    def per_second(self, now: float, *, over_seconds: int) -> float:
        """Over the last so many seconds (at most the window), also while less of them has passed. Of the second in
        which they began the part that lies within them counts."""
        now = max(now, self._at)
        since = now - over_seconds
        total = sum(amount * min(1.0, max(0.0, second + 1 - since)) for second, amount in self._buckets)
        return total / over_seconds


class CounterRate:
    """The rate of a counter that is read now and then."""

    def __init__(self, *, seconds: int = 60) -> None:
        self._window = RateWindow(seconds=seconds)
        self._seen: float | None = None
        self._at = 0.0

    def read(self, now: float, count: float) -> None:
        """A first reading says nothing, and one that is lower is of a counter that began again. After a long silence
        the calls came just now: a reading is made when there are some."""
        if self._seen is not None:
            since = max(self._at, now - READING_SECONDS)
            self._window.add(now, max(0.0, count - self._seen), since=since)
        self._seen, self._at = count, now

    def lost(self) -> None:
        """Who counts is away; its next reading is a first one."""
        self._seen = None

    def per_second(self, now: float, *, over_seconds: int) -> float:
        return self._window.per_second(now, over_seconds=over_seconds)


class CpuRate:
    """Processors that replicas use, from the seconds that each has used since its start."""

    def __init__(self, *, seconds: int = 60) -> None:
        self._window = RateWindow(seconds=seconds)
        self._seen: dict[str, float] = {}
        self._at = 0.0

    def read(self, now: float, used: Mapping[str, float]) -> None:
        """Seconds by replica. What a replica used before its first reading is its start, and no load."""
        spent = sum(max(0.0, seconds - self._seen.get(replica, seconds)) for replica, seconds in used.items())
        self._window.add(now, spent, since=self._at)
        self._seen, self._at = dict(used), now

    def milli(self, now: float, *, over_seconds: int) -> float:
        """Thousandths of a processor, over all replicas."""
        return self._window.per_second(now, over_seconds=over_seconds) * 1000
