"""What every part of the builder speaks in: progress lines, what is kept on the disk, and the versions that the runtime
needs."""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One line of a build for its client."""

    step: str
    """upload, source, requirements, environment, bundle, preimport; of images also base, build, image or pool."""
    message: str
    seconds: float
    """Since the build began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing on the disk that can be made again, and removed when the room is needed."""

    name: str
    """Its path below the data directory, such as `bundles/DIGEST`; or an image's name, below `images/`."""
    bytes: int
    used_at: float
    """Unix seconds of its last use, or of its making."""
    needs: str | None = None
    """Without the thing of this name it is of no use: a bundle's environment, or its image, and that image's own."""
    disk: str = ""
    """Where it lies, if not on the data directory's disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The file system that the data directory lies on."""

    size_bytes: int
    free_bytes: int
    """For us."""
    device: int = 0
    """The system's number of it."""


ARGUMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
"""Of an argument of a build, as Dockerfiles declare them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a build is told beside its source. All but the first is for images alone."""

    uploaded_template: bool = False
    """The tar has the template's folder as `template/`, and the function's as `handler/`."""
    options: tuple[str, ...] = ()
    """Names of the template's build_options."""
    arguments: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    """For the steps of a Dockerfile that mount them; in no layer and no digest."""

    @property
    def for_images(self) -> tuple[str, ...]:
        """The stack file's names of what was given."""
        given = {"build_options": self.options, "build_args": self.arguments, "build_secrets": self.secrets}
        return tuple(name for name, value in given.items() if value)


NO_CHOICES = Choices()

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
