"""What the control plane tells about functions; the API turns these into its answers, and faasctl into tables."""

from collections.abc import AsyncIterator, Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import Protocol

import msgspec

from pilotlight.builder.base import NO_CHOICES, Choices, Progress
from pilotlight.control.keys import KeyView, Rotated
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.secrets import Secrets
from pilotlight.core.revision import Bundle
from pilotlight.core.spec import FunctionKey, FunctionSpec
from pilotlight.providers.base import LogLine, Node


class ReplicaView(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    node: str
    state: str
    slots: int
    revision: int
    phases: dict[str, float]
    story: tuple[str, ...]
    cpu_seconds: float | None = None
    memory_mib: float | None = None


class ColdStart(msgspec.Struct, frozen=True, kw_only=True):
    at: float
    """Unix seconds."""
    phases: dict[str, float]
    """Milliseconds, in order."""


class LastEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The last end of a replica that nobody asked for, or that had to be insisted on."""

    at: float
    replica: str
    reason: str
    detail: str
    last_lines: tuple[str, ...] = ()


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """Why no start is tried at the moment."""

    slug: str
    detail: str
    starts: int
    """In a row that failed."""
    next_try_at: float
    """Unix seconds."""


class WarmView(msgspec.Struct, frozen=True, kw_only=True):
    """What waits for the function's next start."""

    kind: str
    """zygote (a parent that forks), container (a zygote in each), paused, or none."""
    ready: int
    """Starts that it is there for at once; functions may share it."""
    memory_mib: float
    """Of all that waits together, as far as it is known."""
    why: str = ""
    """Why nothing waits."""


class FunctionView(msgspec.Struct, frozen=True, kw_only=True):
    spec: FunctionSpec
    revision: int
    created_at: float
    """Unix seconds, of the first revision."""
    state: str
    """cold, starting, ready, draining or failing."""
    why: str
    """The reason of the last decision, in one word or a short sentence."""
    decided_at: float = 0.0
    """Unix seconds, since when so many replicas are wanted for this reason; 0 before the first decision."""
    wanted: int
    """Replicas that are wanted (OpenFaaS' `replicas`)."""
    ready: int
    in_flight: int
    waiting: int
    calls: int
    errors: int
    idle_seconds: float | None = None
    """Since when nothing waits and nothing is in flight; None while no router says."""
    slots: int = 0
    """Of the replicas that are ready."""
    free_slots: int = 0
    failure: FailureView | None = None
    environment: str
    bundle: str
    runs: str | None = None
    """The image that its replicas are made of, bound to bytes; None for processes."""
    replicas: tuple[ReplicaView, ...] = ()
    warm: WarmView | None = None
    last_cold_start: ColdStart | None = None
    last_end: LastEnd | None = None
    starts: dict[str, int] = {}
    """Of replicas since the control plane's start, by outcome: ready, or the slug of why not."""
    ends: dict[str, int] = {}
    """By reason: stopped, killed, exit, signal, out-of-memory, load-failed, stuck, lost."""


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    view: FunctionView
    unchanged: bool
    """The same spec and bundle were live already; no revision was made."""
    created: bool
    """There was no such function before."""
    phases: dict[str, float]
    """Milliseconds of the proving replica's start; empty when unchanged."""
    applied: bool
    """The router has it; False when no router answered in time (it will get it when it comes back)."""
    notes: tuple[str, ...] = ()
    """What the proving replica was given differently from what was asked for."""


class DeployMode(Enum):
    """What a deploy may meet: PUT of /api/v1 takes both, OpenFaaS' POST creates and its PUT updates."""

    ANY = "any"
    CREATE = "create"
    UPDATE = "update"


class Control(Protocol):
    """What the API needs of the control plane. Errors are PilotlightErrors."""

    @property
    def secrets(self) -> Secrets: ...

    @property
    def namespaces(self) -> Namespaces: ...

    async def key(self, key: FunctionKey) -> KeyView:
        """The key that opens the function. Raises FunctionNotFound, KeyNotFound when it takes calls without one,
        SecretsLocked."""
        ...

    async def rotate_key(self, key: FunctionKey, *, grace_seconds: float = 0.0) -> Rotated:
        """A new key, and whether the routers know it; the newest before it are valid for so much longer. Raises as
        `key` does, and InvalidInput."""
        ...

    def functions(self, namespace: str | None = None) -> Sequence[FunctionView]:
        """All functions, or those of one namespace, by name; without replicas' usage."""
        ...

    async def function(self, key: FunctionKey, *, usage: bool = False, warm: bool = False) -> FunctionView:
        """One function with its replicas; with `usage`, CPU and memory of each; with `warm`, what waits
        for its next start. Raises FunctionNotFound."""
        ...

    async def deploy(self, spec: FunctionSpec, mode: DeployMode = DeployMode.ANY) -> Deployed:
        """A new revision, proven by one replica before the old one drains. Raises Conflict (CREATE of one that is
        there), FunctionNotFound (UPDATE of one that is not), BundleNotFound, InvalidSpec, RevisionFailed (then the
        live revision keeps serving; the error's `state` says so), Unavailable."""
        ...

    async def remove(self, key: FunctionKey) -> None:
        """Gone from the routers when it returns; its replicas finish what they have. Raises FunctionNotFound."""
        ...

    async def scale(self, key: FunctionKey, replicas: int) -> None:
        """Want so many replicas now; the autoscaler carries on from there. Raises FunctionNotFound, InvalidInput."""
        ...

    async def build(
        self,
        *,
        name: str,
        template: str,
        tar: Path,
        choices: Choices = NO_CHOICES,
        progress: Callable[[Progress], None],
    ) -> Bundle:
        """Raises what Builder.build raises."""
        ...

    def logs(
        self, key: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """Raises FunctionNotFound at the first step."""
        ...

    async def nodes(self) -> Sequence[Node]: ...
