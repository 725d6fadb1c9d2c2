"""What time it is, as a value that is handed in: a test hands in another, and a day passes in a second."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    monotonic: Callable[[], float] = time.monotonic
    """For durations."""
    unix: Callable[[], float] = time.time
    """For what is stored or shown."""


SYSTEM = Clock()
