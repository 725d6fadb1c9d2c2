"""What the control plane is told about load, and when: at once when somebody begins to wait, else what changed."""

import asyncio
from collections.abc import Iterable
from time import monotonic
from typing import Protocol

from pilotlight.link.messages import Drained, Level, Levels, Up
from pilotlight.router.admission import Function
from pilotlight.router.balancer import Backend

REPORT_SECONDS = 0.25
URGENT_SECONDS = 0.002


class Uplink(Protocol):
    """The way to the control plane; what is sent while there is none is lost, and told in full on the next connect."""

    def send(self, message: Up) -> None: ...


class LevelReporter:
    """Keeps the functions whose levels may change, and reports them (admission.Watch)."""

    def __init__(self) -> None:
        self._uplink: Uplink | None = None
        self._version = 0
        self._touched: list[Function] = []
        self._timer: asyncio.TimerHandle | None = None
        self._urgent: dict[Function, None] = {}
        self._urgent_timer: asyncio.TimerHandle | None = None
        self._urgent_at = 0.0

    def connected(self, uplink: Uplink) -> None:
        self._uplink = uplink

    def disconnected(self) -> None:
        self._uplink = None

    def applied(self, functions: Iterable[Function], version: int, *, full: bool) -> None:
        """The table changed: say what is drained already, and after a connect everything."""
        self._version = version
        functions = list(functions)
        if full and self._uplink is not None:
            now = monotonic()
            for function in functions:
                function.last_level = function.level(now)
            levels = tuple(f.last_level for f in functions if f.last_level is not None)
            self._uplink.send(Levels(levels=levels, full=True))
        for function in functions:
            for backend in function.draining():
                if backend.in_flight == 0:
                    self.drained(backend)

    def report(self) -> None:
        """Say what changed, now."""
        self._send(self._touched, monotonic())

    # admission.Watch

    def touched(self, function: Function) -> None:
        self._touched.append(function)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_SECONDS, self._report)

    def waiting(self, function: Function) -> None:
        said = function.last_level.waiting if function.last_level is not None else 0
        if said == 0:
            self._send([function], monotonic())
        elif function.waiting == 1 or function.waiting >= 2 * said:
            self._hurry(function)

    def drained(self, backend: Backend) -> None:
        if self._uplink is not None:
            self._uplink.send(Drained(replica=backend.endpoint.replica, version=self._version))

    def _hurry(self, function: Function) -> None:
        self._urgent[function] = None
        if self._urgent_timer is None:
            pause = max(0.0, self._urgent_at + URGENT_SECONDS - monotonic())
            self._urgent_timer = asyncio.get_running_loop().call_later(pause, self._report_urgent)

    def _report_urgent(self) -> None:
        self._urgent_timer = None
        self._urgent_at = now = monotonic()
        urgent, self._urgent = self._urgent, {}
        self._send([function for function in urgent if function.waiting], now)

    def _report(self) -> None:
        try:
            self._send(self._touched, monotonic())
        finally:  # without the next report, no load of any function would ever be told again
            self._go_on()

    def _go_on(self) -> None:
        kept = []
        for function in self._touched:
            if not function.gone and (function.waiting or function.in_flight):
                kept.append(function)
            else:
                function.touched = False
        self._touched = kept
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(REPORT_SECONDS, self._report) if kept else None

    def _send(self, functions: Iterable[Function], now: float) -> None:
        """Those of them that are not as they were said to be. A wait that goes on is a change."""
        changed = []
        for function in functions:
            if function.gone:
                continue
            level, said = function.level(now), function.last_level
            if said is None or level.waiting or _counts(level) != _counts(said):
                function.last_level = level
                changed.append(level)
        if changed and self._uplink is not None:
            self._uplink.send(Levels(levels=tuple(changed)))


def _counts(level: Level) -> tuple[int, int, dict[int, int]]:
    return level.waiting, level.in_flight, level.codes
