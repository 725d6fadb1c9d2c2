"""What a user wants of a function: one frozen type, whichever API it came through.

`parse_spec` reads Pilotlight's own JSON, `from_openfaas` OpenFaaS' deployment JSON; both end in a `FunctionSpec` that
no one checks again. `to_openfaas` gives back what an OpenFaaS client sent, verbatim.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NewType

import msgspec

from pilotlight.core.annotations import fields_of_annotations
from pilotlight.core.checks import check as _check
from pilotlight.core.checks import nearest as _nearest
from pilotlight.core.checks import told
from pilotlight.core.errors import InvalidSpec
from pilotlight.core.quantity import parse_cpu_milli, parse_memory_mib
from pilotlight.core.scaling import Scaling as Scaling
from pilotlight.core.scaling import check_scaling, from_scale_labels

DEFAULT_NAMESPACE = "openfaas-fn"
_NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9.\-\[\]:]+")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CORS_WORDS, _CORS_CHARACTERS = 100, 300
"""Of a list, and of one of its words: every router keeps them, and every answer repeats some."""
A_NAME = told(pattern=f"^{_NAME.pattern}$", description="A DNS label: a-z, 0-9 and -, at most 63 characters.")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

FunctionKey = NewType("FunctionKey", str)
"""`name.namespace`: how a function is called in routes, metrics and logs."""

Contract = Literal["http", "lambda", "cloudevent", "asgi", "model"]


Auth = Literal["none", "key"]


class Resources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Kubernetes quantities as they were given ("128Mi", "100m"); read through the methods."""

    memory: str | None = None
    cpu: str | None = None
    nvidia_gpu: str | None = msgspec.field(default=None, name="nvidia.com/gpu")
    amd_gpu: str | None = msgspec.field(default=None, name="amd.com/gpu")
    intel_gpu: str | None = msgspec.field(default=None, name="intel.com/gpu")

    def memory_mib(self) -> int | None:
        return None if self.memory is None else parse_memory_mib(self.memory)

    def cpu_milli(self) -> int | None:
        return None if self.cpu is None else parse_cpu_milli(self.cpu)


class Cors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which pages of other sites may call the function from a browser (the Fetch standard's CORS protocol)."""

    origins: Annotated[tuple[str, ...], told(minItems=1, maxItems=100)]
    """`https://app.example.org`, or `*` for every origin."""
    methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    headers: tuple[str, ...] = ()
    """Request headers that a page may set; empty means whichever it asks for."""
    expose: tuple[str, ...] = ("X-Call-Id", "Server-Timing")
    """Response headers that a page may read."""
    credentials: bool = False
    """Whether cookies and HTTP authentication may come along; not with the origin `*`."""
    max_age_seconds: Annotated[int, told(minimum=0, maximum=86_400)] = 600


class FunctionSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A function as its user wants it. Durations are in seconds, sizes in the unit that the name says."""

    name: Annotated[str, A_NAME]
    image: Annotated[str, told(minLength=1)]
    """A bundle reference (`bundle/NAME@sha256:...`), or a container image where the provider runs images."""
    namespace: Annotated[str, A_NAME] = DEFAULT_NAMESPACE
    environment: Annotated[dict[str, str], told(propertyNames={"pattern": f"^{_VARIABLE.pattern}$"})] = {}
    secrets: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    constraints: tuple[str, ...] = ()
    limits: Resources = Resources()
    requests: Resources = Resources()
    fprocess: str | None = None
    readonly_root_filesystem: bool | None = None
    """Of a container; None leaves it to the server."""
    contract: Contract | None = None
    concurrency: Annotated[int | None, told(minimum=1, maximum=1000)] = None
    """Requests that one replica serves at once; None leaves it to the handler contract."""
    timeout_seconds: Annotated[float, told(exclusiveMinimum=0, maximum=86_400)] = 60.0
    queue: Annotated[int, told(minimum=0, maximum=100_000)] = 1000
    """Requests that may wait for a slot."""
    body_limit_mib: Annotated[float, told(exclusiveMinimum=0, maximum=4096)] = 16.0
    scale: Scaling = Scaling()
    cors: Cors | None = None
    auth: Auth = "none"
    """With `key`, a call needs the function's key; the server makes one, and `faasctl key NAME` shows it."""
    debug: bool = False
    """Puts a handler's traceback into its 500 answer; for development."""

    @property
    def key(self) -> FunctionKey:
        return function_key(self.name, self.namespace)


def function_key(name: str, namespace: str = DEFAULT_NAMESPACE) -> FunctionKey:
    return FunctionKey(f"{name}.{namespace}")


def split_key(address: str) -> tuple[str, str]:
    """`name` or `name.namespace` (the last dot splits) as (name, namespace)."""
    name, dot, namespace = address.rpartition(".")
    return (name, namespace) if dot else (namespace, DEFAULT_NAMESPACE)


def parse_spec(data: object) -> FunctionSpec:
    """Pilotlight's own JSON, already decoded, as a checked spec; InvalidSpec names the field.

    OpenFaaS' scaling labels and our keys among the annotations count where the field itself is not given."""
    if not isinstance(data, Mapping):
        raise InvalidSpec("the function must be a JSON object", field="")
    _refuse_unknown(data, FunctionSpec, prefix="")
    data = _from_scale_labels(data) | fields_of_annotations(data.get("annotations")) | dict(data)
    scale = data.get("scale")
    if isinstance(scale, Mapping):
        _refuse_unknown(scale, Scaling, prefix="scale.")
    try:
        spec = msgspec.convert(data, FunctionSpec, strict=True)
    except msgspec.ValidationError as error:
        raise _as_invalid_spec(error) from error
    return check_spec(spec)


def from_openfaas(data: object) -> FunctionSpec:
    """OpenFaaS' FunctionDeployment as a spec. Unknown fields are ignored, nulls count as absent, and our own keys
    come as annotations `pilotlight.dev/KEY` with values as in a stack file (see parse_spec)."""
    if not isinstance(data, Mapping):
        raise InvalidSpec("failed to unmarshal request: a JSON object was expected", field="")
    given = {key: value for key, value in data.items() if value is not None}
    for required in ("service", "image"):
        if not given.get(required):
            raise InvalidSpec(f"validation failed: {required}: is required", field=required)
    fields: dict[str, Any] = {ours: given[theirs] for theirs, ours in _OPENFAAS_FIELDS.items() if theirs in given}
    for block in ("limits", "requests"):
        if isinstance(fields.get(block), Mapping):
            fields[block] = {k: v for k, v in fields[block].items() if k in _RESOURCES and v}
    return parse_spec(fields)


def to_openfaas(spec: FunctionSpec) -> dict[str, object]:
    """The spec as OpenFaaS' FunctionStatus spells it, without what only the server knows; empty members left out, but
    for labels and annotations, which its clients look into unasked (Kubernetes always has some)."""
    members: dict[str, object] = {
        "name": spec.name,
        "image": spec.image,
        "namespace": spec.namespace,
        "envProcess": spec.fprocess,
        "envVars": spec.environment,
        "constraints": list(spec.constraints),
        "secrets": list(spec.secrets),
        "labels": {"faas_function": spec.name} | spec.labels,
        "annotations": spec.annotations,
        "limits": msgspec.to_builtins(spec.limits),
        "requests": msgspec.to_builtins(spec.requests),
        "readOnlyRootFilesystem": spec.readonly_root_filesystem,
    }
    return {name: value for name, value in members.items() if value or name in ("labels", "annotations")}


def check_spec(spec: FunctionSpec) -> FunctionSpec:
    """Rules that types cannot say; the first one broken is raised as InvalidSpec."""
    _check(
        is_name(spec.name),
        "name",
        f"({spec.name}) must be a DNS label: a-z, 0-9 and -, at most 63 characters",
    )
    _check(is_name(spec.namespace), "namespace", f"({spec.namespace}) must be a DNS label")
    _check(bool(spec.image), "image", "must not be empty")
    _check(
        spec.contract not in ("cloudevent", "model"),
        "contract",
        f"`{spec.contract}` is not available yet; use http, lambda or asgi",
    )
    for variable in spec.environment:
        _check(
            _VARIABLE.fullmatch(variable) is not None,
            "environment",
            f"{variable!r} is no name for a variable",
        )
        _check("\0" not in spec.environment[variable], "environment", f"{variable} holds a zero byte")
    _check(spec.concurrency is None or 1 <= spec.concurrency <= 1000, "concurrency", "must be from 1 to 1000")
    _check(0 < spec.timeout_seconds <= 86_400, "timeout_seconds", "must be more than 0 and at most 86400")
    _check(0 <= spec.queue <= 100_000, "queue", "must be from 0 to 100000")
    _check(0 < spec.body_limit_mib <= 4096, "body_limit_mib", "must be more than 0 and at most 4096")
    check_scaling(spec.scale)
    if spec.cors is not None:
        _check_cors(spec.cors)
    for block in (spec.limits, spec.requests):
        block.memory_mib()
        block.cpu_milli()
    return spec


def _check_cors(cors: Cors) -> None:
    _check(bool(cors.origins), "cors.origins", "must name an origin, as https://app.example.org, or *")
    lists = {"origins": cors.origins, "methods": cors.methods, "headers": cors.headers, "expose": cors.expose}
    for field, words in lists.items():
        count = len(words)
        _check(count <= _CORS_WORDS, f"cors.{field}", f"has {count} entries; at most {_CORS_WORDS} are taken")
        longest = max(map(len, words), default=0)
        sentence = f"has an entry of {longest} characters; at most {_CORS_CHARACTERS} are taken"
        _check(longest <= _CORS_CHARACTERS, f"cors.{field}", sentence)
    for origin in cors.origins:
        sentence = f"{origin!r} is no origin; write it as https://app.example.org, without a path, or as *"
        _check(origin == "*" or _ORIGIN.fullmatch(origin) is not None, "cors.origins", sentence)
    _check(not (cors.credentials and "*" in cors.origins), "cors.credentials", "needs origins by name, not *")
    for field, words in (("methods", cors.methods), ("headers", cors.headers), ("expose", cors.expose)):
        for word in words:
            _check(
                _TOKEN.fullmatch(word) is not None, f"cors.{field}", f"{word!r} has characters that may not be in it"
            )
    _check(0 <= cors.max_age_seconds <= 86_400, "cors.max_age_seconds", "must be from 0 to 86400")


def is_name(text: str) -> bool:
    """Whether it is a DNS label (RFC 1123), as functions and namespaces are named."""
    return _NAME.fullmatch(text) is not None


_RESOURCES = tuple(field.encode_name for field in msgspec.structs.fields(Resources))
_OPENFAAS_FIELDS = {
    "service": "name",
    "image": "image",
    "namespace": "namespace",
    "envProcess": "fprocess",
    "envVars": "environment",
    "constraints": "constraints",
    "secrets": "secrets",
    "labels": "labels",
    "annotations": "annotations",
    "limits": "limits",
    "requests": "requests",
    "readOnlyRootFilesystem": "readonly_root_filesystem",
}


def _from_scale_labels(data: Mapping[Any, Any]) -> dict[str, Any]:
    scale = from_scale_labels(data.get("labels"), data.get("annotations"))
    return {"scale": scale} if scale else {}


def _refuse_unknown(data: Mapping[Any, Any], kind: type[msgspec.Struct], *, prefix: str) -> None:
    known = [field.encode_name for field in msgspec.structs.fields(kind)]
    for name in data:
        if name not in known:
            field = f"{prefix}{name}"
            raise InvalidSpec(f"{field}: no such field", field=field, hint=_nearest(str(name), known))


def _as_invalid_spec(error: msgspec.ValidationError) -> InvalidSpec:
    """msgspec ends its messages with ` - at `$.path``; the path is the field."""
    sentence, _, path = str(error).partition(" - at ")
    field = path.strip("`").removeprefix("$").removeprefix(".")
    return InvalidSpec(f"{field}: {sentence}" if field else sentence, field=field)
