"""The Docker provider: replicas are containers on one engine or several, each of which is a node."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog

from pilotlight.config import Settings
from pilotlight.core.errors import PilotlightError, StartFailed
from pilotlight.core.spec import FunctionKey
from pilotlight.engine.about import lacks
from pilotlight.engine.client import connect
from pilotlight.engine.failures import Refused
from pilotlight.engine.image_tags import owner_of
from pilotlight.providers.background import Background
from pilotlight.providers.base import Event, Gateway, Launch, LogLine, Node, Pool, Running, Usage, Warm
from pilotlight.providers.docker.berths import Berths
from pilotlight.providers.docker.containers import Record
from pilotlight.providers.docker.engine_node import CONNECT_SECONDS, EngineNode
from pilotlight.providers.docker.engines import engines_of
from pilotlight.providers.docker.folders import Folders
from pilotlight.providers.docker.logs import Follower, merged
from pilotlight.providers.docker.replica import Replica
from pilotlight.providers.docker.site import Common
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.probe import ask_ready
from pilotlight.providers.process.records import check_id

log = structlog.get_logger(__name__)

LOGS_SECONDS = 10.0
"""How long somebody who reads logs waits for an engine."""
SETTLE_SECONDS = 10.0
"""What ended a moment ago is written down before logs are read, unless it takes longer than this."""
GUARD_SECONDS = 1.0
"""This often logs are bounded, and spares that nobody wants are looked for."""
JOIN_SECONDS = 10.0
"""A node whose engine was away at the start, while others were there, is asked for this often."""
WORD_SECONDS = 60.0
"""Adopted replicas hear this often that there is a control plane; the others have it at the end of their channel."""


class DockerProvider:
    name = "docker"

    def __init__(self, *, settings: Settings, bundle_dir: Callable[[str], Path] = Path) -> None:
        """`bundle_dir`: where the bundle of a digest lies."""
        self._settings = settings
        self._files = LogFiles(settings.data_dir / "logs")
        self._folders = Folders(settings.run_dir)
        self._berths = Berths(settings.run_dir, settings.data_dir)
        self._common = Common(
            settings=settings,
            owner=owner_of(settings.data_dir),
            files=self._files,
            folders=self._folders,
            berths=self._berths,
            bundle_dir=bundle_dir,
            tell=self._tell,
            started=self._follow,
            running_of=self._running_of,
        )
        self._nodes: dict[str, EngineNode] = {}
        self._absent: dict[str, str] = {}
        """Nodes that have not joined yet, and why."""
        self._prepared: dict[Pool, int] = {}
        self._followers: dict[FunctionKey, set[Follower]] = {}
        self._events: asyncio.Queue[Event | None] = asyncio.Queue()  # at most two for each replica
        self._background = Background("the docker provider")
        self._closing = False

    async def nodes(self) -> Sequence[Node]:
        absent = (Node(name=name, cpu_milli=0, memory_mib=0, away=why) for name, why in self._absent.items())
        return [*(node.node() for node in self._opened()), *absent]

    async def prepare(self, pool: Pool, count: int) -> None:
        """Each engine that sockets can be passed to has spares of its own. Other images have a paused standby on each
        node that they have run on."""
        for node in self._opened():
            node.prepare(pool, count)
        if count:
            self._prepared[pool] = count
        else:
            self._prepared.pop(pool, None)

    async def warm(self, pool: Pool) -> Warm:
        found = [await node.warm(pool) for node in self._opened()]
        ready = [each for each in found if each.ready]
        return Warm(
            kind=(ready or found)[0].kind,
            ready=sum(each.ready for each in ready),
            memory_mib=round(sum(each.memory_mib for each in ready), 1),
            why="" if ready else found[0].why,
        )

    async def gateway(self, namespace: str, node: str) -> Gateway:
        if (given := self._settings.docker.gateway) is not None:
            return Gateway(url=given.rstrip("/"))
        found = self._nodes.get(node)
        door = None if found is None else await found.site.networks.gateway(namespace)
        return Gateway(door=door, why="" if door else "this machine is not the gateway of the containers' network")

    async def pin(self, image: str, secrets: Mapping[str, bytes]) -> str:
        """For a deploy: the name of what the image's name stands for now (see Images.pin). An engine that has it is
        asked first; the others get the same bytes when they need them."""
        nodes = [node for node in self._opened() if node.is_up] or self._opened()
        for node in nodes:
            if await node.site.images.has(image):
                return await node.site.images.pin(image, secrets)
        return await nodes[0].site.images.pin(image, secrets)

    async def start(self, launch: Launch) -> Running:
        if self._closing:
            raise StartFailed("no replica was started: the server is stopping")
        node = self._nodes.get(launch.node)
        if (why := self._absent.get(launch.node)) is not None:
            raise StartFailed(why, slug="engine-unreachable")
        if node is None:
            known = ", ".join(self._nodes)
            raise StartFailed(f"there is no node {launch.node!r}; the docker provider has {known}")
        check_id(launch.id)
        return (await node.start(launch)).running()

    async def stop(self, replica: str, *, grace_seconds: float) -> None:
        for node in self._nodes.values():
            await node.stop(replica, grace_seconds)

    async def list(self) -> Sequence[Running]:
        return [replica.running() for replica in self._replicas() if not replica.dying]

    async def events(self) -> AsyncIterator[Event]:
        while (event := await self._events.get()) is not None:
            yield event

    async def usage(self, replica: str) -> Usage | None:
        for node in self._nodes.values():
            found = node.replicas.get(replica)
            if found is not None and not found.dying:
                return await node.usage(found)
        return None

    async def logs(
        self, function: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        await self._settle(function)
        running = [
            (node, each.record)
            for node in self._opened()
            for each in node.replicas.values()
            if not each.is_pooled and each.record.function == function
        ]
        follower = self._follower(function) if follow else None
        try:
            least = max(tail or 0, 1) if follow and tail is not None else tail
            found = await asyncio.gather(*(_printed(node, record, least, since) for node, record in running))
            ends = await self._files.ends(function, whole_lines=follow)
            written = [line async for line in self._files.written(function, ends, tail=tail, since=since)]
            for line in merged([written, *found], tail):
                yield line
            if follower is None:
                return
            for (node, record), lines in zip(running, found, strict=True):
                follower.add(node.logs, record, lines[-1].time if lines else since or 0.0)
            follower.add_files(self._files.new_lines(function, ends))
            async for line in follower.lines():
                yield line
        finally:
            if follower is not None:
                follower.close()

    async def forget(self, function: FunctionKey) -> None:
        await self._settle(function)
        await asyncio.to_thread(self._files.forget, function)
        namespace = function.rpartition(".")[2]
        used = {each.record.function.rpartition(".")[2] for each in self._replicas()}
        for node in self._opened():
            waiting = {spare.pool.namespace for spare in node.pools.all()}
            if namespace not in used | waiting and not node.starting:
                with suppress(PilotlightError):
                    await node.site.networks.drop(namespace)

    async def open(self) -> None:
        self._folders.claim()
        self._berths.claim_folders()
        for claim in self._berths.claims():
            self._files.expect(claim.function, claim.replica, claim.spare_log)
        await asyncio.to_thread(self._files.begin)
        away = await self._join_all(engines_of(self._settings.docker))
        containers = {each.claim.zygote for each in self._replicas() if each.claim is not None}
        for node in self._nodes.values():
            containers |= {spare.id for spare in node.pools.all()} | node.standbys.ids()
        self._folders.sweep(containers | {replica.id for replica in self._replicas()})
        self._berths.sweep(containers)
        self._background.every(GUARD_SECONDS, self._guard)
        self._background.every(WORD_SECONDS, self._give_word)
        for name, url in away:
            self._background.spawn(self._join_later(name, url))

    async def close(self, *, keep: bool) -> None:
        self._closing = True
        opened = bool(self._nodes)
        if not keep and opened:
            try:
                async with asyncio.timeout(self._settings.control.kill_grace_seconds + 2 * CONNECT_SECONDS):
                    await asyncio.gather(*(node.close() for node in self._nodes.values()))
            except (TimeoutError, PilotlightError, Refused) as error:
                log.warning("not everything could be ended", reason=str(error) or "the engine did not answer in time")
        self._leave()
        if not keep and opened:
            await asyncio.to_thread(self._folders.remove)
            await asyncio.to_thread(self._berths.remove)
        self._events.put_nowait(None)

    async def _join_all(self, engines: Sequence[tuple[str, str | None]]) -> Sequence[tuple[str, str | None]]:
        """Those that are away. Raises what is wrong with the last one when it is all of them."""
        away = []
        for name, url in engines:
            try:
                await self._join(name, url)
            except PilotlightError as error:
                away.append((name, url))
                self._absent[name] = error.detail
                if len(away) == len(engines):
                    raise
                log.warning("a node is away", node=name, reason=error.detail)
        return away

    async def _join(self, name: str, url: str | None, *, late: bool = False) -> None:
        """`late`: what runs there belongs to nobody, since it was not there when the others were asked."""
        options = self._settings.docker
        engine = await asyncio.to_thread(
            connect, url, call_seconds=options.call_seconds, config=options.config, owner=self._common.owner
        )
        try:
            version, about = await engine.call(lambda client: (client.version(), client.info()))
            node = EngineNode(name, engine, about, self._common, init=has_init(version))
        except BaseException:
            engine.close()
            raise
        try:
            await node.open(late=late)
        except BaseException:
            node.leave()
            raise
        self._nodes[name] = node
        self._absent.pop(name, None)
        log.info("docker engine", node=name, url=engine.url, version=version.get("Version"), owner=self._common.owner)
        for sentence in lacks(about):
            log.warning("docker engine", node=name, lacks=sentence)

    async def _join_later(self, name: str, url: str | None) -> None:
        while name not in self._nodes:
            await asyncio.sleep(JOIN_SECONDS)
            try:
                await self._join(name, url, late=True)
            except Exception as error:  # whatever it is, it may be over the next time
                self._absent[name] = error.detail if isinstance(error, PilotlightError) else str(error) or repr(error)
        for pool, count in self._prepared.items():
            self._nodes[name].prepare(pool, count)

    def _tell(self, event: Event) -> None:
        self._events.put_nowait(event)

    def _opened(self) -> Sequence[EngineNode]:
        if not self._nodes:
            raise StartFailed("the docker provider is not open")
        return list(self._nodes.values())

    def _replicas(self) -> Sequence[Replica]:
        return [replica for node in self._nodes.values() for replica in node.replicas.values()]

    def _running_of(self, function: FunctionKey) -> set[str]:
        starting = {each for node in self._nodes.values() for each in node.starting}
        return starting | {each.id for each in self._replicas() if each.record.function == function}

    async def _settle(self, function: FunctionKey) -> None:
        ending = [each.done for node in self._opened() for each in node.ending.values() if each.function == function]
        if ending:
            await asyncio.wait(ending, timeout=SETTLE_SECONDS)

    def _follower(self, function: FunctionKey) -> Follower:
        group = self._followers.setdefault(function, set())
        follower = Follower(group.discard)
        group.add(follower)
        return follower

    def _follow(self, replica: Replica) -> None:
        for follower in self._followers.get(replica.record.function, ()):
            follower.add(self._nodes[replica.record.node].logs, replica.record, 0.0)

    async def _guard(self) -> None:
        for node in self._nodes.values():
            node.pools.settle()
            node.standbys.settle()
        pooled = [each for each in self._replicas() if each.is_pooled]
        paths = [self._files.path(each.record.function, each.id) for each in pooled]
        await asyncio.to_thread(self._files.settle)
        await asyncio.to_thread(self._files.guard, paths)

    async def _give_word(self) -> None:
        mute = [each for each in self._replicas() if each.is_pooled and each.wire is None]
        paths = [each.record.address.removeprefix("unix:") for each in mute]
        await asyncio.gather(*(ask_ready(path, seconds=5) for path in paths))

    def _leave(self) -> None:
        """Let go of everything and leave it running; what was being done is left in the middle."""
        self._background.leave()
        for follower in [each for found in self._followers.values() for each in found]:
            follower.close()
        for node in self._nodes.values():
            node.leave()
        self._nodes.clear()
        self._files.leave()


async def _printed(node: EngineNode, record: Record, tail: int | None, since: float | None) -> list[LogLine]:
    """Of an engine that says nothing one line that says so, and sooner than its deadline is: somebody looks at it."""
    try:
        async with asyncio.timeout(LOGS_SECONDS):
            return await node.engine.call(lambda _client: node.logs.lines(record, tail=tail, since=since), slow=True)
    except TimeoutError:
        why = f"the Docker engine at {node.engine.url} took the question and did not answer within {LOGS_SECONDS:g} s"
    except PilotlightError as error:
        why = error.detail
    return [LogLine(time=time.time(), replica=record.id, stream="system", text=f"its lines are missing here: {why}")]


def has_init(version: Mapping[str, Any]) -> bool:
    """An engine without one says so by leaving its version out."""
    parts = {part.get("Name"): part.get("Version") for part in version.get("Components") or []}
    return parts.get("docker-init") not in (None, "", "N/A")
