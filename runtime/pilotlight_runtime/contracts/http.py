"""The contract `http`: `handle(event, context)`, as OpenFaaS' python3-http template has it.

A handler may import `Event` and `Context` from here to annotate itself.
"""

import difflib
import functools
import inspect
import json
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, ModuleType
from typing import Any
from urllib.parse import parse_qsl, unquote

from pilotlight_runtime import http1
from pilotlight_runtime.contracts import Answer, BadAnswer, Body, Identity, RawHeaders, Request
from pilotlight_runtime.failures import LoadFailed


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


class HttpApplication:
    """A module's `handle` and `init`."""

    def __init__(self, module: ModuleType, identity: Identity) -> None:
        self._handle = _find_handle(module)
        self._identity = identity
        self.asynchronous = _is_asynchronous(self._handle)
        self.init = _find_init(module, self._context(""))

    def call(self, request: Request) -> Any | Awaitable[Any]:
        return self._handle(Event(request), self._context(request.call_id))

    def answer(self, result: Any) -> Answer:
        return answer_of(result)

    def _context(self, call_id: str) -> Context:
        at = self._identity
        return Context(at.hostname, at.function, at.namespace, at.revision, call_id)


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
    checked_headers = _checked_headers(headers)
    content_type, data = _typed_body(body)
    if content_type and not any(name.lower() == b"content-type" for name, _ in checked_headers):
        checked_headers.append((b"Content-Type", content_type))
    return Answer(_checked_status(status), checked_headers, data)


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


def _checked_status(status: Any) -> int:
    try:
        number = operator.index(status)
    except TypeError:
        raise BadAnswer(f"the status {status!r}; it must be a number from 200 to 599") from None
    if isinstance(status, bool) or not 200 <= number <= 599:
        raise BadAnswer(f"the status {status!r}; it must be a number from 200 to 599")
    return number


def _checked_headers(headers: Any) -> RawHeaders:
    """Those that frame an answer are left out: they follow from the body."""
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    checked: RawHeaders = []
    try:
        for name, values in pairs:
            for value in values if isinstance(values, list) else [values]:
                checked.append(_checked_header(name, value))
    except (TypeError, ValueError) as error:
        raise BadAnswer(f"headers of type {type(headers).__name__}; they must be a mapping of names to str") from error
    return [header for header in checked if header[0].lower() not in _FRAMING]


_FRAMING = http1.HOP_BY_HOP | {b"content-length"}


def _checked_header(name: Any, value: Any) -> tuple[bytes, bytes]:
    if not isinstance(name, str) or not isinstance(value, str | int | float):
        raise BadAnswer(f"the header {name!r} with a value of type {type(value).__name__}; it must be str")
    try:
        header = (name.encode("ascii"), str(value).encode("latin-1"))
    except UnicodeEncodeError:
        raise BadAnswer(f"the header {name!r} with characters outside of latin-1; encode them") from None
    if not http1.is_header(*header):
        raise BadAnswer(f"the header {name!r} with characters that may not stand in a header")
    return header


def _find_handle(module: ModuleType) -> Callable[[Any, Any], Any]:
    file = module.__name__.rpartition(".")[2] + ".py"
    handle = getattr(module, "handle", None)
    if not callable(handle):
        raise LoadFailed("handler-missing", f"{file} has no function `handle`{_nearest(module)}", file=file)
    if not _accepts(handle, 2):
        line = handle.__code__.co_firstlineno if isinstance(handle, FunctionType) else None
        raise LoadFailed("load-failed", "`handle` must take two arguments: (event, context)", file=file, line=line)
    return handle  # type: ignore[no-any-return]


def _nearest(module: ModuleType) -> str:
    own = [
        name
        for name, value in vars(module).items()
        if isinstance(value, FunctionType) and value.__module__ == module.__name__ and name != "init"
    ]
    near = difflib.get_close_matches("handle", own, n=1, cutoff=0.5) or own[:1]
    return f"; the nearest is `{near[0]}`" if near else ""


def _find_init(module: ModuleType, context: Context) -> Callable[[], Any] | None:
    init = getattr(module, "init", None)
    if not callable(init):
        return None
    if _accepts(init, 1) and not (_accepts(init, 0) and "context" not in inspect.signature(init).parameters):
        return functools.partial(init, context)
    if _accepts(init, 0):
        return init  # type: ignore[no-any-return]
    file = module.__name__.rpartition(".")[2] + ".py"
    raise LoadFailed("load-failed", "`init` must take no argument or one: (context)", file=file)


def _accepts(function: Callable[..., Any], arguments: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        return True  # a builtin that does not say
    return True


def _is_asynchronous(function: Callable[..., Any]) -> bool:
    """Asynchronous generators count: calling one runs nothing of it, its body is awaited on the loop."""
    call = function if inspect.isroutine(function) else type(function).__call__
    return any(
        check(f) for check in (inspect.iscoroutinefunction, inspect.isasyncgenfunction) for f in (function, call)
    )
