"""/system: OpenFaaS' API, an adapter onto the same specs and the same control plane.

How its clients say things is in `system_reading`; errors are plain text. What we do not have answers 501 with a
sentence.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.reading import convert_query, parse_moment, read_as, read_json
from pilotlight.api.streams import closing, stream_logs
from pilotlight.api.system_coming import Coming, OneComing
from pilotlight.api.system_reading import as_bad_request, checked, function_of, namespace_of, query_of, saying
from pilotlight.api.system_registry import with_login
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
from pilotlight.core.spec import (
    DEFAULT_NAMESPACE,
    FunctionKey,
    FunctionSpec,
    from_openfaas,
    is_name,
    split_key,
    to_openfaas,
)
from pilotlight.providers.base import LogLine

DEPLOY_ANSWER_SECONDS = 1.0
"""A deploy that is still pulling its image or proving its revision then was accepted, which is what 202 says; how it
went on is in the function's status, and calls wait for it. OpenFaaS' own server answers at once, and its clients count
on it: its conformance tests give six deploys 10 s."""

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
        self._runs_images = provider == "docker"
        self._coming = Coming()
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
        views = self._control.functions(namespace)
        coming = self._coming.besides({view.spec.key for view in views}, namespace)
        return json([*map(status, views), *map(coming_status, coming)])

    async def create(self, request: web.Request) -> web.Response:
        spec = await self._read_deployment(request, DeployMode.CREATE)
        with saying({Conflict: f"function: {spec.key} already exists"}):
            return await self._deploy(spec, DeployMode.CREATE)

    async def update(self, request: web.Request) -> web.Response:
        """faas-cli updates first and creates when it hears 404."""
        spec = await self._read_deployment(request, DeployMode.UPDATE)
        with saying({FunctionNotFound: f"function: {spec.key} not found"}):
            return await self._deploy(spec, DeployMode.UPDATE)

    async def _read_deployment(self, request: web.Request, mode: DeployMode) -> FunctionSpec:
        data, spec = await _read_deployment(request, self._control.namespaces)
        return await with_login(self._control, spec, mode, data) if self._runs_images else spec

    async def delete(self, request: web.Request) -> web.Response:
        body = await read_as(request, _DeleteFunction)
        if not body.function_name:
            raise InvalidInput("functionName: is required", field="functionName")
        key = function_of(request, self._control.namespaces, body.function_name, body.namespace)
        with saying({FunctionNotFound: f"function {key} not found"}):
            await self._work.complete(self._control.remove(key))
        self._coming.forget(key)
        return web.Response(status=202)

    async def function(self, request: web.Request) -> web.Response:
        try:
            key = function_of(request, self._control.namespaces, request.match_info["name"])
            if (coming := self._coming.found(key)) is not None and not self._is_there(key):
                return json(coming_status(coming))
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
        with saying({FunctionNotFound: f"function {key} not found{self._coming.why_not(key)}"}):
            view = await self._control.function(key)
        tail = query.tail if query.tail > 0 else None
        if query.instance is None:
            lines = self._control.logs(key, tail=tail, since=since, follow=query.follow)
        else:
            lines = self._lines_of(query.instance, key, tail, since, follow=query.follow)
        return await stream_logs(request, lines, self._work, lambda line: _log_record(view.spec, line))

    async def _lines_of(
        self, instance: str, key: FunctionKey, tail: int | None, since: float | None, *, follow: bool
    ) -> AsyncIterator[LogLine]:
        """Of one replica; `tail` counts its own lines. What comes while they are counted out follows them."""
        async with closing(self._control.logs(key, since=since)) as written:
            last = deque([line async for line in written if line.replica == instance], maxlen=tail)
        for line in last:
            yield line
        if follow:
            seen = last[-1].time if last else since or time.time()
            async with closing(self._control.logs(key, since=seen, follow=True)) as coming:
                async for line in coming:
                    if line.replica == instance and (line.time > seen or line not in last):
                        yield line

    async def _deploy(self, spec: FunctionSpec, mode: DeployMode) -> web.Response:
        with as_bad_request(BundleNotFound, SecretNotFound, NamespaceNotFound):
            deploying = self._coming.noted(spec, partial(self._control.deploy, spec, mode))
            await self._work.complete_within(DEPLOY_ANSWER_SECONDS, deploying)
        return web.Response(status=202)

    def _is_there(self, key: FunctionKey) -> bool:
        return any(view.spec.key == key for view in self._control.functions(split_key(key)[1]))

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


def coming_status(one: OneComing) -> dict[str, Any]:
    """The same of one that is not there yet."""
    wanted = max(1, one.spec.scale.min)
    counts = {"invocationCount": 0, "replicas": wanted, "availableReplicas": 0, "createdAt": rfc3339(one.since)}
    return to_openfaas(one.spec) | counts


def rfc3339(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _unsupported(what: str) -> Any:
    async def refuse(request: web.Request) -> web.Response:
        raise Unsupported(f"this server does not support {what}")

    return refuse


async def _read_deployment(request: web.Request, namespaces: Namespaces) -> tuple[Mapping[str, object], FunctionSpec]:
    with saying({InvalidInput: "failed to unmarshal request"}, reason=True):
        data = await read_json(request)
    if not isinstance(data, Mapping):
        return {}, from_openfaas(data)
    service = data.get("service")
    if isinstance(service, str) and service and not is_name(service):
        raise InvalidInput(f"validation failed: service: ({service}) is invalid, must be a valid DNS entry")
    namespace = data.get("namespace") or query_of(request).get("namespace") or DEFAULT_NAMESPACE
    spec = from_openfaas({**data, "namespace": namespace})
    checked(namespaces, spec.namespace)
    return data, spec


def _parse_logs(request: web.Request) -> tuple[_LogsQuery, float | None]:
    try:
        query = convert_query(query_of(request), _LogsQuery)
        return query, None if query.since is None else parse_moment(query.since)
    except InvalidInput as error:
        raise UnreadableLogRequest(f"could not parse the log request: {error.detail}", field=error.field) from error


def _log_record(spec: FunctionSpec, line: LogLine) -> dict[str, str]:
    return {
        "name": spec.name,
        "namespace": spec.namespace,
        "instance": line.replica,
        "timestamp": rfc3339(line.time),
        "text": line.text,
    }
