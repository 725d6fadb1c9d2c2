"""/api/v1: the whole of Pilotlight, typed. Errors are problem+json (see problems)."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web

from pilotlight.api.answers import (
    DeployedAnswer,
    FunctionAnswer,
    FunctionsAnswer,
    InfoAnswer,
    NodesAnswer,
    RemovedAnswer,
    ScaledAnswer,
    brief,
    deployed,
    full,
    json,
)
from pilotlight.api.call_logs import CallLine, call_lines, is_call
from pilotlight.api.endpoints import Body, Endpoint, Stream
from pilotlight.api.reading import (
    checked_namespace,
    key_of,
    name_and_namespace,
    parse_moment,
    parse_query,
    read_as,
    read_json,
)
from pilotlight.api.streams import stream_logs
from pilotlight.api.work import Work
from pilotlight.control.views import Control, DeployMode
from pilotlight.core.errors import (
    BundleNotFound,
    Conflict,
    FunctionNotFound,
    InvalidSpec,
    RevisionFailed,
    StorageFull,
)
from pilotlight.core.spec import A_NAME, FunctionSpec, parse_spec
from pilotlight.providers.base import LogLine


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: Annotated[str, A_NAME] | None = None


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: Annotated[str, A_NAME] | None = None
    tail: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    """-1, as OpenFaaS' clients say it, is all."""
    since: str | None = None
    """RFC 3339, or Unix seconds."""
    follow: bool = False
    call: str | None = None
    """Only lines that were printed under this call's id, or its short form (`9c2b-ffe`); then `tail` counts nothing."""


class CallLogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    call: str
    since: str | None = None


class ScaleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    replicas: Annotated[int, msgspec.Meta(ge=0)]


class V1:
    def __init__(self, control: Control, work: Work, *, version: str, provider: str) -> None:
        self._control = control
        self._work = work
        self._info = InfoAnswer(name="pilotlight", version=version, provider=provider)

    def endpoints(self) -> list[Endpoint]:
        spec = Body(of=FunctionSpec, optional=("name", "namespace"))
        deploying = (BundleNotFound, RevisionFailed, StorageFull)
        return [
            Endpoint(
                method="GET", path="/api/v1/info", handler=self.get_info,
                summary="What this server is.", answers={200: InfoAnswer}, is_open=True,
            ),
            Endpoint(
                method="GET", path="/api/v1/nodes", handler=self.list_nodes,
                summary="Where replicas run, and what there is to run on.", answers={200: NodesAnswer},
            ),
            Endpoint(
                method="GET", path="/api/v1/functions", handler=self.list_functions,
                summary="All functions, or those of a namespace, by name.",
                query=NamespaceQuery, answers={200: FunctionsAnswer},
            ),
            Endpoint(
                method="POST", path="/api/v1/functions", handler=self.create_function,
                summary="Deploy a function that is not there yet. It is proven by one replica first.",
                query=NamespaceQuery, request=Body(of=FunctionSpec, optional=("namespace",)),
                answers={201: DeployedAnswer}, errors=(Conflict, *deploying),
            ),
            Endpoint(
                method="GET", path="/api/v1/functions/{name}", handler=self.get_function,
                summary="A function with its replicas and what happened last.",
                query=NamespaceQuery, answers={200: FunctionAnswer}, errors=(FunctionNotFound,),
            ),
            Endpoint(
                method="PUT", path="/api/v1/functions/{name}", handler=self.put_function,
                summary="Deploy a function, or a new revision of it. What was live serves until the new one has "
                "proven itself, and on if it does not.",
                query=NamespaceQuery, request=spec,
                answers={200: DeployedAnswer, 201: DeployedAnswer}, errors=deploying,
            ),
            Endpoint(
                method="DELETE", path="/api/v1/functions/{name}", handler=self.remove_function,
                summary="Remove a function. Its replicas finish what they have.",
                query=NamespaceQuery, answers={200: RemovedAnswer}, errors=(FunctionNotFound,),
            ),
            Endpoint(
                method="POST", path="/api/v1/functions/{name}/scale", handler=self.scale_function,
                summary="Want so many replicas now, whatever its bounds are; it holds until the function was idle "
                "for its idle time, and zero until somebody calls.",
                query=NamespaceQuery, request=ScaleBody, answers={200: ScaledAnswer}, errors=(FunctionNotFound,),
            ),
            Endpoint(
                method="GET", path="/api/v1/functions/{name}/logs", handler=self.get_logs,
                summary="What its replicas printed, oldest first; with `follow`, until the client leaves.",
                query=LogsQuery, answers={200: Stream(of=LogLine)}, errors=(FunctionNotFound,),
            ),
            Endpoint(
                method="GET", path="/api/v1/logs", handler=self.call_logs,
                summary="What was printed under one call's id, in all functions that it went through.",
                query=CallLogsQuery, answers={200: Stream(of=CallLine)},
            ),
        ]  # fmt: skip

    async def get_info(self, request: web.Request) -> web.Response:
        return json(self._info)

    async def list_nodes(self, request: web.Request) -> web.Response:
        return json(NodesAnswer(nodes=tuple(await self._control.nodes())))

    async def list_functions(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        views = self._control.functions(checked_namespace(query.namespace))
        return json(FunctionsAnswer(functions=tuple(brief(view) for view in views)))

    async def create_function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        spec = await _read_spec(request, namespace=query.namespace)
        return await self._deploy(spec, DeployMode.CREATE)

    async def put_function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        name, namespace = name_and_namespace(request.match_info["name"], query.namespace)
        spec = await _read_spec(request, name=name, namespace=namespace)
        return await self._deploy(spec, DeployMode.ANY)

    async def get_function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        return json(full(await self._control.function(key, usage=True, warm=True)))

    async def remove_function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        await self._work.complete(self._control.remove(key))
        return json(RemovedAnswer(removed=key))

    async def scale_function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        body = await read_as(request, ScaleBody)
        await self._work.complete(self._control.scale(key, body.replicas))
        return json(ScaledAnswer(function=full(await self._control.function(key))))

    async def get_logs(self, request: web.Request) -> web.StreamResponse:
        query = parse_query(request, LogsQuery)
        key = key_of(request.match_info["name"], query.namespace)
        since = None if query.since is None else parse_moment(query.since)
        tail = None if query.tail == -1 or query.call is not None else query.tail
        await self._control.function(key)  # a 404 while there is a status left to give
        lines = self._control.logs(key, tail=tail, since=since, follow=query.follow)
        call = query.call
        return await stream_logs(
            request, lines, self._work, lambda line: line if call is None or is_call(line.call_id, call) else None
        )

    async def call_logs(self, request: web.Request) -> web.StreamResponse:
        query = parse_query(request, CallLogsQuery)
        since = None if query.since is None else parse_moment(query.since)
        lines = call_lines(self._control, query.call, since)
        return await stream_logs(request, lines, self._work, lambda line: line)

    async def _deploy(self, spec: FunctionSpec, mode: DeployMode) -> web.Response:
        done = await self._work.complete(self._control.deploy(spec, mode))
        return json(deployed(done), status=201 if done.created else 200)


async def _read_spec(request: web.Request, **address: str | None) -> FunctionSpec:
    """The body as a spec. What the address says (name, namespace) the body may leave out, but not contradict."""
    data = await read_json(request)
    if not isinstance(data, Mapping):
        return parse_spec(data)
    given = {field: value for field, value in address.items() if value is not None}
    for field, value in given.items():
        if data.get(field, value) != value:
            raise InvalidSpec(f"{field}: the body says {data[field]!r}, the address {value!r}", field=field)
    return parse_spec({**data, **given})
