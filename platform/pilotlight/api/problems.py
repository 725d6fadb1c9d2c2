"""Every error that leaves the API, in one place: problem+json for Pilotlight's API, plain text for OpenFaaS' paths.

Handlers raise and contain no `try`; the middleware here turns what they raise into an answer. A crash of ours becomes
"internal error" with an id under which the log has the traceback; the traceback itself goes to nobody.
"""

import secrets
from collections.abc import Awaitable, Callable

import msgspec
import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from pilotlight.core.checks import meant, near
from pilotlight.core.errors import InvalidInput, NotFound, PilotlightError

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger()


class MalformedRequest(InvalidInput):
    """Not HTTP as its standard has it."""

    default_slug = "malformed-request"


class Forbidden(PilotlightError):
    default_slug = "forbidden"


class MethodNotAllowed(PilotlightError):
    default_slug = "method-not-allowed"

    def __init__(self, detail: str, *, allowed: str) -> None:
        super().__init__(detail, hint=f"Allowed here: {allowed}.")
        self.allowed = allowed


class Stalled(PilotlightError):
    """A client that announced a body and stopped sending it."""

    default_slug = "stalled"


class Crash(PilotlightError):
    """A bug of ours, as its user sees it."""

    def __init__(self) -> None:
        self.id = secrets.token_hex(4)
        super().__init__(f"internal error (the server's log has it under {self.id})")

    def problem(self) -> dict[str, object]:
        return super().problem() | {"id": self.id}


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as raised:
        error = as_problem(request, raised)
    if request.writer.output_size > 0:
        # A stream had begun, so there is no status left to give: a cut connection tells that it is not complete.
        log.warning("stream cut", path=request.path, error=error.detail)
        raise ConnectionAbortedError(error.detail)
    return answer(request, error)


def as_problem(request: web.Request, raised: Exception) -> PilotlightError:
    """What its client is told of an exception. Raises it again when there is no client any more."""
    match raised:
        case PilotlightError():
            return raised
        case web.HTTPException():
            return _of_aiohttp(request, raised)
        case ConnectionError() if request.transport is None:
            raise raised
    return _crashed(request, raised)


def answer(request: web.Request, error: PilotlightError) -> web.Response:
    response = _plain(error) if speaks_openfaas(request) else _problem(error)
    if error.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="Restricted"'
    if error.retryable:
        response.headers["Retry-After"] = "1"
    if isinstance(error, MethodNotAllowed):
        response.headers["Allow"] = error.allowed
    if not request.content.is_eof():
        response.force_close()  # the rest of its body would be taken for the next request
    return response


def outside_handlers(request: web.BaseRequest, raised: BaseException | None, message: str) -> web.Response:
    """The answer to what went wrong before the middleware could see it: as a rule, bytes that are no HTTP request."""
    error: PilotlightError = MalformedRequest(f"this is not a valid HTTP request: {_first_line(message)}")
    if isinstance(raised, Exception) and not isinstance(raised, HttpProcessingError):
        error = _crashed(request, raised)
    response = _problem(error)
    response.headers["Server"] = "pilotlight"
    response.force_close()
    return response


_CURED_BY_ALL = frozenset({"image-writes", "image-rights"})


def speaks_openfaas(request: web.Request) -> bool:
    return request.path == "/system" or request.path.startswith("/system/")


def _crashed(request: web.BaseRequest, raised: Exception) -> Crash:
    crash = Crash()
    log.error("internal error", id=crash.id, method=request.method, path=request.path, exc_info=raised)
    return crash


def _problem(error: PilotlightError) -> web.Response:
    members = {name: _encodable(value) for name, value in error.problem().items()}
    return web.Response(body=msgspec.json.encode(members), status=error.status, content_type="application/problem+json")


def _plain(error: PilotlightError) -> web.Response:
    """One line for what is wrong and one for what still works, as far as the error says either. What to do is said in
    faasctl's words as a rule, which are not those of OpenFaaS' clients."""
    sentence = error.detail
    where = error.location
    if where is not None and where.file not in sentence:
        line = f", line {where.line}" if where.line else ""
        sentence = f"{sentence} ({where.file}{line})"
    lines = (sentence, error.state, error.hint if error.slug in _CURED_BY_ALL else None)
    text = "".join(f"{line}\n" for line in lines if line)
    return web.Response(text=str(_encodable(text)), status=error.status, headers={"X-Content-Type-Options": "nosniff"})


def _of_aiohttp(request: web.Request, raised: web.HTTPException) -> PilotlightError:
    match raised:
        case web.HTTPNotFound():
            return NotFound(f"there is no {request.path} here", slug="path-not-found", hint=_near(request))
        case web.HTTPMethodNotAllowed():
            allowed = ", ".join(sorted(raised.allowed_methods))
            return MethodNotAllowed(f"{request.path} does not take {request.method}", allowed=allowed)
    return MalformedRequest(f"{raised.status} {raised.reason}")


def _near(request: web.Request) -> str:
    paths = {resource.canonical for resource in request.app.router.resources()}
    guess = meant(near(request.path, paths))
    if not guess or not request.path.startswith(("/api", "/system")):
        return "Functions answer at /function/NAME; the API begins at /api/v1, OpenFaaS' at /system."
    return guess


def _first_line(message: str) -> str:
    """aiohttp draws the offending bytes under its messages; the sentence is the first line."""
    return message.strip().partition("\n")[0].rstrip(":. ")


def _encodable(value: object) -> object:
    """Paths can hold bytes that are no UTF-8, which Python keeps as lone surrogates and no encoder takes."""
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
