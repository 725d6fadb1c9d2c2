"""Push: an image that the engine has goes to a registry under another name, wholly or not at all.

A registry makes an image known by its manifest, which is sent last: whatever breaks before that, nobody can pull half
of it. On the engine the new name stays after a push and is taken back after one that failed.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from pilotlight.core.errors import InvalidInput, PilotlightError, PushFailed, Unsupported
from pilotlight.engine.client import Engine, LineStream
from pilotlight.engine.failures import Refused, push_failure
from pilotlight.engine.images import LATEST, ImageName, inspected
from pilotlight.engine.registry_logins import Login, header
from pilotlight.finishing import surely, to_its_end

SILENT_SECONDS = 300.0
"""An engine that says nothing for so long is given up; it says several times a second how far it is."""
_TOLD_SECONDS = 1.0
_END_SECONDS = 15.0
_DONE = ("Pushed", "Layer already exists", "Mounted from")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    image: str
    """REGISTRY/PATH:TAG."""
    digest: str
    """The registry's: `sha256:` and 64 hexadecimal digits."""
    reference: str
    """REGISTRY/PATH@sha256:..., which is these bytes for ever."""


@dataclass(slots=True)
class PushLog:
    """What an engine says while it pushes, read line by line."""

    error: str | None = None
    digest: str | None = None
    _layers: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Bytes sent and in all, by layer; both 0 until it is known."""
    _done: set[str] = field(default_factory=set)
    _broken: set[str] = field(default_factory=set)
    """Layers that the engine will try again."""

    def take(self, step: Mapping[str, Any]) -> None:
        if "error" in step:
            self.error = str((step.get("errorDetail") or {}).get("message") or step["error"])
        if isinstance(aux := step.get("aux"), Mapping) and aux.get("Digest"):
            self.digest = str(aux["Digest"])
        layer, status = str(step.get("id") or ""), str(step.get("status") or "")
        if not layer:
            return
        sent, size = self._layers.get(layer, (0, 0))
        detail = step.get("progressDetail") or {}
        self._layers[layer] = (int(detail.get("current") or sent), int(detail.get("total") or size))
        if status.startswith("Retrying"):
            self._broken.add(layer)
        elif status != "Waiting":
            self._broken.discard(layer)
        if status.startswith(_DONE):
            self._done.add(layer)

    @property
    def begun(self) -> bool:
        """There is more to say than that there are layers."""
        return bool(self._done) or any(size for _, size in self._layers.values())

    def __str__(self) -> str:
        """`2 of 7 layers, 12.5 of 40.0 MiB`."""
        again = "; it broke off, and the engine tries again" if self._broken else ""
        layers = f"{len(self._done)} of {len(self._layers)} layers"
        known = [(min(sent, size), size) for sent, size in self._layers.values() if size]
        sent, size = (sum(each[number] for each in known) / 2**20 for number in (0, 1))
        return f"{layers}, {sent:.1f} of {size:.1f} MiB{again}" if known else layers + again


class Pushes:
    """Pushes of one engine. Two of the same name go one after the other."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def push(
        self, source: str, target: ImageName, login: Login | None, report: Callable[[str, str], None]
    ) -> Pushed:
        """Raises what `push_failure` makes of a refusal. A push that is cancelled ends in the engine, too."""
        turn = self._turns.setdefault(target.tagged, asyncio.Lock())
        async with turn:
            before = await self._id_of(target.tagged)
            try:
                await self._name(source, target)
                return await self._push(target, login, report)
            except BaseException:
                await surely(self._take_back(target, before))
                raise

    async def _name(self, source: str, target: ImageName) -> None:
        try:
            await to_its_end(
                self._engine.call(lambda client: client.tag(source, target.repository, tag=target.tag or LATEST))
            )
        except Refused as refused:
            raise push_failure(target.tagged, refused.said) from refused

    async def check_platforms(self, source: str, wanted: tuple[str, ...]) -> None:
        """Unsupported for any but the image's own: an engine holds one, and pushes no other."""
        if not wanted:
            return
        found = await self._inspect(source)
        if found is None:
            raise push_failure(source, "no such image")
        own = f"{found.get('Os') or 'linux'}/{found.get('Architecture')}"
        foreign = [each for each in wanted if each != own]
        if foreign:
            raise Unsupported(
                f"--platforms: this server pushes what it builds for its engine, {own}; images for "
                f"{', '.join(foreign)} need docker buildx",
                field="platforms",
                hint="Leave --platforms out, or make them (docker buildx build --platform ... --push) and deploy "
                "them with --image.",
            )

    async def _push(self, target: ImageName, login: Login | None, report: Callable[[str, str], None]) -> Pushed:
        loop = asyncio.get_running_loop()
        reading = _Reading(self._engine, target, login, lambda said: loop.call_soon_threadsafe(report, "push", said))
        pushing = asyncio.ensure_future(self._engine.call(reading.run, slow=True))
        try:
            await asyncio.shield(pushing)
        except Refused as refused:
            reading.log.error = refused.said
        except asyncio.CancelledError:
            reading.leave()
            await asyncio.wait([pushing], timeout=_END_SECONDS)
            raise
        await asyncio.sleep(0)  # what the thread has reported comes first
        log = reading.log
        if log.error is not None:
            raise push_failure(target.tagged, log.error, with_login=login is not None)
        if log.digest is None:
            raise PushFailed(f"{target.tagged} cannot be pushed: the engine ended it without a digest")
        reference = f"{target.repository}@{log.digest}"
        return Pushed(image=target.tagged, digest=log.digest, reference=reference)

    async def _take_back(self, target: ImageName, before: str | None) -> None:
        """The name stands for what it stood for."""
        with suppress(Refused, PilotlightError):
            if before is None:
                await self._engine.call(lambda client: client.remove_image(target.tagged, noprune=True))
            else:
                await self._engine.call(lambda client: client.tag(before, target.repository, tag=target.tag or LATEST))

    async def _id_of(self, image: str) -> str | None:
        found = await self._inspect(image)
        return None if found is None else str(found["Id"])

    async def _inspect(self, image: str) -> Mapping[str, Any] | None:
        try:
            return await inspected(self._engine, image)
        except Refused as refused:
            raise push_failure(image, refused.said) from refused


class _Reading:
    """One push in a thread of the engine's, until it has ended or was left."""

    def __init__(self, engine: Engine, target: ImageName, login: Login | None, say: Callable[[str], object]) -> None:
        self._engine = engine
        self._target = target
        self._header = {"X-Registry-Auth": header(login)}
        self._say = say
        self._left = threading.Event()
        self._stream: LineStream | None = None
        self.log = PushLog()

    def run(self, _client: Any) -> None:
        import requests

        if self._left.is_set():
            return
        path, query = f"/images/{self._target.repository}/push", {"tag": self._target.tag or LATEST}
        stream = self._engine.lines(path, (), query, headers=self._header, silent_seconds=SILENT_SECONDS)
        self._stream = stream
        try:
            self._read(stream)
        except requests.RequestException as error:
            if self._left.is_set():
                return
            if "timed out" not in str(error).lower():
                raise
            self.log.error = f"timeout: nothing was taken for {SILENT_SECONDS:g} s"
        finally:
            stream.close()

    def leave(self) -> None:
        """Ends it in the engine, too."""
        self._left.set()
        if self._stream is not None:
            self._stream.wake()

    def _read(self, stream: LineStream) -> None:
        said, told_at = "", 0.0
        for step in stream:
            if self._left.is_set():
                return
            self.log.take(step)
            now = str(self.log)
            if self.log.begun and now != said and time.monotonic() - told_at > _TOLD_SECONDS:
                said, told_at = now, time.monotonic()
                self._say(said)


def checked_target(target: ImageName) -> ImageName:
    """InvalidInput for a name that nothing can be pushed under."""
    if target.is_fixed:
        raise InvalidInput(
            f"{target} names bytes that are there already; push to a tag", slug="image-name", field="image"
        )
    if target.registry == "docker.io" and target.repository.removeprefix("docker.io/").count("/") == 0:
        raise InvalidInput(
            f"{target.tagged} names no registry, and Docker Hub's own `library` takes images from nobody else",
            slug="image-name",
            field="image",
        )
    return target
