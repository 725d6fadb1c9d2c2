"""Which files changed since a moment: by looking, not by being told.

Polling needs no library, works on network drives and in containers, and sees a save by rename as what it is. How often
is looked follows from how long a look takes: a small project is seen within 20 ms, and no project costs more than a
hundredth of a processor.
"""

import os
import stat
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from faasctl.pack import is_environment, is_ignored

Stamp = tuple[int, int, int]
"""Modification time in ns, size, inode: a file that was written or replaced has another."""
Snapshot = dict[str, Stamp]

SHORTEST_SECONDS, LONGEST_SECONDS = 0.02, 1.0
SHARE = 0.01
"""Of a processor, for looking."""
SETTLE_SECONDS = 0.005
"""Editors write a file in two or three steps; a look that finds no more change ends them."""
_SETTLE_LOOKS = 40


def snapshot(roots: Iterable[Path]) -> Snapshot:
    """The files at and below the roots, by path; what cannot be read or is not there is left out."""
    found: Snapshot = {}
    for root in roots:
        try:
            status = os.stat(root)
        except OSError:
            continue
        if stat.S_ISDIR(status.st_mode):
            _walk(str(root), found, {(status.st_dev, status.st_ino)})
        else:
            found[str(root)] = _stamp(status)
    return found


def differing(before: Snapshot, after: Snapshot) -> list[str]:
    """Paths of files that are new, gone, or not what they were; sorted."""
    return sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))


def is_below(path: str, root: Path) -> bool:
    """Whether it is the root or lies below it."""
    return path == str(root) or path.startswith(f"{root}/")


class Watcher:
    """Waits for changes below roots that may be exchanged meanwhile."""

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = tuple(roots)
        self._seen = snapshot(self.roots)

    def follow(self, roots: Iterable[Path]) -> None:
        """From now on these; files of new ones count as seen."""
        roots = tuple(roots)
        added = [root for root in roots if root not in self.roots]
        kept = {path: stamp for path, stamp in self._seen.items() if any(is_below(path, root) for root in roots)}
        self._seen = snapshot(added) | kept
        self.roots = roots

    def changed(self) -> list[str]:
        """What changed since the last call, once it has settled; empty when nothing did."""
        now = snapshot(self.roots)
        if now == self._seen:
            return []
        for _ in range(_SETTLE_LOOKS):
            time.sleep(SETTLE_SECONDS)
            later = snapshot(self.roots)
            if later == now:
                break
            now = later
        paths = differing(self._seen, now)
        self._seen = now
        return paths

    def wait(self, still: Callable[[], bool]) -> list[str]:
        """The next changes; empty when `still`, asked a few times a second, says no."""
        asked = 0.0
        while True:
            began = time.monotonic()
            if began - asked > 0.25:
                if not still():
                    return []
                asked = began
            paths = self.changed()
            if paths:
                return paths
            time.sleep(pause(time.monotonic() - began))


def pause(look_seconds: float) -> float:
    """Until the next look."""
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, look_seconds / SHARE))


def _walk(folder: str, found: Snapshot, parents: set[tuple[int, int]]) -> None:
    """Links are followed, but never into a folder that holds them."""
    try:
        with os.scandir(folder) as entries:
            listed = [entry for entry in entries if not is_ignored(entry.name)]
    except OSError:
        return
    for entry in listed:
        try:
            status = entry.stat()
        except OSError:  # gone meanwhile, or a link to nothing
            continue
        if not stat.S_ISDIR(status.st_mode):
            found[entry.path] = _stamp(status)
            continue
        identity = (status.st_dev, status.st_ino)
        if identity not in parents and not is_environment(Path(entry.path)):
            _walk(entry.path, found, parents | {identity})


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_mtime_ns, status.st_size, status.st_ino
