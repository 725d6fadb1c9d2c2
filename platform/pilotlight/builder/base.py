"""What every part of the builder speaks in: progress lines, and the versions that the runtime needs."""

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
