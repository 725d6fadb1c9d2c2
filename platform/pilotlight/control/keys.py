"""The keys of functions with `auth: key`: made when one is deployed, shown, rotated, and removed with the function.

What the routers get, and what decides over a call, are digests; those lie open in the store, so that calls do not
depend on the key file. The keys themselves are sealed, for `faasctl key`.
"""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Sequence

import msgspec
import structlog

from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.control.sealing import Seal
from pilotlight.core.errors import InvalidInput, KeyNotFound
from pilotlight.core.spec import FunctionKey
from pilotlight.store.kept import OTHER_KEYS, StoredKey
from pilotlight.store.sql import Store

log = structlog.get_logger(__name__)
PREFIX = "plk_"
"""By which programs that look for leaked credentials, and people, know it."""
GRACE_LIMIT_SECONDS = 30 * 86_400.0


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A function's key, for who may see it."""

    function: FunctionKey
    key: str
    created_at: float
    """Unix seconds."""
    others_valid_until: float | None = None
    """Unix seconds: until then a key from before a rotation opens the function, too."""

    def __repr__(self) -> str:
        return f"KeyView(function={self.function!r})"


class Rotated(KeyView, frozen=True, kw_only=True):
    """The new key of a function."""

    applied: bool
    """The routers go by it; False when one did not answer in time (it will when it comes back), or none is there."""


class FunctionKeys:
    """`changed(function)` is called when other digests are valid than before."""

    def __init__(
        self, *, store: Store, seal: Seal, changed: Callable[[FunctionKey], None], clock: Clock = SYSTEM
    ) -> None:
        self._store = store
        self._seal = seal
        self._changed = changed
        self._clock = clock
        self._known: dict[FunctionKey, list[StoredKey]] = {}
        self._expiries: dict[FunctionKey, asyncio.TimerHandle] = {}
        self._writing = asyncio.Lock()

    async def open(self) -> None:
        """Once the store is there."""
        await self._store.expire_function_keys(self._clock.unix())
        for key in await self._store.function_keys():
            self._known.setdefault(key.function, []).append(key)
        for function in self._known:
            self._watch(function)

    def is_empty(self) -> bool:
        return not self._known

    def digests(self, function: FunctionKey) -> tuple[str, ...]:
        """Of the keys that open it now."""
        now = self._clock.unix()
        return tuple(
            key.digest for key in self._known.get(function, ()) if key.expires_at is None or key.expires_at > now
        )

    def seconds_left(self, function: FunctionKey) -> dict[str, float]:
        """Of its keys that end, by digest, from this moment on."""
        now = self._clock.unix()
        keys = self._known.get(function, ())
        return {key.digest: max(0.0, key.expires_at - now) for key in keys if key.expires_at is not None}

    async def ensure(self, function: FunctionKey) -> None:
        """It has a key afterwards: the one that it has, or a new one. Raises SecretsLocked."""
        async with self._writing:
            if self._current(function) is None:
                await self._make(function, grace_seconds=0.0)

    async def get(self, function: FunctionKey) -> KeyView:
        """Raises KeyNotFound, SecretsLocked."""
        current = self._current(function)
        sealed = None if current is None else await self._store.sealed_key(current.digest)
        if current is None or sealed is None:
            raise KeyNotFound(f"function {function} has no key")
        value = await asyncio.to_thread(self._seal.open, sealed, _purpose(function))
        return self._view(current, value.decode())

    async def rotate(self, function: FunctionKey, grace_seconds: float = 0.0) -> KeyView:
        """A new key; the newest of those before it are valid for so much longer. Raises InvalidInput,
        SecretsLocked."""
        if not 0 <= grace_seconds <= GRACE_LIMIT_SECONDS:
            raise InvalidInput(
                f"grace_seconds: must be from 0 to {GRACE_LIMIT_SECONDS:.0f}, not {grace_seconds:g}",
                field="grace_seconds",
            )
        async with self._writing:
            view = await self._make(function, grace_seconds)
        log.info("key rotated", function=function, grace_seconds=grace_seconds)
        return view

    def forget(self, function: FunctionKey) -> None:
        """The function was removed from the store, and its keys with it."""
        self._known.pop(function, None)
        if (timer := self._expiries.pop(function, None)) is not None:
            timer.cancel()

    def close(self) -> None:
        for timer in self._expiries.values():
            timer.cancel()
        self._expiries.clear()

    async def _make(self, function: FunctionKey, grace_seconds: float) -> KeyView:
        value = PREFIX + secrets.token_urlsafe(32)
        digest = hashlib.sha256(value.encode()).hexdigest()
        sealed = await asyncio.to_thread(self._seal.close, value.encode(), _purpose(function))
        now = self._clock.unix()
        key, until = StoredKey(function=function, digest=digest, created_at=now), now + grace_seconds
        await self._store.add_function_key(key, sealed, others_until=until)
        self._known[function] = [*_shortened(self._known.get(function, ()), until, now)[-OTHER_KEYS:], key]
        self._watch(function)
        self._changed(function)
        return self._view(key, value)

    def _view(self, key: StoredKey, value: str) -> KeyView:
        ends = [each.expires_at for each in self._known[key.function] if each.expires_at is not None]
        return KeyView(
            function=key.function, key=value, created_at=key.created_at, others_valid_until=max(ends, default=None)
        )

    def _current(self, function: FunctionKey) -> StoredKey | None:
        return next((key for key in self._known.get(function, ()) if key.expires_at is None), None)

    def _watch(self, function: FunctionKey) -> None:
        """The routers learn it when the next of its keys stops being valid."""
        if (timer := self._expiries.pop(function, None)) is not None:
            timer.cancel()
        ends = [key.expires_at for key in self._known[function] if key.expires_at is not None]
        if ends:
            pause = max(0.0, min(ends) - self._clock.unix()) + 0.01
            loop = asyncio.get_running_loop()
            self._expiries[function] = loop.call_later(pause, self._expire, function)

    def _expire(self, function: FunctionKey) -> None:
        """The store drops it with the next rotation or start; what counts is what the routers have."""
        self._known[function] = _shortened(self._known.get(function, ()), None, self._clock.unix())
        self._watch(function)
        self._changed(function)


def _shortened(keys: Sequence[StoredKey], until: float | None, now: float) -> list[StoredKey]:
    """Those that are still valid; with `until` none for longer than that."""
    left = []
    for key in keys:
        ends = [moment for moment in (key.expires_at, until) if moment is not None]
        expires_at = min(ends, default=None)
        if expires_at is None or expires_at > now:
            left.append(msgspec.structs.replace(key, expires_at=expires_at))
    return left


def _purpose(function: FunctionKey) -> str:
    return f"key {function}"
