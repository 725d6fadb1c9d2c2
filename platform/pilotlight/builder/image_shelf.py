"""The images that a server's builds made and that it pulled, on one engine, as things that can be made again.

An engine may be shared by several servers, so each says which images it needs by tags of its own
(engine/image_tags.py), and takes its tag away instead of the image while there are others'. No crash can make that
count wrong. The time of the last use is the tag's, which is given anew at each look while something refers to the
image.

What other people built, pulled, gave further names to, or built upon what was pulled, is not ours and stays.
"""

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from pilotlight.builder.base import Disk, Kept
from pilotlight.builder.image_sizes import Image, beginnings, begun_with_by_others, leftovers, own_bytes
from pilotlight.builder.shelf import IMAGES
from pilotlight.core.errors import InvalidInput, StartFailed
from pilotlight.core.naming import is_built_here
from pilotlight.engine.client import Engine
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import Holding, holdings, is_ours, is_pulled, own_tag, pulled_names, tag_again
from pilotlight.engine.images import parse_image

MARK_SECONDS = 300.0
"""A tag is given anew this long after it was given last: each is a question to the engine."""
TAKING_SECONDS = 0.02
"""How often a build that begins looks whether a removal is over; one takes some milliseconds."""


class ImageShelf:
    """Of one server on one engine. All but `building` and `keep` are for a thread of their own."""

    def __init__(
        self, connect: Callable[[], Awaitable[Engine]], *, owner: str, data_dir: Path, budget: str = ""
    ) -> None:
        """`connect` is asked until there is an engine. `owner`: letters a to f and digits. `budget`: the name of the
        budget that it is kept within; that of the data directory has none."""
        self._connect = connect
        self.budget = budget
        self._owner = owner
        self._data = data_dir
        self._engine: Engine | None = None
        self._disk: Disk | None = None
        self._layers: dict[str, tuple[str, ...]] = {}
        self._marked: dict[str, float] = {}
        self._ids: dict[str, str] = {}
        """By name, as of the last look."""
        self._pulled: dict[str, str] = {}
        """Ids of images that were pulled, by the name that a function gives them."""
        self._wanted: set[str] = set()
        """Ids of those that were named as used last."""
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
        """They are this server's from now on, as far as a server has built or pulled them; within `building`. One that
        is gone is fine."""
        await self.open()
        await asyncio.to_thread(self._mark, set(images))

    def used(self, names: Collection[str]) -> None:
        now = time.monotonic()
        images = {name.removeprefix(f"{IMAGES}/") for name in names if name.startswith(f"{IMAGES}/")}
        self._mark({image for image in images if now - self._marked.get(image, -MARK_SECONDS) >= MARK_SECONDS})
        self._wanted = {self._pulled[image] for image in images if image in self._pulled}

    def everything(self) -> list[Kept]:
        with self._lock:
            self._seen = self._builds
        images = self._listed()
        held = {each.id: holdings(self._owner, each.names, each.digests) for each in images}
        for id_ in begun_with_by_others(images, {id_ for id_, ours in held.items() if ours}):
            held[id_] = [each for each in held[id_] if not is_pulled(each.name)]
        named = {id_: sorted(each.name for each in ours) for id_, ours in held.items()}
        built = {id_ for id_, names in named.items() if any(map(is_built_here, names))}
        named |= {id_: [id_] for id_ in leftovers(images, built)}
        self._ids = {name: id_ for id_, names in named.items() for name in names}
        return self._as_kept(images, named)

    def _as_kept(self, images: Collection[Image], named: Mapping[str, Sequence[str]]) -> list[Kept]:
        """What an image takes counts for its first name."""
        ours = {id_ for id_, names in named.items() if names}
        sizes, below = own_bytes(images, ours), beginnings(images, ours)
        found = []
        for image in images:
            begins = min(named.get(below.get(image.id, ""), ()), default=None)
            for place, name in enumerate(named[image.id]):
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
        """Those of which there are containers, whoever's and whatever they do, and those that were pulled for what was
        named as used last."""
        used = {each["ImageID"] for each in self._do(lambda client: client.containers(all=True))} | self._wanted
        return {f"{IMAGES}/{name}" for name, id_ in self._ids.items() if id_ in used}

    def take(self, kept: Kept) -> bool:
        """Take our tag away, and the image with it if nobody else has one. False when somebody uses it, or has since it
        was looked at, or a build began since."""
        name = kept.name.removeprefix(f"{IMAGES}/")
        with self._lock:
            if self._building or self._builds != self._seen:
                return False
            self._taking = True
        try:
            return self._remove(name, kept.used_at)
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
                id_, names = str(each["Id"]), _names_of(each, "RepoTags")
                tagged_at = 0.0
                if any(map(is_ours, names)) or id_ not in self._layers:
                    inspected = self._do(partial(_inspect, id_))
                    tagged_at = _tagged_at(inspected)
                    self._layers[id_] = tuple((inspected.get("RootFS") or {}).get("Layers") or ())
                layers[id_] = self._layers[id_]
                found.append(
                    Image(
                        id=id_,
                        names=names,
                        digests=_names_of(each, "RepoDigests"),
                        bytes=int(each.get("Size") or 0),
                        layers=layers[id_],
                        parent=str(each.get("ParentId") or ""),
                        used_at=max(tagged_at, float(each.get("Created") or 0)),
                    )
                )
        self._layers = layers
        return found

    def _remove(self, name: str, used_at: float) -> bool:
        """The name that builds and starts look for goes first: what is left by a crash after it is found by our tag."""
        found = self._inspect(name) or self._inspect(own_tag(self._owner, name))
        if found is None:
            return True
        tags, digests = _names_of(found, "RepoTags"), _names_of(found, "RepoDigests")
        if _tagged_at(found) > used_at or self._has_containers(found["Id"]):
            return False
        held = next((each for each in holdings(self._owner, tags, digests) if each.name == name), None)
        for each in _in_order(held, tags | digests) if held is not None else () if tags else (name,):
            self._do(partial(_remove_image, each))
        self._marked.pop(name, None)
        return held is not None or not tags

    def _has_containers(self, id_: str) -> bool:
        return bool(self._do(lambda client: client.containers(all=True, filters={"ancestor": id_})))

    def _mark(self, images: Collection[str]) -> None:
        """One that is not there counts as marked, too: each look would ask for it again."""
        for image in images:
            try:
                if is_built_here(image) or is_pulled(image):
                    self._mark_held(image)
                else:
                    self._mark_pulled(image)
            except InvalidInput:
                pass
            except Refused as refused:
                if refused.status != 404:
                    continue
            self._marked[image] = time.monotonic()

    def _mark_held(self, name: str) -> None:
        """Where somebody took the name away and left our tag, the name comes back."""
        tag = own_tag(self._owner, name)
        if is_pulled(name):
            self._do(partial(_tag, tag, tag))
            return
        if self._inspect(name) is None:
            self._do(partial(_tag, tag, name))
        self._do(partial(_tag, name, tag))

    def _mark_pulled(self, image: str) -> None:
        """By the name that a function gives it; nothing becomes ours that no server has pulled."""
        name = parse_image(image)
        found = self._inspect(name.id or name.canonical)
        self._pulled.pop(image, None)
        if found is None:
            return
        names = pulled_names(_names_of(found, "RepoTags"))
        self._do(partial(tag_again, self._owner, names, found["Id"]))
        if names:
            self._pulled[image] = found["Id"]

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
    """One that is gone is fine: the last tag of a repository takes the digests with it."""
    from docker.errors import ImageNotFound

    with suppress(ImageNotFound):
        client.remove_image(image)


def _tag(image: str, name: str, client: Any) -> None:
    repository, _, tag = name.rpartition(":")
    client.tag(image, repository, tag)


def _in_order(held: Holding, names: Collection[str]) -> list[str]:
    """What goes with it: tags before digests, our own last."""
    others = () if held.is_shared else sorted(held.names, key=lambda name: ("@" in name, name))
    return [name for name in (*others, *held.own_tags) if name in names]


def _names_of(listed: Mapping[str, Any], which: str) -> frozenset[str]:
    return frozenset(name for name in listed.get(which) or () if not name.startswith("<none>"))


def _tagged_at(inspected: Mapping[str, Any]) -> float:
    return _unix_seconds((inspected.get("Metadata") or {}).get("LastTagTime"))


def _unix_seconds(text: str | None) -> float:
    """Engines that do not know give none, or the year 1."""
    return 0.0 if not text or text.startswith("0001") else datetime.fromisoformat(text).timestamp()
