"""Amounts by second, the oldest first: what the windows of load and of rates keep."""

from collections import deque
from collections.abc import Iterator


class Buckets:
    def __init__(self) -> None:
        self._buckets: deque[tuple[int, float]] = deque()

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """(second, amount)."""
        return iter(self._buckets)

    def add(self, second: int, amount: float) -> None:
        """To that second, which is the last one or a later one."""
        if self._buckets and self._buckets[-1][0] == second:
            self._buckets[-1] = (second, self._buckets[-1][1] + amount)
        elif amount:
            self._buckets.append((second, amount))

    def forget(self, until: float) -> None:
        """The seconds that had ended by then."""
        while self._buckets and self._buckets[0][0] + 1 <= until:
            self._buckets.popleft()
