"""What every way of running replicas must do. The docstrings are the contract; tests/contract checks it.

Every verb is idempotent and safe to call again after a crash in the middle of it: of the caller, of the backend, of
the machine's other processes.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pilotlight.core.spec import FunctionKey
from pilotlight.link.messages import Door


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A GPU, or a MIG slice of one."""

    id: str
    model: str
    memory_mib: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str
    cpu_milli: int
    memory_mib: int
    devices: tuple[Device, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    away: str = ""
    """Why nothing starts there now, as a sentence; its capacity is as it was last known, or 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """What cannot be changed on a spare once it was claimed; equal pools share spares."""

    environment: str
    """Digest of the environment."""
    namespace: str
    preimports: tuple[str, ...] = ()
    """Sorted names of the modules that the zygote imports."""
    variables: tuple[tuple[str, str], ...] = ()
    """Sorted variables that act at interpreter start or at import (see STARTUP_VARIABLES)."""
    image: str | None = None
    """The environment's image, where functions are containers."""
    memory_mib: int | None = None
    """A memory class (see `memory_class`); None without a limit. Processes share spares over all classes."""
    devices: tuple[str, ...] = ()
    """Ids of the GPUs that its spares have."""
    revision: str | None = None
    """Of an image without our runtime: what waits can only become this."""


def memory_class(limit_mib: int | None) -> int | None:
    """The smallest power of two, from 64 MiB on, that holds the limit: spares of few sizes serve all functions. The
    exact limit follows when the replica is ready."""
    return None if limit_mib is None else max(64, 1 << (limit_mib - 1).bit_length())


STARTUP_PREFIXES = ("OMP_", "OPENBLAS_", "CUDA_", "LD_", "PYTHON")
STARTUP_VARIABLES = ("TZ", "HF_HOME")


def startup_variables(environment: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """Those of a function's variables that must be set before its interpreter starts, sorted."""
    return tuple(
        sorted(
            (name, value)
            for name, value in environment.items()
            if name.startswith(STARTUP_PREFIXES) or name in STARTUP_VARIABLES
        )
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    memory_mib: int | None = None
    cpu_milli: int | None = None
    open_files: int = 4096
    processes: int = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """The one message that makes a replica. The id is chosen by the control plane; starting it twice starts it once."""

    id: str
    function: FunctionKey
    revision: str
    bundle: str
    """Digest of the bundle; the provider was given the folder that holds bundles by digest."""
    pool: Pool
    contract: str = "http"
    handler: str = "handler"
    variables: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    limits: Limits = field(default_factory=Limits)
    concurrency: int | None = None
    timeout_seconds: float = 60.0
    max_stream_seconds: float = 3600.0
    """A streamed answer that is older than this is ended."""
    debug: bool = False
    node: str = "local"
    image: str | None = None
    """A container image. Without an image in `pool` it is run as it is, and bundle, contract and handler say
    nothing."""
    devices: tuple[str, ...] = ()
    """Ids of the node's GPUs that it may use."""
    read_only_root: bool | None = None
    """The root file system of its container; None leaves it to the provider's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A replica that runs, ready or not, with what adoption needs."""

    id: str
    function: FunctionKey
    revision: str
    address: str
    """`unix:PATH` or `tcp:HOST:PORT`."""
    node: str = "local"
    ready: bool = False
    slots: int = 0
    """Known once it is ready."""
    phases: Mapping[str, float] = field(default_factory=dict)
    reuse_idle_seconds: float = 300.0
    """An idle connection to it is not used again after this long."""
    notes: tuple[str, ...] = ()
    """What it was given differently from what was asked for, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BecameReady:
    id: str
    slots: int
    phases: Mapping[str, float]
    """Milliseconds: claim (or fork, or zygote + fork), load, init, listen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """Told exactly once for each replica that `start` returned or `list` listed, whatever ended it."""

    id: str
    reason: str
    """One word: stopped, killed (it did not stop within its grace), exit, signal, out-of-memory, load-failed, stuck,
    lost (nobody could say)."""
    detail: str
    """The sentence for its user: "exited with code 3", "killed by signal 11 (SIGSEGV)", ..."""
    exit_code: int | None = None
    signal: int | None = None
    slug: str | None = None
    """For load-failed: which error it is (handler-syntax, handler-missing, import-failed, init-failed, ...)."""
    file: str | None = None
    line: int | None = None
    source: str | None = None
    last_lines: tuple[str, ...] = ()


Event = BecameReady | Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    cpu_seconds: float
    memory_mib: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    time: float
    """Unix seconds."""
    replica: str
    stream: str
    """stdout, stderr, or system for what the platform says about it."""
    text: str
    call_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """How replicas reach the router: as it is (`url`), by a door that it has to open first (`door`), or not (`why`)."""

    url: str | None = None
    door: Door | None = None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """What waits for launches of a pool."""

    kind: str
    """zygote (a parent that forks), container (a zygote in each spare), paused, or none."""
    ready: int = 0
    """Spares that a launch could have at once."""
    memory_mib: float = 0.0
    """Of all that waits together, as far as it is known."""
    why: str = ""
    """Why nothing waits."""


class Provider(Protocol):
    name: str

    async def nodes(self) -> Sequence[Node]:
        """The nodes with their capacity and devices, also those that are away."""
        ...

    async def prepare(self, pool: Pool, count: int) -> None:
        """Keep `count` spares of the pool from now on; 0 lets the pool go once nothing of it runs. Returns when the
        pool exists, its spares perhaps not yet. Raises StartFailed when it cannot be made."""
        ...

    async def warm(self, pool: Pool) -> Warm:
        """What waits for launches of the pool, and what that costs."""
        ...

    async def gateway(self, namespace: str, node: str) -> Gateway:
        """How replicas of the namespace on that node will reach the router. It is asked before each start, so it is
        known after the first. Raises StartFailed when what it depends on cannot be made."""
        ...

    async def start(self, launch: Launch) -> Running:
        """A replica: claimed from the pool when one fits, started otherwise; returns when it has an address, which is
        before it is ready. The same id again gives the same replica. Raises StartFailed when it could not be started,
        RevisionFailed when that lies with its image; then nothing of it is left. What happens afterwards is told by
        `events`."""
        ...

    async def stop(self, replica: str, *, grace_seconds: float) -> None:
        """Ask politely, insist after `grace_seconds`; returns when it has ended. An unknown id is fine."""
        ...

    async def list(self) -> Sequence[Running]:
        """All that is ours and runs, with what adoption needs; also replicas that an earlier control plane started."""
        ...

    def events(self) -> AsyncIterator[Event]:
        """Every readiness and every end from the opening of the provider on, without polling; one consumer."""
        ...

    async def usage(self, replica: str) -> Usage | None:
        """CPU and memory of one replica; None when it does not run."""
        ...

    def logs(
        self, function: FunctionKey, *, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[LogLine]:
        """Lines of all replicas of the function, ended ones too, in order of time; `tail` counts from the end."""
        ...

    async def forget(self, function: FunctionKey) -> None:
        """Remove what is kept for a function that is gone: its logs."""
        ...

    async def open(self) -> None:
        """Adopt what runs; before it returns `list` is complete."""
        ...

    async def close(self, *, keep: bool) -> None:
        """Leave. With `keep` everything goes on running for the next control plane; otherwise all of it is ended."""
        ...
