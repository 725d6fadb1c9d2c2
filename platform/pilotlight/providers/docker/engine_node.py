"""One engine as a node: what runs there, what is being started and ended, and its pools."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.client import Engine, EngineEvent, Watcher
from pilotlight.engine.failures import Refused
from pilotlight.providers.background import Background
from pilotlight.providers.base import Ended, Launch, Node, Pool, Usage, Warm
from pilotlight.providers.docker.adoption import Adoption
from pilotlight.providers.docker.arrivals import Arrivals
from pilotlight.providers.docker.burial import Burial
from pilotlight.providers.docker.containers import OWNER
from pilotlight.providers.docker.logs import ContainerLogs
from pilotlight.providers.docker.pools import Pools
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.signals import Signals
from pilotlight.providers.docker.site import Common, Site
from pilotlight.providers.docker.spares import Spares
from pilotlight.providers.docker.standbys import Standbys
from pilotlight.providers.docker.starting import Starter
from pilotlight.providers.docker.surroundings import Images, Networks
from pilotlight.providers.docker.usage import read_usage
from pilotlight.providers.docker.ways import Ways
from pilotlight.providers.docker.zygote import ContainerZygote
from pilotlight.providers.process.messages import ChildEnded

CONNECT_SECONDS = 10.0
INSIST_SECONDS = 2.0
"""A kill that was not followed by an end is repeated after this; the engine may have been away."""
KILLED_IN_SECONDS = 1.0
"""From the kernel's word that it killed something for memory to ours about it: it may have been the replica."""
MEASURE_SECONDS = 1.0
"""From a spare's greeting to the question how much memory it has: its child is forked and rehearsed by then."""
FAILED_SECONDS = 5.0
"""A replica that said that it failed, or that it ends, must be gone after this."""


@dataclass(frozen=True, slots=True)
class Burying:
    """An end that is being told and cleared away."""

    function: FunctionKey
    done: asyncio.Task[None]


class EngineNode:
    def __init__(self, name: str, engine: Engine, about: Mapping[str, Any], common: Common, *, init: bool) -> None:
        """`about`: what the engine says of itself; `init`: it has one."""
        options = common.settings.docker
        self.name = name
        self.engine = engine
        self.about = about
        self.common = common
        self.replicas: dict[str, Replica] = {}
        self.starting: dict[str, asyncio.Task[Replica]] = {}
        self.ending: dict[str, Burying] = {}
        self._early: dict[str, EngineEvent] = {}
        """Deaths of containers that are being started, and are not known yet."""
        self._background = Background(f"the node {name}")
        self._connected = asyncio.Event()
        self._adopted = False
        self._connections = 0
        self.site = Site(
            node=name,
            owner=common.owner,
            engine=engine,
            images=Images(engine, options.pull),
            networks=Networks(engine, common.owner, options.reach),
            options=options,
            has_init=init,
            limits_memory=about.get("MemoryLimit") is not False,
            idle_end_seconds=common.settings.pool.idle_end_seconds,
        )
        self.logs = ContainerLogs(engine)
        self.burial = Burial(self.site, common, self.logs, tell=self._tell_end)
        self.spares = Spares(self.site, common.berths, greeted=self._greeted, ended=self._zygote_said)
        self.pools = Pools(make=self.spares.make, discard=self.spares.discard)
        if not engine.is_local:
            self.pools.rule_out("a remote engine cannot be passed sockets")
        starter = Starter(self.site, common.folders)
        self.standbys = Standbys(self.site, common, starter, node_memory_mib=self.memory_mib)
        self.ways = Ways(
            self.site,
            common,
            pools=self.pools,
            spares=self.spares,
            standbys=self.standbys,
            starter=starter,
            background=self._background,
        )
        self._arrivals = Arrivals(engine, common, self._background)
        self._signals = Signals(engine, self.died)
        self._watcher = Watcher(
            engine, f"{OWNER}={common.owner}", connected=self._engine_connected, happened=self._happened
        )

    def node(self) -> Node:
        return Node(
            name=self.name,
            cpu_milli=int(self.about["NCPU"]) * 1000,
            memory_mib=self.memory_mib,
            away="" if self._watcher.up else f"the Docker engine at {self.engine.url} does not answer",
        )

    @property
    def memory_mib(self) -> int:
        return int(self.about["MemTotal"]) // 2**20

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
        listed = await self.site.listed()
        if late:
            await asyncio.gather(*(self.site.remove(container["Id"]) for container in listed))
        else:
            await Adoption(self).adopt(listed)
        self._adopted = True
        self._early.clear()
        if self._connections > 1:  # the engine was away meanwhile
            await self._resync()

    def prepare(self, pool: Pool, count: int) -> None:
        if pool.image is not None:
            self.pools.prepare(pool, count)
        if pool.revision is not None and self.common.settings.docker.standbys:
            self.standbys.prepare(pool.revision, wanted=count > 0)

    async def warm(self, pool: Pool) -> Warm:
        return self.pools.warm(pool) if pool.image is not None else self.standbys.warm(pool.revision)

    async def start(self, launch: Launch) -> Replica:
        """Idempotent. What is half done when the caller is cancelled is finished, and found by its id."""
        found = self.replicas.get(launch.id)
        if found is not None and not found.dying:
            return found
        task = self.starting.get(launch.id)
        if task is None:
            task = self.starting[launch.id] = self._background.spawn(self._start(launch), awaited=True)
            task.add_done_callback(lambda _done: self._started(launch.id))
        return await asyncio.shield(task)

    async def stop(self, replica: str, grace_seconds: float) -> None:
        if replica in self.starting:
            await asyncio.wait([self.starting[replica]])
        found = self.replicas.get(replica)
        if found is None:
            return
        found.stopping = True
        await self._signals.send(found, found.record.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await found.ended.wait()
        while not found.ended.is_set():
            if not found.dying:
                found.insisted_after = grace_seconds
            await self._signals.kill(found)
            with suppress(TimeoutError):
                async with asyncio.timeout(INSIST_SECONDS):
                    await found.ended.wait()

    async def usage(self, replica: Replica) -> Usage | None:
        with suppress(Refused, PilotlightError):  # it is going, or the engine is away: nobody else should fail for it
            return await self.engine.call(lambda client: read_usage(client, replica.record.container))
        return None

    async def close(self) -> None:
        """Everything of ours is ended and removed."""
        self.ways.close()
        await self.standbys.stop()
        await self.pools.stop()
        if starting := tuple(self.starting.values()):
            await asyncio.wait(starting)
        grace = self.common.settings.control.kill_grace_seconds
        await asyncio.gather(*(self.stop(each, grace) for each in tuple(self.replicas)))
        if ending := [each.done for each in self.ending.values()]:
            await asyncio.wait(ending)
        await asyncio.gather(*(self.site.remove(container["Id"]) for container in await self.site.listed()))
        await self.site.networks.remove()

    def leave(self) -> None:
        """Let go of everything and leave it running; what was being done is left in the middle."""
        self._background.leave()
        self.pools.leave()
        self.standbys.leave()
        for replica in self.replicas.values():
            replica.leave()
        self.replicas.clear()
        self._watcher.leave()
        self.engine.close()

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
            replica.listen(self._arrivals.heard, self._said_failing)
        elif replica.is_ready:
            self._arrivals.limit(replica)
        else:
            replica.watch = self._arrivals.expect(replica, phases or {})

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
        task = self._background.spawn(self.burial.bury(replica, exit_code, quietly=quietly))
        self.ending[replica.id] = Burying(replica.record.function, task)
        task.add_done_callback(lambda _done: self._buried(replica, task))

    def knows(self, zygote: str) -> bool:
        """It is a spare, or a replica's parent, or becomes one."""
        return self.pools.is_making(zygote) or any(
            each.zygote is not None and each.zygote.id == zygote for each in self.replicas.values()
        )

    # What the engine and zygotes tell

    def _engine_connected(self) -> None:
        self._connected.set()
        self._connections += 1
        if self._adopted:
            self._background.spawn(self._resync())

    def _happened(self, event: EngineEvent) -> None:
        replica = next((each for each in self.replicas.values() if each.record.container == event.container), None)
        if replica is not None:
            if event.action == "oom":
                replica.oom_at = event.time
                if replica.is_pooled:
                    asyncio.get_running_loop().call_later(KILLED_IN_SECONDS, self._killed_in, replica)
            elif event.action == "die":
                self.died(replica, event.exit_code)
        elif event.action == "die" and (zygote := self.pools.spare(event.container)) is not None:
            self._background.spawn(self._spare_died(zygote))
        elif event.action == "die" and self.standbys.died(event.container):
            pass
        elif event.action == "die" and (self.starting or not self._adopted):
            self._early[event.container] = event

    def _greeted(self, zygote: ContainerZygote) -> None:
        if zygote.replica is None and zygote.hello is not None and zygote.hello.children:
            # It was claimed in the moment of a crash, and nobody was told: the caller has gone elsewhere since.
            self.pools.gone(zygote, "")
            self._background.spawn(self.spares.discard(zygote))
        else:
            self.pools.greeted(zygote)
            asyncio.get_running_loop().call_later(MEASURE_SECONDS, self._measure_later, zygote)

    def _measure_later(self, zygote: ContainerZygote) -> None:
        if zygote.container and zygote.is_idle and self._watcher.up:
            self._background.spawn(self.spares.measure(zygote))

    def _zygote_said(self, zygote: ContainerZygote, end: ChildEnded) -> None:
        replica = self.replicas.get(end.id)
        if replica is not None:
            replica.status = end
            self.died(replica)

    def _killed_in(self, replica: Replica) -> None:
        """The kernel killed something in it for memory, and it goes on: what the function started, not itself."""
        if not replica.dying and replica.id in self.replicas:
            limit = f", limit {replica.record.memory_mib}Mi" if replica.record.memory_mib else ""
            self._arrivals.note(replica, f"out of memory{limit}: a process that the function started was killed")

    def _said_failing(self, replica: Replica) -> None:
        asyncio.get_running_loop().call_later(FAILED_SECONDS, self._end_failed, replica)

    def _end_failed(self, replica: Replica) -> None:
        if not replica.dying and replica.id in self.replicas:
            self._background.spawn(self._signals.kill(replica))

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
            await asyncio.wait([self.ending[launch.id].done])
        replica, phases = await self.ways.start(launch)
        self.add(replica, phases=phases)
        return replica

    async def _spare_died(self, zygote: ContainerZygote) -> None:
        words = ""
        with suppress(PilotlightError, Refused):
            words = await asyncio.to_thread(self.spares.last_words, zygote)
        self.pools.gone(zygote, words)
        await self.spares.discard(zygote)

    async def _resync(self) -> None:
        """The engine was away: what ended meanwhile is told now."""
        self.site.networks.forget()
        known = [each for each in self.replicas.values() if not each.dying]
        spares = self.pools.all()
        with suppress(PilotlightError, Refused):  # it is away again
            await Adoption(self).resync(await self.site.listed(), known, spares)

    def _started(self, launch: str) -> None:
        del self.starting[launch]
        self.ways.done(launch)
        if not self.starting:
            self._early.clear()

    def _buried(self, replica: Replica, task: "asyncio.Task[None]") -> None:
        if (found := self.ending.get(replica.id)) is not None and found.done is task:
            del self.ending[replica.id]
        replica.leave()
