"""A control plane in memory behind the API's `Control` protocol, and the running API as its clients see it."""

import asyncio
import base64
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from pilotlight.api.auth import Credentials
from pilotlight.builder.base import NO_CHOICES, Choices, Progress
from pilotlight.control.keys import FunctionKeys, KeyView, Rotated
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.sealing import Seal
from pilotlight.control.secrets import Secrets
from pilotlight.control.views import Deployed, DeployMode, FunctionView, ReplicaView
from pilotlight.core.errors import Conflict, FunctionNotFound, KeyNotFound, NotFound
from pilotlight.core.revision import Bundle, Revision
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.providers.base import LogLine, Node
from tests.integration.model.store import MemoryStore

DIGEST = "a" * 64
CREDENTIALS = Credentials(user="admin", password="päss:word")
Report = Callable[[Progress], None]


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


def a_bundle() -> Bundle:
    return Bundle(digest=DIGEST, environment="e" * 64, template="python3-http", contract="http")


def a_replica(cpu_seconds: float) -> ReplicaView:
    return ReplicaView(
        id="r1",
        node="local",
        state="ready",
        slots=4,
        revision=1,
        phases={"claim": 0.5, "load": 2.0},
        story=(),
        cpu_seconds=cpu_seconds,
        memory_mib=8.0,
    )


def a_view(spec: FunctionSpec, *, revision: int = 1) -> FunctionView:
    return FunctionView(
        spec=spec,
        revision=revision,
        created_at=1_700_000_000.0,
        state="ready",
        why="steady",
        wanted=1,
        ready=1,
        in_flight=0,
        waiting=0,
        calls=7,
        errors=1,
        environment="e" * 64,
        bundle=DIGEST,
        replicas=(a_replica(1.0),),
    )


@dataclass
class MemoryControl:
    """The control plane's contract over a dictionary; what a test needs to go wrong it puts into a field. Secrets,
    namespaces and keys are the real ones, over a store in memory and a key file in `folder`."""

    folder: Path
    views: dict[FunctionKey, FunctionView] = field(default_factory=dict)
    deployed_with: dict[FunctionKey, dict[str, str]] = field(default_factory=dict)
    """Versions of secrets."""
    keys_changed: list[FunctionKey] = field(default_factory=list)
    lines: list[LogLine] = field(default_factory=list)
    logs_failure: Exception | None = None
    more_lines: asyncio.Event = field(default_factory=asyncio.Event)
    logs_closed: asyncio.Event = field(default_factory=asyncio.Event)
    deploy_gate: asyncio.Event | None = None
    deploy_started: asyncio.Event = field(default_factory=asyncio.Event)
    failure: Exception | None = None
    uploads: list[bytes] = field(default_factory=list)
    choices: list[Choices] = field(default_factory=list)
    """What the builds were told beside their source."""
    building: Callable[[Report], Awaitable[None]] | None = None
    cpu_seconds: float = 0.0

    def __post_init__(self) -> None:
        store = MemoryStore()
        seal = Seal(self.folder / "secrets.key", lambda: not (self.secrets.is_empty() and self.keys.is_empty()))
        self.namespaces = Namespaces(
            store=store, functions=self.views.keys, removed=lambda name: self.secrets.forget_namespace(name)
        )
        self.secrets = Secrets(store=store, seal=seal, namespaces=self.namespaces, live=self._live)
        self.keys = FunctionKeys(store=store, seal=seal, changed=self.keys_changed.append)

    async def key(self, key: FunctionKey) -> KeyView:
        if (await self.function(key)).spec.auth != "key":
            raise KeyNotFound(f"function {key} takes calls without a key")
        return await self.keys.get(key)

    async def rotate_key(self, key: FunctionKey, *, grace_seconds: float = 0.0) -> Rotated:
        await self.key(key)
        view = await self.keys.rotate(key, grace_seconds)
        return Rotated(**msgspec.structs.asdict(view), applied=True)

    def _live(self) -> list[Revision]:
        return [
            Revision(
                id=str(view.revision),
                number=view.revision,
                spec=view.spec,
                bundle=a_bundle(),
                created_at=view.created_at,
                secrets=self.deployed_with.get(view.spec.key, {}),
            )
            for view in self.views.values()
        ]

    def functions(self, namespace: str | None = None) -> Sequence[FunctionView]:
        if self.failure is not None:
            raise self.failure
        found = [view for view in self.views.values() if namespace in (None, view.spec.namespace)]
        return sorted(found, key=lambda view: view.spec.name)

    async def function(self, key: FunctionKey, *, usage: bool = False, warm: bool = False) -> FunctionView:
        if key not in self.views:
            raise FunctionNotFound(f"there is no function {key}")
        if not usage:
            return self.views[key]
        self.cpu_seconds += 0.1
        return msgspec.structs.replace(self.views[key], replicas=(a_replica(self.cpu_seconds),))

    async def deploy(self, spec: FunctionSpec, mode: DeployMode = DeployMode.ANY) -> Deployed:
        self.deploy_started.set()
        if self.deploy_gate is not None:
            await self.deploy_gate.wait()
        if self.failure is not None:
            raise self.failure
        self.namespaces.check(spec.namespace)
        self.deployed_with[spec.key] = dict(self.secrets.versions(spec))
        if spec.auth == "key":
            await self.keys.ensure(spec.key)
        old = self.views.get(spec.key)
        if mode is DeployMode.CREATE and old is not None:
            raise Conflict(f"there is a function {spec.key} already")
        if mode is DeployMode.UPDATE and old is None:
            raise FunctionNotFound(f"there is no function {spec.key}")
        unchanged = old is not None and old.spec == spec
        revision = (old.revision if old else 0) + (not unchanged)
        view = self.views[spec.key] = a_view(spec, revision=revision)
        phases = {} if unchanged else {"claim": 0.5}
        return Deployed(view=view, unchanged=unchanged, created=old is None, phases=phases, applied=True)

    async def remove(self, key: FunctionKey) -> None:
        await self.function(key)
        self.keys.forget(key)
        del self.views[key]

    async def scale(self, key: FunctionKey, replicas: int) -> None:
        self.views[key] = msgspec.structs.replace(await self.function(key), wanted=replicas)

    async def build(
        self, *, name: str, template: str, tar: Path, choices: Choices = NO_CHOICES, progress: Report
    ) -> Bundle:
        self.choices.append(choices)
        if template != "python3-http":
            raise NotFound(f"there is no template {template}")
        self.uploads.append(tar.read_bytes())
        if self.building is not None:
            await self.building(progress)
        return a_bundle()

    async def logs(
        self, key: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        try:
            known = [line for line in self.lines if since is None or line.time >= since]
            for line in known[-tail:] if tail else known:
                yield line
            if self.logs_failure is not None:
                raise self.logs_failure
            if follow:
                await self.more_lines.wait()
                yield self.lines[-1]
        finally:
            self.logs_closed.set()

    async def nodes(self) -> Sequence[Node]:
        return [Node(name="local", cpu_milli=2000, memory_mib=4096)]


@dataclass(kw_only=True)
class Api:
    """A running server, as its clients see it."""

    control: MemoryControl
    socket: Path
    staging: Path
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status and body; JSON is decoded, other text is not."""
        async with self.http.request(method, f"http://api{path}", **options) as answer:
            body = await answer.read()
            is_json = answer.content_type in ("application/json", "application/problem+json")
            return answer.status, msgspec.json.decode(body) if is_json else body.decode()

    async def raw(self, request: bytes, *, until: bytes | None = None) -> bytes:
        """What comes back to these bytes, up to `until` or to the end of the connection."""
        async with self.connected(request) as (reader, _):
            return await (reader.read() if until is None else reader.readuntil(until))

    @asynccontextmanager
    async def connected(self, request: bytes) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A connection of its own on which these bytes were sent; nothing on it takes long."""
        reader, writer = await asyncio.open_unix_connection(self.socket)
        try:
            writer.write(request)
            async with asyncio.timeout(20):
                yield reader, writer
        finally:
            writer.close()

    def staged(self) -> list[Path]:
        return list(self.staging.glob("*"))


Start = Callable[..., AbstractAsyncContextManager[Api]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)
