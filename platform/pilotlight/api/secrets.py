"""/api/v1/secrets: secrets are set, replaced, removed and listed; no answer ever has a value."""

import base64
import binascii

import msgspec
from aiohttp import web

from pilotlight.api.answers import json
from pilotlight.api.endpoints import Body, Endpoint
from pilotlight.api.reading import checked_namespace, parse_query, read_as
from pilotlight.api.work import Work
from pilotlight.control.secrets import Secrets as Kept
from pilotlight.control.secrets import SecretView
from pilotlight.core.errors import Conflict, InvalidInput, NamespaceNotFound, SecretNotFound, SecretsLocked
from pilotlight.core.spec import DEFAULT_NAMESPACE


class SecretsQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str | None = None


class RemoveSecretQuery(msgspec.Struct, frozen=True, kw_only=True):
    namespace: str | None = None
    force: bool = False
    """Also when functions use it, which then cannot start any more."""


class SecretBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of `value` and `raw_value`."""

    name: str
    namespace: str | None = None
    value: str | None = None
    raw_value: str | None = None
    """Bytes, in base64."""

    def __repr__(self) -> str:
        return f"SecretBody(name={self.name!r}, namespace={self.namespace!r})"


class SecretsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    secrets: tuple[SecretView, ...]


class SecretAnswer(msgspec.Struct, frozen=True, kw_only=True):
    secret: SecretView
    created: bool
    """It was not there before."""


class RemovedSecret(msgspec.Struct, frozen=True, kw_only=True):
    removed: str
    namespace: str


class Secrets:
    def __init__(self, kept: Kept, work: Work) -> None:
        self._kept = kept
        self._work = work

    def endpoints(self) -> list[Endpoint]:
        name = {"name": "The secret's name."}
        return [
            Endpoint(
                method="GET",
                path="/api/v1/secrets",
                handler=self.list_secrets,
                summary="Secrets of all namespaces or of one, without their values.",
                answers={200: SecretsAnswer},
                query=SecretsQuery,
            ),
            Endpoint(
                method="POST",
                path="/api/v1/secrets",
                handler=self.create_secret,
                summary="Set a secret that is not there yet.",
                answers={201: SecretAnswer},
                query=SecretsQuery,
                request=SecretBody,
                errors=(Conflict, NamespaceNotFound, SecretsLocked),
            ),
            Endpoint(
                method="GET",
                path="/api/v1/secrets/{name}",
                handler=self.show_secret,
                summary="One secret, without its value.",
                answers={200: SecretView},
                query=SecretsQuery,
                errors=(SecretNotFound, NamespaceNotFound),
                parameters=name,
            ),
            Endpoint(
                method="PUT",
                path="/api/v1/secrets/{name}",
                handler=self.set_secret,
                summary="Set a secret, or replace its value: functions get it with their next deploy or start.",
                answers={200: SecretAnswer, 201: SecretAnswer},
                query=SecretsQuery,
                request=Body(of=SecretBody, optional=("name",)),
                errors=(NamespaceNotFound, SecretsLocked),
                parameters=name,
            ),
            Endpoint(
                method="DELETE",
                path="/api/v1/secrets/{name}",
                handler=self.remove_secret,
                summary="Remove a secret.",
                answers={200: RemovedSecret},
                query=RemoveSecretQuery,
                errors=(SecretNotFound, NamespaceNotFound, Conflict),
                parameters=name,
            ),
        ]

    async def list_secrets(self, request: web.Request) -> web.Response:
        query = parse_query(request, SecretsQuery)
        return json(SecretsAnswer(secrets=tuple(self._kept.all(checked_namespace(query.namespace)))))

    async def create_secret(self, request: web.Request) -> web.Response:
        query = parse_query(request, SecretsQuery)
        body = await read_as(request, SecretBody)
        namespace = _one_namespace(body.namespace, query.namespace)
        view = await self._work.complete(self._kept.create(namespace, body.name, _value(body)))
        return json(SecretAnswer(secret=view, created=True), status=201)

    async def show_secret(self, request: web.Request) -> web.Response:
        query = parse_query(request, SecretsQuery)
        return json(self._kept.get(_one_namespace(None, query.namespace), request.match_info["name"]))

    async def set_secret(self, request: web.Request) -> web.Response:
        query = parse_query(request, SecretsQuery)
        name = request.match_info["name"]
        body = await read_as(request, SecretBody, name=name)
        namespace = _one_namespace(body.namespace, query.namespace)
        view, created = await self._work.complete(self._kept.set(namespace, name, _value(body)))
        return json(SecretAnswer(secret=view, created=created), status=201 if created else 200)

    async def remove_secret(self, request: web.Request) -> web.Response:
        query = parse_query(request, RemoveSecretQuery)
        namespace, name = _one_namespace(None, query.namespace), request.match_info["name"]
        await self._work.complete(self._kept.remove(namespace, name, force=query.force))
        return json(RemovedSecret(removed=name, namespace=namespace))


def decoded(raw_value: str, *, field: str) -> bytes:
    """InvalidInput when it is no base64; the error does not repeat it."""
    try:
        return base64.b64decode(raw_value, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(f"{field}: must be base64", field=field) from None


def encoded(value: str) -> bytes:
    """InvalidInput for what is no text (a lone surrogate); the error does not repeat it."""
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("value: holds what is no Unicode text; send bytes as base64", field="value") from None


def _value(body: SecretBody) -> bytes:
    if (body.value is None) == (body.raw_value is None):
        raise InvalidInput("value: one of `value` and `raw_value` is required", field="value")
    value = encoded(body.value) if body.value is not None else decoded(body.raw_value or "", field="raw_value")
    if not value:
        raise InvalidInput("value: is empty", field="value", hint="Remove the secret if it is not needed.")
    return value


def _one_namespace(body: str | None, query: str | None) -> str:
    if body is not None and query is not None and body != query:
        raise InvalidInput(f"namespace: the body says {body!r}, the query {query!r}", field="namespace")
    return body or query or DEFAULT_NAMESPACE
