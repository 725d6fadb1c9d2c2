"""/api/v1: the whole of Pilotlight, typed. Errors are problem+json (see problems)."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from aiohttp import web

from pilotlight.api.answers import brief, deployed, full, json
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
from pilotlight.core.errors import InvalidSpec
from pilotlight.core.spec import FunctionSpec, parse_spec


class NamespaceQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str | None = None


class LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str | None = None
    tail: Annotated[int, msgspec.Meta(ge=-1)] | None = None
    """-1, as OpenFaaS' clients say it, is all."""
    since: str | None = None
    """RFC 3339, or Unix seconds."""
    follow: bool = False


class ScaleBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    replicas: Annotated[int, msgspec.Meta(ge=0)]


class V1:
    def __init__(self, control: Control, work: Work, *, version: str, provider: str) -> None:
        self._control = control
        self._work = work
        self._info = {"name": "pilotlight", "version": version, "provider": provider}

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/v1/info", self.info),
            web.get("/api/v1/nodes", self.nodes),
            web.get("/api/v1/functions", self.functions),
            web.post("/api/v1/functions", self.create),
            web.get("/api/v1/functions/{name}", self.function),
            web.put("/api/v1/functions/{name}", self.put),
            web.delete("/api/v1/functions/{name}", self.remove),
            web.post("/api/v1/functions/{name}/scale", self.scale),
            web.get("/api/v1/functions/{name}/logs", self.logs, allow_head=False),
        ]

    async def info(self, request: web.Request) -> web.Response:
        return json(self._info)

    async def nodes(self, request: web.Request) -> web.Response:
        return json({"nodes": await self._control.nodes()})

    async def functions(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        views = self._control.functions(checked_namespace(query.namespace))
        return json({"functions": [brief(view) for view in views]})

    async def create(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        spec = await _read_spec(request, namespace=query.namespace)
        return await self._deploy(spec, DeployMode.CREATE)

    async def put(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        name, namespace = name_and_namespace(request.match_info["name"], query.namespace)
        spec = await _read_spec(request, name=name, namespace=namespace)
        return await self._deploy(spec, DeployMode.ANY)

    async def function(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        return json(full(await self._control.function(key, usage=True)))

    async def remove(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        await self._work.complete(self._control.remove(key))
        return json({"removed": key})

    async def scale(self, request: web.Request) -> web.Response:
        query = parse_query(request, NamespaceQuery)
        key = key_of(request.match_info["name"], query.namespace)
        body = await read_as(request, ScaleBody)
        await self._work.complete(self._control.scale(key, body.replicas))
        return json({"function": full(await self._control.function(key))})

    async def logs(self, request: web.Request) -> web.StreamResponse:
        query = parse_query(request, LogsQuery)
        key = key_of(request.match_info["name"], query.namespace)
        since = None if query.since is None else parse_moment(query.since)
        tail = None if query.tail == -1 else query.tail
        await self._control.function(key)  # a 404 while there is a status left to give
        lines = self._control.logs(key, tail=tail, since=since, follow=query.follow)
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
