"""The contract `asgi`: `app`, any ASGI 3 application (Starlette, FastAPI, Litestar, Quart, a plain function).

HTTP and lifespan; no WebSocket yet. Path and root path are as the specification has them: the path includes the root
path, which is where the router has mounted the function.
"""

import asyncio
import inspect
import json
import os
from collections.abc import Awaitable, Callable, MutableMapping
from types import ModuleType
from typing import Any
from urllib.parse import unquote

from pilotlight_runtime import http1
from pilotlight_runtime.contracts import (
    ASYNC_SLOTS,
    DEFAULT_NAMESPACE,
    BadAnswer,
    Hearer,
    Identity,
    RawHeaders,
    Request,
)
from pilotlight_runtime.contracts.checks import FRAMING, accepts, checked_status, file_of, line_of
from pilotlight_runtime.failures import LoadFailed

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROOT_PATH = "ASGI_ROOT_PATH"
"""A variable that says where the app is mounted, for one that is not called at /function/NAME."""
_VERSIONS = {"version": "3.0", "spec_version": "2.4"}
_LIFESPAN_VERSIONS = {"version": "3.0", "spec_version": "2.0"}


class AsgiApplication:
    """A module's `app`."""

    slots = ASYNC_SLOTS
    asynchronous = True

    def __init__(self, app: App, identity: Identity) -> None:
        self._app = app
        self._root_path = _root_path(identity)
        self._lifespan = Lifespan(app)
        self.init = self._lifespan.startup

    async def run(self, request: Request, hearer: Hearer) -> None:
        if request.upgrade is not None and request.upgrade.lower() == b"websocket":
            await _refuse_websocket(request, hearer)
            return
        exchange = Exchange(request, hearer)
        scope = scope_of(request, self._root_path)
        scope["state"] = self._lifespan.state.copy()
        await self._app(scope, exchange.receive, exchange.send)

    async def shutdown(self) -> None:
        await self._lifespan.shutdown()


def module_of(handler: str, identity: Identity) -> str:
    return handler


def bind(module: ModuleType, identity: Identity) -> AsgiApplication:
    return AsgiApplication(_find_app(module), identity)


def scope_of(request: Request, root_path: str) -> dict[str, Any]:
    """The connection scope of a request, without `state`."""
    path, _, query = request.target.partition(b"?")
    raw_path = root_path.encode() + path
    headers = [(name.lower(), value) for name, value in request.headers]
    known = dict(headers)
    return {
        "type": "http",
        "asgi": _VERSIONS,
        "http_version": "1.0" if request.http10 else "1.1",
        "method": request.method.decode("ascii"),
        "scheme": known.get(b"x-forwarded-proto", b"http").decode("latin-1"),
        "path": unquote(raw_path.decode("latin-1")),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": root_path,
        "headers": headers,
        "client": _client(known.get(b"x-forwarded-for", b"")),
        "server": _server(known.get(b"host", b"")),
        "extensions": {},
    }


class Exchange:
    """`receive` and `send` of one request."""

    def __init__(self, request: Request, hearer: Hearer) -> None:
        self._body: bytes | None = request.body
        self._hearer = hearer

    async def receive(self) -> Message:
        """The whole body once; after that the news that nobody listens any more, when it is so."""
        body, self._body = self._body, None
        if body is not None and not self._hearer.gone:
            return {"type": "http.request", "body": body, "more_body": False}
        await self._hearer.left()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        match message.get("type"):
            case "http.response.start":
                self._hearer.begin(checked_status(message.get("status")), *_framed(message.get("headers", ())))
            case "http.response.body":
                await self._hearer.say(_piece(message.get("body", b"")), last=not message.get("more_body", False))
            case other:
                raise BadAnswer(f"the message {other!r}; http.response.start and http.response.body are known here")


class Lifespan:
    """An app's start and its end; one that knows of no such thing is fine."""

    def __init__(self, app: App) -> None:
        self.state: dict[str, Any] = {}
        self._app = app
        self._task: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[str | None] | None = None
        """What failed, or None."""
        self._stopped: asyncio.Future[str | None] | None = None

    async def startup(self) -> None:
        """Raises what the app raised after it had said that its start failed."""
        loop = asyncio.get_running_loop()
        self._started, self._stopped = loop.create_future(), loop.create_future()
        self._messages.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": _LIFESPAN_VERSIONS, "state": self.state}
        self._task = loop.create_task(_awaited(self._app(scope, self._messages.get, self._send)))
        await _first_of(self._task, self._started)
        if self._started.done() and self._started.result() is not None:
            await self._raise_failure(self._task, str(self._started.result()))
        if self._task.done():
            self._task.exception()  # looked at: an app that raises here knows no lifespan
            self._task = None

    async def shutdown(self) -> None:
        """RuntimeError when the app says that it failed."""
        if self._task is None or self._stopped is None:
            return
        self._messages.put_nowait({"type": "lifespan.shutdown"})
        await _first_of(self._task, self._stopped)
        failed = self._stopped.result() if self._stopped.done() else None
        if failed is not None:
            raise RuntimeError(f"the app's shutdown failed: {failed}")
        if self._task.done():
            self._task.result()

    async def _raise_failure(self, task: asyncio.Task[None], said: str) -> None:
        await asyncio.wait([task], timeout=1)
        error = task.exception() if task.done() and not task.cancelled() else None
        task.cancel()
        if error is not None:
            raise error
        raise RuntimeError(f"the app's startup failed: {said.strip().rpartition(chr(10))[2]}")

    async def _send(self, message: Message) -> None:
        match message.get("type"):
            case "lifespan.startup.complete":
                _settle(self._started, None)
            case "lifespan.startup.failed":
                _settle(self._started, str(message.get("message", "")))
            case "lifespan.shutdown.complete":
                _settle(self._stopped, None)
            case "lifespan.shutdown.failed":
                _settle(self._stopped, str(message.get("message", "")))
            case other:
                raise RuntimeError(f"the lifespan has no message {other!r}")


async def _first_of(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


def _settle(future: asyncio.Future[str | None] | None, result: str | None) -> None:
    if future is not None and not future.done():
        future.set_result(result)


def _piece(body: Any) -> bytes:
    if isinstance(body, bytes):
        return body
    if isinstance(body, bytearray | memoryview):
        return bytes(body)
    raise BadAnswer(f"a body of type {type(body).__name__}; it must be bytes")


def _framed(headers: Any) -> tuple[RawHeaders, int | None]:
    """The headers without those that frame the answer, and the length that they promise."""
    kept: RawHeaders = []
    length = None
    for pair in headers:
        name, value = _checked_pair(pair)
        if name.lower() == b"content-length" and value.isdigit() and len(value) < 19:
            length = int(value)
        if name.lower() not in FRAMING:
            kept.append((name, value))
    return kept, length


def _checked_pair(pair: Any) -> tuple[bytes, bytes]:
    try:
        name, value = bytes(pair[0]), bytes(pair[1])
    except (TypeError, ValueError, LookupError):
        raise BadAnswer(f"the header {pair!r}; it must be a pair of bytes") from None
    if not http1.is_header(name, value):
        raise BadAnswer(f"the header {name!r} with characters that may not stand in a header")
    return name, value


async def _refuse_websocket(request: Request, hearer: Hearer) -> None:
    sentence = "Functions take no WebSocket connections yet; use HTTP, or a streamed answer (server-sent events)."
    body = json.dumps({"error": sentence, "call_id": request.call_id}).encode()
    headers = [(b"Content-Type", b"application/json"), (b"X-Pilotlight-Error", b"websocket-unsupported")]
    hearer.begin(501, headers, None)
    await hearer.say(body, last=True)


def _root_path(identity: Identity) -> str:
    given = os.environ.get(ROOT_PATH)
    if given is not None:
        return given.rstrip("/")
    namespace = "" if identity.namespace == DEFAULT_NAMESPACE else f".{identity.namespace}"
    return f"/function/{identity.function}{namespace}"


def _client(forwarded_for: bytes) -> tuple[str, int] | None:
    """Whom the router saw; its port is not passed on."""
    address = forwarded_for.rpartition(b",")[2].strip().decode("latin-1")
    return (address, 0) if address else None


def _server(host: bytes) -> tuple[str, int | None] | None:
    name, colon, port = host.decode("latin-1").rpartition(":")
    if colon and port.isdigit():
        return name, int(port)
    return (host.decode("latin-1"), None) if host else None


def _find_app(module: ModuleType) -> App:
    file = file_of(module)
    app = getattr(module, "app", None)
    if app is None:
        raise LoadFailed("handler-missing", f"{file} has no ASGI application `app`{_likely(module)}", file=file)
    if not callable(app):
        sentence = f"`app` must be an ASGI application, not a value of type {type(app).__name__}"
        raise LoadFailed("load-failed", sentence, file=file)
    if not accepts(app, 3):
        raise LoadFailed("load-failed", _why_not(app), file=file, line=line_of(app))
    return app  # type: ignore[no-any-return]


def _likely(module: ModuleType) -> str:
    """A clause that names what has another name."""
    for name, value in vars(module).items():
        imported = inspect.isroutine(value) and value.__module__ != module.__name__
        if not name.startswith("_") and not imported and not inspect.isclass(value) and _takes_three(value):
            return f"; `{name}` looks like one: name it `app`"
    return ""


def _takes_three(value: Any) -> bool:
    return callable(value) and accepts(value, 3) and not accepts(value, 2)


def _why_not(app: Callable[..., Any]) -> str:
    if accepts(app, 2):
        return "`app` takes two arguments, as WSGI applications do (Flask, Django's wsgi): wrap it, as with a2wsgi"
    if inspect.isroutine(app) and accepts(app, 0):
        return "`app` is a function without arguments; assign what it returns: app = create_app()"
    return "`app` must take three arguments: (scope, receive, send)"
