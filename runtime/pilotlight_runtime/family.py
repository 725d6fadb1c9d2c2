"""What the processes that a replica started use: its memory limit is for all of them together.

They are found by the session that the replica leads, so that one whose parent has ended cannot hide. To look through
all processes costs milliseconds, so it is done only in a replica that has started any.
"""

import os
import resource
from contextlib import suppress

_PAGE = os.sysconf("SC_PAGE_SIZE")
SCAN_SECONDS = 1.0


class Family:
    """The other processes of the session that this one leads, and the bytes of memory that are theirs."""

    def __init__(self) -> None:
        self._session = os.getpid()
        self._pids: list[int] = []
        self._scanned_at = -SCAN_SECONDS
        self._had_children = False
        self._inherited: dict[int, int] = {}
        """Of a forked process, by pid: how much of what it has was its parent's."""

    def bytes(self, now: float) -> int:
        if not self._had_children:
            self._had_children = _has_children()
        if not self._had_children:
            return 0
        if now - self._scanned_at >= SCAN_SECONDS:
            self._scanned_at = now
            self._pids = _session_members(self._session)
            self._inherited = {pid: held for pid, held in self._inherited.items() if pid in self._pids}
        return sum(map(self._bytes_of, self._pids))

    def _bytes_of(self, pid: int) -> int:
        """Exact for a program of its own. What was only forked is as unreadable as we are: of that what it added."""
        try:
            return proportional_bytes(pid)
        except PermissionError:
            pass
        except OSError:
            return 0
        anonymous = _anonymous_bytes(pid)
        inherited = self._inherited.setdefault(pid, min(anonymous, _anonymous_bytes(os.getpid())))
        return max(0, anonymous - inherited)


def proportional_bytes(pid: int | str) -> int:
    """Private memory, and of what is shared its part (PSS). Takes the kernel a walk of all pages."""
    with open(f"/proc/{pid}/smaps_rollup", "rb", buffering=0) as file:
        for line in file.read(4096).splitlines():
            if line.startswith(b"Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def _anonymous_bytes(pid: int) -> int:
    with suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
        fields = file.read(200).split()
        return (int(fields[1]) - int(fields[2])) * _PAGE
    return 0


def _has_children() -> bool:
    """Now, or in former times: one that was waited for has left its page faults."""
    if resource.getrusage(resource.RUSAGE_CHILDREN).ru_minflt:
        return True
    if not os.path.exists("/proc/thread-self/children"):
        return True  # this kernel does not say
    for thread in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{thread}/children", "rb", buffering=0) as file:
            if file.read(1):
                return True
    return False


def _session_members(session: int) -> list[int]:
    """Without ourselves."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and _session_of(name) == session:
            found.append(int(name))
    return found


def _session_of(pid: str) -> int | None:
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except OSError:
        return None
    # Field 2, the command's name, may hold spaces and brackets; field 3 comes after the last bracket.
    return int(text.rpartition(b")")[2].split()[3])
