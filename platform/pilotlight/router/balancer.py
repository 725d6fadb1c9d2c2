"""Which replica gets the next request? The one with the largest share of free slots, the warmest among equals."""

from collections.abc import Callable, Iterable
from time import monotonic

from pilotlight.link.messages import Endpoint
from pilotlight.router.upstream import Pool

BUSY_SECONDS = 0.02
BUSY_LIMIT_SECONDS = 0.16
"""Where several routers share few slots each asks this often for one."""
BUSY_FORGOTTEN_SECONDS = 0.5
SUSPECT_SECONDS = 0.1
SUSPECT_LIMIT_SECONDS = 2.0


class Backend(Pool):
    """A replica as this router uses it: its slots and its connections. A slot is taken until the replica is done."""

    __slots__ = (
        "_busy_at", "_busy_seconds", "added_at", "endpoint", "failures", "in_flight", "resting_until", "slots",
        "used_at",
    )  # fmt: skip

    def __init__(
        self, endpoint: Endpoint, *, on_release: "Callable[[Backend, float], None]", buffer_bytes: int
    ) -> None:
        super().__init__(
            endpoint.address,
            reuse_idle_seconds=endpoint.reuse_idle_seconds,
            buffer_bytes=buffer_bytes,
            on_release=on_release,
        )
        self.added_at = monotonic()
        self.in_flight = 0
        self.failures = 0
        self._busy_at = 0.0
        self._busy_seconds = BUSY_SECONDS
        self.resting_until = 0.0
        """Until then it is not offered: it said that it is busy, or it could not be reached."""
        self.used_at = 0.0
        self.update(endpoint)

    def update(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.slots = 0 if endpoint.draining else endpoint.slots
        self.reuse_idle_seconds = endpoint.reuse_idle_seconds
        self.closed = False

    def connected(self) -> None:
        self.failures = 0

    def refused(self) -> None:
        self.failures += 1
        self.rest(min(SUSPECT_SECONDS * 2 ** min(self.failures - 1, 8), SUSPECT_LIMIT_SECONDS))

    def rest_busy(self) -> None:
        """It had no room: a pause that doubles while it says so again and again."""
        now = monotonic()
        again = now - self._busy_at < BUSY_FORGOTTEN_SECONDS
        self._busy_seconds = min(2 * self._busy_seconds, BUSY_LIMIT_SECONDS) if again else BUSY_SECONDS
        self._busy_at = now
        self.rest(self._busy_seconds)

    def rest(self, seconds: float) -> None:
        self.resting_until = monotonic() + seconds


def pick(backends: Iterable[Backend], now: float) -> Backend | None:
    """The least loaded one with a free slot; among equals the one that was used last, so that others can go idle."""
    best: Backend | None = None
    best_load = 1.0
    for backend in backends:
        in_flight = backend.in_flight
        if in_flight >= backend.slots or backend.resting_until > now:
            continue
        load = in_flight / backend.slots
        if best is None or load < best_load or (load == best_load and backend.used_at > best.used_at):
            best, best_load = backend, load
    return best
