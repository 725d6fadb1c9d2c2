"""Namespaces: made before something is put into them, so that a misspelt one is an error and not a new one.

All of ours carry OpenFaaS' label `openfaas: "1"`, by which its clients know the namespaces that functions may be in.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import msgspec
import structlog

from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.core.checks import near
from pilotlight.core.errors import Conflict, InvalidInput, NamespaceNotFound
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey, is_name, split_key
from pilotlight.store.kept import StoredNamespace
from pilotlight.store.sql import Store

log = structlog.get_logger(__name__)
LABEL = {"openfaas": "1"}
_MARKS = 64
"""Labels, or annotations; with lengths like Kubernetes'."""


class NamespaceView(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    created_at: float | None
    """Unix seconds; null for the default one, which always was."""
    functions: int


class Namespaces:
    """`functions` are those that are there or being deployed; `removed(name)` is called after one was removed."""

    def __init__(
        self,
        *,
        store: Store,
        functions: Callable[[], Iterable[FunctionKey]],
        removed: Callable[[str], None] = lambda _name: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._store = store
        self._functions = functions
        self._removed = removed
        self._clock = clock
        self._known: dict[str, StoredNamespace] = {}
        self._leaving: set[str] = set()
        self.writing = asyncio.Lock()
        """Held while namespaces, or what is in them, are changed: nothing is put into one that is being removed."""

    async def open(self) -> None:
        """Once the store is there."""
        self._known = {namespace.name: namespace for namespace in await self._store.namespaces()}

    def all(self) -> Sequence[NamespaceView]:
        """By name; the default one is among them."""
        return [self.get(name) for name in sorted(self._known.keys() | {DEFAULT_NAMESPACE})]

    def get(self, name: str) -> NamespaceView:
        """Raises NamespaceNotFound."""
        self.check(name)
        stored = self._known.get(name)
        return NamespaceView(
            name=name,
            labels=dict(stored.labels if stored else LABEL),
            annotations=dict(stored.annotations if stored else {}),
            created_at=stored.created_at if stored else None,
            functions=len(self._inside(name)),
        )

    def has(self, name: str) -> bool:
        return (name == DEFAULT_NAMESPACE or name in self._known) and name not in self._leaving

    def check(self, name: str) -> None:
        """Raises NamespaceNotFound, which names the nearest one."""
        if not self.has(name):
            raise _not_found(name, {*self._known, DEFAULT_NAMESPACE})

    async def create(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> NamespaceView:
        """Raises InvalidInput, Conflict when it is there."""
        if not is_name(name):
            raise InvalidInput(f"name: {name!r} must be a DNS label: a-z, 0-9 and -, at most 63", field="name")
        async with self.writing:
            if self.has(name):
                raise Conflict(f"namespace {name} already exists", slug="namespace-exists", field="name")
            return await self._put(name, labels, annotations, self._clock.unix())

    async def update(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> NamespaceView:
        """These instead of those that it has. Raises NamespaceNotFound, InvalidInput."""
        async with self.writing:
            self.check(name)
            stored = self._known.get(name)
            return await self._put(name, labels, annotations, stored.created_at if stored else self._clock.unix())

    async def remove(self, name: str) -> None:
        """With its secrets. Raises NamespaceNotFound, Conflict when functions are in it or it is the default one."""
        async with self.writing:
            await self._remove(name)
        log.info("namespace removed", name=name)

    async def _remove(self, name: str) -> None:
        self.check(name)
        if name == DEFAULT_NAMESPACE:
            raise Conflict(f"namespace {name} is the default one, which stays", slug="namespace-in-use")
        if inside := self._inside(name):
            shown = ", ".join(inside[:5]) + (f" and {len(inside) - 5} more" if len(inside) > 5 else "")
            raise Conflict(f"namespace {name} has functions: {shown}", slug="namespace-in-use")
        self._leaving.add(name)  # nothing is deployed into it from here on
        try:
            await self._store.remove_namespace(name)
            self._known.pop(name, None)
        finally:
            self._leaving.discard(name)
        self._removed(name)

    async def _put(
        self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str], created_at: float
    ) -> NamespaceView:
        for field, marks in (("labels", labels), ("annotations", annotations)):
            _check_marks(field, marks)
        stored = StoredNamespace(
            name=name, labels={**labels, **LABEL}, annotations=dict(annotations), created_at=created_at
        )
        await self._store.put_namespace(stored)
        self._known[name] = stored
        return self.get(name)

    def _inside(self, name: str) -> list[str]:
        return sorted(key for key in set(self._functions()) if split_key(key)[1] == name)


def _not_found(name: str, known: Collection[str]) -> NamespaceNotFound:
    guesses = near(name, known)
    sentence = f"there is no namespace {name}"
    hint = f"Make it: faasctl namespace create {name}" if is_name(name) else None
    if guesses:
        sentence += f"; did you mean {' or '.join(guesses)}?"
        hint = "Correct the name; `faasctl namespace list` shows those that there are."
    return NamespaceNotFound(sentence, field="namespace", hint=hint)


def _check_marks(field: str, marks: Mapping[str, str]) -> None:
    if len(marks) > _MARKS:
        raise InvalidInput(f"{field}: {len(marks)} of them; at most {_MARKS} are kept", field=field)
    for name, value in marks.items():
        if not 0 < len(name) <= 316 or len(value) > 4096:
            raise InvalidInput(f"{field}: {name[:40]!r} is empty or longer than Kubernetes takes", field=field)
