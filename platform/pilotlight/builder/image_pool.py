"""What a pool needs of a built image: which modules its zygotes may import ahead, and the function's own files.

A container of the environment's image can run a function only if that is all that its own image adds; so the
Dockerfile is looked at first, and whatever else it does keeps the function out of the pool.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pilotlight.builder.archive import ArchiveLimits, unpack_stream
from pilotlight.builder.image_dockerfile import has_stage, instructions
from pilotlight.builder.trial import PROGRAM, Order
from pilotlight.core.errors import InvalidSource, PilotlightError, Unavailable
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.finishing import surely, to_its_end

ENVIRONMENT = "environment"
FUNCTION_DIR = "/home/app/function"
PRIME = "pilotlight/environment/prime.py"
"""In the context; below /opt in the image."""
PYTHON = "/opt/environment/bin/python"
BUILD = "dev.pilotlight.build"
"""The label of containers that builds make: the owner's digest."""

_USER = "10001:10001"
_ORDER_BYTES = 100_000
"""Linux takes arguments of 128 KiB."""
_MEMORY_BYTES = 4 * 2**30
_PROCESSES = 512
_STARTING_SECONDS = 30.0
"""More than an engine takes to start a container, on a machine that builds."""
_WAIT_SECONDS = 600
"""The removal of the container ends it earlier."""
_HARMLESS = frozenset({"ARG", "CMD", "EXPOSE", "LABEL", "USER", "STOPSIGNAL", "HEALTHCHECK", "MAINTAINER"})


def unpoolable(dockerfile: str) -> str | None:
    """Why a function of this Dockerfile cannot run in its environment's image; None when it can."""
    found = instructions(dockerfile)
    if not has_stage(dockerfile, ENVIRONMENT):
        return f"its Dockerfile has no stage called {ENVIRONMENT}"
    if not any(each.word == "COPY" and each.text.split()[-1].startswith("/opt/pilotlight/runtime") for each in found):
        return "its Dockerfile does not bring Pilotlight's runtime"
    begin, *stage = [each for each in found if each.stage == found[-1].stage]
    if next(word for word in begin.text.split()[1:] if not word.startswith("--")) != ENVIRONMENT:
        return f"its last stage does not begin with {ENVIRONMENT}"
    strange = next((each.text for each in stage if not _adds_files_alone(each.text)), None)
    return None if strange is None else f"its last stage does more than add the function's files: {strange[:80]}"


def _adds_files_alone(text: str) -> bool:
    word, _, rest = text.partition(" ")
    match word.upper():
        case "COPY":
            return rest.split()[-1].rstrip("/") == FUNCTION_DIR and "--from" not in rest
        case "ENV":
            return re.fullmatch(r"(?:PILOTLIGHT_[A-Z_]+=\S* *)+", rest.strip()) is not None
        case "RUN":
            return re.fullmatch(rf"{PYTHON} -m compileall [-\w ]+ {FUNCTION_DIR}/?", rest.strip()) is not None
        case other:
            return other in _HARMLESS


class Workbench:
    """Containers that a build makes of what it has built; none outlives its use."""

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine = engine
        self._owner = owner

    async def sweep(self) -> None:
        """Remove what a server that was killed left."""

        def verb(client: Any) -> None:
            for each in client.containers(all=True, filters={"label": f"{BUILD}={self._owner}"}):
                with suppress(Exception):  # going already
                    client.remove_container(each["Id"], force=True)

        with suppress(PilotlightError, Refused):
            await self._engine.call(verb)

    async def copy_function(self, image: str, place: Path, limits: ArchiveLimits) -> None:
        """What the image has as the function's folder, byte code included, to `place`/function. InvalidSource for what
        is neither a regular file nor a folder."""
        with _engine_trouble(image):
            async with self._container(image, {"Cmd": ["never started"]}) as container:
                await self._engine.call(lambda client: _copy(client, container, place, limits), slow=True)

    async def run(self, image: str, command: list[str], seconds: float) -> bytes:
        """What it printed to its standard output; nothing when it took longer. Unavailable: the engine runs none."""
        with _engine_trouble(image):
            async with self._container(image, _strict(command)) as container:
                try:
                    async with asyncio.timeout(seconds + _STARTING_SECONDS):
                        await self._engine.call(lambda client: client.start(container))
                        await self._engine.call(lambda client: client.wait(container, timeout=_WAIT_SECONDS), slow=True)
                except TimeoutError:
                    return b""
                printed = await self._engine.call(lambda client: client.logs(container, stdout=True, stderr=False))
                return bytes(printed)

    @asynccontextmanager
    async def _container(self, image: str, more: dict[str, Any]) -> AsyncIterator[str]:
        """Its name is ours, so that it can be removed also when nobody has heard that it was made."""
        name = f"pilotlight-build-{secrets.token_hex(8)}"
        body = {"Image": image, "Labels": {BUILD: self._owner}, "NetworkDisabled": True, **more}
        try:
            await to_its_end(self._engine.call(self._engine.post("/containers/create", body, name=name)))
            yield name
        finally:
            await surely(self._remove(name))

    async def _remove(self, container: str) -> None:
        with suppress(PilotlightError, Refused):
            await self._engine.call(lambda client: client.remove_container(container, force=True, v=True))


@contextmanager
def _engine_trouble(image: str) -> Iterator[None]:
    try:
        yield
    except Refused as refused:
        if refused.status == 404 and FUNCTION_DIR in refused.said:
            raise InvalidSource("there is no such folder") from refused
        raise Unavailable(f"the Docker engine ran no container of {image}: {refused.said.strip()}") from refused


class InContainer:
    """A trial's child in a container of the image: no network, nobody's user, nothing to write to but /tmp."""

    def __init__(self, bench: Workbench, image: str, *, primed: bool) -> None:
        self._bench = bench
        self._image = image
        self._prime = f"/opt/{PRIME}" if primed else None

    async def run(self, order: Order) -> bytes:
        text = order.json(prime=self._prime, bundle=str(Path(FUNCTION_DIR).parent))
        if len(text.encode()) > _ORDER_BYTES:
            return b""
        command = [PYTHON, "-I", "-B", "-c", PROGRAM.read_text(), text]
        return await self._bench.run(self._image, command, order.seconds)


def _strict(command: list[str]) -> dict[str, Any]:
    return {
        "Entrypoint": [],
        "Cmd": command,
        "User": _USER,
        "Env": ["HOME=/tmp", "TMPDIR=/tmp", "LANG=C.UTF-8"],
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "rw,exec,nosuid,nodev,mode=1777"},  # noqa: S108 (the container's own)
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "PidsLimit": _PROCESSES,
            "Memory": _MEMORY_BYTES,
            "MemorySwap": _MEMORY_BYTES,
            "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "1"}},
        },
    }


def _copy(client: Any, container: str, place: Path, limits: ArchiveLimits) -> None:
    chunks, _ = client.get_archive(container, FUNCTION_DIR)
    stream = _Chunks(iter(chunks))
    try:
        unpack_stream(stream, place, limits, ignored=frozenset())
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


class _Chunks:
    """Pieces of any size as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = memoryview(chunk)
        data, self._rest = self._rest[:size], self._rest[size:]
        return bytes(data)
