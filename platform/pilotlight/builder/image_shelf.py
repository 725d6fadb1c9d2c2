"""The images that builds made, as things that can be made again, and the tags by which a server says that it needs one.

A build's image is called pilotlight/NAME:DIGEST, on an engine that several servers may share: whoever uses one gives
it a tag of its own as well, pilotlight-OWNER/NAME:DIGEST, and takes that away instead of the image while there are
others'. So the engine itself keeps count, and no crash can make the count wrong. The time of the last use is the tag's,
which is given anew at each look while something refers to the image.

What other people built, pulled or gave further names to is not ours and stays.
"""

import asyncio
import os
import re
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pilotlight.builder.base import Disk, Kept
from pilotlight.builder.image_sizes import Image, beginnings, leftovers, own_bytes
from pilotlight.builder.shelf import IMAGES
from pilotlight.core.errors import StartFailed
from pilotlight.core.naming import is_built_here
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused

MARK_SECONDS = 300.0
"""A tag is given anew this long after it was given last: each is a question to the engine."""
TAKING_SECONDS = 0.02
"""How often a build that begins looks whether a removal is over; one takes some milliseconds."""
_CLAIM = re.compile(r"pilotlight-([0-9a-f]+)/(.+)")


class ImageShelf:
    """Of one server on one engine. All but `building` and `keep` are for a thread of their own."""

    def __init__(self, connect: Callable[[], Awaitable[Engine]], *, owner: str, data_dir: Path) -> None:
        """`connect` is asked until there is an engine. `owner`: letters a to f and digits."""
        self._connect = connect
        self._owner = owner
        self._data = data_dir
        self._engine: Engine | None = None
        self._disk: Disk | None = None
        self._layers: dict[str, tuple[str, ...]] = {}
        self._marked: dict[str, float] = {}
        self._ids: dict[str, str] = {}
        """By name, as of the last look."""
        self._lock = threading.Lock()
        self._taking = False
        self._building = 0
        self._builds = self._seen = 0
        """How many builds have begun or ended, now and at the last look."""

    async def open(self) -> None:
        """StartFailed (engine-unreachable) while there is none."""
        if self._engine is None:
            self._engine = await self._connect()
            self._disk = await asyncio.to_thread(self._find_disk)

    @asynccontextmanager
    async def building(self) -> AsyncIterator[None]:
        """Meanwhile no image goes: a build relies on what it finds."""
        with self._lock:
            self._building += 1
            self._builds += 1
        try:
            while self._taking:  # noqa: ASYNC110 (a thread ends it)
                await asyncio.sleep(TAKING_SECONDS)
            yield
        finally:
            with self._lock:
                self._building -= 1
                self._builds += 1

    async def keep(self, images: Iterable[str]) -> None:
        """They are this server's from now on; within `building`. One that is gone is fine."""
        await self.open()
        await asyncio.to_thread(self._mark, {image for image in images if is_built_here(image)})

    def used(self, names: Collection[str]) -> None:
        now = time.monotonic()
        images = {name.removeprefix(f"{IMAGES}/") for name in names if name.startswith(f"{IMAGES}/")}
        ours = {image for image in images if is_built_here(image)}
        self._mark({image for image in ours if now - self._marked.get(image, -MARK_SECONDS) >= MARK_SECONDS})

    def everything(self) -> list[Kept]:
        with self._lock:
            self._seen = self._builds
        images = self._listed()
        named = {each.id: self._names(each) for each in images}
        named |= {id_: frozenset({id_}) for id_ in leftovers(images, {id_ for id_, names in named.items() if names})}
        ours = {id_ for id_, names in named.items() if names}
        sizes, below = own_bytes(images, ours), beginnings(images, ours)
        self._ids = {name: id_ for id_ in ours for name in named[id_]}
        found = []
        for image in images:
            for place, name in enumerate(sorted(named[image.id])):
                begins = min(named.get(below.get(image.id, ""), ()), default=None)
                found.append(
                    Kept(
                        name=f"{IMAGES}/{name}",
                        bytes=0 if place else sizes[image.id],
                        used_at=image.used_at,
                        needs=None if begins is None else f"{IMAGES}/{begins}",
                        disk=self.place,
                    )
                )
        return found

    def in_use(self) -> set[str]:
        """Those of which there are containers, whoever's and whatever they do."""
        used = {each["ImageID"] for each in self._do(lambda client: client.containers(all=True))}
        return {f"{IMAGES}/{name}" for name, id_ in self._ids.items() if id_ in used}

    def take(self, kept: Kept) -> bool:
        """Take our tag away, and the image with it if nobody else has one. False when somebody uses it, or a build
        began since it was looked at."""
        name = kept.name.removeprefix(f"{IMAGES}/")
        with self._lock:
            if self._building or self._builds != self._seen:
                return False
            self._taking = True
        try:
            return self._remove(name)
        except Refused:
            return False
        finally:
            self._taking = False

    def disk(self) -> Disk | None:
        """None where it is not this machine's."""
        return self._disk and self._find_disk()

    @property
    def place(self) -> str:
        """The disk that the engine's images lie on: that of the data directory, or one of its own."""
        disk = self._disk
        return "" if disk is not None and disk.device == os.stat(self._data).st_dev else "engine"

    def _listed(self) -> list[Image]:
        found, layers = [], {}
        for each in self._do(lambda client: client.images(all=True)):
            with suppress(Refused):  # gone since it was listed
                id_, names = str(each["Id"]), _names_of(each)
                tagged_at = 0.0
                if any(map(_is_ours, names)) or id_ not in self._layers:
                    inspected = self._do(partial(_inspect, id_))
                    tagged_at = _unix_seconds((inspected.get("Metadata") or {}).get("LastTagTime"))
                    self._layers[id_] = tuple((inspected.get("RootFS") or {}).get("Layers") or ())
                layers[id_] = self._layers[id_]
                found.append(
                    Image(
                        id=id_,
                        names=names,
                        bytes=int(each.get("Size") or 0),
                        layers=layers[id_],
                        parent=str(each.get("ParentId") or ""),
                        used_at=max(tagged_at, float(each.get("Created") or 0)),
                    )
                )
        self._layers = layers
        return found

    def _names(self, image: Image) -> frozenset[str]:
        """Under which it is ours to remove: those that have our tag, or nobody's. An image that somebody named besides
        is theirs, too, and its room would not come back."""
        if not all(map(_is_ours, image.names)):
            return frozenset()
        claims = [(match[1], f"pilotlight/{match[2]}") for match in map(_CLAIM.fullmatch, image.names) if match]
        mine = {name for owner, name in claims if owner == self._owner}
        orphans = {name for name in image.names if is_built_here(name)} - {name for _, name in claims}
        return frozenset(mine | orphans)

    def _remove(self, name: str) -> bool:
        """The name that builds look for goes first: what is left by a crash after it is found by our tag."""
        found = self._inspect(name) or self._inspect(self._claim(name))
        if found is None:
            return True
        if self._do(lambda client: client.containers(all=True, filters={"ancestor": found["Id"]})):
            return False
        tags = _names_of(found)
        owners = {match[1] for match in map(_CLAIM.fullmatch, tags) if match and f"pilotlight/{match[2]}" == name}
        ours = (self._claim(name),) if owners - {self._owner} else (name, self._claim(name))
        for each in [tag for tag in ours if tag in tags] if tags else [name]:
            self._do(partial(_remove_image, each))
        self._marked.pop(name, None)
        return True

    def _mark(self, images: Collection[str]) -> None:
        """Where somebody took the name away and left our tag, the name comes back."""
        for image in images:
            claim = self._claim(image)
            with suppress(Refused):  # it is gone: whoever needs it will be told
                if self._inspect(image) is None:
                    self._do(partial(_tag, claim, image))
                self._do(partial(_tag, image, claim))
                self._marked[image] = time.monotonic()

    def _claim(self, name: str) -> str:
        return f"pilotlight-{self._owner}/{name.removeprefix('pilotlight/')}"

    def _inspect(self, name: str) -> Mapping[str, Any] | None:
        try:
            found: Mapping[str, Any] = self._do(partial(_inspect, name))
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        return found

    def _find_disk(self) -> Disk | None:
        """Of an engine whose file system is ours."""
        engine = self._engine
        if engine is None or not engine.is_local:
            return None
        with suppress(OSError, Refused):
            root = self._do(lambda client: client.info())["DockerRootDir"]
            found, device = os.statvfs(root), os.stat(root).st_dev
            size, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
            return Disk(size_bytes=size, free_bytes=free, device=device)
        return None

    def _do(self, verb: Callable[[Any], Any]) -> Any:
        if self._engine is None:
            raise StartFailed("the engine of the images is not open")
        return self._engine.do(verb)


def _inspect(image: str, client: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = client.inspect_image(image)
    return found


def _remove_image(image: str, client: Any) -> None:
    client.remove_image(image)


def _tag(image: str, name: str, client: Any) -> None:
    repository, _, tag = name.rpartition(":")
    client.tag(image, repository, tag)


def _is_ours(name: str) -> bool:
    return is_built_here(name) or _CLAIM.fullmatch(name) is not None


def _names_of(listed: Mapping[str, Any]) -> frozenset[str]:
    return frozenset(name for name in listed.get("RepoTags") or () if not name.startswith("<none>"))


def _unix_seconds(text: str | None) -> float:
    """Engines that do not know give none, or the year 1."""
    return 0.0 if not text or text.startswith("0001") else datetime.fromisoformat(text).timestamp()
