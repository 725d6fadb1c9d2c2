"""The process provider: replicas are forked from zygotes on this machine, and found again by records after a crash."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

import psutil
import structlog

from pilotlight.config import Sandbox, Settings
from pilotlight.core.errors import StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.providers.background import Background
from pilotlight.providers.base import Ended, Event, Gateway, Launch, LogLine, Node, Pool, Running, Usage, Warm
from pilotlight.providers.process import cgroups, procfs
from pilotlight.providers.process.adoption import adopt, await_readiness, learn_readiness
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.pools import Pools
from pilotlight.providers.process.probe import ask_ready
from pilotlight.providers.process.records import ReplicaRecord, RunDir, check_id
from pilotlight.providers.process.replica import Replica
from pilotlight.providers.process.spawn import Recipe
from pilotlight.providers.process.starting import Starter
from pilotlight.providers.process.zygote import Zygote

log = structlog.get_logger(__name__)

WORD_SECONDS = 60.0
"""Adopted replicas hear this often that there is a control plane; the others have it at the end of their channel."""
SETTLE_SECONDS = 0.05
"""From a start to what of it can wait: the replica has the processor to itself first."""
UNSAID = ("signal", "exit", "lost", "killed")
"""Ends that a replica could not tell its log."""
GUARD_SECONDS = 1.0
"""This often is looked at what replicas should bound themselves: their memory and their logs."""


class ProcessProvider:
    name = "process"

    def __init__(
        self,
        *,
        settings: Settings,
        sandbox: Sandbox,
        layer: Path,
        environment_dir: Callable[[str], Path],
        bundle_dir: Callable[[str], Path],
        prime: Callable[[str], Path | None] = lambda _environment: None,
        groups: cgroups.Groups | None = None,
    ) -> None:
        """`groups`: where memory limits are control groups; None where replicas watch themselves."""
        self._settings = settings
        self._sandbox = sandbox
        self._run = RunDir(settings.run_dir, sandbox)
        self._logs = LogFiles(settings.data_dir / "logs")
        recipe = Recipe(
            sandbox=sandbox,
            layer=layer,
            environment_dir=environment_dir,
            prime=prime,
            idle_end_seconds=settings.pool.idle_end_seconds,
        )
        self._pools = Pools(
            recipe,
            self._run,
            hello_seconds=settings.control.start_timeout_seconds,
            ended=self._status_known,
            gone=self._zygote_gone,
        )
        self._groups = groups
        self._starter = Starter(
            groups=groups,
            run=self._run,
            logs=self._logs,
            pools=self._pools,
            bundle_dir=bundle_dir,
            settings=settings,
            make=self._make,
        )
        self._nodes = (_this_machine(),)
        self._replicas: dict[str, Replica] = {}
        self._starting: dict[str, asyncio.Task[Replica]] = {}
        self._background = Background("the process provider")
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()  # at most two for each replica
        self._settling: asyncio.TimerHandle | None = None
        self._closing = False

    async def nodes(self) -> Sequence[Node]:
        return self._nodes

    async def prepare(self, pool: Pool, count: int) -> None:
        await self._pools.prepare(pool, count)

    async def warm(self, pool: Pool) -> Warm:
        zygote = self._pools.current(pool)
        if zygote is None:
            return Warm(kind="none", why="its zygote is not running")
        return Warm(
            kind="zygote", ready=zygote.spares_ready, memory_mib=round(procfs.anonymous_mib(zygote.process.pid), 1)
        )

    async def gateway(self, namespace: str, node: str) -> Gateway:
        return Gateway(url=self._settings.gateway)

    async def start(self, launch: Launch) -> Running:
        if self._closing:
            raise StartFailed("no replica was started: the server is stopping")
        found = self._replicas.get(check_id(launch.id))
        if found is not None:
            return found.running()
        task = self._starting.get(launch.id)
        if task is None:
            task = self._starting[launch.id] = self._background.spawn(self._starter.start(launch), awaited=True)
            task.add_done_callback(lambda _done: self._started(launch.id))
        # Half a start helps nobody: when the caller is cancelled it is finished, and found by its id.
        return (await asyncio.shield(task)).running()

    async def stop(self, replica: str, *, grace_seconds: float) -> None:
        if replica in self._starting:
            await asyncio.wait([self._starting[replica]])
        found = self._replicas.get(replica)
        if found is not None:
            await found.stop(grace_seconds)

    async def list(self) -> Sequence[Running]:
        return [replica.running() for replica in self._replicas.values() if replica.alive]

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def usage(self, replica: str) -> Usage | None:
        found = self._replicas.get(replica)
        return None if found is None else procfs.usage(found.record.pid)

    def logs(
        self, function: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        return self._logs.read(function, tail=tail, since=since, follow=follow)

    async def forget(self, function: FunctionKey) -> None:
        await asyncio.to_thread(self._logs.forget, function)

    async def open(self) -> None:
        self._run.claim()
        for record in self._run.replicas():
            self._logs.expect(record.function, record.id, record.spare_log)
        await asyncio.to_thread(self._logs.begin)
        await adopt(self._run, self._pools, user=self._user(), make=self._make)
        async with asyncio.TaskGroup() as group:
            for replica in tuple(self._replicas.values()):
                group.create_task(self._learn(replica))
        if self._groups is not None:
            await asyncio.to_thread(self._groups.sweep, set(self._replicas))
        self._background.every(WORD_SECONDS, self._give_word)
        self._background.every(GUARD_SECONDS, self._guard)

    async def close(self, *, keep: bool) -> None:
        self._closing = True
        if not keep:
            await self._end_all()
        self._leave()
        if not keep:
            await asyncio.to_thread(self._run.remove)
        self._events.put_nowait(None)

    # What replicas and zygotes tell

    def _make(self, record: ReplicaRecord, process: procfs.Process | None, zygote: Zygote | None) -> Replica:
        group = None if self._groups is None else self._groups.of(record.id)
        replica = Replica(record, process, zygote, group=group, ready=self._became_ready, ended=self._ended)
        self._replicas[record.id] = replica
        return replica

    def _became_ready(self, replica: Replica) -> None:
        self._events.put_nowait(replica.event())
        try:
            self._run.write(replica.record)  # after the word, which somebody waits for
        except OSError as error:
            log.warning("record not written", replica=replica.id, reason=error.strerror)

    def _ended(self, replica: Replica, ended: Ended) -> None:
        """Records go after the word: after a crash in between it is said again, by the next control plane."""
        function = replica.record.function
        self._events.put_nowait(replace(ended, last_lines=self._logs.last_lines(function, replica.id)))
        if ended.reason in UNSAID or (ended.reason == "out-of-memory" and ended.signal is not None):
            self._logs.note(function, replica.id, ended.detail)
        self._replicas.pop(replica.id, None)
        self._run.drop_replica(replica.record)
        if replica.zygote is not None:
            replica.zygote.forget(replica.id)
            self._pools.release(replica.zygote)
        running = {other.id for other in self._replicas.values() if other.record.function == function}
        self._background.in_thread(self._logs.prune, function, running | set(self._starting))
        if replica.group is not None:
            self._background.in_thread(replica.group.remove)

    def _status_known(self, zygote: Zygote, replica: str) -> None:
        found = self._replicas.get(replica)
        if found is not None:
            found.status_known()
        elif replica not in zygote.children:
            zygote.forget(replica)

    def _zygote_gone(self, zygote: Zygote) -> None:
        for replica in tuple(self._replicas.values()):
            if replica.zygote is zygote:
                replica.zygote_gone()

    # In the background

    async def _learn(self, replica: Replica) -> None:
        if not await learn_readiness(replica):
            self._background.spawn(await_readiness(replica))

    async def _give_word(self) -> None:
        mute = [replica for replica in self._replicas.values() if not replica.has_channel]
        await asyncio.gather(*(ask_ready(replica.record.socket, seconds=5) for replica in mute))
        self._pools.settle()

    async def _guard(self) -> None:
        for replica in tuple(self._replicas.values()):
            replica.check_memory()
        paths = [self._logs.path(each.record.function, each.id) for each in self._replicas.values()]
        await asyncio.to_thread(self._logs.guard, paths)

    def _started(self, replica: str) -> None:
        del self._starting[replica]
        if self._settling is None and not self._closing:
            self._settling = asyncio.get_running_loop().call_later(SETTLE_SECONDS, self._settle_logs)

    def _settle_logs(self) -> None:
        self._settling = None
        self._background.spawn(asyncio.to_thread(self._logs.settle))

    async def _end_all(self) -> None:
        """Replicas in their grace, then what they came from; with that dies what was being started."""
        if starting := tuple(self._starting.values()):
            for task in starting:
                task.cancel()
            await asyncio.wait(starting)
        grace = self._settings.control.kill_grace_seconds
        await asyncio.gather(*(replica.stop(grace) for replica in tuple(self._replicas.values())))
        await self._pools.end()

    def _leave(self) -> None:
        """Let go of everything and leave it running; what was being started is left in the middle."""
        self._background.leave()
        if self._settling is not None:
            self._settling.cancel()
        for replica in self._replicas.values():
            replica.leave()
        self._replicas.clear()
        self._pools.leave()
        self._logs.leave()

    def _user(self) -> int:
        return os.getuid() if self._sandbox.uid is None else self._sandbox.uid


def _this_machine() -> Node:
    cores = len(os.sched_getaffinity(0))
    return Node(name="local", cpu_milli=cores * 1000, memory_mib=psutil.virtual_memory().total // 2**20)
