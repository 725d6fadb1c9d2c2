"""/system: OpenFaaS' API, an adapter onto the same specs and the same control plane.

How its clients say things is in `system_reading`; errors are plain text. What we do not have answers 501 with a
sentence.
"""

import asyncio
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.reading import convert_query, parse_moment, read_as, read_json
from pilotlight.api.streams import stream_logs
from pilotlight.api.system_reading import as_bad_request, checked, function_of, namespace_of, query_of, saying
from pilotlight.api.work import Work
from pilotlight.control.namespaces import Namespaces
from pilotlight.control.views import Control, DeployMode, FunctionView
from pilotlight.core.errors import (
    BundleNotFound,
    Conflict,
    FunctionNotFound,
    InvalidInput,
    NamespaceNotFound,
    SecretNotFound,
    Unsupported,
)
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey, FunctionSpec, from_openfaas, is_name, to_openfaas
from pilotlight.providers.base import LogLine

DEPLOY_ANSWER_SECONDS = 50.0
"""OpenFaaS' clients give up after 60 s. A deploy that is still proving its revision then was accepted, which is what
202 says; how it ended is in the function's status."""

_USAGE_SECONDS = 0.2
"""Processor use is a difference; this is the time between the two looks."""


class UnreadableLogRequest(InvalidInput):
    default_slug = "log-request"


class _DeleteFunction(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    function_name: str = ""
    namespace: str | None = None


class _ScaleFunction(msgspec.Struct, frozen=True, kw_only=True):
    replicas: Annotated[int, msgspec.Meta(ge=0)]
    namespace: str | None = None


class _LogsQuery(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    namespace: str | None = None
    instance: str | None = None
    tail: int = -1
    since: str | None = None
    follow: bool = False


class System:
    def __init__(self, control: Control, work: Work, *, version: str, provider: str) -> None:
        self._control = control
        self._work = work
        release = {"release": version, "sha": "unknown"}  # some clients take an empty one for a broken server
        self._info = {
            "provider": {"provider": "pilotlight", "orchestration": provider, "version": release},
            "version": release,
            "arch": os.uname().machine,
        }

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/system/info", self.info),
            web.get("/system/functions", self.functions),
            web.post("/system/functions", self.create),
            web.put("/system/functions", self.update),
            web.delete("/system/functions", self.delete),
            web.get("/system/function/{name}", self.function),
            web.post("/system/scale-function/{name}", self.scale),
            web.get("/system/logs", self.logs, allow_head=False),
            web.route("*", "/system/telemetry", _unsupported("telemetry: it tells nobody about you")),
        ]

    async def info(self, request: web.Request) -> web.Response:
        return json(self._info)

    async def functions(self, request: web.Request) -> web.Response:
        """Of one namespace: clients that want them all ask for each of /system/namespaces."""
        namespace = namespace_of(request, self._control.namespaces)
        return json([status(view) for view in self._control.functions(namespace)])

    async def create(self, request: web.Request) -> web.Response:
        spec = await _read_deployment(request, self._control.namespaces)
        with saying({Conflict: f"function: {spec.key} already exists"}):
            return await self._deploy(spec, DeployMode.CREATE)

    async def update(self, request: web.Request) -> web.Response:
        """faas-cli updates first and creates when it hears 404."""
        spec = await _read_deployment(request, self._control.namespaces)
        with saying({FunctionNotFound: f"function: {spec.key} not found"}):
            return await self._deploy(spec, DeployMode.UPDATE)

    async def delete(self, request: web.Request) -> web.Response:
        body = await read_as(request, _DeleteFunction)
        if not body.function_name:
            raise InvalidInput("functionName: is required", field="functionName")
        key = function_of(request, self._control.namespaces, body.function_name, body.namespace)
        with saying({FunctionNotFound: f"function {key} not found"}):
            await self._work.complete(self._control.remove(key))
        return web.Response(status=202)

    async def function(self, request: web.Request) -> web.Response:
        try:
            key = function_of(request, self._control.namespaces, request.match_info["name"])
            view = await self._control.function(key)
            usage = {"usage": await self._usage(key)} if query_of(request).get("usage") == "1" else {}
        except FunctionNotFound:
            return web.Response(status=404)  # without a body, as OpenFaaS has it
        return json(status(view) | usage)

    async def scale(self, request: web.Request) -> web.Response:
        with saying({InvalidInput: "Error unmarshalling request body"}, reason=True):
            body = await read_as(request, _ScaleFunction)
        key = function_of(request, self._control.namespaces, request.match_info["name"], body.namespace)
        with saying({FunctionNotFound: f"function {key} not found"}):
            await self._work.complete(self._control.scale(key, body.replicas))
        return web.Response(status=202)

    async def logs(self, request: web.Request) -> web.StreamResponse:
        query, since = _parse_logs(request)
        key = function_of(request, self._control.namespaces, query.name, query.namespace)
        with saying({FunctionNotFound: f"function {key} not found"}):
            view = await self._control.function(key)
        lines = self._control.logs(key, tail=query.tail if query.tail > 0 else None, since=since, follow=query.follow)
        return await stream_logs(
            request, lines, self._work, lambda line: _log_record(view.spec, line, only=query.instance)
        )

    async def _deploy(self, spec: FunctionSpec, mode: DeployMode) -> web.Response:
        with as_bad_request(BundleNotFound, SecretNotFound, NamespaceNotFound):
            await self._work.complete_within(DEPLOY_ANSWER_SECONDS, self._control.deploy(spec, mode))
        return web.Response(status=202)

    async def _usage(self, key: FunctionKey) -> dict[str, float]:
        before = await self._control.function(key, usage=True)
        await asyncio.sleep(_USAGE_SECONDS)
        after = await self._control.function(key, usage=True)
        spent = {replica.id: replica.cpu_seconds or 0.0 for replica in before.replicas}
        cpu = sum((r.cpu_seconds or 0.0) - spent[r.id] for r in after.replicas if r.id in spent)
        memory = sum(replica.memory_mib or 0.0 for replica in after.replicas)
        return {"cpu": max(0.0, cpu) / _USAGE_SECONDS * 1000, "totalMemoryBytes": memory * 2**20}


def status(view: FunctionView) -> dict[str, Any]:
    """OpenFaaS' FunctionStatus."""
    return to_openfaas(view.spec) | {
        "invocationCount": view.calls,
        "replicas": view.wanted,
        "availableReplicas": view.ready,
        "createdAt": rfc3339(view.created_at),
    }


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _unsupported(what: str) -> Any:
    async def refuse(request: web.Request) -> web.Response:
        raise Unsupported(f"this server does not support {what}")

    return refuse


async def _read_deployment(request: web.Request, namespaces: Namespaces) -> FunctionSpec:
    with saying({InvalidInput: "failed to unmarshal request"}, reason=True):
        data = await read_json(request)
    if not isinstance(data, Mapping):
        return from_openfaas(data)
    service = data.get("service")
    if isinstance(service, str) and service and not is_name(service):
        raise InvalidInput(f"validation failed: service: ({service}) is invalid, must be a valid DNS entry")
    namespace = data.get("namespace") or query_of(request).get("namespace") or DEFAULT_NAMESPACE
    spec = from_openfaas({**data, "namespace": namespace})
    checked(namespaces, spec.namespace)
    return spec


def _parse_logs(request: web.Request) -> tuple[_LogsQuery, float | None]:
    try:
        query = convert_query(query_of(request), _LogsQuery)
        return query, None if query.since is None else parse_moment(query.since)
    except InvalidInput as error:
        raise UnreadableLogRequest(f"could not parse the log request: {error.detail}", field=error.field) from error


def _log_record(spec: FunctionSpec, line: LogLine, *, only: str | None) -> dict[str, str] | None:
    if only is not None and line.replica != only:
        return None
    return {
        "name": spec.name,
        "namespace": spec.namespace,
        "instance": line.replica,
        "timestamp": rfc3339(line.time),
        "text": line.text,
    }
