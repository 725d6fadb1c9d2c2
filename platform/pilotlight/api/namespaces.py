"""/api/v1/namespaces: made before something is put into them, and removed when nothing is left in them."""

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.endpoints import Body, Endpoint
from pilotlight.api.reading import parse_query, read_as
from pilotlight.api.work import Work
from pilotlight.control.namespaces import Namespaces as Kept
from pilotlight.control.namespaces import NamespaceView
from pilotlight.core.errors import Conflict, NamespaceNotFound


class NoQuery(msgspec.Struct, frozen=True, kw_only=True):
    """These addresses take no parameters."""


class NamespaceBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class NamespacesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    namespaces: tuple[NamespaceView, ...]


class RemovedNamespace(msgspec.Struct, frozen=True, kw_only=True):
    removed: str


class Namespaces:
    def __init__(self, kept: Kept, work: Work) -> None:
        self._kept = kept
        self._work = work

    def endpoints(self) -> list[Endpoint]:
        name = {"name": "The namespace's name."}
        return [
            Endpoint(
                method="GET",
                path="/api/v1/namespaces",
                handler=self.list_namespaces,
                summary="All namespaces; the default one is always there.",
                answers={200: NamespacesAnswer},
                query=NoQuery,
            ),
            Endpoint(
                method="POST",
                path="/api/v1/namespaces",
                handler=self.create_namespace,
                summary="Make a namespace.",
                answers={201: NamespaceView},
                query=NoQuery,
                request=NamespaceBody,
                errors=(Conflict,),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/namespaces/{name}",
                handler=self.show_namespace,
                summary="One namespace.",
                answers={200: NamespaceView},
                query=NoQuery,
                errors=(NamespaceNotFound,),
                parameters=name,
            ),
            Endpoint(
                method="PUT",
                path="/api/v1/namespaces/{name}",
                handler=self.update_namespace,
                summary="Replace a namespace's labels and annotations.",
                answers={200: NamespaceView},
                query=NoQuery,
                request=Body(of=NamespaceBody, optional=("name",)),
                errors=(NamespaceNotFound,),
                parameters=name,
            ),
            Endpoint(
                method="DELETE",
                path="/api/v1/namespaces/{name}",
                handler=self.remove_namespace,
                summary="Remove a namespace in which no function is, with its secrets.",
                answers={200: RemovedNamespace},
                query=NoQuery,
                errors=(NamespaceNotFound, Conflict),
                parameters=name,
            ),
        ]

    async def list_namespaces(self, request: web.Request) -> web.Response:
        parse_query(request, NoQuery)
        return json(NamespacesAnswer(namespaces=tuple(self._kept.all())))

    async def create_namespace(self, request: web.Request) -> web.Response:
        parse_query(request, NoQuery)
        body = await read_as(request, NamespaceBody)
        view = await self._work.complete(self._kept.create(body.name, body.labels, body.annotations))
        return json(view, status=201)

    async def show_namespace(self, request: web.Request) -> web.Response:
        parse_query(request, NoQuery)
        return json(self._kept.get(request.match_info["name"]))

    async def update_namespace(self, request: web.Request) -> web.Response:
        parse_query(request, NoQuery)
        body = await read_as(request, NamespaceBody, name=request.match_info["name"])
        return json(await self._work.complete(self._kept.update(body.name, body.labels, body.annotations)))

    async def remove_namespace(self, request: web.Request) -> web.Response:
        parse_query(request, NoQuery)
        name = request.match_info["name"]
        await self._work.complete(self._kept.remove(name))
        return json(RemovedNamespace(removed=name))
