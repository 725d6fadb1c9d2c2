"""Which container does a launch come from? Spares of its pool, each with a zygote that waits for one function.

A spare is claimed once. What is used is made again a moment later, so that it does not compete with the replica that
starts; making one takes the engine some hundred milliseconds, and is never waited for while a spare is there.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import structlog

from pilotlight.core.errors import PilotlightError
from pilotlight.providers.background import Background
from pilotlight.providers.base import Pool, Warm
from pilotlight.providers.docker.berths import new_zygote_id
from pilotlight.providers.docker.zygote import ContainerZygote

log = structlog.get_logger(__name__)

Key: TypeAlias = tuple[object, ...]

REFILL_SECONDS = 0.3
"""From a claim to the making of the next spare: the claimed one is ready by then."""
AT_ONCE = 4
"""Containers that are made at the same time, over all pools."""
EARLY_SECONDS = 10.0
"""A spare that ends within this time has failed; one that lived longer has had an accident."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 60.0
HELLO_SECONDS = 30.0
"""To come up and import everything."""
CLAIM_SECONDS = 60.0
"""For a spare to be made and to come up, when there is none."""
SILENT_SECONDS = 10.0
"""A zygote that hung up dials again at once; one that does not is of no use."""
UNHEARD, AGAIN_SECONDS = 2, 300.0
"""So many spares that say nothing, and none that did, mean that sockets do not work here; for so long."""
UNCLAIMED_SECONDS = 300.0
"""Adopted spares for whose pool nobody asks within this time are let go."""


class NoPool(Exception):
    """No spare can be had of this pool; the text says why. The function's own image may still run."""


@dataclass(slots=True, eq=False)
class _Group:
    """The spares of one key."""

    pool: Pool
    wanted: dict[Pool, int] = field(default_factory=dict)
    """Spares, by the pools of this key; they differ in what they import."""
    zygotes: dict[str, ContainerZygote] = field(default_factory=dict)
    making: set[str] = field(default_factory=set)
    """Ids of those that are being made."""
    waiting: list[Pool] = field(default_factory=list)
    """Those of launches that have found none."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a spare came, or one could not be made."""
    failures: int = 0
    not_before: float = 0.0
    last_words: str = ""
    unclaimed_since: float | None = None

    @property
    def spares(self) -> int:
        return max(self.wanted.values(), default=0)

    @property
    def wish(self) -> Pool:
        """With all imports that somebody asks for."""
        modules = {name for pool in (*self.wanted, *self.waiting) for name in pool.preimports}
        return replace(self.pool, preimports=tuple(sorted(modules)))

    def take(self, pool: Pool) -> ContainerZygote | None:
        for zygote in self.zygotes.values():
            if zygote.is_idle and zygote.covers(pool):
                return zygote
        return None


class Pools:
    def __init__(
        self,
        *,
        make: Callable[[str, Pool], Awaitable[ContainerZygote]],
        discard: Callable[[ContainerZygote], Coroutine[Any, Any, None]],
    ) -> None:
        """`make(id, pool)`: a container that runs, whose zygote will greet or end; a PilotlightError if there is none.
        `discard`: it goes, with all that belongs to it."""
        self._make = make
        self._discard = discard
        self._groups: dict[Key, _Group] = {}
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(AT_ONCE)
        self._background = Background("the spares' pools")
        self._closed = self._left = False
        self._ever_greeted = False
        self._unheard = 0
        """Spares that said nothing, before the first that did."""
        self._usable_again = 0.0
        self.unusable = ""
        """Why this engine's containers cannot reach us, as far as is known; it is tried again now and then."""

    def rule_out(self, why: str) -> None:
        """There are none here, now or later."""
        self.unusable, self._usable_again = why, math.inf

    async def claim(self, pool: Pool, replica: str) -> tuple[ContainerZygote, bool]:
        """One that covers the pool and waits, now the replica's; and whether it had to be made. NoPool otherwise."""
        group = self._group(pool)
        group.unclaimed_since = None
        group.waiting.append(pool)
        try:
            async with asyncio.timeout(CLAIM_SECONDS):
                found, waited = await self._await_spare(group, pool)
        except TimeoutError:
            raise NoPool(f"no spare was ready within {CLAIM_SECONDS:g} s") from None
        finally:
            group.waiting.remove(pool)
        found.replica = replica
        del group.zygotes[found.id]
        self._later(REFILL_SECONDS, group)
        return found, waited

    async def _await_spare(self, group: _Group, pool: Pool) -> tuple[ContainerZygote, bool]:
        waited = False
        while True:
            if self._closed or self.unusable:
                raise NoPool(self.unusable or "the server is stopping")
            if (found := group.take(pool)) is not None:
                return found, waited
            waited = True
            group.changed.clear()
            failures = group.failures
            self._refill(group)
            rest = group.not_before - self._loop.time()
            if rest > 0 and not group.making and all(each.hello for each in self._coming(group)):
                raise NoPool(f"{group.last_words}; the next try is in {rest:.0f} s")
            await group.changed.wait()
            if group.failures > failures:
                raise NoPool(group.last_words)

    def prepare(self, pool: Pool, count: int) -> None:
        group = self._group(pool)
        group.unclaimed_since = None
        if count:
            group.wanted[pool] = count
        else:
            group.wanted.pop(pool, None)
        self._refill(group)

    def adopt(self, zygote: ContainerZygote) -> None:
        """A spare of an earlier control plane; it will greet."""
        group = self._group(zygote.pool)
        if not group.wanted and group.unclaimed_since is None:
            group.unclaimed_since = self._loop.time()
        self._expect(group, zygote)

    def greeted(self, zygote: ContainerZygote) -> None:
        group = self._group_of(zygote)
        self._ever_greeted, self.unusable = True, ""
        if group is not None:
            group.failures, group.not_before = 0, 0.0
            group.changed.set()
            self._refill(group)  # those that it replaces may go

    def gone(self, zygote: ContainerZygote, last_words: str) -> None:
        """A spare's container has ended."""
        zygote.close()
        group = self._group_of(zygote)
        if group is None:
            return
        del group.zygotes[zygote.id]
        if zygote.hello is None or self._loop.time() - zygote.began < EARLY_SECONDS:
            self._failed(group, f"its zygote ended at once: {last_words}" if last_words else "its zygote ended at once")
        else:
            self._later(FIRST_PAUSE, group)

    def spare(self, container: str) -> ContainerZygote | None:
        for group in self._groups.values():
            for zygote in group.zygotes.values():
                if zygote.container == container:
                    return zygote
        return None

    def is_making(self, zygote: str) -> bool:
        return any(zygote in group.making for group in self._groups.values())

    def idle(self, pool: Pool) -> list[ContainerZygote]:
        """Spares that wait for a launch of it."""
        group = self._groups.get(_key(pool))
        return [] if group is None else [z for z in group.zygotes.values() if z.is_idle and z.covers(pool)]

    def warm(self, pool: Pool) -> Warm:
        if self.unusable:
            return Warm(kind="none", why=self.unusable)
        spares = self.idle(pool)
        return Warm(
            kind="container",
            ready=len(spares),
            memory_mib=sum(each.memory_mib for each in spares),
            why="" if spares else "its spares are being made",
        )

    def all(self) -> list[ContainerZygote]:
        return [zygote for group in self._groups.values() for zygote in group.zygotes.values()]

    def settle(self) -> None:
        """To be called now and then: adopted spares that nobody wants are let go, and those that have hung up."""
        now = self._loop.time()
        if self.unusable and now > self._usable_again:
            self.unusable, self._unheard = "", 0
        for key, group in tuple(self._groups.items()):
            for zygote in tuple(group.zygotes.values()):
                if zygote.silent_since is not None and now - zygote.silent_since > SILENT_SECONDS:
                    self._lose(group, zygote, "its zygote hung up")
            since = group.unclaimed_since
            if since is not None and now - since > UNCLAIMED_SECONDS:
                group.unclaimed_since = None
                self._refill(group)
            if not (group.wanted or group.zygotes or group.waiting or group.making):
                del self._groups[key]

    def leave(self) -> None:
        self._close()
        self._left = True
        self._background.leave()
        for zygote in self.all():
            zygote.close()
        self._groups.clear()

    async def stop(self) -> None:
        """No more are made; those under way are finished, so that the engine's list has them all."""
        self._close()
        await self._background.finish()

    def _close(self) -> None:
        self._closed = True
        for group in self._groups.values():
            group.changed.set()  # who waits is told

    def _group(self, pool: Pool) -> _Group:
        key = _key(pool)
        if key not in self._groups:
            self._groups[key] = _Group(pool=replace(pool, preimports=()))
        return self._groups[key]

    def _group_of(self, zygote: ContainerZygote) -> _Group | None:
        """None for one that is no spare, or is none any more."""
        group = self._groups.get(_key(zygote.pool))
        return group if group is not None and zygote.id in group.zygotes else None

    def _expect(self, group: _Group, zygote: ContainerZygote) -> None:
        """One more; it will greet."""
        group.zygotes[zygote.id] = zygote
        self._loop.call_later(HELLO_SECONDS, self._overdue, zygote)

    def _coming(self, group: _Group) -> list[ContainerZygote]:
        return [each for each in group.zygotes.values() if each.covers(group.wish)]

    def _refill(self, group: _Group) -> None:
        """As many as are wanted, and one for each launch that waits; those too many, or without an import that is
        wanted now, go once others have taken their place."""
        if self._closed or self.unusable:
            return
        wish = group.wish
        good = self._coming(group)
        want = max(group.spares, len(group.waiting))
        if self._loop.time() < group.not_before:
            return
        while len(good) + len(group.making) < want:
            self._begin(group, wish)
        if group.unclaimed_since is None:
            idle = sum(each.hello is not None for each in good)
            poor = [each for each in group.zygotes.values() if each not in good]
            for zygote in (poor if idle >= group.spares else []) + good[want:]:
                self._let_go(group, zygote)

    def _begin(self, group: _Group, pool: Pool) -> None:
        id_ = new_zygote_id()
        group.making.add(id_)
        making = self._background.spawn(self._make_one(id_, pool))
        making.add_done_callback(lambda done: self._made(group, id_, done))

    async def _make_one(self, id_: str, pool: Pool) -> ContainerZygote | str:
        """One more, or why there is none."""
        try:
            async with self._room:
                return await self._make(id_, pool)
        except PilotlightError as error:
            return error.detail
        except Exception as error:  # whatever it was, it is not tried again at once
            return str(error) or repr(error)

    def _made(self, group: _Group, id_: str, done: "asyncio.Task[ContainerZygote | str]") -> None:
        group.making.discard(id_)
        if done.cancelled():
            return
        found = done.result()
        if isinstance(found, str):
            self._failed(group, found)
        elif self._left:
            found.close()
        else:
            self._expect(group, found)
            if found.hello is not None:  # it was quicker than the engine's answer
                self.greeted(found)

    def _let_go(self, group: _Group, zygote: ContainerZygote) -> None:
        del group.zygotes[zygote.id]
        self._background.spawn(self._discard(zygote))

    def _overdue(self, zygote: ContainerZygote) -> None:
        """Where not one has ever come through, mounted sockets do not work: an engine in a virtual machine, or one that
        labels files (SELinux)."""
        group = self._group_of(zygote)
        if group is None or zygote.hello is not None or self._closed:
            return
        why = f"its zygote said nothing for {HELLO_SECONDS:g} s"
        self._unheard += 1
        if not self._ever_greeted and self._unheard >= UNHEARD:
            self.unusable = f"containers of this engine cannot reach the server's sockets: {why}"
            self._usable_again = self._loop.time() + AGAIN_SECONDS
        self._lose(group, zygote, why)

    def _lose(self, group: _Group, zygote: ContainerZygote, why: str) -> None:
        self._let_go(group, zygote)
        self._failed(group, why)

    def _failed(self, group: _Group, why: str) -> None:
        group.failures += 1
        group.last_words = why
        pause = min(FIRST_PAUSE * 2 ** min(group.failures - 1, 10), LONGEST_PAUSE)
        group.not_before = self._loop.time() + pause
        log.warning("no spare container", environment=group.pool.environment[:12], reason=why, again_in=pause)
        group.changed.set()
        self._later(pause + 0.01, group)

    def _later(self, seconds: float, group: _Group) -> None:
        self._loop.call_later(seconds, self._refill, group)


def _key(pool: Pool) -> Key:
    return pool.environment, pool.namespace, pool.variables, pool.image, pool.memory_mib, pool.devices
