"""The contract `http`: `handle(event, context)`, as OpenFaaS' python3-http template has it.

A handler may import `Event` and `Context` from here to annotate itself.
"""

import functools
import inspect
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

from pilotlight_runtime import outgoing
from pilotlight_runtime.contracts import (
    ASYNC_SLOTS,
    SYNC_SLOTS,
    Answer,
    BadAnswer,
    Body,
    Fault,
    Identity,
    RawHeaders,
    Request,
)
from pilotlight_runtime.contracts.checks import (
    accepts,
    checked_headers,
    checked_status,
    file_of,
    is_asynchronous,
    line_of,
    nearest,
)
from pilotlight_runtime.failures import LoadFailed
from pilotlight_runtime.secret_files import read_secret


class MultiMapping(Mapping[str, str]):
    """A mapping in which a name may have several values: the first one counts, `getlist` gives all."""

    def __init__(self, pairs: Iterable[tuple[str, str]], fold: Callable[[str], str]) -> None:
        self._fold = fold
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            self._values.setdefault(fold(name), []).append(value)

    def __getitem__(self, name: str) -> str:
        return self._values[self._fold(name)][0]

    def getlist(self, name: str) -> list[str]:
        return list(self._values.get(self._fold(name), ()))

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._values!r})"


class Headers(MultiMapping):
    """Header names are compared without case; iterating gives them in Title-Case."""

    def __init__(self, raw: RawHeaders) -> None:
        super().__init__([(name.decode("latin-1"), value.decode("latin-1")) for name, value in raw], str.title)


class Query(MultiMapping):
    def __init__(self, text: str) -> None:
        super().__init__(parse_qsl(text, keep_blank_values=True), str)


class Event:
    """A request."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self.body = request.body

    @functools.cached_property
    def method(self) -> str:
        return self._request.method.decode("ascii")

    @functools.cached_property
    def path(self) -> str:
        """After the function's name, percent-decoded."""
        return unquote(self._request.target.partition(b"?")[0].decode("latin-1"))

    @functools.cached_property
    def query(self) -> Query:
        return Query(self._request.target.partition(b"?")[2].decode("latin-1"))

    @functools.cached_property
    def headers(self) -> Headers:
        return Headers(self._request.headers)


@dataclass(frozen=True, slots=True)
class Context:
    """Where the handler runs, and in which call."""

    hostname: str
    function: str
    namespace: str
    revision: str
    call_id: str
    """Empty in `init`."""

    def call(
        self,
        name: str,
        body: outgoing.Body = b"",
        *,
        method: str = "POST",
        path: str = "",
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> outgoing.Reply:
        """Call another function: `reply = context.call("name", body)`, in an async handler
        `reply = await context.call("name", body)`. See pilotlight_runtime.outgoing.call."""
        return outgoing.call(name, body, method=method, path=path, headers=headers, timeout=timeout)

    def secret(self, name: str) -> str:
        """The value of one of the function's secrets, as text; LookupError when it has none of that name. Bytes, and
        other contracts: pilotlight_runtime.secret_files.read_secret."""
        return read_secret(name).decode()


class HttpApplication:
    """A module's `handle` and `init`."""

    def __init__(self, module: ModuleType, identity: Identity) -> None:
        self._handle = _find_handle(module)
        self._identity = identity
        self.asynchronous = is_asynchronous(self._handle)
        self.slots = ASYNC_SLOTS if self.asynchronous else SYNC_SLOTS
        self.init = _find_init(module, self._context(""))

    def call(self, request: Request) -> Any | Awaitable[Any]:
        return self._handle(Event(request), self._context(request.call_id))

    def answer(self, result: Any, request: Request) -> Answer:
        return answer_of(result)

    def failure(self, request: Request, fault: Fault) -> Answer | None:
        return None

    def _context(self, call_id: str) -> Context:
        at = self._identity
        return Context(at.hostname, at.function, at.namespace, at.revision, call_id)


def module_of(handler: str, identity: Identity) -> str:
    return handler


def bind(module: ModuleType, identity: Identity) -> HttpApplication:
    return HttpApplication(module, identity)


def answer_of(result: Any) -> Answer:
    """What a handler returned, as an answer; BadAnswer when it is none."""
    if isinstance(result, dict) and "statusCode" in result:
        return _answer(result.get("body"), result["statusCode"], result.get("headers"))
    if isinstance(result, tuple):
        if not 2 <= len(result) <= 3:
            raise BadAnswer(f"a tuple of {len(result)} items; {_ALLOWED}")
        return _answer(*result)
    return _answer(result, 200, None)


_ALLOWED = (
    "allowed are None, str, bytes, dict, list, an iterator, (body, status), (body, status, headers) "
    'and {"statusCode": ..., "body": ..., "headers": ...}'
)


def _answer(body: Any, status: Any, headers: Any = None) -> Answer:
    checked = checked_headers(headers)
    content_type, data = _typed_body(body)
    if content_type and not any(name.lower() == b"content-type" for name, _ in checked):
        checked.append((b"Content-Type", content_type))
    return Answer(checked_status(status), checked, data)


def _typed_body(body: Any) -> tuple[bytes | None, Body]:
    match body:
        case None:
            return None, b""
        case str():
            return b"text/plain; charset=utf-8", body.encode("utf-8", "surrogatepass")
        case bytes() | bytearray() | memoryview():
            return b"application/octet-stream", bytes(body)
        case dict() | list():
            return b"application/json", _json(body)
        case Iterator() | AsyncIterator():
            return b"application/octet-stream", body
    if inspect.iscoroutine(body):
        body.close()
        raise BadAnswer("a coroutine that nobody awaited; define the handler with `async def`")
    raise BadAnswer(f"a value of type {type(body).__name__}; {_ALLOWED}")


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadAnswer(f"a {type(value).__name__} that is no JSON: {error}") from error


def _find_handle(module: ModuleType) -> Callable[[Any, Any], Any]:
    file = file_of(module)
    handle = getattr(module, "handle", None)
    if not callable(handle):
        near = nearest(module, "handle")
        raise LoadFailed("handler-missing", f"{file} has no function `handle`{near}", file=file)
    if not accepts(handle, 2):
        sentence = "`handle` must take two arguments: (event, context)"
        raise LoadFailed("load-failed", sentence, file=file, line=line_of(handle))
    return handle  # type: ignore[no-any-return]


def _find_init(module: ModuleType, context: Context) -> Callable[[], Any] | None:
    init = getattr(module, "init", None)
    if not callable(init):
        return None
    if accepts(init, 1) and not (accepts(init, 0) and "context" not in inspect.signature(init).parameters):
        return functools.partial(init, context)
    if accepts(init, 0):
        return init  # type: ignore[no-any-return]
    file = file_of(module)
    raise LoadFailed("load-failed", "`init` must take no argument or one: (context)", file=file)
