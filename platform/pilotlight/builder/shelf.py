"""What lies in the data directory and can be made again: bundles, environments, runtime layers, locks, trials' answers
and uv's cache. Who uses one marks it as used; who needs room takes away what was not used since it was looked at.

The two never meet in the middle: both hold one lock, and neither does more under it than look at a time or rename. The
last use is a file's time of modification, which also a full disk can take.
"""

import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from pilotlight.builder.base import Disk, Kept
from pilotlight.builder.files import disk_bytes, remove

BUNDLES, ENVIRONMENTS, LAYERS = "bundles", "environments", "runtime"
IMAGES = "images"
"""No folder of ours: an engine has them; see image_shelf.py."""
LOCKS, TRIALS, UV = "cache/locks", "cache/trials", "cache/uv"
_MANIFEST = "manifest.json"
_Facts: TypeAlias = tuple[int, str | None]
"""Size and need."""


class Shelf:
    """Of one data directory, which has one server."""

    place = budget = ""

    def __init__(self, data_dir: Path, *, layer: Path | None = None, make_cache: Callable[[], None]) -> None:
        self._data = data_dir
        self._staging = data_dir / "staging"
        self._layer = layer
        self._make_cache = make_cache
        self._lock = threading.Lock()
        self._uv_running = 0
        self._uv_bytes: int | None = None
        self._facts: dict[str, _Facts] = {}
        """Of what does not change."""

    async def open(self) -> None:
        """It always is."""

    def use(self, name: str) -> bool:
        """Whether it is there; then it counts as used now, and stays for the minimum age at least."""
        with self._lock:
            return self._mark(name)

    def used(self, names: set[str]) -> None:
        """The same for many, of which some may be gone."""
        for name in names:
            self.use(name)

    @contextmanager
    def uv_running(self) -> Iterator[None]:
        """uv's cache stays for as long as a uv runs."""
        with self._lock:
            self._uv_running += 1
        try:
            yield
        finally:
            with self._lock:
                self._uv_running -= 1
                self._uv_bytes = None
                self._mark(UV)

    def everything(self) -> list[Kept]:
        """Reads a small file of each that is new, and walks through what has no measured size. Blocking."""
        found = list(self._everything())
        self._facts = {each.name: (each.bytes, each.needs) for each in found if each.name != UV}
        return found

    def in_use(self) -> set[str]:
        """Layers and environments that processes run from, also processes that an older version started. Blocking."""
        names = set() if self._layer is None else {self._name(self._layer)}
        for line in _command_lines():
            for folder in (ENVIRONMENTS, LAYERS):
                prefix = f"{self._data}/{folder}/"
                names |= {
                    f"{folder}/{word.removeprefix(prefix).split('/')[0]}" for word in line if word.startswith(prefix)
                }
        return names

    def take(self, kept: Kept) -> bool:
        """Remove it unless somebody used it since. It is gone by one rename, so that no half of it is ever found; a new
        folder for it could not be made on a full disk."""
        away = self._staging / secrets.token_hex(16)
        try:
            with self._lock:
                if self._used_at(kept.name) != kept.used_at or (kept.name == UV and self._uv_running):
                    return False
                (self._data / kept.name).rename(away)
                if kept.name == UV:
                    self._uv_bytes = None
                    self._make_cache()
            return True
        finally:
            remove(away)

    def disk(self) -> Disk:
        found = os.statvfs(self._data)
        return Disk(
            size_bytes=found.f_blocks * found.f_frsize,
            free_bytes=found.f_bavail * found.f_frsize,
            device=os.stat(self._data).st_dev,
        )

    def _everything(self) -> Iterator[Kept]:
        for folder in (BUNDLES, ENVIRONMENTS, LAYERS, LOCKS, TRIALS):
            for path in _entries(self._data / folder):
                name = self._name(path)
                if (used_at := self._used_at(name)) is not None:
                    size, needs = self._facts.get(name) or _facts(path)
                    yield Kept(name=name, bytes=size, used_at=used_at, needs=needs)
        if (used_at := self._used_at(UV)) is not None and _entries(self._data / UV):
            if self._uv_bytes is None:
                self._uv_bytes = disk_bytes(self._data / UV)
            yield Kept(name=UV, bytes=self._uv_bytes, used_at=used_at)

    def _mark(self, name: str) -> bool:
        try:
            os.utime(self._timekeeper(name))
        except FileNotFoundError:
            return False
        return True

    def _used_at(self, name: str) -> float | None:
        with suppress(FileNotFoundError):
            return self._timekeeper(name).stat().st_mtime
        return None

    def _timekeeper(self, name: str) -> Path:
        """Whose time is the last use: the manifest where there is one, since a folder's own time is its contents'."""
        path = self._data / name
        return path / _MANIFEST if name.startswith((f"{BUNDLES}/", f"{ENVIRONMENTS}/")) else path

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self._data))


def _facts(path: Path) -> _Facts:
    """From the manifest; walked where an earlier version has not measured it."""
    manifest: dict[str, object] = {}
    with suppress(OSError, ValueError):
        manifest = json.loads((path / _MANIFEST).read_bytes())
    size, environment, image = (manifest.get(key) for key in ("bytes", "environment", "image"))
    needs = f"{ENVIRONMENTS}/{environment}" if isinstance(environment, str) else None
    return (
        size if isinstance(size, int) else disk_bytes(path),
        f"{IMAGES}/{image}" if isinstance(image, str) else needs,
    )


def _entries(folder: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    return []


def _command_lines() -> Iterator[list[str]]:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):
            line = Path("/proc", pid, "cmdline").read_bytes()
            yield line.decode(errors="surrogateescape").split("\0")
