"""/system/secrets: OpenFaaS' words for secrets. They are those of /api/v1; values come in and never go out."""

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.secrets import decoded, encoded
from pilotlight.api.system_reading import namespace_of, read_lenient, saying
from pilotlight.api.work import Work
from pilotlight.control.views import Control
from pilotlight.core.errors import Conflict, InvalidInput, SecretNotFound


class _Secret(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    name: str = ""
    namespace: str | None = None
    value: str = ""
    raw_value: str = ""
    """Bytes, in base64; they count where both are given."""

    def __repr__(self) -> str:
        return f"_Secret(name={self.name!r}, namespace={self.namespace!r})"

    @property
    def bytes(self) -> bytes:
        return decoded(self.raw_value, field="rawValue") if self.raw_value else encoded(self.value)


class SystemSecrets:
    def __init__(self, control: Control, work: Work) -> None:
        self._control = control
        self._work = work

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/system/secrets", self.secrets),
            web.post("/system/secrets", self.create),
            web.put("/system/secrets", self.replace),
            web.delete("/system/secrets", self.remove),
        ]

    async def secrets(self, request: web.Request) -> web.Response:
        """Of the default namespace, unless the query names another."""
        namespace = namespace_of(request, self._control.namespaces)
        return json([{"name": one.name, "namespace": one.namespace} for one in self._control.secrets.all(namespace)])

    async def create(self, request: web.Request) -> web.Response:
        secret, namespace = await self._read(request)
        with saying({Conflict: f"secret {secret.name} already exists"}):
            await self._work.complete(self._control.secrets.create(namespace, secret.name, secret.bytes))
        return web.Response(status=202)

    async def replace(self, request: web.Request) -> web.Response:
        secret, namespace = await self._read(request)
        with saying({SecretNotFound: f"secret {secret.name} not found"}):
            await self._work.complete(self._control.secrets.replace(namespace, secret.name, secret.bytes))
        return web.Response(status=202)

    async def remove(self, request: web.Request) -> web.Response:
        """Also of one that functions use, as Kubernetes has it, and the clients of this API expect; /api/v1 asks."""
        secret, namespace = await self._read(request)
        with saying({SecretNotFound: f"secret {secret.name} not found"}):
            await self._work.complete(self._control.secrets.remove(namespace, secret.name, force=True))
        return web.Response(status=202)

    async def _read(self, request: web.Request) -> tuple[_Secret, str]:
        secret = await read_lenient(request, _Secret)
        if not secret.name:
            raise InvalidInput("non-empty name is required", field="name")
        return secret, namespace_of(request, self._control.namespaces, secret.namespace)
