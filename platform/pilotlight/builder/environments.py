"""Environments: a template's and a function's requirements, resolved, installed once and shared.

The digest covers what was resolved and not what was written, so two functions whose requirements.txt differ in words
share an environment when the same packages come out. Resolving again what was resolved before is skipped: the same
requirements, index and interpreter give the lock that is kept in DATA/cache/locks, without a network, and a redeploy
of unchanged source stays what it was. A newer release is taken when requirements.txt says so.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import pilotlight_runtime
from pilotlight.builder.base import Report
from pilotlight.builder.files import (
    disk_bytes,
    give,
    make_staging,
    publish,
    remove,
    seal,
    storage_errors,
    write_atomically,
    write_manifest,
)
from pilotlight.builder.lock import checked, packages
from pilotlight.builder.process import end_marked
from pilotlight.builder.requirements import Requirements
from pilotlight.builder.shelf import ENVIRONMENTS, LOCKS, Shelf
from pilotlight.builder.template import Template
from pilotlight.builder.uv import Uv
from pilotlight.config import Sandbox
from pilotlight.core.errors import InvalidRequirements
from pilotlight.core.naming import digest_of
from pilotlight.finishing import surely

_FORMAT = b"environment 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    template: Template
    requirements: Requirements


class Environments:
    def __init__(
        self, data_dir: Path, uv: Uv, sandbox: Sandbox, floor: Mapping[str, str], concurrency: int, shelf: Shelf
    ) -> None:
        self._directory = data_dir / "environments"
        self._locks = data_dir / LOCKS
        self._shelf = shelf
        self._staging = data_dir / "staging"
        self._uv = uv
        self._sandbox = sandbox
        self._floor = floor
        self._at_once = asyncio.Semaphore(concurrency)
        self._in_the_making: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def directory(self, digest: str) -> Path:
        return self._directory / digest

    def known(self, wanted: Wanted) -> str | None:
        """The digest of the environment if it was made before; needs no process."""
        lock = self._kept_lock(wanted.requirements)
        if lock is None:
            return None
        digest = self._digest(lock, wanted.template)
        return digest if self._shelf.use(f"{ENVIRONMENTS}/{digest}") else None

    async def ensure(self, wanted: Wanted, report: Report) -> str:
        """The digest of the environment, which is there when this returns."""
        kept = self._kept_lock(wanted.requirements) is not None
        try:
            return await self._ensure(wanted, report)
        except InvalidRequirements:
            if not kept or not wanted.requirements.wanted:
                raise
        # The index no longer has what was resolved once (a file was withdrawn); it may have something that fits.
        report("requirements", "what was resolved before cannot be installed any more; resolving again")
        (self._locks / self._key(wanted.requirements)).unlink(missing_ok=True)
        return await self._ensure(wanted, report)

    async def _ensure(self, wanted: Wanted, report: Report) -> str:
        lock = await self._lock(wanted.requirements, report)
        digest = self._digest(lock, wanted.template)
        async with self._only_one(digest):
            if self._shelf.use(f"{ENVIRONMENTS}/{digest}"):
                report("environment", f"{digest[:12]} is there already")
            else:
                async with self._at_once:
                    await self._make(digest, lock, wanted, report)
        return digest

    async def _lock(self, requirements: Requirements, report: Report) -> str:
        key = self._key(requirements)
        async with self._only_one(key):
            kept = self._kept_lock(requirements)
            if kept is not None:
                count = len(packages(kept))
                if count:
                    report("requirements", f"{_counted(count)}, as resolved before for the same requirements")
                else:
                    report("requirements", "none")
                return kept
            async with self._at_once:
                report("requirements", "resolving")
                lock = await self._resolve(requirements, report)
            write_atomically(self._locks / key, lock.encode())
            return lock

    async def _resolve(self, requirements: Requirements, report: Report) -> str:
        made = make_staging(self._staging)
        try:
            work = self._work_folder(made, requirements)
            with self._shelf.uv_running():
                lock = await self._uv.resolve(requirements, work, lambda line: report("requirements", line))
            return checked(lock, requirements, self._floor)
        finally:
            await surely(asyncio.to_thread(self._clear, made))

    async def _make(self, digest: str, lock: str, wanted: Wanted, report: Report) -> None:
        began = time.monotonic()
        made = make_staging(self._staging)
        try:
            place = made / "environment"
            with storage_errors():
                for folder in (place, place / "venv"):
                    folder.mkdir(mode=0o755)
                give(place / "venv", self._sandbox)
                self._write(place, lock, wanted.template)
            work = self._work_folder(made, wanted.requirements)
            report("environment", f"making {digest[:12]}")
            with self._shelf.uv_running():
                await self._uv.make(
                    place / "venv", place / "requirements.lock", wanted.requirements, work,
                    lambda line: report("environment", line),
                )  # fmt: skip
            await asyncio.to_thread(self._publish, place, digest, wanted, packages(lock))
            report("environment", f"{digest[:12]} made in {time.monotonic() - began:.1f} s")
        finally:
            await surely(asyncio.to_thread(self._clear, made))

    def _publish(self, place: Path, digest: str, wanted: Wanted, found: dict[str, str]) -> None:
        self._end_marked(place.parent)  # nobody is left who could write into what is sealed
        seal(place / "venv")
        manifest = {
            "digest": digest,
            "created_at": time.time(),
            "bytes": disk_bytes(place),
            "template": wanted.template.name,
            "packages": found,
            "interpreter": str(self._uv.interpreter.path),
            "python": self._uv.interpreter.identity,
            "runtime": pilotlight_runtime.__version__,
        }
        write_manifest(place, manifest)
        publish(place, self._directory / digest)

    def _write(self, place: Path, lock: str, template: Template) -> None:
        files = {"requirements.lock": lock.encode()}
        if template.prime is not None:
            files["prime.py"] = template.prime
        for name, data in files.items():
            (place / name).write_bytes(data)
            (place / name).chmod(0o644)

    def _work_folder(self, made: Path, requirements: Requirements) -> Path:
        """uv's working directory, home and temporary directory, with what it reads."""
        work = made / "work"
        with storage_errors():
            work.mkdir(mode=0o700)
            self._uv.provide(work, requirements)
        for path in (work, *work.iterdir()):
            give(path, self._sandbox)
        return work

    def _kept_lock(self, requirements: Requirements) -> str | None:
        if not requirements.wanted:
            return ""
        key = self._key(requirements)
        self._shelf.use(f"{LOCKS}/{key}")
        try:
            return (self._locks / key).read_text()
        except FileNotFoundError:
            return None

    def _key(self, requirements: Requirements) -> str:
        """Of all that a lock depends on, except for what the index holds today."""
        texts = [
            f"{kind} {each.text} {' '.join(each.hashes)}".encode()
            for kind, group in (("want", requirements.wanted), ("constrain", requirements.constraints))
            for each in group
        ]
        return digest_of(
            [*texts, self._uv.index.digest.encode(), self._uv.interpreter.identity.encode(), self._floors()]
        )

    def _digest(self, lock: str, template: Template) -> str:
        parts = [_FORMAT, lock.encode(), self._uv.interpreter.identity.encode(), template.prime or b""]
        parts += [pilotlight_runtime.__version__.encode(), self._uv.index.digest.encode() if lock else b""]
        return digest_of(parts)

    def _floors(self) -> bytes:
        return repr(sorted(self._floor.items())).encode()

    def _only_one(self, key: str) -> asyncio.Lock:
        """The lock for making one thing; it lives as long as someone holds or awaits it."""
        lock = self._in_the_making.get(key)
        if lock is None:
            lock = self._in_the_making[key] = asyncio.Lock()
        return lock

    def _clear(self, made: Path) -> None:
        self._end_marked(made)
        remove(made)

    def _end_marked(self, folder: Path) -> None:
        end_marked(folder, self._uv.interpreter.path, self._sandbox)


def _counted(count: int) -> str:
    return "1 package" if count == 1 else f"{count} packages"
