"""Which Python environments are made from, and whether their user can reach it at all."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from pilotlight.builder.process import Command, TimedOut, run
from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidSetting

_PLACES = (Path("/usr/bin/python3"), Path("/usr/local/bin/python3"))
_SECONDS = 20.0
_ASK = (
    "import json, sys, sysconfig; "
    "print(json.dumps([sys.version.split()[0], sys.implementation.cache_tag, sysconfig.get_platform(), sys.prefix]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    path: Path
    version: str
    """3.11.2"""
    abi: str
    """cpython-311"""
    platform: str
    """linux-x86_64"""

    @property
    def identity(self) -> str:
        """The same on every machine where an environment of it would be the same."""
        return f"{self.version} {self.abi} {self.platform}"


async def choose_interpreter(python: Path | None, sandbox: Sandbox) -> Interpreter:
    """The one that is set, or the server's own, or the system's of the same version; InvalidSetting when the functions'
    user can run none of them."""
    if python is not None:
        found = await probe(python, sandbox)
        if found is None:
            raise InvalidSetting(
                f"python: {python} is no Python that the functions' user can run",
                field="python",
                hint="Name another interpreter with --python, or make this one and the folders above it readable.",
            )
        return _same_abi(found)
    own = Path(getattr(sys, "_base_executable", "") or sys.executable)
    for place in (own, *_PLACES):
        found = await probe(place, sandbox)
        if found is not None and found.abi == sys.implementation.cache_tag:
            return found
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise InvalidSetting(
        f"python: the functions' user can run neither {own} nor a Python {version} of the system",
        field="python",
        hint=f"Install Python {version} where every user can run it, and name it with --python; or start the server "
        "with the system's Python.",
    )


async def probe(path: Path, sandbox: Sandbox) -> Interpreter | None:
    """What the interpreter says of itself, asked as the functions' user; None when it cannot be run."""
    command = Command(arguments=[path, "-I", "-S", "-c", _ASK], directory=Path("/"), variables={})
    try:
        outcome = await run(command, sandbox, seconds=_SECONDS, output_limit=4096)
        version, abi, platform, _ = json.loads(outcome.output)
    except (OSError, TimedOut, ValueError):
        return None
    return Interpreter(path=path, version=version, abi=abi, platform=platform)


async def ensure_reachable(data_dir: Path, sandbox: Sandbox) -> None:
    """InvalidSetting when the functions' user may not walk to the data directory: nothing of it could be started."""
    if sandbox.uid is None:
        return
    place = data_dir.resolve()
    command = Command(arguments=["/bin/sh", "-c", 'cd "$1"', "sh", place], directory=Path("/"), variables={})
    outcome = await run(command, sandbox, seconds=_SECONDS)
    if outcome.status == 0:
        return
    closed = await asyncio.to_thread(_first_closed, place)
    raise InvalidSetting(
        f"data_dir: the functions' user (number {sandbox.uid}) cannot reach {place}: {closed} is closed to it",
        field="data_dir",
        hint=f"Choose another place with --data-dir (/var/lib/pilotlight, for example), or: chmod o+x {closed}",
    )


def _first_closed(place: Path) -> Path:
    """By the permissions for others, which is what a user of the platform's own has."""
    for folder in (*reversed(place.parents), place):
        if not os.stat(folder).st_mode & 0o001:
            return folder
    return place


def _same_abi(found: Interpreter) -> Interpreter:
    ours = sys.implementation.cache_tag
    if found.abi != ours:
        raise InvalidSetting(
            f"python: {found.path} is {found.abi}, the server runs on {ours}; replicas use parts of the server's "
            "installation, so both must be the same version of Python",
            field="python",
            hint="Start the server with that Python, or name one of the server's version with --python.",
        )
    return found
