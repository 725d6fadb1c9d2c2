"""The link's messages, and how they travel: a 4-byte big-endian length, then msgpack.

Down (control plane to router): Welcome, Snapshot, Change.  Up: Hello, Applied, Levels, Drained.

Each side has an epoch, new at each start, so that neither mistakes a restarted peer for the one it knew. A Snapshot
is the whole table; a Change carries whole routes, so applying one twice is applying it once. Versions count from 1
within one epoch of the control plane. Unknown fields are ignored and new fields have defaults: a router one release
older or newer still talks.
"""

import asyncio
import struct
from typing import TypeVar

import msgspec

from pilotlight.core.errors import Failure
from pilotlight.core.spec import Cors, FunctionKey

PROTOCOL = 1
_T = TypeVar("_T")
MAX_MESSAGE_BYTES = 64 * 2**20


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A replica as one router sees it."""

    replica: str
    address: str
    """`unix:PATH` or `tcp:HOST:PORT`."""
    slots: int
    """Requests that *this* router may have in flight there (its grant)."""
    draining: bool = False
    """Send nothing new; say Drained once nothing is in flight. A later route without it takes the drain back."""
    phases: dict[str, float] = {}
    """Milliseconds of each phase of its start, in order, for `Server-Timing` of the calls that waited for it."""
    reuse_idle_seconds: float = 300.0
    """An idle connection is not used again after this long (servers that are not ours close theirs)."""


class ReplicaEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Why a replica is gone, for the callers whose requests were in it."""

    replica: str
    slug: str
    detail: str


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a router needs to serve one function by itself."""

    function: FunctionKey
    timeout_seconds: float = 60.0
    queue: int = 1000
    body_limit_bytes: int = 16 * 2**20
    debug: bool = False
    failure: Failure | None = None
    """Set when the function cannot start: waiting and new requests get this answer instead of a place in the queue,
    as long as no endpoint has a free slot."""
    endpoints: tuple[Endpoint, ...] = ()
    ended: tuple[ReplicaEnd, ...] = ()
    """The last ends that nobody asked for."""
    starts: dict[str, int] = {}
    """Of replicas, by outcome, in this epoch of the control plane; for the metrics, as are `ends`, by reason."""
    ends: dict[str, int] = {}
    cors: Cors | None = None
    key_digests: tuple[str, ...] | None = None
    """SHA-256, in hex, of the keys that open the function; None where it is open to all."""
    key_seconds: dict[str, float] = {}
    """For how much longer those of them are valid that end, by digest. The router counts it, also while no control
    plane is there."""
    replicas: int = 0
    """Wanted, for `gateway_service_count`."""
    min_replicas: int = 0
    target_load: float = 0.0
    """What one replica is meant to carry, in the unit of `scaling_type`; both for `gateway_service_target_load`."""
    scaling_type: str = "capacity"
    counted: dict[int, int] = {}
    """Calls by status that earlier runs of this router answered, so that its counters go on where they were."""


class Door(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """A further address at which the router listens, at the public port, for the containers of one network. Functions
    alone are served there."""

    address: str
    """Of the router's machine."""
    network: str
    """As ADDRESS/BITS. Callers from elsewhere are turned away."""


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome"):
    epoch: str
    protocol: int = PROTOCOL


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag="snapshot"):
    version: int
    routes: tuple[Route, ...]
    doors: tuple[Door, ...] = ()


class Change(msgspec.Struct, frozen=True, kw_only=True, tag="change"):
    """Exactly the next version after the one before it on this connection."""

    version: int
    routes: tuple[Route, ...] = ()
    removed: tuple[FunctionKey, ...] = ()
    doors: tuple[Door, ...] | None = None
    """All that there are to be from now on; None where that did not change."""


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    epoch: str
    router: str
    """The same after it was started again; its counts go on under this name."""
    protocol: int = PROTOCOL


class Applied(msgspec.Struct, frozen=True, kw_only=True, tag="applied"):
    version: int
    shut: dict[str, str] = {}
    """Doors at which this router cannot listen: address and reason."""


class Level(msgspec.Struct, frozen=True, kw_only=True):
    """How busy one function is at one router; durations, since the two clocks need not agree."""

    function: FunctionKey
    waiting: int = 0
    waited_seconds: float = 0.0
    """Since when the oldest of them waits."""
    in_flight: int = 0
    idle_seconds: float = 0.0
    """Since when nothing waits and nothing is in flight; 0 while something is."""
    calls: int = 0
    """Answered since this router's epoch began."""
    errors: int = 0
    """Of those, answered with a status of 500 or more."""
    codes: dict[int, int] = {}
    """The same calls by status; empty from a router of an older release."""


class Levels(msgspec.Struct, frozen=True, kw_only=True, tag="levels"):
    """Of functions that the router said it has applied. What comes before that is of an earlier one of the name."""

    levels: tuple[Level, ...]
    full: bool = False
    """All functions that this router knows (the first one after a connect); otherwise only what changed."""


class Drained(msgspec.Struct, frozen=True, kw_only=True, tag="drained"):
    """Nothing is in flight on the replica and nothing more will be sent, as of the table's `version`."""

    replica: str
    version: int


Down = Welcome | Snapshot | Change
Up = Hello | Applied | Levels | Drained

_encoder = msgspec.msgpack.Encoder()
_down: "msgspec.msgpack.Decoder[Down]" = msgspec.msgpack.Decoder(Down)
_up: "msgspec.msgpack.Decoder[Up]" = msgspec.msgpack.Decoder(Up)
_LENGTH = struct.Struct(">I")


class LinkBroken(ConnectionError):
    """The peer said something that is not the link's protocol; the connection is of no use any more."""


def encode(message: Down | Up) -> bytes:
    body = _encoder.encode(message)
    return _LENGTH.pack(len(body)) + body


async def read_down(reader: asyncio.StreamReader) -> Down:
    return _decode(_down, await _read_frame(reader))


async def read_up(reader: asyncio.StreamReader) -> Up:
    return _decode(_up, await _read_frame(reader))


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    """IncompleteReadError (an EOFError) at the connection's end."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_MESSAGE_BYTES:
        raise LinkBroken(f"a message of {length} bytes; at most {MAX_MESSAGE_BYTES} are allowed")
    return await reader.readexactly(length)


def _decode(decoder: "msgspec.msgpack.Decoder[_T]", frame: bytes) -> _T:
    try:
        return decoder.decode(frame)
    except msgspec.DecodeError as error:
        raise LinkBroken(str(error)) from error
