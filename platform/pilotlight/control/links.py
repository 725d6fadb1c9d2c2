"""The control plane's end of the link: tells every router the routes, and hears how busy they are.

Routes have one version counter for all routers. A router that connects gets a snapshot, then each change as it is
made; what it applied is remembered, so that a deploy can wait for it. What a router reported is dropped when its
connection ends: no report means unknown. Its counts of calls are kept (counts).
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import structlog

from pilotlight.control.counts import Counts, Run
from pilotlight.control.plan import grants
from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import (
    PROTOCOL,
    Applied,
    Change,
    Door,
    Down,
    Drained,
    Endpoint,
    Hello,
    Level,
    Levels,
    LinkBroken,
    Route,
    Snapshot,
    Up,
    Welcome,
    encode,
    read_up,
)

log = structlog.get_logger(__name__)
HELLO_SECONDS = 5.0
OUTBOX_BYTES = 64 * 2**20
"""A router that does not read is cut off at this; it gets a snapshot when it comes back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levelled:
    """A function's level over all routers, at one moment; durations in seconds."""

    waiting: int = 0
    in_flight: int = 0
    idle_for: float = 0.0
    calls: int = 0
    errors: int = 0
    strangers: int = 0
    """Of the calls, those that were answered with 401."""
    known: bool = True
    """False where no router says anything: then only the counts are true."""


@dataclass(slots=True)
class _Router:
    name: str
    run: Run
    writer: asyncio.StreamWriter
    joined_at: float
    applied: int = 0
    shut: dict[str, str] = field(default_factory=dict)
    levels: dict[FunctionKey, tuple[float, Level]] = field(default_factory=dict)
    reported: bool = False


class Links:
    """All routers. `on_level(function)` is called whenever a level changed, `on_drained(replica)` when no router sends
    to a draining replica any more; both from the event loop, and they must not block."""

    def __init__(
        self,
        *,
        epoch: str,
        on_level: Callable[[FunctionKey], None],
        on_drained: Callable[[str], None],
        counts: Counts | None = None,
        key_seconds: Callable[[FunctionKey], dict[str, float]] = lambda _: {},
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`key_seconds(function)` is what a route says at the moment when it is sent."""
        self._epoch = epoch
        self._on_level = on_level
        self._on_drained = on_drained
        self._clock = clock
        self._version = 1
        self._routes: dict[FunctionKey, Route] = {}
        self._routers: dict[str, _Router] = {}
        self._counts = counts or Counts()
        self._key_seconds = key_seconds
        self._drains: dict[str, _Drain] = {}
        self._doors: tuple[Door, ...] = ()
        self._since: dict[FunctionKey, float] = {}
        self._born: dict[FunctionKey, int] = {}
        """The first version with it. What a router says before it applied that is of an earlier one of its name."""
        self._progress = asyncio.Condition()

    @asynccontextmanager
    async def serving(self, socket_path: Path) -> AsyncIterator[None]:
        """Accept routers on the socket. Call it only once the routes are complete (after adoption)."""
        socket_path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._serve, socket_path)
        socket_path.chmod(0o600)
        try:
            yield
        finally:
            server.close()
            for router in list(self._routers.values()):
                router.writer.close()
            socket_path.unlink(missing_ok=True)

    @property
    def version(self) -> int:
        """Of the routes as they are now."""
        return self._version

    @property
    def routers(self) -> int:
        return len(self._routers)

    def publish(self, route: Route) -> int:
        """Make this the function's route; the version that holds it. The same route again sends nothing."""
        known = self._routes.get(route.function)
        if known == route:
            return self._version
        if known is None:
            self._born[route.function] = self._version + 1
        self._routes[route.function] = route
        self._since.setdefault(route.function, self._clock())
        self._note_drains(known, route)
        return self._send_change([route], [])

    def withdraw(self, function: FunctionKey) -> int:
        """The function is no more; the version that says so."""
        known = self._routes.pop(function, None)
        if known is None:
            return self._version
        self._note_drains(known, None)
        self._counts.forget(function)
        self._since.pop(function, None)
        del self._born[function]
        for router in self._routers.values():
            router.levels.pop(function, None)
        return self._send_change([], [function])

    def listen(self, doors: Iterable[Door]) -> int:
        """Routers listen at these doors and no others; the version that says so."""
        wanted = tuple(sorted(set(doors)))
        if wanted == self._doors:
            return self._version
        self._doors = wanted
        return self._send_change([], [], doors=wanted)

    def shut(self, address: str) -> str | None:
        """Why there is no door at that address, as a router said with the last version that it applied."""
        return next((router.shut[address] for router in self._routers.values() if address in router.shut), None)

    async def applied(self, version: int, *, timeout: float) -> bool:
        """Wait until every connected router has applied the version; False when that took too long, or when there is
        no router (it will get a snapshot when it comes)."""
        try:
            async with asyncio.timeout(timeout), self._progress:
                await self._progress.wait_for(
                    lambda: self._routers and all(router.applied >= version for router in self._routers.values())
                )
        except TimeoutError:
            return False
        return True

    def level(self, function: FunctionKey) -> Levelled | None:
        """What all routers together report; None while one of them has not, or while there is none."""
        if not self._routers or not all(router.reported for router in self._routers.values()):
            return None
        now = self._clock()
        waiting = in_flight = 0
        idle_for: float | None = None
        for router in self._routers.values():
            # A router that reported, but not this function, has had no call for it since it could know it.
            known_since = max(router.joined_at, self._since.get(function, now))
            at, level = router.levels.get(function, (known_since, Level(function=function)))
            waiting += level.waiting
            in_flight += level.in_flight
            idle = level.idle_seconds + (now - at) if level.waiting + level.in_flight == 0 else 0.0
            idle_for = idle if idle_for is None else min(idle_for, idle)
        counted = self._counts.of(function)
        return Levelled(
            waiting=waiting,
            in_flight=in_flight,
            idle_for=idle_for or 0.0,
            calls=counted.calls,
            errors=counted.errors,
            strangers=counted.strangers,
        )

    def seen(self, function: FunctionKey) -> Levelled:
        """The same for people: the calls are known, whoever is connected, and what is unknown is nothing."""
        counted = self._counts.of(function)
        return self.level(function) or Levelled(calls=counted.calls, errors=counted.errors, known=False)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        router: _Router | None = None
        try:
            async with asyncio.timeout(HELLO_SECONDS):
                hello = await read_up(reader)
            if not isinstance(hello, Hello):
                raise LinkBroken(f"expected hello, got {type(hello).__name__}")
            router = self._admit(hello, writer)
            self._welcome(router)
            while True:
                await self._hear(router, await read_up(reader))
        except EOFError:
            log.info("router left", router=router.name if router else "unknown", why="it closed the link")
        except (ConnectionError, TimeoutError) as error:
            log.info("router left", router=router.name if router else "unknown", why=str(error) or "too slow")
        finally:
            await self._dismiss(router)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    def _admit(self, hello: Hello, writer: asyncio.StreamWriter) -> _Router:
        if hello.protocol != PROTOCOL:
            raise LinkBroken(f"router {hello.router} speaks protocol {hello.protocol}, not {PROTOCOL}")
        name = f"{hello.router}/{hello.epoch}"
        if (old := self._routers.pop(name, None)) is not None:
            old.writer.close()
        router = self._routers[name] = _Router(name, Run(hello.router, hello.epoch), writer, self._clock())
        return router

    def _welcome(self, router: _Router) -> None:
        self._send(router, Welcome(epoch=self._epoch))
        self._regrant(but=router)
        self._send(router, Snapshot(version=self._version, routes=tuple(self._granted(router)), doors=self._doors))
        log.info("router joined", router=router.name, routes=len(self._routes))

    async def _hear(self, router: _Router, message: Up) -> None:
        match message:
            case Applied(version=version, shut=shut):
                if version > self._version:
                    raise LinkBroken(f"version {version} was applied, and {self._version} is the last there is")
                async with self._progress:
                    router.applied, router.shut = max(router.applied, version), shut
                    self._progress.notify_all()
            case Levels(levels=levels, full=full):
                self._take_levels(router, levels, full=full)
            case Drained(replica=replica, version=version):
                self._take_drained(router, replica, version)
            case Hello():
                raise LinkBroken("a second hello")

    def _take_levels(self, router: _Router, levels: Iterable[Level], *, full: bool) -> None:
        now = self._clock()
        first, router.reported = not router.reported, router.reported or full
        if full:
            router.levels.clear()
        for level in levels:
            if level.function in self._routes and self._born[level.function] <= router.applied:
                router.levels[level.function] = (now, level)
                self._counts.report(router.run, level)
        changed = set(self._routes) if first and full else {level.function for level in levels}
        for function in changed:
            self._on_level(function)

    async def _dismiss(self, router: _Router | None) -> None:
        if router is None or self._routers.get(router.name) is not router:
            return
        del self._routers[router.name]
        self._counts.left()
        self._regrant()
        for drain in list(self._drains.values()):
            self._finish_if_drained(drain)
        async with self._progress:
            self._progress.notify_all()

    def _note_drains(self, before: Route | None, after: Route | None) -> None:
        """A drain begins or is taken back with the next version; one whose endpoint is gone is of no interest."""
        was = {e.replica: e.draining for e in before.endpoints} if before else {}
        now = {e.replica: e.draining for e in after.endpoints} if after else {}
        for replica in was.keys() | now.keys():
            if now.get(replica) and not was.get(replica):
                self._drains[replica] = _Drain(replica, since=self._version + 1)
            elif not now.get(replica):
                self._drains.pop(replica, None)

    def _take_drained(self, router: _Router, replica: str, version: int) -> None:
        """A word about a version before the drain began (or was taken back and began again) does not count."""
        drain = self._drains.get(replica)
        if drain is not None and version >= drain.since:
            drain.done_at.add(router.name)
            self._finish_if_drained(drain)

    def _finish_if_drained(self, drain: "_Drain") -> None:
        """With no router connected nobody can say that nothing is in flight; the drain's deadline decides then."""
        if self._routers and self._routers.keys() <= drain.done_at:
            del self._drains[drain.replica]
            self._on_drained(drain.replica)

    def _send_change(
        self, routes: list[Route], removed: list[FunctionKey], *, doors: tuple[Door, ...] | None = None
    ) -> int:
        self._version += 1
        for router in list(self._routers.values()):
            granted = tuple(self._granted(router, routes))
            self._send(router, Change(version=self._version, routes=granted, removed=tuple(removed), doors=doors))
        return self._version

    def _regrant(self, but: _Router | None = None) -> None:
        """The number of routers changed, so each one's share of the slots did."""
        if len(self._routers) < 1 or not self._routes:
            return
        self._version += 1
        for router in self._routers.values():
            if router is not but:
                self._send(router, Change(version=self._version, routes=tuple(self._granted(router))))

    def _granted(self, router: _Router, routes: Iterable[Route] | None = None) -> Iterable[Route]:
        index = list(self._routers).index(router.name)
        for route in self._routes.values() if routes is None else routes:
            yield msgspec.structs.replace(
                route,
                endpoints=tuple(_granted_endpoint(e, index, len(self._routers)) for e in route.endpoints),
                counted=self._counts.earlier(route.function, router.run),
                key_seconds=self._key_seconds(route.function) if route.key_digests else {},
            )

    def _send(self, router: _Router, message: Down) -> None:
        """Never fails: who changes a route is not to hear of a router that has just died (it is dismissed soon)."""
        transport = router.writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() > OUTBOX_BYTES:
            log.warning("router does not read; its connection is closed", router=router.name)
            transport.abort()
            return
        router.writer.write(encode(message))


@dataclass(slots=True)
class _Drain:
    replica: str
    since: int
    """The first version that has it."""
    done_at: set[str] = field(default_factory=set)


def _granted_endpoint(endpoint: Endpoint, index: int, routers: int) -> Endpoint:
    if routers == 1:
        return endpoint
    return msgspec.structs.replace(endpoint, slots=grants(endpoint.slots, routers)[index])
