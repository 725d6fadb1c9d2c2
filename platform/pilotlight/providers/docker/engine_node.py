"""One engine as a node: what runs there, what is being started and ended, and its pools."""

import asyncio
import signal
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import structlog

from pilotlight.config import DockerSettings, Settings
from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import Engine, EngineEvent, Watcher
from pilotlight.engine.failures import Refused
from pilotlight.engine.registry_logins import for_the_function
from pilotlight.providers.base import Ended, Event, Launch, Node, Pool, Usage, Warm
from pilotlight.providers.docker.adoption import Adoption, Listed
from pilotlight.providers.docker.berths import Berths, Claim
from pilotlight.providers.docker.burial import Burial
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.folders import Folders, Ready
from pilotlight.providers.docker.logs import ContainerLogs
from pilotlight.providers.docker.pooled import PooledStarter
from pilotlight.providers.docker.pools import NoPool, Pools
from pilotlight.providers.docker.probe import until_ready
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.spares import Spares
from pilotlight.providers.docker.standbys import Standbys
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.surroundings import Images, Networks
from pilotlight.providers.docker.usage import limit_cpu, limit_memory, read_usage
from pilotlight.providers.docker.watchdogs import variables_of
from pilotlight.providers.docker.zygote import ContainerZygote
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.messages import ChildEnded
from pilotlight.providers.process.messages import Ready as ReadyWord

log = structlog.get_logger(__name__)

CONNECT_SECONDS = 10.0
INSIST_SECONDS = 2.0
"""A kill that was not followed by an end is repeated after this; the engine may have been away."""
MEASURE_SECONDS = 1.0
"""From a spare's greeting to the question how much memory it has: its child is forked and rehearsed by then."""
FAILED_SECONDS = 5.0
"""A replica that said that it failed, or that it ends, must be gone after this."""


def standby_budget_mib(options: DockerSettings, node_mib: int) -> float:
    if not options.standbys:
        return 0.0
    return node_mib / 4 if options.standby_memory_mib is None else options.standby_memory_mib


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all nodes of a provider share."""

    settings: Settings
    owner: str
    files: LogFiles
    folders: Folders
    berths: Berths
    bundle_dir: Callable[[str], Path]
    tell: Callable[[Event], None]
    started: Callable[[Replica], None]
    """One more whose container's log may be followed."""
    running_of: Callable[[FunctionKey], set[str]]
    """Ids whose log files are not to be removed."""


class EngineNode:
    def __init__(self, name: str, engine: Engine, about: Mapping[str, Any], common: Common, *, init: bool) -> None:
        """`about`: what the engine says of itself; `init`: it has one."""
        options = common.settings.docker
        self.name = name
        self.engine = engine
        self.about = about
        self.replicas: dict[str, Replica] = {}
        self.starting: dict[str, asyncio.Task[Replica]] = {}
        self.ending: dict[str, asyncio.Task[None]] = {}
        self.common = common
        self._early: dict[str, EngineEvent] = {}
        """Deaths of containers that are being started, and are not known yet."""
        self._variables: dict[str, Mapping[str, str]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self.in_hand: set[str] = set()
        """Containers that were claimed and are no replicas yet."""
        self._connected = asyncio.Event()
        self._adopted = False
        self._connections = 0
        self._closing = False
        self.logs = ContainerLogs(engine)
        self.networks = Networks(engine, common.owner, options.reach)
        self.images = Images(engine, options.pull)
        self.burial = Burial(
            engine=engine,
            logs=self.logs,
            files=common.files,
            making=common.settings.data_dir / "logs" / ".making",
            folders=common.folders,
            berths=common.berths,
            tell=self._tell_end,
            running_of=common.running_of,
        )
        self.spares = Spares(
            engine=engine,
            node=name,
            owner=common.owner,
            images=self.images,
            networks=self.networks,
            berths=common.berths,
            options=options,
            idle_end_seconds=common.settings.pool.idle_end_seconds,
            greeted=self._greeted,
            ended=self._zygote_said,
        )
        self.pools = Pools(make=self.spares.make, discard=self.spares.discard)
        if not engine.is_local:
            self.pools.rule_out("a remote engine cannot be passed sockets")
        self._starter = Starter(
            engine=engine,
            owner=common.owner,
            options=options,
            images=self.images,
            networks=self.networks,
            folders=common.folders,
            init=init,
        )
        self.standbys = Standbys(
            engine=engine,
            starter=self._starter,
            folders=common.folders,
            budget_mib=standby_budget_mib(options, self.node().memory_mib),
            discard=self._discard_standby,
        )
        self._pooled = PooledStarter(
            berths=common.berths,
            logs=common.files,
            pools=self.pools,
            bundle_dir=common.bundle_dir,
            options=options,
            idle_end_seconds=common.settings.pool.idle_end_seconds,
            watches_memory=about.get("MemoryLimit") is False,
            take=lambda zygote: self.in_hand.add(zygote.container),
            discard=self._discard_claimed,
        )
        self._watcher = Watcher(
            engine, f"{OWNER}={common.owner}", connected=self._engine_connected, happened=self._happened
        )

    def node(self) -> Node:
        return Node(
            name=self.name, cpu_milli=int(self.about["NCPU"]) * 1000, memory_mib=self.about["MemTotal"] // 2**20
        )

    @property
    def is_up(self) -> bool:
        return self._watcher.up

    async def open(self, *, late: bool = False) -> None:
        """Adopt what runs, or (`late`) remove it. StartFailed when the engine says nothing of its events."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._connected.wait()
        except TimeoutError:
            raise StartFailed(
                f"the Docker engine at {self.engine.url} says nothing of its events", slug="engine-unreachable"
            ) from None
        listed = await self.listed()
        if late:
            await asyncio.gather(*(self.burial.remove(container["Id"]) for container in listed))
        else:
            await Adoption(self).adopt(listed)
        self._adopted = True
        self._early.clear()
        if self._connections > 1:  # the engine was away meanwhile
            await self._resync()

    async def start(self, launch: Launch) -> Replica:
        """Idempotent. What is half done when the caller is cancelled is finished, and found by its id."""
        found = self.replicas.get(launch.id)
        if found is not None and not found.dying:
            return found
        task = self.starting.get(launch.id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._start(launch))
            self.starting[launch.id] = task
            task.add_done_callback(lambda done: self._started(launch.id, done))
        return await asyncio.shield(task)

    async def stop(self, replica: str, grace_seconds: float) -> None:
        if replica in self.starting:
            await asyncio.wait([self.starting[replica]])
        found = self.replicas.get(replica)
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
            await self._kill(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(INSIST_SECONDS):
                    await found.ended.wait()

    async def usage(self, replica: Replica) -> Usage | None:
        with suppress(Refused, PilotlightError):  # it is going, or the engine is away: nobody else should fail for it
            return await self.engine.call(lambda client: read_usage(client, replica.record.container))
        return None

    async def close(self) -> None:
        """Everything of ours is ended and removed."""
        self._closing = True
        await self.standbys.stop()
        await self.pools.stop()
        if starting := tuple(self.starting.values()):
            await asyncio.wait(starting)
        grace = self.common.settings.control.kill_grace_seconds
        await asyncio.gather(*(self.stop(each, grace) for each in tuple(self.replicas)))
        if ending := tuple(self.ending.values()):
            await asyncio.wait(ending)
        await asyncio.gather(*(self.burial.remove(container["Id"]) for container in await self.listed()))
        await self.networks.remove()

    def leave(self) -> None:
        """Let go of everything and leave it running; what was being done is left in the middle."""
        for task in (*self.starting.values(), *self._tasks):
            task.cancel()
        self.pools.leave()
        self.standbys.leave()
        for replica in self.replicas.values():
            replica.leave()
        self.replicas.clear()
        self._watcher.leave()
        self.engine.close()

    async def listed(self) -> Listed:
        """Everything of ours in the engine, ended or not."""

        def verb(client: Any) -> Listed:
            found = []
            for each in client.containers(all=True, filters={"label": f"{OWNER}={self.common.owner}"}):
                with suppress(Exception):  # gone since it was listed
                    found.append(client.inspect_container(each["Id"]))
            return found

        return await self.engine.call(verb)

    def add(self, replica: Replica, *, phases: Mapping[str, float] | None = None) -> None:
        """It runs. `phases` are those of its start, if it was started just now."""
        self.replicas[replica.id] = replica
        early = self._early.pop(replica.record.container, None)
        if not replica.is_pooled:
            self.common.started(replica)
        if early is not None or not replica.record.running:
            self.died(replica, early.exit_code if early is not None else None)
        elif replica.channel is not None:
            replica.phases = dict(phases or {})
            replica.listen(self._said_ready, self._said_failing)
        elif replica.is_ready:
            self._drop(self._limit(replica))
        else:
            replica.watch = self._drop(self._await_ready(replica, phases or {}))

    def died(self, replica: Replica, exit_code: int | None = None, *, quietly: bool = False) -> None:
        """Its end will be told, once, and everything of it cleared away. `quietly`: it was told before."""
        if replica.dying:
            return
        replica.dying = True
        if replica.watch is not None:
            replica.watch.cancel()
        replica.drain()
        if not quietly:
            self.replicas[replica.id] = replica
        self.ending[replica.id] = task = self._drop(self.burial.bury(replica, exit_code, quietly=quietly))
        task.add_done_callback(lambda _done: self._buried(replica, task))

    # What the engine and zygotes tell

    def _engine_connected(self) -> None:
        self._connected.set()
        self._connections += 1
        if self._adopted:
            self._drop(self._resync())

    def _happened(self, event: EngineEvent) -> None:
        replica = next((each for each in self.replicas.values() if each.record.container == event.container), None)
        if replica is not None:
            if event.action == "oom":
                replica.oom_at = event.time
                if replica.is_pooled:
                    asyncio.get_running_loop().call_later(FAILED_SECONDS / 5, self._killed_in, replica)
            elif event.action == "die":
                self.died(replica, event.exit_code)
        elif event.action == "die" and (zygote := self.pools.spare(event.container)) is not None:
            self._drop(self._spare_died(zygote))
        elif event.action == "die" and self.standbys.died(event.container):
            pass
        elif event.action == "die" and (self.starting or not self._adopted):
            self._early[event.container] = event

    def _greeted(self, zygote: ContainerZygote) -> None:
        if zygote.replica is None and zygote.hello is not None and zygote.hello.children:
            # It was claimed in the moment of a crash, and nobody was told: the caller has gone elsewhere since.
            self.pools.gone(zygote, "")
            self._drop(self.spares.discard(zygote))
        else:
            self.pools.greeted(zygote)
            asyncio.get_running_loop().call_later(MEASURE_SECONDS, self._measure_later, zygote)

    def _measure_later(self, zygote: ContainerZygote) -> None:
        if zygote.container and zygote.is_idle and self._watcher.up:
            self._drop(self._measure(zygote))

    def _zygote_said(self, zygote: ContainerZygote, end: ChildEnded) -> None:
        replica = self.replicas.get(end.id)
        if replica is not None:
            replica.status = end
            self.died(replica)

    def _said_ready(self, replica: Replica, word: ReadyWord) -> None:
        self._became_ready(replica, word.slots, {**replica.phases, **word.phases})
        self._drop(self._limit(replica))
        for note in replica.record.notes:
            self._note(replica, note)

    def _note(self, replica: Replica, text: str) -> None:
        """A line of ours in the log that it writes itself."""
        files = self.common.files

        def write() -> None:
            files.settle()  # it may have no name yet
            files.note(replica.record.function, replica.id, text)

        self._drop(asyncio.to_thread(write))

    def _killed_in(self, replica: Replica) -> None:
        """The kernel killed something in it for memory, and it goes on: what the function started, not itself."""
        if not replica.dying and replica.id in self.replicas:
            limit = f", limit {replica.record.memory_mib}Mi" if replica.record.memory_mib else ""
            self._note(replica, f"out of memory{limit}: a process that the function started was killed")

    def _said_failing(self, replica: Replica) -> None:
        asyncio.get_running_loop().call_later(FAILED_SECONDS, self._end_failed, replica)

    def _end_failed(self, replica: Replica) -> None:
        if not replica.dying and replica.id in self.replicas:
            self._drop(self._kill(replica))

    def _became_ready(self, replica: Replica, slots: int, phases: Mapping[str, float]) -> None:
        replica.slots, replica.phases = slots, phases
        self.common.tell(replica.event())
        with suppress(OSError):  # after the word, which somebody waits for
            if replica.claim is not None:
                replica.claim = msgspec.structs.replace(replica.claim, slots=slots, phases=dict(phases))
                self.common.berths.write(replica.claim)
            else:
                self.common.folders.note_ready(replica.id, Ready(slots=slots, phases=dict(phases)))

    def _tell_end(self, replica: Replica, ended: Ended) -> None:
        """The mark comes with the word: after a crash it is not said again."""
        self.common.tell(ended)
        with suppress(OSError):
            self.common.folders.note_told(replica.id, replica.record.container)
        if self.replicas.get(replica.id) is replica:
            del self.replicas[replica.id]
        replica.leave()
        replica.ended.set()

    # In the background

    async def _start(self, launch: Launch) -> Replica:
        if launch.id in self.ending:
            await asyncio.wait([self.ending[launch.id]])
        replica, phases = await self._try(launch)
        self.add(replica, phases=phases)
        self.in_hand.discard(replica.record.container)
        return replica

    async def _try(self, launch: Launch) -> tuple[Replica, dict[str, float]]:
        """From its pool where there is one, or from what stands by; else as a container of its own."""
        options = self.common.settings.docker
        if launch.pool.image is not None and (options.read_only or not launch.read_only_root):
            try:
                secrets = for_the_function(launch.secrets)
                variables = await self._image_variables(launch.image)
                return await self._pooled.start(replace(launch, secrets=secrets), variables)
            except NoPool as none:
                if launch.image is None or self._closing:
                    raise StartFailed(f"no replica was started: {none}") from none
                log.info("started without a pool", replica=launch.id, reason=str(none))
        started = await self._unpaused(launch) or await self._starter.start(launch)
        if launch.pool.revision is not None:
            self.standbys.seen(launch)
        return started

    async def _unpaused(self, launch: Launch) -> tuple[Replica, dict[str, float]] | None:
        began = time.perf_counter()
        standby = self.standbys.take(replace(launch, secrets=for_the_function(launch.secrets)))
        if standby is None:
            return None
        claim = Claim(
            replica=launch.id,
            zygote=standby.record.id,
            container=standby.record.container,
            function=launch.function,
            revision=launch.revision,
            concurrency=standby.record.concurrency,
            paused=True,
            slots=standby.slots or standby.record.concurrency,
        )
        self.in_hand.add(claim.container)
        try:
            await asyncio.to_thread(self.common.berths.write, claim)
            await self.standbys.unpause(standby)
        except (Refused, PilotlightError, OSError) as error:
            log.warning("standby not unpaused", replica=launch.id, reason=str(error))
            await asyncio.to_thread(self.common.berths.drop, claim.zygote)  # first: it is nobody's
            self.in_hand.discard(claim.container)
            self._drop(self._discard_standby(claim.container, claim.zygote))
            return None
        record = standby.record.claimed(launch.id)
        return Replica(record, claim=claim), {"unpause": (time.perf_counter() - began) * 1000}

    def _discard_claimed(self, zygote: ContainerZygote) -> None:
        self.in_hand.discard(zygote.container)
        self._drop(self.spares.discard(zygote))

    async def _discard_standby(self, container: str, id_: str) -> None:
        with suppress(PilotlightError):  # an engine that is away has it removed when it is back
            await self.burial.remove(container)
        await asyncio.to_thread(self.common.folders.drop, id_)
        await asyncio.to_thread(self.common.berths.drop, id_)

    async def _await_ready(self, replica: Replica, phases: Mapping[str, float]) -> None:
        began = time.perf_counter()
        found = await until_ready(replica.record.asked)
        listened = {} if replica.is_pooled else {"listen": (time.perf_counter() - began) * 1000}
        self._became_ready(replica, found.slots or replica.record.concurrency or 1, {**phases, **listened})
        await self._limit(replica)

    async def _limit(self, replica: Replica) -> None:
        """What would slow down a start, or is not known of a spare: its processor time, its exact memory."""
        record = replica.record
        if replica.is_pooled and record.memory_mib is not None:
            mib = record.memory_mib
            await self._try_limit(replica, "memory", lambda client: limit_memory(client, record.container, mib))
        if record.cpu_milli is not None:
            milli = record.cpu_milli
            await self._try_limit(replica, "cpu", lambda client: limit_cpu(client, record.container, milli))

    async def _try_limit(self, replica: Replica, what: str, verb: Callable[[Any], None]) -> None:
        try:
            await self.engine.call(verb)
        except (Refused, PilotlightError) as error:
            if not replica.dying:
                log.warning("limit not set", replica=replica.id, limit=what, reason=str(error))

    async def _signal(self, replica: Replica, name: str) -> None:
        """By its zygote, which works without the engine, too; else by the engine. One that has ended already is found
        out by it, should its event have been lost."""
        if replica.zygote is not None and replica.zygote.signal(signal.Signals[name]):
            return
        await self._engine_signal(replica, name)

    async def _kill(self, replica: Replica) -> None:
        if replica.zygote is not None:
            replica.zygote.signal(signal.SIGKILL)
        await self._engine_signal(replica, "SIGKILL")

    async def _engine_signal(self, replica: Replica, name: str) -> None:
        try:
            await self.engine.call(lambda client: client.kill(replica.record.container, signal=name))
        except Refused:
            self.died(replica)
        except PilotlightError as error:
            log.warning("not signalled", replica=replica.id, signal=name, reason=error.detail)

    async def _spare_died(self, zygote: ContainerZygote) -> None:
        words = ""
        with suppress(PilotlightError, Refused):
            words = await asyncio.to_thread(self.spares.last_words, zygote)
        self.pools.gone(zygote, words)
        await self.spares.discard(zygote)

    async def _resync(self) -> None:
        """The engine was away: what ended meanwhile is told now."""
        self.networks.forget()
        known = [each for each in self.replicas.values() if not each.dying]
        spares = self.pools.all()
        with suppress(PilotlightError, Refused):  # it is away again
            await Adoption(self).resync(await self.listed(), known, spares)

    def _drop(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """It goes on by itself."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._dropped)
        return task

    def _dropped(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("in the background", node=self.name, reason=str(error) or repr(error))

    def _started(self, replica: str, task: "asyncio.Task[Replica]") -> None:
        del self.starting[replica]
        if not self.starting:
            self._early.clear()
        if not task.cancelled():
            task.exception()  # a caller that was cancelled does not collect it

    def _buried(self, replica: Replica, task: "asyncio.Task[None]") -> None:
        if self.ending.get(replica.id) is task:
            del self.ending[replica.id]
        replica.leave()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("not cleared away", replica=replica.id, reason=str(error))

    async def warm(self, pool: Pool) -> Warm:
        if pool.image is not None:
            spares = self.pools.idle(pool)
            why = self.pools.unusable or ("" if spares else "its spares are being made")
            return Warm(
                kind="container" if not self.pools.unusable else "none",
                ready=len(spares),
                memory_mib=sum(each.memory_mib for each in spares),
                why=why,
            )
        standby = None if pool.revision is None else self.standbys.of(pool.revision)
        if standby is not None:
            return Warm(kind="paused", ready=1, memory_mib=standby.memory_mib)
        return Warm(
            kind="paused" if self.common.settings.docker.standbys else "none",
            why="" if pool.revision is None else self.standbys.why_not(pool.revision),
        )

    async def _measure(self, zygote: ContainerZygote) -> None:
        """Once, since it does nothing; an engine may take a second to say it."""
        with suppress(Refused, PilotlightError):
            usage = await self.engine.call(lambda client: read_usage(client, zygote.container), slow=True)
            zygote.memory_mib = 0.0 if usage is None else usage.memory_mib

    def knows(self, zygote: str) -> bool:
        """It is a spare, or a replica's parent, or becomes one."""
        return self.spares.is_making(zygote) or any(
            each.zygote is not None and each.zygote.id == zygote for each in self.replicas.values()
        )

    async def _image_variables(self, image: str | None) -> Mapping[str, str]:
        """Those that an image of ours sets. Its name holds its digest, so they are asked for once."""
        if image is None:
            return {}
        if image not in self._variables:
            try:
                found = await self.engine.call(lambda client: client.inspect_image(image))  # type: ignore[no-untyped-call]
            except (Refused, PilotlightError) as error:
                raise NoPool(f"the engine does not say what {image} is: {error}") from error
            self._variables[image] = variables_of(found["Config"].get("Env") or ())
        return self._variables[image]

    def prepare(self, pool: Pool, count: int) -> None:
        if pool.image is not None:
            self.pools.prepare(pool, count)
        if pool.revision is not None and self.common.settings.docker.standbys:
            self.standbys.prepare(pool.revision, count)
