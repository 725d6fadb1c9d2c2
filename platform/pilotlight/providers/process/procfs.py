"""Processes by the name that is theirs for ever: pid and start time. Nothing here trusts a bare pid.

A pidfd is opened first and the start time compared afterwards, so that it belongs to the process that was meant.
"""

import os
import signal
from contextlib import suppress
from dataclasses import dataclass

from pilotlight.providers.base import Usage

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc/PID/stat says; readable for every process, also where nothing else is."""

    state: str
    parent: int
    started: int
    """Clock ticks since boot."""
    cpu_seconds: float


def stat(pid: int) -> Stat | None:
    """None when the process is gone; one that ended but was not waited for (a zombie) is gone too."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read(4096)
    except (FileNotFoundError, ProcessLookupError):
        return None
    # Field 2, the command's name, may hold spaces and brackets; field 3 comes after the last bracket.
    fields = text.rpartition(b")")[2].split()
    if fields[0] in (b"Z", b"X"):
        return None
    return Stat(
        state=fields[0].decode(),
        parent=int(fields[1]),
        started=int(fields[19]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
    )


def user_of(pid: int) -> int | None:
    """The real user id. (The owner of /proc/PID is root for processes that are not dumpable, as ours are.)"""
    try:
        with open(f"/proc/{pid}/status", "rb", buffering=0) as file:
            text = file.read(8192)
    except (FileNotFoundError, ProcessLookupError):
        return None
    for line in text.splitlines():
        if line.startswith(b"Uid:"):
            return int(line.split()[1])
    return None


def usage(pid: int) -> Usage | None:
    """CPU time and resident memory. Pages still shared with the zygote count too: only the process itself may see
    which those are."""
    found = stat(pid)
    if found is None:
        return None
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            resident = int(file.read(256).split()[1])
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    return Usage(cpu_seconds=found.cpu_seconds, memory_mib=resident * _PAGE / 2**20)


def anonymous_mib(pid: int) -> float:
    """Resident memory that no file backs, what is shared with its zygote included; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb", buffering=0) as file:
            fields = file.read(256).split()
        return (int(fields[1]) - int(fields[2])) * _PAGE / 2**20
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return 0.0


class Process:
    """One process that may not be a child of ours; `fd` is readable once it has ended."""

    def __init__(self, pid: int, started: int, fd: int) -> None:
        self.pid = pid
        self.started = started
        self.fd = fd

    def signal(self, number: int) -> None:
        """Send it; nothing happens when the process has ended."""
        if self.fd >= 0:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.fd, number)

    def kill_group(self) -> None:
        """SIGKILL for it and for what it started. The group outlives its leader; a stranger that got the leader's
        number afterwards is left alone."""
        self.signal(signal.SIGKILL)
        found = stat(self.pid)
        if found is None or found.started == self.started:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


def find(pid: int, started: int, *, user: int | None = None, parent: int | None = None) -> Process | None:
    """The living process of that name, if it is who it should be."""
    if pid <= 1:
        return None
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    found = stat(pid)
    if (
        found is None
        or found.started != started
        or (parent is not None and found.parent != parent)
        or (user is not None and user_of(pid) != user)
    ):
        os.close(fd)
        return None
    return Process(pid, started, fd)
