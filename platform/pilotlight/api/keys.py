"""/api/v1/functions/NAME/key: the key that opens a function with `auth: key`, shown and rotated."""

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.endpoints import Endpoint
from pilotlight.api.reading import key_of, parse_query, read_as
from pilotlight.api.work import Work
from pilotlight.control.keys import KeyView, Rotated
from pilotlight.control.views import Control
from pilotlight.core.errors import FunctionNotFound, KeyNotFound, SecretsLocked


class KeyQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str | None = None


class RotateBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    grace_seconds: float = 0.0
    """The keys from before open the function for so much longer."""


class Keys:
    def __init__(self, control: Control, work: Work) -> None:
        self._control = control
        self._work = work

    def endpoints(self) -> list[Endpoint]:
        name = {"name": "The function's name, or name.namespace."}
        errors = (FunctionNotFound, KeyNotFound, SecretsLocked)
        return [
            Endpoint(
                method="GET",
                path="/api/v1/functions/{name}/key",
                handler=self.show_key,
                summary="The key that opens a function with `auth: key`.",
                answers={200: KeyView},
                query=KeyQuery,
                errors=errors,
                parameters=name,
            ),
            Endpoint(
                method="POST",
                path="/api/v1/functions/{name}/key/rotate",
                handler=self.rotate_key,
                summary="A new key; those before it are valid for `grace_seconds` more.",
                answers={200: Rotated},
                query=KeyQuery,
                request=RotateBody,
                errors=errors,
                parameters=name,
            ),
        ]

    async def show_key(self, request: web.Request) -> web.Response:
        query = parse_query(request, KeyQuery)
        key = key_of(request.match_info["name"], query.namespace)
        return _unkept(await self._control.key(key))

    async def rotate_key(self, request: web.Request) -> web.Response:
        query = parse_query(request, KeyQuery)
        key = key_of(request.match_info["name"], query.namespace)
        body = await read_as(request, RotateBody) if request.can_read_body else RotateBody()
        return _unkept(await self._work.complete(self._control.rotate_key(key, grace_seconds=body.grace_seconds)))


def _unkept(view: KeyView) -> web.Response:
    """No cache on the way may keep it."""
    response = json(view)
    response.headers["Cache-Control"] = "no-store"
    return response
