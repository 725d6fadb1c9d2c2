"""Memory limits by control groups (v2), where a part of their tree was given to the server: one group per replica.

The kernel then counts all that a replica and whatever it starts have touched, and ends them together. Given means: the
server runs in a group of its own below a group that holds no process and that it may divide further, as systemd makes
with `Delegate=memory` and `DelegateSubgroup=server`. We neither move processes that we did not start nor take what only
root's power would give us. Everywhere else replicas watch themselves (pilotlight_runtime.limits).
"""

import os
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_MIB = 2**20
_PREFIX = "replica-"
REMOVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Overuse:
    """The kernel ended processes of a group because it was over its limit."""

    limit_mib: int
    used_mib: int


@dataclass(frozen=True, slots=True)
class Group:
    """One replica's."""

    path: Path

    def add(self, pid: int) -> None:
        """A process, with what it starts from now on; what it has touched before stays where it was counted."""
        (self.path / "cgroup.procs").write_text(str(pid))

    def overuse(self) -> Overuse | None:
        """What memory.events tells; it stays true until the group is removed."""
        events = dict(line.split() for line in _read(self.path / "memory.events").splitlines())
        if not int(events.get("oom_kill", 0)):
            return None
        limit = int(_read(self.path / "memory.max") or 0)
        peak = int(_read(self.path / "memory.peak") or limit)  # Linux 5.19 and later
        return Overuse(limit // _MIB, -(-peak // _MIB))

    def remove(self) -> None:
        """End what is left in it, also what left its process group and session. Waits for that; not for an event loop.
        A group that cannot go yet goes with the next sweep."""
        with suppress(OSError), open(self.path / "cgroup.kill", "r+") as kill:  # Linux 5.14 and later
            kill.write("1")
        deadline = time.monotonic() + REMOVE_SECONDS
        while not _gone(self.path) and time.monotonic() < deadline:
            time.sleep(0.02)


class Groups:
    """Those of all replicas, below the group that is ours to divide."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def make(self, replica: str, memory_mib: int) -> Group:
        """An empty group with that limit; OSError when it cannot be made."""
        group = Group(self._base / f"{_PREFIX}{replica}")
        group.path.mkdir(exist_ok=True)
        try:
            (group.path / "memory.max").write_text(str(memory_mib * _MIB))
            (group.path / "memory.oom.group").write_text("1")
            if (group.path / "memory.swap.max").exists():
                (group.path / "memory.swap.max").write_text("0")
        except BaseException:
            _gone(group.path)
            raise
        return group

    def of(self, replica: str) -> Group | None:
        """The group that it was started with, perhaps by an earlier control plane."""
        path = self._base / f"{_PREFIX}{replica}"
        return Group(path) if path.is_dir() else None

    def sweep(self, replicas: Collection[str]) -> None:
        """Remove the groups of all others."""
        for path in self._base.glob(f"{_PREFIX}*"):
            if path.name.removeprefix(_PREFIX) not in replicas:
                Group(path).remove()


def delegated() -> Groups | None:
    """None where nothing was given to us, or it has no memory controller."""
    base = base_of(_read(Path("/proc/self/cgroup")), _read(Path("/proc/self/mountinfo")))
    if base is None:
        return None
    try:
        (base / "cgroup.subtree_control").write_text("+memory")
    except OSError:
        return None
    return Groups(base)


def base_of(membership: str, mounts: str) -> Path | None:
    """The group to divide, from the texts of /proc/self/cgroup and /proc/self/mountinfo and the tree itself."""
    inside = next((line[3:] for line in membership.splitlines() if line.startswith("0::/")), "/")
    mount = _mounted(mounts)
    if inside == "/" or ".." in inside or mount is None:
        return None
    base = (mount / inside.lstrip("/")).parent
    if _read(base / "cgroup.procs") or "memory" not in _read(base / "cgroup.controllers").split():
        return None
    writable = all(os.access(base / name, os.W_OK) for name in (".", "cgroup.procs", "cgroup.subtree_control"))
    return base if writable and (os.getuid() != 0 or base == mount or _says_delegated(base)) else None


def _mounted(mounts: str) -> Path | None:
    """Where the whole of the unified hierarchy (of our namespace) is mounted."""
    for line in mounts.splitlines():
        fields, _, source = line.partition(" - ")
        if source.startswith("cgroup2 ") and fields.split()[3] == "/":
            return Path(fields.split()[4])
    return None


def _says_delegated(path: Path) -> bool:
    """systemd's mark: root may write everywhere, and that says nothing."""
    for name in ("user.delegate", "trusted.delegate"):
        with suppress(OSError):
            return os.getxattr(path, name) == b"1"
    return False


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _gone(path: Path) -> bool:
    try:
        path.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False  # somebody in it still ends
    return True
