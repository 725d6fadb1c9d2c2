"""What Pilotlight's own API says of functions, as types: the words that faasctl and other clients build against.

Times are Unix seconds, phases milliseconds in the order in which they happened.
"""

import msgspec
from aiohttp import web

from pilotlight.control.views import ColdStart, Deployed, FailureView, FunctionView, LastEnd, ReplicaView, WarmView
from pilotlight.core.spec import DEFAULT_NAMESPACE, Auth, FunctionKey, FunctionSpec
from pilotlight.providers.base import Node

_encoder = msgspec.json.Encoder()


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An error (RFC 9457)."""

    type: str
    """The slug: what kind of error it is, for programs, and for `faasctl explain`."""
    title: str
    status: int
    detail: str
    """What is wrong, for people."""
    hint: str | None = None
    """What to do next."""
    field: str | None = None
    """The field or parameter that it is about."""
    state: str | None = None
    """What still works."""
    last_lines: tuple[str, ...] = ()
    """What the function printed last, where it is about one that ended."""
    file: str | None = None
    line: int | None = None
    column: int | None = None
    source: str | None = None
    """The line of the file."""
    id: str | None = None
    """Under which the server's log has more."""
    call_id: str | None = None


class InfoAnswer(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    version: str
    provider: str
    """process, docker, kubernetes or fake."""


class NodesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    nodes: tuple[Node, ...]


class RemovedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    removed: FunctionKey
    """`name.namespace`."""


class FunctionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str
    image: str
    state: str
    """cold, starting, ready, draining or failing."""
    why: str
    """Why so many replicas are wanted, in one word; a sentence while it is failing."""
    decided_at: float
    """Since when, in Unix seconds; 0 before the first decision."""
    replicas: int
    """Wanted."""
    ready_replicas: int
    slots: int
    """Calls that the ready replicas take at once."""
    free_slots: int
    in_flight: int
    waiting: int
    calls: int
    """Answered, over all time."""
    errors: int
    """Of those, with a status of 500 or more."""
    idle_seconds: float | None
    """Since the last call was answered, or since the server knows the function; 0 while there is one, null while the
    router does not say."""
    revision: int
    created_at: float
    """Unix seconds, of the first revision."""
    environment: str
    bundle: str
    url: str
    """The path under which it is called."""
    auth: Auth
    """With `key`, a call needs the function's key."""
    cors: bool
    """Whether pages of other sites may call it."""
    spec: FunctionSpec
    runs: str | None = None
    """Where functions are containers, the image of its replicas: a tag with the digest that it stood for at the deploy,
    or the engine's own name of what was built here."""
    failure: FailureView | None = None
    replicas_detail: tuple[ReplicaView, ...] | msgspec.UnsetType = msgspec.UNSET
    warm: WarmView | msgspec.UnsetType | None = msgspec.UNSET
    """What waits for its next start, and what that costs."""
    last_cold_start: ColdStart | msgspec.UnsetType | None = msgspec.UNSET
    last_end: LastEnd | msgspec.UnsetType | None = msgspec.UNSET
    starts: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    ends: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class FunctionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    functions: tuple[FunctionAnswer, ...]


class ScaledAnswer(msgspec.Struct, frozen=True, kw_only=True):
    function: FunctionAnswer


class DeployedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    function: FunctionAnswer
    revision: int
    unchanged: bool
    """The same was live already, and no revision was made."""
    phases: dict[str, float]
    """Milliseconds of the start of the replica that proved the revision."""
    url: str
    applied: bool
    """Whether the router has it; if not, it gets it when it is back."""
    notes: tuple[str, ...] = ()
    """What it was given differently from what was asked for, a sentence each."""


def brief(view: FunctionView) -> FunctionAnswer:
    """A function among others."""
    spec = view.spec
    return FunctionAnswer(
        name=spec.name,
        namespace=spec.namespace,
        image=spec.image,
        state=view.state,
        why=view.why,
        decided_at=view.decided_at,
        replicas=view.wanted,
        ready_replicas=view.ready,
        slots=view.slots,
        free_slots=view.free_slots,
        in_flight=view.in_flight,
        waiting=view.waiting,
        calls=view.calls,
        errors=view.errors,
        idle_seconds=view.idle_seconds,
        revision=view.revision,
        created_at=view.created_at,
        environment=view.environment,
        bundle=view.bundle,
        runs=view.runs,
        url=url_of(spec),
        auth=spec.auth,
        cors=spec.cors is not None,
        spec=spec,
        failure=view.failure,
    )


def full(view: FunctionView) -> FunctionAnswer:
    """A function by itself."""
    return msgspec.structs.replace(
        brief(view),
        replicas_detail=view.replicas,
        warm=view.warm,
        last_cold_start=view.last_cold_start,
        last_end=view.last_end,
        starts=view.starts,
        ends=view.ends,
    )


def deployed(done: Deployed) -> DeployedAnswer:
    function = full(done.view)
    return DeployedAnswer(
        function=function,
        revision=done.view.revision,
        unchanged=done.unchanged,
        phases=done.phases,
        url=function.url,
        applied=done.applied,
        notes=done.notes,
    )


def url_of(spec: FunctionSpec) -> str:
    """The path under which the router calls it."""
    suffix = "" if spec.namespace == DEFAULT_NAMESPACE else f".{spec.namespace}"
    return f"/function/{spec.name}{suffix}"


def json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")
