"""The store in memory, with its writes' durability as an instant: the model's histories need thousands of them.

`tests/contract/store` runs over it and over SQLite, so that it promises no more than the real one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from pilotlight.core.revision import Bundle, Revision, RevisionState
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.store.sql import KEPT_REVISIONS, Reference, Store, StoredFunction
from tests.integration.model.kept import MemoryKept


class MemoryStore(MemoryKept, Store):
    """Each write takes `seconds` until it is durable and again until it is acknowledged: a crash can be in both."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.revisions: dict[str, Revision] = {}
        self.states: dict[str, str] = {}
        self._functions: dict[FunctionKey, StoredFunction] = {}
        self._removed: set[FunctionKey] = set()

    async def close(self) -> None:
        return None

    async def functions(self) -> Sequence[StoredFunction]:
        await asyncio.sleep(self.seconds)
        return [self._functions[key] for key in sorted(self._functions)]

    async def add_revision(
        self,
        revision_id: str,
        spec: FunctionSpec,
        bundle: Bundle,
        now: float,
        secrets: Mapping[str, str] = MappingProxyType({}),
    ) -> Revision:
        await asyncio.sleep(self.seconds)
        if revision_id not in self.revisions:
            number = 1 + max((r.number for r in self._of(spec.key)), default=0)
            self.revisions[revision_id] = Revision(
                id=revision_id, number=number, spec=spec, bundle=bundle, created_at=now, secrets=dict(secrets)
            )
            self.states[revision_id] = RevisionState.PROVING
        self._removed.discard(spec.key)
        await asyncio.sleep(self.seconds)
        return self.revisions[revision_id]

    async def make_live(self, revision: Revision, slots: int, now: float) -> None:
        await asyncio.sleep(self.seconds)
        key = revision.function
        for other in self._of(key):
            if self.states[other.id] == RevisionState.LIVE:
                self.states[other.id] = RevisionState.RETIRED
        live = self.revisions[revision.id] = revision.with_slots(slots)
        self.states[revision.id] = RevisionState.LIVE
        created_at = self._functions[key].created_at if key in self._functions else now
        self._functions[key] = StoredFunction(key=key, created_at=created_at, live=live)
        for old in [r for r in self._of(key) if r.number <= revision.number - KEPT_REVISIONS]:
            if self.states[old.id] in (RevisionState.RETIRED, RevisionState.FAILED):
                del self.revisions[old.id], self.states[old.id]
        await asyncio.sleep(self.seconds)

    async def fail_revision(self, revision_id: str, why: str) -> None:
        await asyncio.sleep(self.seconds)
        if self.states.get(revision_id) == RevisionState.PROVING:
            self.states[revision_id] = RevisionState.FAILED
        await asyncio.sleep(self.seconds)

    async def fail_unfinished(self, why: str) -> int:
        await asyncio.sleep(self.seconds)
        unfinished = [name for name, state in self.states.items() if state == RevisionState.PROVING]
        self.states |= dict.fromkeys(unfinished, RevisionState.FAILED)
        await asyncio.sleep(self.seconds)
        return len(unfinished)

    async def scaled(self, key: FunctionKey, replicas: int | None, now: float) -> None:
        await asyncio.sleep(self.seconds)
        if (stored := self._functions.get(key)) is not None:
            self._functions[key] = msgspec.structs.replace(stored, scaled_to=replicas, scaled_at=now)
        await asyncio.sleep(self.seconds)

    async def remove(self, key: FunctionKey) -> None:
        await asyncio.sleep(self.seconds)
        self._functions.pop(key, None)
        for revision in self._of(key):
            del self.revisions[revision.id], self.states[revision.id]
        self.drop_keys(key)
        self._removed.add(key)
        await asyncio.sleep(self.seconds)

    async def references(self) -> Sequence[Reference]:
        await asyncio.sleep(self.seconds)
        return [
            Reference(
                revision=one.id,
                function=one.function,
                number=one.number,
                state=self.states[one.id],
                bundle=one.bundle.digest,
                environment=one.bundle.environment,
            )
            for one in sorted(self.revisions.values(), key=lambda r: (r.function, -r.number))
        ]

    async def removed(self) -> Sequence[FunctionKey]:
        await asyncio.sleep(self.seconds)
        return sorted(self._removed)

    async def forgotten(self, key: FunctionKey) -> None:
        await asyncio.sleep(self.seconds)
        self._removed.discard(key)

    async def abandon(self, before: float) -> Sequence[FunctionKey]:
        await asyncio.sleep(self.seconds)
        keys = {r.function for r in self.revisions.values()} - self._functions.keys()
        gone = [
            key
            for key in sorted(keys)
            if all(r.created_at < before and self.states[r.id] == RevisionState.FAILED for r in self._of(key))
        ]
        for key in gone:
            for revision in self._of(key):
                del self.revisions[revision.id], self.states[revision.id]
            self._removed.add(key)
        return gone

    def live(self) -> dict[FunctionKey, Revision]:
        """What is durable at this instant."""
        return {key: stored.live for key, stored in self._functions.items()}

    def _of(self, key: FunctionKey) -> list[Revision]:
        return [revision for revision in self.revisions.values() if revision.function == key]
