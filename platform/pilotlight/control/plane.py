"""The control plane put together: what the API calls, what runs in the background, and how it starts and ends.

It can crash at any line. On start it reads the store, adopts what the provider lists, and only then tells the routers.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import msgspec
import structlog

from pilotlight.builder.base import NO_CHOICES, Choices, Progress
from pilotlight.builder.reference import parse_reference
from pilotlight.config import Settings
from pilotlight.control.clock import SYSTEM, Clock
from pilotlight.control.collector import Collector, Shelf
from pilotlight.control.counts import Counts, CountStore
from pilotlight.control.deployer import Deployer
from pilotlight.control.gateways import Gateways
from pilotlight.control.keeping import Keeping
from pilotlight.control.keys import KeyView, Rotated
from pilotlight.control.launcher import Launcher, pool_of
from pilotlight.control.links import Links
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.pools import Pools
from pilotlight.control.processors import Processors
from pilotlight.control.reconciler import Reconciler
from pilotlight.control.secrets import Secrets
from pilotlight.control.state import FunctionState
from pilotlight.control.views import Deployed, DeployMode, FunctionView, WarmView
from pilotlight.core.errors import FunctionNotFound, InvalidSpec, Unavailable
from pilotlight.core.naming import digest_of
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionKey, FunctionSpec, split_key
from pilotlight.engine.registry_logins import is_login
from pilotlight.providers.base import LogLine, Node, Provider, Running, Usage
from pilotlight.store.sql import Store

log = structlog.get_logger(__name__)
USAGE_SECONDS = 3.0
"""How long a description waits for what its replicas use."""
BUILDS_WAITING = 16
"""Builds that may wait for a turn; more are refused."""


class Bundles(Protocol):
    """What the control plane needs of a builder."""

    async def build(
        self, *, name: str, template: str, tar: Path, choices: Choices, progress: Callable[[Progress], None]
    ) -> Bundle: ...

    def bundle(self, digest: str) -> Bundle:
        """Raises BundleNotFound."""
        ...

    async def sweep(self) -> None:
        """Remove what a killed build left."""
        ...


@runtime_checkable
class RunsImages(Protocol):
    """What a provider can besides that runs images which somebody else made."""

    async def pin(self, image: str, secrets: Mapping[str, bytes]) -> str:
        """The name of exactly what the image's name stands for now; `secrets` may hold logins for its registry.
        InvalidInput for what is no name, RevisionFailed and StartFailed where it cannot be found out."""
        ...


class ControlPlane:
    """Implements views.Control."""

    def __init__(
        self,
        *,
        settings: Settings,
        store: Store,
        provider: Provider,
        builder: Bundles,
        shelves: Sequence[Shelf] = (),
        counts: CountStore | None = None,
        clock: Clock = SYSTEM,
    ) -> None:
        """Without shelves nothing of what was built is ever removed; without `counts` those of calls begin at zero."""
        self._settings = settings
        self._store = store
        self._provider = provider
        self._builder = builder
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()
        self.crashed = asyncio.Event()
        """Set when one of the loops that everything hangs on has ended; the process should, too."""
        self._keeping = Keeping(
            store=store,
            data_dir=settings.data_dir,
            reconciler=lambda: self._reconciler,
            changing=lambda: self._deployer.changing(),
            proving=lambda: self._deployer.proving(),
            clock=clock,
        )
        self._gateways = Gateways(provider, lambda: self._links, settings.port)
        self._launcher = Launcher(
            provider, settings.control, secrets_of=self._keeping.secrets.values, gateway_of=self._gateways.of
        )
        self._reconciler = Reconciler(
            provider=provider,
            launcher=self._launcher,
            links=lambda: self._links,
            settings=settings.control,
            spawn=self._spawn,
            forget_scale_call=lambda function: self._deployer.forget_scale_call(function),
            clock=clock,
        )
        self._counts = Counts(counts)
        self._links = Links(
            epoch=secrets.token_hex(8),
            on_level=self._reconciler.on_level,
            on_drained=self._reconciler.on_drained,
            counts=self._counts,
            key_seconds=self._keeping.keys.seconds_left,
            clock=clock.monotonic,
        )
        self._pools = Pools(provider, spares=settings.pool.spares)
        self._deployer = Deployer(
            store=store,
            launcher=self._launcher,
            reconciler=self._reconciler,
            links=lambda: self._links,
            pools=self._pools,
            settings=settings.control,
            bundle_of=self._bundle_of,
            keeping=self._keeping,
            clock=clock,
        )
        self._builds = asyncio.Semaphore(settings.build.concurrency)
        self._builds_waiting = 0
        self._collector = Collector(
            store=store, provider=provider, shelves=shelves, settings=settings.disk, clock=clock.unix
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Recover, then keep everything going until the block is left. Replicas are the provider's to stop."""
        await self._recover()
        async with self._links.serving(self._settings.link_socket):
            self._spawn(self._for_ever(self._reconciler.run()))
            self._spawn(self._for_ever(self._reconciler.follow_events()))
            self._spawn(Processors(self._provider, lambda: self._reconciler.functions, self._clock.monotonic).run())
            self._spawn(self._pools.sync(self._reconciler.live_revisions()))
            self._spawn(self._collector.run())
            self._spawn(self._collect_later())
            self._spawn(self._counts.keep())
            try:
                yield
            finally:
                self._keeping.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                await self._counts.save()

    @property
    def secrets(self) -> Secrets:
        return self._keeping.secrets

    @property
    def namespaces(self) -> Namespaces:
        return self._keeping.namespaces

    async def key(self, key: FunctionKey) -> KeyView:
        return await self._deployer.key(key)

    async def rotate_key(self, key: FunctionKey, *, grace_seconds: float = 0.0) -> Rotated:
        return await asyncio.shield(asyncio.ensure_future(self._deployer.rotate_key(key, grace_seconds)))

    def functions(self, namespace: str | None = None) -> Sequence[FunctionView]:
        states = self._reconciler.functions
        chosen = [key for key in states if namespace is None or split_key(key)[1] == namespace]
        return [states[key].view(self._links.seen(key)) for key in sorted(chosen)]

    async def function(self, key: FunctionKey, *, usage: bool = False, warm: bool = False) -> FunctionView:
        state = self._reconciler.functions.get(key)
        if state is None:
            raise FunctionNotFound(f"no function {key}")
        used: dict[str, Usage] = {}
        waits: WarmView | None = None
        with suppress(TimeoutError):  # an engine that says nothing: the rest is known without it
            async with asyncio.timeout(USAGE_SECONDS):
                waits = await self._warm(state.revision) if warm else None
                for replica in list(state.replicas) if usage else ():
                    if (one := await self._provider.usage(replica)) is not None:
                        used[replica] = one
        return msgspec.structs.replace(state.view(self._links.seen(key), used), warm=waits)

    async def _warm(self, revision: Revision) -> WarmView:
        found = await self._provider.warm(pool_of(revision, self._reconciler.live_revisions()))
        return WarmView(kind=found.kind, ready=found.ready, memory_mib=found.memory_mib, why=found.why)

    async def deploy(self, spec: FunctionSpec, mode: DeployMode = DeployMode.ANY) -> Deployed:
        # A client that goes away in the middle leaves a whole deploy behind, not half of one.
        return await asyncio.shield(asyncio.ensure_future(self._deployer.deploy(spec, mode)))

    async def remove(self, key: FunctionKey) -> None:
        await asyncio.shield(asyncio.ensure_future(self._remove(key)))

    async def scale(self, key: FunctionKey, replicas: int) -> None:
        await asyncio.shield(asyncio.ensure_future(self._deployer.scale(key, replicas)))

    async def build(
        self,
        *,
        name: str,
        template: str,
        tar: Path,
        choices: Choices = NO_CHOICES,
        progress: Callable[[Progress], None],
    ) -> Bundle:
        if self._builds_waiting >= BUILDS_WAITING:
            raise Unavailable(f"{self._builds_waiting} builds are waiting already")
        self._builds_waiting += 1
        try:
            await self._builds.acquire()
        finally:
            self._builds_waiting -= 1
        try:
            return await self._builder.build(name=name, template=template, tar=tar, choices=choices, progress=progress)
        finally:
            self._builds.release()
            self._collector.wake()

    async def logs(
        self, key: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        if key not in self._reconciler.functions:
            raise FunctionNotFound(f"no function {key}")
        async for line in self._provider.logs(key, tail=tail, since=since, follow=follow):
            yield line

    async def nodes(self) -> Sequence[Node]:
        return await self._provider.nodes()

    async def _remove(self, key: FunctionKey) -> None:
        await self._deployer.remove(key)
        self._spawn(self._collect_later())

    async def _collect_later(self) -> None:
        """Logs of what was removed go once its last replica had the time to end."""
        control = self._settings.control
        await asyncio.sleep(control.drain_seconds + control.kill_grace_seconds)
        self._gateways.keep({split_key(key)[1] for key in self._reconciler.functions})
        self._collector.wake()

    async def _bundle_of(self, spec: FunctionSpec) -> Bundle:
        reference = parse_reference(spec.image)
        if reference is None and isinstance(self._provider, RunsImages):
            logins = [name for name in spec.secrets if is_login(name)]
            secrets = await self._keeping.secrets.values(msgspec.structs.replace(spec, secrets=tuple(logins)))
            image = await self._provider.pin(spec.image, secrets)
            digest = digest_of([b"image", image.encode()])
            return Bundle(digest=digest, environment="", template="image", contract="http", image=image)
        if reference is None:
            raise InvalidSpec(
                f"image: {spec.image} is no bundle, and the {self._provider.name} provider runs nothing else",
                field="image",
                hint="Build the function's source first: `faasctl up`, or `faasctl build` and the reference it prints.",
            )
        _, digest = reference
        return self._builder.bundle(digest)

    async def _recover(self) -> None:
        failed = await self._store.fail_unfinished("the server stopped while it was proven")
        await self._builder.sweep()
        await self._provider.open()
        await self._keeping.open()
        await self._counts.open()
        for stored in await self._store.functions():
            state = FunctionState(revision=stored.live, created_at=stored.created_at, scaled_to=stored.scaled_to)
            state.scaled_at = self._clock.monotonic() - max(0.0, self._clock.unix() - (stored.scaled_at or 0.0))
            state.key_digests = self._keeping.keys.digests(state.key)
            self._reconciler.add(state)
        running = await self._provider.list()
        await self._gateways.adopt(running)
        left = [one.id for one in running if not self._adopt(one)]
        for state in self._reconciler.functions.values():
            self._reconciler.publish(state)
        self._spawn(self._stop_left(left, self._links.version))
        functions = len(self._reconciler.functions)
        log.info("recovered", functions=functions, adopted=len(running) - len(left), stopped=len(left), failed=failed)

    def _adopt(self, running: Running) -> bool:
        """A replica of a live revision goes on."""
        state = self._reconciler.functions.get(running.function)
        if state is not None and state.revision.id == running.revision:
            self._reconciler.adopt(state, running)
            return True
        return False

    async def _stop_left(self, replicas: Sequence[str], version: int) -> None:
        """Others finish what they have and end; not before the routers know, who may be sending to them."""
        control = self._settings.control
        await self._links.applied(version, timeout=control.applied_timeout_seconds)
        await asyncio.gather(*(self._launcher.end(one, control.drain_seconds) for one in replicas))

    async def _for_ever(self, loop: Coroutine[Any, Any, None]) -> None:
        try:
            await loop
        finally:
            self.crashed.set()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("background task failed", task=str(task.get_coro()), exc_info=error)
