"""From a revision to a ready replica: asks the provider, waits for its word, and tells why not if not.

Deploying (the proof of a new revision) and scaling out both start replicas here.
"""

import asyncio
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from pilotlight.config import ControlSettings
from pilotlight.control.tally import Tallies
from pilotlight.core.errors import PilotlightError, RevisionFailed, SourceLocation, StartFailed
from pilotlight.core.naming import encode
from pilotlight.core.revision import Revision
from pilotlight.core.spec import FunctionSpec
from pilotlight.providers.base import (
    BecameReady,
    Ended,
    Launch,
    Limits,
    Node,
    Pool,
    Provider,
    Running,
    memory_class,
    startup_variables,
)
from pilotlight.scheduler.place import Demand, Placement, Room, place, used_by

log = structlog.get_logger(__name__)
LAST_LINES, LOG_SECONDS = 20, 2.0
STOP_AGAIN_SECONDS = 1.0
END_SECONDS = 5.0
"""What a replica takes to end after it was killed, on a busy machine."""
LOST_WITH_ZYGOTE = "lost-with-zygote"
"""The slug of a start that ended because its zygote did: no fault of the function's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launched:
    running: Running
    slots: int
    phases: dict[str, float]
    """Milliseconds, in order: secrets, place and claim are the platform's, load, init and listen the function's."""


def new_id() -> str:
    """Unique among all replicas and revisions, sorted by time to the millisecond, safe in file names."""
    return encode(time.time_ns() // 1_000_000, 9) + encode(secrets.randbits(32), 5)


def pool_of(revision: Revision, live: Iterable[Revision]) -> Pool:
    """The pool that serves the revision: shared with the live revisions that have the same environment, namespace and
    start-up variables (and memory class, in containers), so it imports what any of them does."""
    key = _pool_key(revision)
    modules = set(revision.bundle.preimports)
    for other in live:
        if _pool_key(other) == key:
            modules.update(other.bundle.preimports)
    spec = revision.spec
    # A spare's root file system is what the server says.
    image = None if spec.readonly_root_filesystem is False else revision.bundle.environment_image
    return Pool(
        environment=revision.bundle.environment,
        namespace=spec.namespace,
        preimports=tuple(sorted(modules)),
        variables=startup_variables(spec.environment),
        image=image,
        # Where functions are processes one zygote serves all sizes.
        memory_mib=None if image is None else memory_class(spec.limits.memory_mib()),
        revision=revision.id if image is None and revision.bundle.image is not None else None,
    )


def launch_of(
    revision: Revision, replica: str, pool: Pool, node: str, max_stream_seconds: float, gateway: str = ""
) -> Launch:
    spec = revision.spec
    limits = Limits(memory_mib=spec.limits.memory_mib(), cpu_milli=spec.limits.cpu_milli())
    return Launch(
        id=replica,
        function=revision.function,
        revision=revision.id,
        bundle=revision.bundle.digest,
        pool=pool,
        contract=spec.contract or revision.bundle.contract,
        handler=revision.bundle.handler,
        variables=spec.environment | _told(gateway, limits) | ({"fprocess": spec.fprocess} if spec.fprocess else {}),
        limits=limits,
        concurrency=spec.concurrency,
        timeout_seconds=spec.timeout_seconds,
        max_stream_seconds=max_stream_seconds,
        debug=spec.debug,
        node=node,
        image=revision.bundle.image,
        read_only_root=spec.readonly_root_filesystem,
    )


def _told(gateway: str, limits: Limits) -> dict[str, str]:
    """What a function may know of where it runs, beside its own variables."""
    told = {"PILOTLIGHT_GATEWAY": gateway} if gateway else {}
    return told | ({} if limits.memory_mib is None else {"PILOTLIGHT_MEMORY_MIB": str(limits.memory_mib)})


def demand_of(revision: Revision) -> Demand:
    requests = revision.spec.requests
    return Demand(cpu_milli=requests.cpu_milli() or 0, memory_mib=requests.memory_mib() or 0)


class Launcher:
    """Starts replicas and waits for them. The reconciler passes on the provider's events with `ready` and `ended`."""

    def __init__(
        self,
        provider: Provider,
        settings: ControlSettings,
        *,
        secrets_of: Callable[[FunctionSpec], Awaitable[Mapping[str, bytes]]] | None = None,
        gateway_of: Callable[[str, str], Awaitable[str | None]] | None = None,
    ) -> None:
        """`secrets_of`: the values of the secrets that a spec names. `gateway_of`: where functions of a namespace on a
        node call functions."""
        self._provider = provider
        self._settings = settings
        self._secrets_of = secrets_of
        self._gateway_of = gateway_of
        self._waiting: dict[str, asyncio.Future[BecameReady | Ended]] = {}
        self.tallies = Tallies()
        self._ended_since: dict[str, Ended] = {}
        """Of replicas that became ready and ended before who started them could look."""
        self._watched: dict[str, Ended | None] = {}
        self._demands: dict[str, dict[str, Demand]] = {}
        self._ending: set[asyncio.Future[None]] = set()

    async def launch(self, revision: Revision, replica: str, pool: Pool) -> Launched:
        """A ready replica. Raises Unschedulable, StartFailed (the node's fault) or RevisionFailed (the function's);
        then, as after a cancellation, nothing of it is left running."""
        tally = self.tallies.of(revision.function)
        try:
            launched = await self._launch(revision, replica, pool)
        except PilotlightError as error:
            tally.starts[error.slug] += 1
            raise
        except Exception as error:  # of ours: a replica that nobody starts is not to be waited for
            log.exception("a start met a fault", function=revision.function, replica=replica)
            tally.starts[StartFailed.default_slug] += 1
            raise StartFailed(f"the server met a fault of its own ({error}); its log says more") from error
        tally.starts["ready"] += 1
        return launched

    async def _launch(self, revision: Revision, replica: str, pool: Pool) -> Launched:
        began = time.perf_counter()
        values = await self._values(revision)
        had_values = time.perf_counter()
        placement = self._place(revision, replica, await self._provider.nodes())
        seconds = self._settings.max_stream_seconds
        told = self._waiting[replica] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._settings.start_timeout_seconds):
                gateway = await self._gateway(revision, placement.node)
                launch = launch_of(revision, replica, pool, placement.node, seconds, gateway)
                launch = replace(launch, secrets=values)
                placed = time.perf_counter()
                running = await self._start(launch)
                event = await told
        except TimeoutError:
            last_lines = await self._last_lines(revision)
            await self._undo(replica)
            raise _not_ready(self._settings.start_timeout_seconds, pool, last_lines) from None
        except BaseException:
            await self._undo(replica)
            raise
        finally:
            self._waiting.pop(replica, None)
            ended = self._ended_since.pop(replica, None)
        event = ended or event
        if isinstance(event, Ended):
            self.forget(replica)
            raise failure_of(event)
        phases = {"secrets": (had_values - began) * 1000} if values else {}
        phases |= {"place": (placed - had_values) * 1000, **event.phases}
        return Launched(running=running, slots=event.slots, phases=phases)

    async def _last_lines(self, revision: Revision) -> tuple[str, ...]:
        """Of its log, as far as it can be had at once."""
        lines: tuple[str, ...] = ()
        with suppress(PilotlightError, TimeoutError, OSError):
            async with asyncio.timeout(LOG_SECONDS):
                async for line in self._provider.logs(revision.function, tail=LAST_LINES):
                    lines += (line.text,)
        return lines

    async def _values(self, revision: Revision) -> Mapping[str, bytes]:
        """Of its secrets, as they are now."""
        if not revision.spec.secrets or self._secrets_of is None:
            return {}
        return await self._secrets_of(revision.spec)

    async def _gateway(self, revision: Revision, node: str) -> str:
        if self._gateway_of is None:
            return ""
        return await self._gateway_of(revision.spec.namespace, node) or ""

    async def _start(self, launch: Launch) -> Running:
        self.tallies.expect_end(launch.function, launch.id)
        try:
            return await self._provider.start(launch)
        except PilotlightError:
            self.tallies.expect_no_end(launch.id)
            raise

    def hold(self, revision: Revision, replica: str, node: str) -> None:
        """Count what an adopted replica requested."""
        self.tallies.expect_end(revision.function, replica)
        self._demands.setdefault(node, {})[replica] = demand_of(revision)

    def forget(self, replica: str) -> None:
        """It ended: what it requested is free again."""
        for demands in self._demands.values():
            demands.pop(replica, None)

    def tell(self, event: BecameReady | Ended) -> bool:
        """Pass on an event; False when nobody waits for that replica's start."""
        if isinstance(event, Ended):
            self.tallies.ended(event)
        if event.id in self._watched and isinstance(event, Ended):
            self._watched[event.id] = event
            return True
        told = self._waiting.get(event.id)
        if told is None:
            return False
        if not told.done():
            told.set_result(event)
        elif isinstance(event, Ended):
            self._ended_since[event.id] = event
        return True

    def watch(self, replica: str) -> None:
        """It is ready, and will have an owner that hears of its end; until then its end is kept."""
        self._watched[replica] = None

    def unwatch(self, replica: str) -> Ended | None:
        """It has an owner, or is given up; its end, if it has ended already."""
        return self._watched.pop(replica, None)

    def ended_while_watched(self, replica: str) -> Ended | None:
        return self._watched.get(replica)

    def _place(self, revision: Revision, replica: str, nodes: Sequence[Node]) -> Placement:
        demand = demand_of(revision)
        sums = {node: list(demands.values()) for node, demands in self._demands.items()}
        rooms = [
            Room(
                node=node.name,
                cpu_milli=node.cpu_milli,
                memory_mib=node.memory_mib,
                used=used_by(sums, node.name),
                away=bool(node.away),
            )
            for node in nodes
        ]
        placement = place(demand, rooms)
        self._demands.setdefault(placement.node, {})[replica] = demand
        return placement

    async def end(self, replica: str, grace_seconds: float) -> None:
        """Also when a fault comes between: it may run, and nobody else would end it."""
        told = False
        while True:
            try:
                return await self._provider.stop(replica, grace_seconds=grace_seconds)
            except Exception:
                if not told:
                    log.exception("stop failed; it is tried again", replica=replica)
                told = True
                await asyncio.sleep(STOP_AGAIN_SECONDS)

    async def let_go(self, replica: str, grace_seconds: float) -> None:
        """End what nobody wants. Who waits, or is cancelled, does not wait for an end that does not come."""
        self.forget(replica)
        ending = asyncio.ensure_future(self.end(replica, grace_seconds))
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.wait({ending}, timeout=grace_seconds + END_SECONDS)

    async def _undo(self, replica: str) -> None:
        await self.let_go(replica, self._settings.kill_grace_seconds)


def _not_ready(seconds: float, pool: Pool, last_lines: tuple[str, ...]) -> RevisionFailed:
    late = f"it was not ready {seconds:g} s after its start"
    hint = "See what its import and its `init` wait for: `faasctl logs` of the function."
    if pool.revision is not None:  # an image that runs as it is
        late = f"nothing answered on port 8080 of its container {seconds:g} s after its start"
        hint = "Its program must listen on 0.0.0.0:8080, not on another port and not on 127.0.0.1 alone."
    last = f". Its last words: {last_lines[-1]}" if last_lines else ""
    return RevisionFailed(late + last, slug="start-timeout", hint=hint, last_lines=last_lines)


def failure_of(ended: Ended) -> PilotlightError:
    """Why a replica that was starting is gone, as an error for whoever deployed or called it."""
    if ended.reason in ("stopped", "killed"):
        return StartFailed("it was stopped while it started")
    if ended.reason == "lost":
        return StartFailed(ended.detail, slug=LOST_WITH_ZYGOTE)
    location = None
    if ended.file is not None:
        location = SourceLocation(file=ended.file, line=ended.line, source=ended.source)
    unsaid = ended.slug is None or ended.reason == "exit"
    last = f". Its last words: {ended.last_lines[-1]}" if ended.last_lines and unsaid else ""
    slug = ended.slug or ("out-of-memory" if ended.reason == "out-of-memory" else "crashed-at-start")
    hint = _import_hint(ended) if slug == "import-failed" else _HINTS.get(slug)
    return RevisionFailed(ended.detail + last, slug=slug, location=location, hint=hint, last_lines=ended.last_lines)


def _import_hint(ended: Ended) -> str | None:
    """Where packages are named depends on the language, of which the file's name tells. None: the table's advice."""
    where = ended.file or ended.detail
    for ending, file in ((r"\.py\b", "requirements.txt"), (r"\.[cm]?js\b", "package.json")):
        if re.search(ending, where):
            return f"Add the module to the function's {file} (or correct its name), then deploy again."
    return None


_HINTS = {
    "handler-missing": "Define it under that name, in that file, then deploy again.",
    "init-failed": "Correct `init` in the handler, or set the variables that it needs, then deploy again.",
    "out-of-memory": "Raise `limits: memory:` of the function, then deploy again.",
}


def _pool_key(revision: Revision) -> tuple[object, ...]:
    """What spares have in common beside their imports. What these take counts against a container's memory."""
    spec, bundle = revision.spec, revision.bundle
    memory = None if bundle.environment_image is None else memory_class(spec.limits.memory_mib())
    return bundle.environment, spec.namespace, startup_variables(spec.environment), bundle.environment_image, memory
