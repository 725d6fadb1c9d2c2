"""What a request says, parsed once into typed values: query parameters, bodies within bounds, a function's address."""

import asyncio
import math
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from aiohttp import web

from pilotlight.api.problems import Stalled
from pilotlight.core.checks import meant, near
from pilotlight.core.errors import FunctionNotFound, InvalidInput, TooLarge
from pilotlight.core.spec import DEFAULT_NAMESPACE, FunctionKey, function_key, is_name

JSON_LIMIT_BYTES = 4 * 2**20
STALL_SECONDS = 60.0
"""A client that sends nothing of a body for so long is let go."""

_T = TypeVar("_T")
_Moment = Annotated[datetime, msgspec.Meta(tz=True)]


def parse_query(request: web.Request, kind: type[_T], *, repeated: frozenset[str] = frozenset()) -> _T:
    """The query as a struct; InvalidInput names the parameter. An empty value is an absent one. Of those that may be
    `repeated` the last one is taken: whoever wants all asks the request."""
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name in given and name not in repeated:
            raise InvalidInput(f"{name}: given more than once", field=name)
        if value:
            given[name] = value
    known = [field.encode_name for field in msgspec.structs.fields(kind)]  # type: ignore[arg-type]
    for name in request.query:
        if name not in known:
            raise InvalidInput(f"{name}: no such query parameter", field=name, hint=_nearest(name, known))
    return convert_query(given, kind)


def convert_query(given: Mapping[str, str], kind: type[_T]) -> _T:
    for field in msgspec.structs.fields(kind):  # type: ignore[arg-type]
        if field.required and field.encode_name not in given:
            raise InvalidInput(f"{field.encode_name}: is required", field=field.encode_name)
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at ")
        name = path.strip("`").removeprefix("$.")
        expected = sentence.partition(", got ")[0].replace(" | null", "").lower()
        raise InvalidInput(f"{name}: {expected}, not {given.get(name)!r}", field=name) from None


async def read_json(request: web.Request) -> object:
    """The body as JSON, decoded but not looked at."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("", "identity"):
        raise InvalidInput(f"Content-Encoding: {encoding} is not taken here", field="Content-Encoding")
    body = b"".join([chunk async for chunk in chunks(request, JSON_LIMIT_BYTES)])
    if not body:
        raise InvalidInput("the body is empty; a JSON object was expected")
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:  # RecursionError: 100,000 opening brackets
        raise InvalidInput(f"the body is not JSON: {error}") from None


async def read_as(request: web.Request, kind: type[_T], **address: str) -> _T:
    """The body as a struct; InvalidInput names the field. What the address says (`name`) the body may leave out, but
    not contradict."""
    data = await read_json(request)
    if isinstance(data, Mapping):
        for field, value in address.items():
            if data.get(field, value) != value:
                raise InvalidInput(f"{field}: the body says {data[field]!r}, the address {value!r}", field=field)
        data = {**data, **address}
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at ")
        name = path.strip("`").removeprefix("$").removeprefix(".")
        raise InvalidInput(f"{name}: {sentence}" if name else sentence, field=name or None) from None


async def chunks(request: web.Request, limit: int) -> AsyncIterator[bytes]:
    """The body as it comes; TooLarge as soon as it is known to be, Stalled when it stops coming."""
    if (request.content_length or 0) > limit:
        raise _too_large(limit)
    await _invite(request)
    total = 0
    while chunk := await _next(request):
        total += len(chunk)
        if total > limit:
            raise _too_large(limit)
        yield chunk


async def defer_invitation(request: web.Request) -> None:
    """In place of aiohttp's handling of `Expect: 100-continue`: who is refused should not be asked to send it all."""


def key_of(name: str, namespace: str | None) -> FunctionKey:
    """`name` or `name.namespace`, and the namespace of the query, which may repeat but not contradict it."""
    name, given = name_and_namespace(name, namespace)
    namespace = DEFAULT_NAMESPACE if given is None else given
    key = function_key(name, namespace)
    if not is_name(name) or not is_name(namespace):
        raise FunctionNotFound(f"function {key} not found")
    return key


def name_and_namespace(address: str, namespace: str | None) -> tuple[str, str | None]:
    name, dot, own = address.rpartition(".")
    if not dot:
        return address, namespace
    if namespace is not None and namespace != own:
        raise InvalidInput(f"namespace: {namespace!r} contradicts {address!r}, which is in {own!r}", field="namespace")
    return name, own


def checked_namespace(namespace: str | None) -> str | None:
    if namespace is not None and not is_name(namespace):
        raise InvalidInput(f"namespace: {namespace!r} is no namespace's name (a DNS label)", field="namespace")
    return namespace


def parse_moment(text: str, *, field: str = "since") -> float:
    """RFC 3339, or Unix seconds, as Unix seconds."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            return msgspec.convert(text, _Moment).timestamp()
        except (msgspec.ValidationError, OverflowError):
            seconds = math.nan
    if not math.isfinite(seconds):
        raise InvalidInput(f"{field}: {text!r} is neither RFC 3339 (with its time zone) nor Unix seconds", field=field)
    return seconds


async def _invite(request: web.Request) -> None:
    if request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # aiohttp counts what belongs to the answer


async def _next(request: web.Request) -> bytes:
    try:
        async with asyncio.timeout(STALL_SECONDS):
            return await request.content.readany()
    except TimeoutError:
        raise Stalled(f"no byte of the body came for {STALL_SECONDS:g} s") from None


def _too_large(limit: int) -> TooLarge:
    return TooLarge(f"the body is larger than {limit / 2**20:g} MiB, which is the limit here")


def _nearest(name: str, known: list[str]) -> str:
    if not known:
        return "None is taken here."
    return meant(near(name, known, most=1)) or f"Known here: {', '.join(sorted(known))}."
