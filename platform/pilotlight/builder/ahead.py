"""A program that is started before there is work for it: most of what a small program takes is its start.

Each is used once, as if it had been started then; the next one is made while nobody waits. One that nobody needs for
a while is ended, and one whose server died reads the end of its input and ends by itself.
"""

import asyncio
import subprocess
import weakref
from collections.abc import Callable
from contextlib import suppress

from pilotlight.builder.process import Command, Outcome, end, finish, start
from pilotlight.config import Sandbox

_PAUSE_SECONDS = 0.3
"""After a use, so that the next start takes no processor from what follows a build."""
_IDLE_SECONDS = 600.0


class Ahead:
    """Runs one command, with another input each time."""

    def __init__(self, command: Command, sandbox: Sandbox) -> None:
        self._command = command
        self._sandbox = sandbox
        self._spares: list[subprocess.Popen[bytes]] = []
        """One at most."""
        self._timer: asyncio.TimerHandle | None = None
        weakref.finalize(self, _end_all, self._spares)

    async def run(self, stdin: bytes, *, seconds: float, output_limit: int) -> Outcome:
        """As `process.run`: TimedOut when it takes too long."""
        popen = self._take() or start(self._command, self._sandbox)
        try:
            return await finish(popen, stdin, seconds=seconds, output_limit=output_limit)
        finally:
            self._after(_PAUSE_SECONDS, self._start)

    def _take(self) -> "subprocess.Popen[bytes] | None":
        while self._spares:
            popen = self._spares.pop()
            if popen.poll() is None:
                return popen
            end(popen)
        return None

    def _start(self) -> None:
        if not self._spares:
            with suppress(OSError):  # no memory, too many processes: then it is started when it is needed
                self._spares.append(start(self._command, self._sandbox))
        self._after(_IDLE_SECONDS, lambda: _end_all(self._spares))

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)


def _end_all(spares: "list[subprocess.Popen[bytes]]") -> None:
    while spares:
        end(spares.pop())
