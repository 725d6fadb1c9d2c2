"""What Pilotlight's own API says of functions, as types: the words that faasctl and other clients build against.

Times are Unix seconds, phases milliseconds in the order in which they happened.
"""

import msgspec
from aiohttp import web

from pilotlight.control.views import ColdStart, Deployed, FunctionView, LastEnd, ReplicaView
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionSpec

_encoder = msgspec.json.Encoder()


class FunctionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str
    image: str
    state: str
    why: str
    replicas: int
    """Wanted."""
    ready_replicas: int
    in_flight: int
    waiting: int
    calls: int
    errors: int
    revision: int
    created_at: float
    environment: str
    bundle: str
    url: str
    spec: FunctionSpec
    replicas_detail: tuple[ReplicaView, ...] | msgspec.UnsetType = msgspec.UNSET
    last_cold_start: ColdStart | msgspec.UnsetType | None = msgspec.UNSET
    last_end: LastEnd | msgspec.UnsetType | None = msgspec.UNSET
    starts: dict[str, int] | msgspec.UnsetType = msgspec.UNSET
    ends: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class DeployedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    function: FunctionAnswer
    revision: int
    unchanged: bool
    phases: dict[str, float]
    url: str
    applied: bool


def brief(view: FunctionView) -> FunctionAnswer:
    """A function among others."""
    spec = view.spec
    return FunctionAnswer(
        name=spec.name,
        namespace=spec.namespace,
        image=spec.image,
        state=view.state,
        why=view.why,
        replicas=view.wanted,
        ready_replicas=view.ready,
        in_flight=view.in_flight,
        waiting=view.waiting,
        calls=view.calls,
        errors=view.errors,
        revision=view.revision,
        created_at=view.created_at,
        environment=view.environment,
        bundle=view.bundle,
        url=url_of(spec),
        spec=spec,
    )


def full(view: FunctionView) -> FunctionAnswer:
    """A function by itself."""
    return msgspec.structs.replace(
        brief(view),
        replicas_detail=view.replicas,
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
    )


def url_of(spec: FunctionSpec) -> str:
    """The path under which the router calls it."""
    suffix = "" if spec.namespace == DEFAULT_NAMESPACE else f".{spec.namespace}"
    return f"/function/{spec.name}{suffix}"


def json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(body=_encoder.encode(value), status=status, content_type="application/json")
