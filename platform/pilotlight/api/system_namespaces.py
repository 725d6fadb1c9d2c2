"""/system/namespace: OpenFaaS' words for namespaces. It knows them by a label, `openfaas: "1"`; all of ours have it."""

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.system_reading import read_lenient, saying
from pilotlight.api.work import Work
from pilotlight.control.namespaces import LABEL
from pilotlight.control.views import Control
from pilotlight.core.errors import Conflict, InvalidInput, NamespaceNotFound


class _Namespace(msgspec.Struct, frozen=True, kw_only=True):
    name: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class SystemNamespaces:
    def __init__(self, control: Control, work: Work) -> None:
        self._control = control
        self._work = work

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/system/namespaces", self.namespaces),
            web.post("/system/namespace", self.create),
            web.post("/system/namespace/", self.create),
            web.get("/system/namespace/{name}", self.namespace),
            web.put("/system/namespace/{name}", self.update),
            web.delete("/system/namespace/{name}", self.remove),
        ]

    async def namespaces(self, request: web.Request) -> web.Response:
        return json([namespace.name for namespace in self._control.namespaces.all()])

    async def create(self, request: web.Request) -> web.Response:
        body = await read_lenient(request, _Namespace)
        if not body.name:
            raise InvalidInput("non-empty name is required", field="name")
        with saying({Conflict: f"namespace {body.name} already exists"}):
            await self._work.complete(
                self._control.namespaces.create(body.name, body.labels or {}, body.annotations or {})
            )
        return web.Response(status=201)

    async def namespace(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        with saying({NamespaceNotFound: f"namespace {name} not found"}):
            view = self._control.namespaces.get(name)
        return json({"name": view.name, "labels": view.labels, "annotations": view.annotations})

    async def update(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        body = await read_lenient(request, _Namespace)
        if body.labels is not None and not body.labels.items() >= LABEL.items():
            raise InvalidInput(f"namespace {name} is not an openfaas namespace", field="labels")
        with saying({NamespaceNotFound: f"namespace {name} not found"}):
            await self._work.complete(self._control.namespaces.update(name, body.labels or {}, body.annotations or {}))
        return web.Response(status=202)

    async def remove(self, request: web.Request) -> web.Response:
        """What stands in the body repeats the path."""
        name = request.match_info["name"]
        with saying({NamespaceNotFound: f"namespace {name} not found"}):
            await self._work.complete(self._control.namespaces.remove(name))
        return web.Response(status=202)
