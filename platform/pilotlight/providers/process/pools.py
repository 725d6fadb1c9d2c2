"""Which zygote does a launch come from? One at a time per environment, namespace and startup variables.

A zygote imports modules, and those it has can only grow: when a function needs more of them, a new generation with
both sets takes over and the old one ends when it is childless.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import structlog

from pilotlight.core.errors import StartFailed
from pilotlight.providers.background import Background
from pilotlight.providers.base import Pool
from pilotlight.providers.process import procfs
from pilotlight.providers.process.messages import Hello
from pilotlight.providers.process.records import RunDir, ZygoteRecord
from pilotlight.providers.process.spawn import Recipe, bound, connect, last_words, spawn
from pilotlight.providers.process.zygote import Zygote, ZygoteGone
from pilotlight_runtime import __version__
from pilotlight_runtime.launch import encode

log = structlog.get_logger(__name__)

Key: TypeAlias = tuple[str, str, tuple[tuple[str, str], ...]]

EARLY_SECONDS = 5.0
"""A zygote that ends within this time has failed; one that lived longer has had an accident."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 30.0
WAIT_AT_MOST = 1.0
"""A start waits for the end of a pause that is no longer than this; otherwise it fails and says when."""
ADOPTION_SECONDS = 3.0
UNCLAIMED_SECONDS = 300.0
"""An adopted pool for which nobody asks within this time is let go."""


@dataclass(slots=True)
class _Group:
    """The zygotes of one key."""

    wanted: dict[tuple[str, ...], int] = field(default_factory=dict)
    """Spares, by the set of preimports that they were asked for with."""
    current: Zygote | None = None
    starting: asyncio.Task[Zygote] | None = None
    failures: int = 0
    not_before: float = 0.0
    last_words: str = ""
    claimed: bool = True
    """False for an adopted one whose wanted spares nobody told us yet."""

    @property
    def spares(self) -> int:
        return max(self.wanted.values(), default=0)


class Pools:
    """`ended` and `gone` are passed on from zygotes, see there."""

    def __init__(
        self,
        recipe: Recipe,
        run: RunDir,
        *,
        hello_seconds: float,
        ended: Callable[[Zygote, str], None],
        gone: Callable[[Zygote], None],
    ) -> None:
        self._recipe = recipe
        self._run = run
        self._hello_seconds = hello_seconds
        self._ended = ended
        self._gone = gone
        self._groups: dict[Key, _Group] = {}
        self._zygotes: dict[str, Zygote] = {}
        self._background = Background("the zygotes' pools")
        self._dismissed: list[socket.socket] = []

    def by_id(self, zygote: str) -> Zygote | None:
        return self._zygotes.get(zygote)

    def all(self) -> Iterator[Zygote]:
        return iter(list(self._zygotes.values()))

    def has(self, pool: Pool) -> bool:
        """Whether a zygote for it is there already."""
        return self.current(pool) is not None

    def current(self, pool: Pool) -> Zygote | None:
        """Its zygote, if that can take a launch."""
        current = self._group(pool).current
        return current if current is not None and current.covers(pool) else None

    async def zygote_for(self, pool: Pool) -> Zygote:
        """One that covers the pool and has said hello; it is started where there is none. StartFailed otherwise."""
        group = self._group(pool)
        while not self.has(pool):
            await asyncio.shield(self._start(group, pool))
        assert group.current is not None  # noqa: S101 (what `has` says)
        return group.current

    async def prepare(self, pool: Pool, count: int) -> None:
        group = self._group(pool)
        group.claimed = True
        if count:
            group.wanted[pool.preimports] = count
            zygote = await self.zygote_for(pool)
            zygote.keep_spares(group.spares)
            return
        group.wanted.pop(pool.preimports, None)
        if group.current is not None:
            group.current.keep_spares(group.spares)
            self.release(group.current)

    def release(self, zygote: Zygote) -> None:
        """Let it go if nobody needs it: no spares are wanted and nothing of it runs."""
        group = self._group(zygote.pool)
        if group.claimed and not group.spares and not zygote.children and group.starting is None:
            zygote.retire()

    async def adopt(self, records: list[ZygoteRecord], children: Mapping[str, set[str]]) -> list[tuple[Zygote, Hello]]:
        """Take up the conversation with those that live; what each said. The others are gone afterwards. `children`
        are the recorded replicas of each: their ends are wanted."""
        found = await asyncio.gather(*(self._adopt(record, children.get(record.id, set())) for record in records))
        stale = {zygote.record.id for zygote, hello in filter(None, found) if hello.runtime != __version__}
        for zygote in sorted(self._zygotes.values(), key=lambda z: z.process.started):
            group = self._group(zygote.pool)
            if zygote.record.id in stale:  # of another version of the platform: its replicas live on, new ones are ours
                zygote.retire()
                continue
            if group.current is not None:
                group.current.retire()
            group.current, group.claimed = zygote, False
        return [pair for pair in found if pair is not None]

    def settle(self) -> None:
        """To be called now and then: adopted pools that nobody wants are let go, and what zygotes print is bounded."""
        for zygote in self._zygotes.values():
            bound(self._run.zygote_log(zygote.record.id))
        now = asyncio.get_running_loop().time()
        for group in self._groups.values():
            adopted = group.current
            if adopted is not None and not group.claimed and now - adopted.began > UNCLAIMED_SECONDS:
                group.claimed = True
                adopted.keep_spares(group.spares)
                self.release(adopted)

    def leave(self) -> None:
        """Everything runs on."""
        self._background.leave()
        for zygote in self._zygotes.values():
            zygote.leave()
        for control in self._dismissed:
            control.close()
        self._zygotes.clear()
        self._groups.clear()

    async def end(self) -> None:
        self._background.leave()
        self._groups.clear()
        await asyncio.gather(*(zygote.end() for zygote in self.all()))
        self.leave()

    def _group(self, pool: Pool) -> _Group:
        return self._groups.setdefault((pool.environment, pool.namespace, pool.variables), _Group())

    def _start(self, group: _Group, pool: Pool) -> asyncio.Task[Zygote]:
        """Single flight: whoever needs a zygote that is being started waits for that one."""
        if group.starting is None:
            have = group.current.pool.preimports if group.current is not None else ()
            wanted = {*pool.preimports, *have, *(name for names in group.wanted for name in names)}
            richer = replace(pool, preimports=tuple(sorted(wanted)))
            group.starting = self._background.spawn(self._start_zygote(group, richer))
            group.starting.add_done_callback(lambda _done: setattr(group, "starting", None))
        return group.starting

    async def _start_zygote(self, group: _Group, pool: Pool) -> Zygote:
        await self._wait_out(group)
        try:
            spawned = spawn(self._recipe, pool, self._run, spares=group.spares)
        except OSError as error:
            self._failed(group, error.strerror or str(error))
            raise StartFailed(f"the zygote could not be started: {error.strerror or error}") from error
        except StartFailed as error:
            self._failed(group, error.detail)
            raise
        zygote = Zygote(spawned.record, spawned.process, spawned.control, ended=self._ended, gone=self._zygote_gone)
        self._zygotes[zygote.record.id] = zygote
        try:
            hello = await zygote.hello(self._hello_seconds)
        except ZygoteGone as error:
            raise StartFailed(
                f"the environment's zygote did not start: {error}; its last words: {group.last_words}",
                hint="Look at the requirements: one of the modules may end the interpreter when it is imported.",
            ) from error
        log.info("zygote ready", zygote=zygote.record.id, imported=len(hello.preimported), failed=list(hello.failed))
        if group.current is not None:
            group.current.retire()
        group.current = zygote
        return zygote

    async def _wait_out(self, group: _Group) -> None:
        """The pause after failures: a short one is waited for, a long one is told."""
        rest = group.not_before - asyncio.get_running_loop().time()
        if rest > WAIT_AT_MOST:
            raise StartFailed(
                f"the environment's zygote has failed {group.failures} times ({group.last_words}); "
                f"the next try is in {rest:.0f} s"
            )
        if rest > 0:
            await asyncio.sleep(rest)

    def _failed(self, group: _Group, why: str, *, longest: float = LONGEST_PAUSE) -> None:
        group.failures += 1
        group.last_words = why
        pause = min(FIRST_PAUSE * 2 ** min(group.failures - 2, 10), longest) if group.failures > 1 else 0.0
        group.not_before = asyncio.get_running_loop().time() + pause

    def _zygote_gone(self, zygote: Zygote) -> None:
        group = self._group(zygote.pool)
        self._zygotes.pop(zygote.record.id, None)
        if not zygote.retiring:
            words = last_words(self._run.zygote_log(zygote.record.id))
            log.warning("zygote ended", zygote=zygote.record.id, last_words=words)
            if asyncio.get_running_loop().time() - zygote.began < EARLY_SECONDS:
                # One that came up was more likely killed than broken: the next try is soon enough to be waited for.
                self._failed(group, words, longest=WAIT_AT_MOST if zygote.greeted else LONGEST_PAUSE)
            else:
                group.failures = 0
        self._run.drop_zygote(zygote.record)
        self._gone(zygote)
        if group.current is zygote:
            group.current = None
            if group.spares and not zygote.retiring:
                self._start(group, zygote.pool)

    async def _adopt(self, record: ZygoteRecord, children: set[str]) -> tuple[Zygote, Hello] | None:
        zygote = self._meet(record)
        if zygote is None:
            self._run.drop_zygote(record)
            return None
        zygote.children |= children
        self._zygotes[record.id] = zygote
        try:
            return zygote, await zygote.hello(ADOPTION_SECONDS)
        except ZygoteGone:
            self._zygotes.pop(record.id, None)
            return None

    def _meet(self, record: ZygoteRecord) -> Zygote | None:
        """The zygote behind a record, if it lives and answers."""
        if not record.pid:
            self._dismiss(record)
            return None
        process = procfs.find(record.pid, record.started, user=self._recipe.sandbox.uid)
        if process is None:
            return None
        try:
            control = connect(self._run.zygote_socket(record.id))
        except OSError:
            process.kill_group()
            process.close()
            return None
        return Zygote(record, process, control, ended=self._ended, gone=self._zygote_gone)

    def _dismiss(self, record: ZygoteRecord) -> None:
        """It was started in the moment of a crash, so nothing of it runs and nobody knows its pid: it may end."""
        with suppress(OSError):
            control = connect(self._run.zygote_socket(record.id))
            control.send(encode({"type": "retire"}))
            self._dismissed.append(control)  # open, so that it can say hello without being disturbed
