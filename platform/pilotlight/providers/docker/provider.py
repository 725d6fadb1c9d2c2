"""The Docker provider: a replica is a container that is ours by its labels, and is found again by them."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pilotlight.config import Settings
from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import EngineEvent, connect
from pilotlight.engine.failures import Refused
from pilotlight.providers.base import Ended, Event, Launch, LogLine, Node, Pool, Running, Usage
from pilotlight.providers.docker.adoption import Listed, adopt, resync
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.folders import Folders, Ready
from pilotlight.providers.docker.logs import ContainerLogs, Follower, merged, read_written
from pilotlight.providers.docker.opened import Opened, has_init
from pilotlight.providers.docker.probe import until_ready
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.starting import NODE
from pilotlight.providers.docker.usage import limit_cpu, read_usage
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.records import check_id

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
INSIST_SECONDS = 2.0
"""A kill that was not followed by an end is repeated after this; the engine may have been away."""
SETTLE_SECONDS = 10.0
"""What ended a moment ago is written down before logs are read, unless it takes longer than this."""


class DockerProvider:
    name = "docker"

    def __init__(self, *, settings: Settings) -> None:
        self._settings = settings
        self._options = settings.docker
        self._owner = owner_of(settings.data_dir)
        self._files = LogFiles(settings.data_dir / "logs")
        self._folders = Folders(settings.run_dir)
        self._open: Opened | None = None
        self._replicas: dict[str, Replica] = {}
        self._starting: dict[str, asyncio.Task[Replica]] = {}
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._early: dict[str, EngineEvent] = {}
        """Deaths of containers that are being started, and are not known yet."""
        self._followers: dict[FunctionKey, set[Follower]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()  # at most two for each replica
        self._connected = asyncio.Event()
        self._adopted = False
        self._closing = False

    async def nodes(self) -> Sequence[Node]:
        info = await self._now_open().engine.call(lambda client: client.info())
        return (Node(name=NODE, cpu_milli=int(info["NCPU"]) * 1000, memory_mib=int(info["MemTotal"]) // 2**20),)

    async def prepare(self, pool: Pool, count: int) -> None:
        """Images that are not ours have no spares."""

    async def start(self, launch: Launch) -> Running:
        if self._closing:
            raise StartFailed("no replica was started: the server is stopping")
        found = self._replicas.get(check_id(launch.id))
        if found is not None and not found.dying:
            return found.running()
        task = self._starting.get(launch.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._start(launch))
            self._starting[launch.id] = task
            task.add_done_callback(lambda done: self._started(launch.id, done))
        # Half a start helps nobody: when the caller is cancelled it is finished, and found by its id.
        return (await asyncio.shield(task)).running()

    async def stop(self, replica: str, *, grace_seconds: float) -> None:
        if replica in self._starting:
            await asyncio.wait([self._starting[replica]])
        found = self._replicas.get(replica)
        if found is None:
            return
        found.stopping = True
        await self._signal(found, found.record.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await found.ended.wait()
        while not found.ended.is_set():
            if not found.dying:
                found.insisted_after = grace_seconds
            await self._signal(found, "SIGKILL")
            with suppress(TimeoutError):
                async with asyncio.timeout(INSIST_SECONDS):
                    await found.ended.wait()

    async def list(self) -> Sequence[Running]:
        return [replica.running() for replica in self._replicas.values() if not replica.dying]

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def usage(self, replica: str) -> Usage | None:
        found = self._replicas.get(replica)
        if found is None or found.dying:
            return None
        with suppress(Refused, PilotlightError):  # it is going, or the engine is away: nobody else should fail for it
            return await self._now_open().engine.call(lambda client: read_usage(client, found.record.container))
        return None

    async def logs(
        self, function: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        await self._settle(function)
        logs = self._now_open().logs
        records = [each.record for each in self._replicas.values() if each.record.function == function]
        follower = self._follower(function, logs) if follow else None
        try:
            least = max(tail or 0, 1) if follow and tail is not None else tail
            threads = (asyncio.to_thread(logs.lines, record, tail=least, since=since) for record in records)
            found = await asyncio.gather(*threads)
            written = await read_written(self._files, function, tail, since)
            for line in merged([written, *found], tail):
                yield line
            if follower is None:
                return
            for record, lines in zip(records, found, strict=True):
                follower.add(record, lines[-1].time if lines else since or 0.0)
            async for line in follower.lines():
                yield line
        finally:
            if follower is not None:
                follower.close()

    async def forget(self, function: FunctionKey) -> None:
        await self._settle(function)
        await asyncio.to_thread(self._files.forget, function)
        namespace = function.rpartition(".")[2]
        used = {key.rpartition(".")[2] for key in (each.record.function for each in self._replicas.values())}
        if namespace not in used and not self._starting:
            with suppress(PilotlightError):
                await self._now_open().networks.drop(namespace)

    async def open(self) -> None:
        engine = await asyncio.to_thread(connect, self._options.url, call_seconds=self._options.call_seconds)
        version, info = await engine.call(lambda client: (client.version(), client.info()))
        self._folders.claim()
        (self._settings.data_dir / "logs").mkdir(mode=0o700, parents=True, exist_ok=True)
        self._open = Opened(
            engine,
            self._owner,
            self._settings,
            files=self._files,
            folders=self._folders,
            init=has_init(version),
            tell=self.tell_end,
            running_of=self.running_of,
            connected=self.engine_connected,
            happened=self.happened,
        )
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            raise StartFailed(
                f"the Docker engine at {engine.url} says nothing of its events", slug="engine-unreachable"
            ) from None
        await adopt(await self._listed(), provider=self)
        self._adopted = True
        log.info("docker engine", url=engine.url, version=version.get("Version"), containers=info.get("Containers"))

    async def close(self, *, keep: bool) -> None:
        self._closing = True
        opened = self._open
        if not keep and opened is not None:
            try:
                async with asyncio.timeout(self._settings.control.kill_grace_seconds + 2 * CONNECT_SECONDS):
                    await self._end_all(opened)
            except (TimeoutError, PilotlightError, Refused) as error:
                log.warning("not everything could be ended", reason=str(error) or "the engine did not answer in time")
        self._leave()
        if not keep and opened is not None:
            await asyncio.to_thread(self._folders.remove)
        self._events.put_nowait(None)

    # What the engine tells

    def engine_connected(self) -> None:
        self._connected.set()
        if self._adopted:
            self._spawn(self._resync())

    def happened(self, event: EngineEvent) -> None:
        replica = next((each for each in self._replicas.values() if each.record.container == event.container), None)
        if replica is None:
            if event.action == "die" and self._starting:
                self._early[event.container] = event
        elif event.action == "oom":
            replica.oom_at = event.time
        elif event.action == "die":
            self.died(replica, event.exit_code)

    def died(self, replica: Replica, exit_code: int | None = None, *, quietly: bool = False) -> None:
        """Its end will be told, once, and everything of it cleared away. `quietly`: it was told before."""
        if replica.dying:
            return
        replica.dying = True
        if replica.watch is not None:
            replica.watch.cancel()
        if not quietly:
            self._replicas[replica.id] = replica
        burial = self._now_open().burial
        self._ending[replica.id] = task = self._spawn(burial.bury(replica, exit_code, quietly=quietly))
        task.add_done_callback(lambda _done: self._buried(replica, task))

    def add(self, replica: Replica, *, phases: dict[str, float] | None = None) -> None:
        """It runs. `phases` are those of its start, if it was started just now."""
        self._replicas[replica.id] = replica
        early = self._early.pop(replica.record.container, None)
        for follower in self._followers.get(replica.record.function, ()):
            follower.add(replica.record, 0.0)
        if early is not None or not replica.record.running:
            self.died(replica, early.exit_code if early is not None else None)
        elif replica.is_ready:
            self._spawn(self._limit_cpu(replica))
        else:
            replica.watch = self._spawn(self._await_ready(replica, phases or {}))

    def ready_note(self, replica: str) -> Ready | None:
        return self._folders.ready(replica)

    def was_told(self, replica: Replica) -> bool:
        return self._folders.was_told(replica.id, replica.record.container)

    def sweep(self, replicas: set[str]) -> None:
        self._folders.sweep(replicas)

    async def remove_container(self, container: str) -> None:
        await self._now_open().burial.remove(container)

    def tell_end(self, replica: Replica, ended: Ended) -> None:
        """The mark comes with the word: after a crash it is not said again."""
        self._events.put_nowait(ended)
        with suppress(OSError):
            self._folders.note_told(replica.id, replica.record.container)
        if self._replicas.get(replica.id) is replica:
            del self._replicas[replica.id]
        replica.ended.set()

    # In the background

    async def _start(self, launch: Launch) -> Replica:
        if launch.id in self._ending:
            await asyncio.wait([self._ending[launch.id]])
        replica, phases = await self._now_open().starter.start(launch)
        self.add(replica, phases=phases)
        return replica

    async def _await_ready(self, replica: Replica, phases: dict[str, float]) -> None:
        began = time.perf_counter()
        found = await until_ready(replica.record.address)
        replica.slots = found.slots or replica.record.concurrency
        replica.phases = {**phases, "listen": (time.perf_counter() - began) * 1000}
        self._events.put_nowait(replica.event())
        with suppress(OSError):
            self._folders.note_ready(replica.id, Ready(slots=replica.slots, phases=dict(replica.phases)))
        await self._limit_cpu(replica)

    async def _limit_cpu(self, replica: Replica) -> None:
        milli = replica.record.cpu_milli
        if milli is None:
            return
        try:
            await self._now_open().engine.call(lambda client: limit_cpu(client, replica.record.container, milli))
        except (Refused, PilotlightError) as error:
            if not replica.dying:
                log.warning("cpu limit not set", replica=replica.id, reason=str(error))

    async def _signal(self, replica: Replica, signal: str) -> None:
        """One that has ended already is found out by it, should its event have been lost."""
        engine = self._now_open().engine
        try:
            await engine.call(lambda client: client.kill(replica.record.container, signal=signal))
        except Refused:
            self.died(replica)
        except PilotlightError as error:
            log.warning("not signalled", replica=replica.id, signal=signal, reason=error.detail)

    async def _listed(self) -> Listed:
        """Everything of ours in the engine, ended or not."""

        def verb(client: Any) -> Listed:
            found = []
            for each in client.containers(all=True, filters={"label": f"{OWNER}={self._owner}"}):
                with suppress(Exception):  # gone since it was listed
                    found.append(client.inspect_container(each["Id"]))
            return found

        return await self._now_open().engine.call(verb)

    async def _resync(self) -> None:
        """The engine was away: what ended meanwhile is told now."""
        self._now_open().networks.forget()
        known = [each for each in self._replicas.values() if not each.dying]
        with suppress(PilotlightError, Refused):  # it is away again
            await resync(await self._listed(), known, {*self._starting, *self._ending}, provider=self)

    async def _settle(self, function: FunctionKey) -> None:
        ending = [self._ending[each] for each in self._ending if self._now_open().burial.of(each) == function]
        if ending:
            await asyncio.wait(ending, timeout=SETTLE_SECONDS)

    async def _end_all(self, opened: Opened) -> None:
        if starting := tuple(self._starting.values()):
            await asyncio.wait(starting)
        grace = self._settings.control.kill_grace_seconds
        await asyncio.gather(*(self.stop(each, grace_seconds=grace) for each in tuple(self._replicas)))
        if ending := tuple(self._ending.values()):
            await asyncio.wait(ending)
        for container in await self._listed():
            await opened.burial.remove(container["Id"])
        await opened.networks.remove()

    def _leave(self) -> None:
        """Let go of everything and leave it running; what was being done is left in the middle."""
        for task in (*self._starting.values(), *self._tasks):
            task.cancel()
        for follower in [each for found in self._followers.values() for each in found]:
            follower.close()
        self._replicas.clear()
        self._files.leave()
        if self._open is not None:
            self._open.watcher.leave()
            self._open.engine.close()
            self._open = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _started(self, replica: str, task: "asyncio.Task[Replica]") -> None:
        del self._starting[replica]
        if not self._starting:
            self._early.clear()
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not collect it

    def _buried(self, replica: Replica, task: "asyncio.Task[None]") -> None:
        if self._ending.get(replica.id) is task:
            del self._ending[replica.id]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("not cleared away", replica=replica.id, reason=str(error))

    def _follower(self, function: FunctionKey, logs: ContainerLogs) -> Follower:
        group = self._followers.setdefault(function, set())
        follower = Follower(logs, group.discard)
        group.add(follower)
        return follower

    def running_of(self, function: FunctionKey) -> set[str]:
        """Ids whose log files are not to be removed."""
        return {each.id for each in self._replicas.values() if each.record.function == function}

    def _now_open(self) -> Opened:
        if self._open is None:
            raise StartFailed("the docker provider is not open")
        return self._open


def owner_of(data_dir: Path) -> str:
    """Which server's a container is: several may share an engine."""
    return hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:10]
