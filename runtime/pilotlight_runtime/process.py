"""What the kernel knows of a process and the standard library does not say: dumpability, parents, start times."""

import functools
import os
from typing import Any

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def set_not_dumpable() -> None:
    """Close this process' memory to others of the same user (/proc/PID/mem, ptrace); forked children inherit it."""
    _prctl(_PR_SET_DUMPABLE, 0)


def set_parent_death_signal(signal: int) -> None:
    """Have the kernel send `signal` when the parent ends; 0 takes it back.

    It belongs to the calling thread, and a fork clears it. A parent that is already gone sends nothing: compare
    `os.getppid()` afterwards.
    """
    _prctl(_PR_SET_PDEATHSIG, signal)


def start_time_ticks(pid: int) -> int | None:
    """Clock ticks from boot to the start of the process, which with the pid names it for ever; None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command's name, field 2, may hold spaces and brackets; field 3 comes after the last one.
    return int(text.rpartition(b")")[2].split()[19])


def _prctl(option: int, value: int) -> None:
    import ctypes

    if _libc().prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}, {value}): {os.strerror(code)}")


@functools.cache
def _libc() -> Any:
    import ctypes  # here, not above: it takes milliseconds, and not every process of ours needs it

    return ctypes.CDLL(None, use_errno=True)
