"""What a server's processes hold: descriptors and memory, for the tests and benches that look for leaks."""

import contextlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

import psutil

from pilotlight.config import run_dir_of
from tests.harness import Server, wait_for

MIB = 2**20
FAULT = re.compile(r"level=(error|critical)|Traceback|never retrieved|was never awaited")
"""In the server's log; that of functions is elsewhere."""


@dataclass(frozen=True, slots=True)
class Figures:
    descriptors: int
    rss_mib: float
    pss_mib: float | None
    """None where it may not be read."""


def figures(pid: int) -> Figures | None:
    """None once the process has ended."""
    try:
        process = psutil.Process(pid)
        return Figures(len(os.listdir(f"/proc/{pid}/fd")), process.memory_info().rss / MIB, _pss_mib(pid))
    except (OSError, psutil.Error):
        return None


def roles(server: Server) -> dict[str, list[int]]:
    """Pids of the processes that stay, by what they are."""
    found = server.processes()
    return {
        "supervisor": [server.pid],
        "router": found["router"],
        "control plane": found["app"],
        "zygote": sorted(_recorded(server) & set(found["zygote"])),
    }


def zombies(server: Server) -> list[int]:
    """Ended processes that nobody has waited for, below the server's processes and its zygotes."""
    found = []
    for pid in (pid for pids in roles(server).values() for pid in pids):
        try:
            below = psutil.Process(pid).children(recursive=True)
            found += [child.pid for child in below if child.status() == psutil.STATUS_ZOMBIE]
        except psutil.Error:
            continue
    return found


def run_files(server: Server) -> list[str]:
    """Sockets, records, secrets, zygotes' files: everything in the run directory."""
    folder = run_dir_of(server.data_dir)
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def left_behind(server: Server) -> list[str]:
    """What is there of a server that has ended, and should not be."""

    def left() -> list[str]:
        found = [f"{name} {pid}" for name, pids in server.processes().items() for pid in pids]
        folder = run_dir_of(server.data_dir)
        return found + ([str(folder)] if folder.exists() else [])

    with contextlib.suppress(AssertionError):
        wait_for(lambda: not left(), seconds=5)
    return left()


def faults(log: str) -> list[str]:
    return [line for line in log.splitlines() if FAULT.search(line)]


def data_files(server: Server, *parts: str) -> list[str]:
    return sorted(
        str(path.relative_to(server.data_dir)) for part in parts for path in (server.data_dir / part).rglob("*")
    )


def _recorded(server: Server) -> set[int]:
    """Zygotes by their records: their children have the same command line, and may have lost their parent."""
    pids = set()
    for path in (run_dir_of(server.data_dir) / "records").glob("zygote-*.json"):
        with contextlib.suppress(OSError, ValueError):
            pids.add(json.loads(path.read_text())["pid"])
    return pids


def _pss_mib(pid: int) -> float | None:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), None)
