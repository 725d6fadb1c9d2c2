"""What every part of the builder speaks in: progress lines, what is kept on the disk, and the versions that the runtime
needs."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of a build for its client."""

    step: str
    """upload, source, requirements, environment, bundle or preimport."""
    message: str
    seconds: float
    """Since the build began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing on the disk that can be made again, and removed when the room is needed."""

    name: str
    """Its path below the data directory, such as `bundles/DIGEST`."""
    bytes: int
    used_at: float
    """Unix seconds of its last use, or of its making."""
    needs: str | None = None
    """Without the thing of this name it is of no use: a bundle's environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system that the data directory lies on."""

    size_bytes: int
    free_bytes: int
    """For us."""


Report = Callable[[str, str], None]
"""Takes a step and a message."""

RUNTIME_FLOOR: Mapping[str, str] = MappingProxyType({"uvloop": "0.21", "httptools": "0.6.4"})
"""What pilotlight_runtime needs of what a function may bring itself: its own copy wins over the runtime layer's."""


def reporter(progress: Callable[[Progress], None]) -> Report:
    """Progress lines with the time since now."""
    began = time.monotonic()

    def report(step: str, message: str) -> None:
        progress(Progress(step=step, message=message, seconds=time.monotonic() - began))

    return report
