"""OpenAPI 3.1 of /api/v1, made of what the endpoints declare: their types' schemas, and the docstrings under fields.

The description itself is open to everybody: it tells nothing of what runs here.
"""

import ast
import asyncio
import functools
import inspect
import itertools
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web

from pilotlight.api.answers import Problem, json
from pilotlight.api.endpoints import Body, Endpoint, Stream, Upload
from pilotlight.core.errors import InvalidInput, NotFound, PilotlightError, TooLarge, Unauthorized, Unavailable
from pilotlight_problems import find

PATH = "/api/v1/openapi.json"
_COMPONENTS = "#/components/schemas/{name}"
_VARIABLE = re.compile(r"\{(\w+)\}")
_PARAMETERS = {"name": "The name, or `name.namespace`."}


class Description:
    """The document, and the endpoint that serves it, which is in it, too."""

    def __init__(self, endpoints: Iterable[Endpoint], *, version: str) -> None:
        self.endpoints = (*endpoints, self._endpoint())
        self._version = version
        self._document: dict[str, Any] | None = None

    async def get_openapi(self, request: web.Request) -> web.Response:
        if self._document is None:  # made when it is first asked for, beside the loop that starts replicas
            self._document = await asyncio.to_thread(document, self.endpoints, version=self._version)
        return json(self._document)

    def _endpoint(self) -> Endpoint:
        return Endpoint(
            method="GET",
            path=PATH,
            handler=self.get_openapi,
            summary="This description.",
            answers={200: dict[str, Any]},
            is_open=True,
        )


def document(endpoints: Sequence[Endpoint], *, version: str) -> dict[str, Any]:
    schemas, components = _schemas(endpoints)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Pilotlight",
            "version": version,
            "description": "Everything that Pilotlight does, typed. OpenFaaS' API is beside it, under /system.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"basic": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "The user and password that the server made at its first start.",
                }
            },
        },
    }


_Schemas = Mapping[Any, dict[str, Any]]


def _schemas(endpoints: Iterable[Endpoint]) -> tuple[_Schemas, dict[str, Any]]:
    """The schema of each type that an endpoint names, and what these refer to."""
    types: list[Any] = [Problem]
    for endpoint in endpoints:
        for said in (endpoint.request, *endpoint.answers.values()):
            kind = said.of if isinstance(said, Body | Stream) else said
            if kind is not None and not isinstance(kind, Upload) and kind not in types:
                types.append(kind)
    found, components = msgspec.json.schema_components(types, ref_template=_COMPONENTS)
    named = {kind.__name__: kind for kind in _structs(types)}
    for name, schema in components.items():
        _tell_fields(schema, named.get(name))
    return dict(zip(types, found, strict=True)), components


def _operation(endpoint: Endpoint, schemas: _Schemas) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "summary": endpoint.summary,
        "parameters": [*_path_parameters(endpoint), *_query_parameters(endpoint), *_header_parameters(endpoint)],
        "responses": {
            **{str(status): _answer(status, said, schemas) for status, said in endpoint.answers.items()},
            **{str(status): _refusal(status, errors, schemas) for status, errors in _refusals(endpoint).items()},
        },
    }
    if endpoint.request is not None:
        operation["requestBody"] = {"required": True, "content": _request(endpoint.request, schemas)}
    if endpoint.is_open:
        operation["security"] = []
    return operation


def _path_parameters(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    for name in _VARIABLE.findall(endpoint.path):
        about = endpoint.parameters.get(name) or _PARAMETERS.get(name, "")
        yield {"name": name, "in": "path", "required": True, "description": about, "schema": _WORD}


_WORD = {"type": "string", "minLength": 1, "pattern": r"^[^/]+$"}


def _query_parameters(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    if endpoint.query is None:
        return
    docs = field_docs(endpoint.query)
    for field in msgspec.structs.fields(endpoint.query):
        schema = _not_null(msgspec.json.schema(field.type))
        if not field.required and field.default not in (None, msgspec.NODEFAULT):
            schema = schema | {"default": field.default}
        name = field.encode_name
        told = {"description": docs[name]} if name in docs else {}
        yield {"name": name, "in": "query", "required": field.required, **told, "schema": schema}


def _header_parameters(endpoint: Endpoint) -> Iterable[dict[str, Any]]:
    for name, about in endpoint.headers.items():
        yield {"name": name, "in": "header", "required": False, "description": about, "schema": {"type": "string"}}


def _not_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query has no null: what is absent is left out."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    return choices[0] if len(choices) == 1 else schema


def _request(said: Any, schemas: _Schemas) -> dict[str, Any]:
    if isinstance(said, Upload):
        return {said.media_type: {"schema": {"type": "string", "format": "binary", "description": said.about}}}
    if not isinstance(said, Body):
        return {"application/json": {"schema": schemas[said]}}
    return {"application/json": {"schema": _with_optional(said)}}


def _with_optional(body: Body) -> dict[str, Any]:
    """The type's own schema, in which the address's members need not be."""
    _, components = msgspec.json.schema_components([body.of], ref_template=_COMPONENTS)
    schema = dict(components[body.of.__name__])
    schema["required"] = [name for name in schema.get("required", ()) if name not in body.optional]
    schema["title"] = f"{body.of.__name__}, without what the address says"
    _tell_fields(schema, body.of)
    return schema


def _answer(status: int, said: Any, schemas: _Schemas) -> dict[str, Any]:
    about = HTTPStatus(status).phrase
    if said is None:
        return {"description": about}
    if isinstance(said, Stream):
        about = "One JSON object per line, sent as they come; the schema is that of a line."
        return {"description": about, "content": {"application/x-ndjson": {"schema": schemas[said.of]}}}
    return {"description": about, "content": {"application/json": {"schema": schemas[said]}}}


def _refusals(endpoint: Endpoint) -> dict[int, list[str]]:
    """Statuses and what they say: the endpoint's own, and everybody's."""
    found: dict[int, list[str]] = {}
    kinds: list[type[PilotlightError]] = [InvalidInput, *endpoint.errors, PilotlightError, Unavailable]
    for kind in kinds:
        _add(found, kind.default_slug)
    if not endpoint.is_open:
        _add(found, Unauthorized.default_slug)
    if _VARIABLE.search(endpoint.path):
        _add(found, NotFound.default_slug)
    if endpoint.method != "GET":
        _add(found, "forbidden")
    if endpoint.request is not None:
        for slug in ("stalled", TooLarge.default_slug):
            _add(found, slug)
    return dict(sorted(found.items()))


def _add(found: dict[int, list[str]], slug: str) -> None:
    slugs = found.setdefault(find(slug).status, [])
    if slug not in slugs:
        slugs.append(slug)


def _refusal(status: int, slugs: Sequence[str], schemas: _Schemas) -> dict[str, Any]:
    about = "\n".join(f"- `{slug}`: {find(slug).sentence}" for slug in slugs)
    return {"description": about, "content": {"application/problem+json": {"schema": schemas[Problem]}}}


def _structs(types: Iterable[Any]) -> Iterable[type]:
    """All classes with fields that the types are made of."""
    seen: set[Any] = set()
    left = list(msgspec.inspect.multi_type_info(types))
    while left:
        info = left.pop()
        kind = getattr(info, "cls", None)
        if kind is not None and kind not in seen:
            seen.add(kind)
            yield kind
            left.extend(field.type for field in getattr(info, "fields", ()))
        for name in ("type", "item_type", "key_type", "value_type"):
            if isinstance(inner := getattr(info, name, None), msgspec.inspect.Type):
                left.append(inner)
        left.extend(getattr(info, "types", ()) or getattr(info, "item_types", ()))


def _tell_fields(schema: dict[str, Any], kind: type | None) -> None:
    """Puts each field's docstring into its schema."""
    if kind is None:
        return
    for name, text in field_docs(kind).items():
        if (member := schema.get("properties", {}).get(name)) is not None:
            schema["properties"][name] = {"description": text, **member}


def field_docs(kind: type) -> dict[str, str]:
    """The strings under the fields of a class, by the fields' names on the wire; none where its source is not there."""
    docs = _docs_of_module(kind.__module__).get(kind.__qualname__, {})
    if not issubclass(kind, msgspec.Struct):
        return docs
    renamed = {field.name: field.encode_name for field in msgspec.structs.fields(kind)}
    return {renamed.get(name, name): text for name, text in docs.items()}


@functools.cache
def _docs_of_module(name: str) -> dict[str, dict[str, str]]:
    """By class, then by field."""
    try:
        tree = ast.parse(inspect.getsource(sys.modules[name]))
    except (KeyError, OSError, TypeError):
        return {}
    return {node.name: dict(_docs_under_fields(node.body)) for node in tree.body if isinstance(node, ast.ClassDef)}


def _docs_under_fields(body: Sequence[ast.stmt]) -> Iterable[tuple[str, str]]:
    for statement, after in itertools.pairwise(body):
        match statement, after:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str() as text)),
            ):
                yield name, " ".join(text.split())
