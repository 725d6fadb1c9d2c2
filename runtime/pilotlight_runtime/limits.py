"""What a replica may use: files and processes by rlimit, memory by watching what is its own.

Never RLIMIT_AS: it counts address space, and numpy or onnxruntime reserve gigabytes of it that they do not use.
"""

import os
import resource
import threading
import time
from collections.abc import Callable

from pilotlight_runtime.family import Family, proportional_bytes

_MIB = 2**20
_PAGE = os.sysconf("SC_PAGE_SIZE")
NEAR_SECONDS = 0.2
FAR_SECONDS = 1.0
EXACT_SECONDS = 2.0


def set_limits(*, open_files: int, processes: int) -> None:
    """Processes (which count threads, of all processes of this user), open files, and no core dumps."""
    _lower(resource.RLIMIT_NOFILE, open_files)
    _lower(resource.RLIMIT_NPROC, processes)
    _lower(resource.RLIMIT_CORE, 0)


def _lower(kind: int, wanted: int) -> None:
    _, hard = resource.getrlimit(kind)
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def resident_bytes() -> int:
    """Memory in use, what is shared with the zygote included: never less than `own_bytes`, and cheap."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        return int(file.read(200).split()[1]) * _PAGE


def own_bytes() -> int:
    """Proportional set size."""
    return proportional_bytes("self")


class MemoryWatch:
    """A thread that says when the process and those it started use more than they may: once, with limit and use in MiB.

    Resident memory is the cheap upper bound. Where it is over the limit (a large zygote's pages count there) the exact
    figure is taken: at once when the bound grew by a part of what was left, and now and then in any case, since
    writing to a shared page makes it our own without a trace in the bound.
    """

    def __init__(self, limit_mib: int, over: Callable[[int, int], None]) -> None:
        self._limit = limit_mib * _MIB
        self._over = over
        self._own = 0
        self._own_at = -EXACT_SECONDS
        self._resident_then = 0
        self._family = Family()

    def start(self) -> None:
        threading.Thread(target=self._run, name="memory-watch", daemon=True).start()

    def _run(self) -> None:
        while True:
            used, pause = self.look(time.monotonic())
            if used > self._limit:
                self._over(self._limit // _MIB, -(-used // _MIB))
                return
            time.sleep(pause)

    def look(self, now: float) -> tuple[int, float]:
        """Bytes in use (exact only where it matters), and how long not to look again."""
        others = self._family.bytes(now)
        used = resident_bytes()
        if used + others > self._limit:
            grown = used - self._resident_then
            left = self._limit - self._own - others
            if grown > left // 4 or now - self._own_at >= EXACT_SECONDS:
                self._own, self._own_at, self._resident_then = own_bytes(), now, used
            used = self._own
        used += others
        return used, FAR_SECONDS if used < self._limit // 2 else NEAR_SECONDS
