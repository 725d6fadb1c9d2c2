"""Users' secrets: set, replaced, listed without their values, and handed to the launches that name them.

A replica gets the values that are current when it starts, as in Kubernetes; one that runs keeps its own. A revision
remembers which versions it was deployed with: the same spec deployed again after a change is a new revision, whose
replicas have the new values.
"""

import asyncio
import re
import secrets
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

import msgspec
import structlog

from pilotlight.control import sealing
from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.sealing import Seal
from pilotlight.core.checks import near
from pilotlight.core.errors import Conflict, InvalidInput, SecretNotFound, SecretsLocked, TooLarge
from pilotlight.core.revision import Revision
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey, FunctionSpec
from pilotlight.store.kept import SMALL_BYTES, StoredSecret
from pilotlight.store.sql import Store

log = structlog.get_logger(__name__)
LIMIT_BYTES = 2**20
"""Kubernetes' limit, too; what is larger is data, and belongs into the bundle or a store."""
_NAME = re.compile(r"[A-Za-z0-9]([-_.A-Za-z0-9]{0,251}[A-Za-z0-9])?")


class SecretView(msgspec.Struct, frozen=True, kw_only=True):
    """A secret as it may be shown."""

    name: str
    namespace: str
    size_bytes: int
    created_at: float
    """Unix seconds, as `set_at`: when its present value was set."""
    set_at: float
    used_by: tuple[FunctionKey, ...]
    outdated_in: tuple[FunctionKey, ...]
    """Of these, those that were deployed with another value: they have the new one for certain after a deploy."""
    locked: bool
    """It cannot be opened with the key file that is there."""


class Secrets:
    """What is kept in memory is sealed, as in the store, without what is large. `live` are the revisions that serve,
    `proving` what may be one in a moment; `changed(namespace, name)` is called after one was set."""

    def __init__(
        self,
        *,
        store: Store,
        seal: Seal,
        namespaces: Namespaces,
        live: Callable[[], Iterable[Revision]],
        proving: Callable[[], Iterable[FunctionSpec]] = lambda: (),
        changed: Callable[[str, str], None] = lambda _namespace, _name: None,
        clock: Clock = SYSTEM,
    ) -> None:
        self._store = store
        self._seal = seal
        self._namespaces = namespaces
        self._live = live
        self._proving = proving
        self._changed = changed
        self._clock = clock
        self._known: dict[tuple[str, str], StoredSecret] = {}
        self._writing = namespaces.writing

    async def open(self) -> None:
        """Once the store is there."""
        self._known = {(secret.namespace, secret.name): secret for secret in await self._store.secrets()}
        if self._known:
            await asyncio.to_thread(sealing.load)  # not while somebody waits for a replica

    def is_empty(self) -> bool:
        return not self._known

    def all(self, namespace: str | None = None) -> Sequence[SecretView]:
        """By namespace and name."""
        heads, users = self._seal.heads(), self._users()
        chosen = [secret for key, secret in sorted(self._known.items()) if namespace in (None, key[0])]
        return [_view(secret, users, heads) for secret in chosen]

    def get(self, namespace: str, name: str) -> SecretView:
        """Raises SecretNotFound."""
        return _view(self._find(namespace, name), self._users(), self._seal.heads())

    async def create(self, namespace: str, name: str, value: bytes) -> SecretView:
        """Raises InvalidInput, TooLarge, NamespaceNotFound, Conflict when it is there, SecretsLocked."""
        async with self._writing:
            _check(name, value)
            self._namespaces.check(namespace)
            if (namespace, name) in self._known:
                raise Conflict(f"secret {name} already exists in {namespace}", slug="secret-exists", field="name")
            return await self._put(namespace, name, value)

    async def replace(self, namespace: str, name: str, value: bytes) -> SecretView:
        """Raises InvalidInput, TooLarge, SecretNotFound, SecretsLocked."""
        async with self._writing:
            _check(name, value)
            self._find(namespace, name)
            return await self._put(namespace, name, value)

    async def set(self, namespace: str, name: str, value: bytes) -> tuple[SecretView, bool]:
        """Whether it was there or not, and whether it is new. Raises InvalidInput, TooLarge, NamespaceNotFound,
        SecretsLocked."""
        async with self._writing:
            _check(name, value)
            self._namespaces.check(namespace)
            is_new = (namespace, name) not in self._known
            return await self._put(namespace, name, value), is_new

    async def remove(self, namespace: str, name: str, *, force: bool = False) -> None:
        """Raises SecretNotFound; Conflict when functions use it that are live or being deployed, unless forced: those
        cannot start any more."""
        async with self._writing:
            secret = self._find(namespace, name)
            users = {revision.function for revision in self._users()[namespace, name]}
            users |= {spec.key for spec in self._proving() if spec.namespace == namespace and name in spec.secrets}
            if users and not force:
                raise Conflict(f"secret {name} is used by {_and(sorted(users))}", slug="secret-in-use", field="name")
            del self._known[namespace, name]  # first: a deploy that begins meanwhile does not find it
            try:
                await self._store.remove_secret(namespace, name)
            except BaseException:
                self._known[namespace, name] = secret
                raise
        log.info("secret removed", namespace=namespace, name=name, used_by=len(users))

    def forget_namespace(self, namespace: str) -> None:
        """It was removed, with all that was in it."""
        self._known = {key: secret for key, secret in self._known.items() if key[0] != namespace}

    def versions(self, spec: FunctionSpec) -> Mapping[str, str]:
        """Of the secrets that it names, now. Raises SecretNotFound for one that is not there."""
        return {name: self._named_in(spec, name).version for name in spec.secrets}

    async def values(self, spec: FunctionSpec) -> Mapping[str, bytes]:
        """For a launch. Raises SecretNotFound, SecretsLocked."""
        if not spec.secrets:
            return {}
        known = {name: self._named_in(spec, name).sealed for name in spec.secrets}
        small = {name: sealed for name, sealed in known.items() if sealed is not None}
        values = self._open(spec.namespace, small)  # microseconds, while somebody waits for a replica
        if large := sorted(known.keys() - small):
            sealed = await self._store.sealed_secrets(spec.namespace, large)
            values |= await asyncio.to_thread(self._open, spec.namespace, sealed)
        for name in known.keys() - values:
            raise _not_found(spec, name, self._names(spec.namespace))
        return values

    def _open(self, namespace: str, sealed: Mapping[str, bytes]) -> dict[str, bytes]:
        purposes = [_purpose(namespace, name) for name in sealed]
        return dict(zip(sealed, self._seal.open_all(zip(sealed.values(), purposes, strict=True)), strict=True))

    async def _put(self, namespace: str, name: str, value: bytes) -> SecretView:
        before = self._known.get((namespace, name))
        same = before is not None and await self._is_same(namespace, name, value)
        sealed = await asyncio.to_thread(self._seal.close, value, _purpose(namespace, name))
        now = self._clock.unix()
        secret = StoredSecret(
            namespace=namespace,
            name=name,
            version=before.version if before is not None and same else secrets.token_hex(8),
            size_bytes=len(value),
            sealed_with=self._seal.head_of(sealed),
            created_at=before.created_at if before is not None else now,
            set_at=now,
            sealed=sealed if len(sealed) <= SMALL_BYTES else None,
        )
        await self._store.put_secret(
            namespace, name, version=secret.version, sealed=sealed, size_bytes=len(value), now=now
        )
        self._known[namespace, name] = secret
        log.info("secret set", namespace=namespace, name=name, new=before is None, changed=not same)
        self._changed(namespace, name)
        return self.get(namespace, name)

    async def _is_same(self, namespace: str, name: str, value: bytes) -> bool:
        """Setting the value that it has makes nothing outdated. One that cannot be opened is another one."""
        sealed = await self._store.sealed_secrets(namespace, [name])
        try:
            return value == await asyncio.to_thread(self._seal.open, sealed[name], _purpose(namespace, name))
        except (SecretsLocked, KeyError):
            return False

    def _find(self, namespace: str, name: str) -> StoredSecret:
        found = self._known.get((namespace, name))
        if found is None:
            self._namespaces.check(namespace)
            guess = _guess(name, self._names(namespace))
            raise SecretNotFound(f"there is no secret {name} in {namespace}{guess}", field="name")
        return found

    def _named_in(self, spec: FunctionSpec, name: str) -> StoredSecret:
        found = self._known.get((spec.namespace, name))
        if found is None:
            raise _not_found(spec, name, self._names(spec.namespace))
        return found

    def _names(self, namespace: str) -> list[str]:
        return [name for (other, name) in self._known if other == namespace]

    def _users(self) -> Mapping[tuple[str, str], list[Revision]]:
        users: defaultdict[tuple[str, str], list[Revision]] = defaultdict(list)
        for revision in self._live():
            for name in revision.spec.secrets:
                users[revision.spec.namespace, name].append(revision)
        return users


def _view(
    secret: StoredSecret, users: Mapping[tuple[str, str], Sequence[Revision]], heads: frozenset[bytes]
) -> SecretView:
    revisions = users[secret.namespace, secret.name]
    outdated = [each for each in revisions if each.secrets.get(secret.name) != secret.version]
    return SecretView(
        name=secret.name,
        namespace=secret.namespace,
        size_bytes=secret.size_bytes,
        created_at=secret.created_at,
        set_at=secret.set_at,
        used_by=tuple(sorted(each.function for each in revisions)),
        outdated_in=tuple(sorted(each.function for each in outdated)),
        locked=secret.sealed_with not in heads,
    )


def _check(name: str, value: bytes) -> None:
    if not name:
        raise InvalidInput("non-empty name is required", field="name")
    if "/" in name or "\\" in name or ".." in name:
        raise InvalidInput("directory traversal found in name", field="name")
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"name: {name!r} must be of letters, digits, -, _ and ., at most 253, with a letter or digit at both ends",
            field="name",
        )
    if len(value) > LIMIT_BYTES:
        hint = "Put large data into the function's folder, or where the function can fetch it with a secret."
        raise TooLarge(f"value: has {len(value)} bytes; a secret may have {LIMIT_BYTES}", field="value", hint=hint)


def _purpose(namespace: str, name: str) -> str:
    """Neither has a slash in it."""
    return f"secret {namespace}/{name}"


def _not_found(spec: FunctionSpec, name: str, known: Sequence[str]) -> SecretNotFound:
    elsewhere = "" if spec.namespace == DEFAULT_NAMESPACE else f" --namespace {spec.namespace}"
    guess = _guess(name, known)
    hint = f"Set it: faasctl secret set {name}{elsewhere}; or correct the name. Then deploy again."
    return SecretNotFound(f"unable to find secret: {name}{guess}", field="secrets", hint=hint)


def _guess(name: str, known: Sequence[str]) -> str:
    either = " or ".join(near(name, known))
    return f"; did you mean {either}?" if either else ""


def _and(names: Sequence[str]) -> str:
    shown = list(names[:5]) + ([f"{len(names) - 5} more"] if len(names) > 5 else [])
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"
