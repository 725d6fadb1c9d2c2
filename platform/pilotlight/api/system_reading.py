"""How OpenFaaS' clients say things to /system, and the words that they look for in answers.

Clients of many ages speak it: a namespace comes in the body or in the query (the body wins), members that are null or
unknown are normal, bodies may be chunked.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import msgspec
from aiohttp import web

from pilotlight.api.reading import key_of, read_json
from pilotlight.control.namespaces import Namespaces
from pilotlight.core.errors import InvalidInput, PilotlightError
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey

_T = TypeVar("_T")


@contextmanager
def saying(sentences: Mapping[type[PilotlightError], str], *, reason: bool = False) -> Iterator[None]:
    """OpenFaaS' words for an error, which its clients print or look for; with `reason`, ours after them."""
    try:
        yield
    except tuple(sentences) as error:
        sentence = next(text for kind, text in sentences.items() if isinstance(error, kind))
        raise type(error)(f"{sentence}: {error.detail}" if reason else sentence) from error


@contextmanager
def as_bad_request(*kinds: type[PilotlightError]) -> Iterator[None]:
    """A 404 would tell faas-cli that there is no such function yet; what is missing here is something else."""
    try:
        yield
    except kinds as error:
        raise InvalidInput(error.detail, field=error.field, hint=error.hint, state=error.state) from error


async def read_lenient(request: web.Request, kind: type[_T]) -> _T:
    """The body as a struct. Null members are absent ones, and a wrong one is told in OpenFaaS' words."""
    with saying({InvalidInput: "failed to unmarshal request"}, reason=True):
        data = await read_json(request)
        if not isinstance(data, Mapping):
            raise InvalidInput("a JSON object was expected")
        try:
            return msgspec.convert({name: value for name, value in data.items() if value is not None}, kind)
        except msgspec.ValidationError as error:
            raise InvalidInput(str(error)) from None


def query_of(request: web.Request) -> dict[str, str]:
    """As Go reads it: the first of repeated parameters; empty ones count as absent, unknown ones are no error."""
    first: dict[str, str] = {}
    for name, value in request.query.items():
        first.setdefault(name, value)
    return {name: value for name, value in first.items() if value}


def namespace_of(request: web.Request, namespaces: Namespaces, body: str | None = None) -> str:
    """The body's, the query's or the default one; InvalidInput in OpenFaaS' words when there is none of that name."""
    return checked(namespaces, body or query_of(request).get("namespace") or DEFAULT_NAMESPACE)


def function_of(request: web.Request, namespaces: Namespaces, name: str, body: str | None = None) -> FunctionKey:
    """The function that is meant. Raises InvalidInput, FunctionNotFound for what no function can be called."""
    key = key_of(name, body or query_of(request).get("namespace"))
    checked(namespaces, key.rpartition(".")[2])
    return key


def checked(namespaces: Namespaces, namespace: str) -> str:
    if not namespaces.has(namespace):
        raise InvalidInput("namespace not valid", field="namespace")
    return namespace
