"""Which pages of other sites may call a function from a browser (the CORS protocol of the Fetch standard).

The router answers for the function: a preflight wakes nothing, and errors of the router's own can be read by the page,
too. So the function's own CORS headers are left out where its spec has `cors:`.
"""

import re
from collections.abc import Iterable

from pilotlight.core.spec import Cors
from pilotlight_runtime.http1 import STATUS_LINES, RequestHead, ResponseHead, header_lines

_NAMES = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?:[ \t]*,[ \t]*[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_OURS = b"access-control-"


class Sharing:
    """A route's `cors`, ready to be written."""

    __slots__ = ("_exposed", "_origins", "_preflight", "_request_headers", "_to_all", "_vary")

    def __init__(self, cors: Cors) -> None:
        self._to_all = "*" in cors.origins
        self._origins = frozenset(origin.lower().encode() for origin in cors.origins)
        credentials = b"Access-Control-Allow-Credentials: true\r\n" if cors.credentials else b""
        self._exposed = credentials + _list(b"Access-Control-Expose-Headers", cors.expose)
        self._vary = b"" if self._to_all else b"Vary: Origin\r\n"
        self._preflight = (
            credentials
            + _list(b"Access-Control-Allow-Methods", cors.methods)
            + b"Access-Control-Max-Age: %d\r\n" % cors.max_age_seconds
        )
        self._request_headers = _list(b"Access-Control-Allow-Headers", cors.headers)
        """Empty where a page may set whichever it asks for."""

    def preflight(self, head: RequestHead, connection: bytes) -> bytes | None:
        """The whole answer to a browser that asks first, with `connection` as its last line; None for any other
        OPTIONS. An origin that may not is told nothing, which is what a browser takes for a no."""
        origin = _value(head, b"origin")
        if head.method != b"OPTIONS" or origin is None:
            return None
        if _value(head, b"access-control-request-method") is None:
            return None
        lines = b"Vary: Origin, Access-Control-Request-Headers\r\n"
        if (allowed := self._allowed(origin)) is not None:
            wanted = _value(head, b"access-control-request-headers")
            lines += allowed + self._preflight + (self._request_headers or _echo(wanted))
        return b"%b%b%b\r\n" % (STATUS_LINES[204], lines, connection)

    def lines(self, request: RequestHead) -> bytes:
        """For every answer to this request."""
        origin = _value(request, b"origin")
        allowed = None if origin is None else self._allowed(origin)
        return self._vary if allowed is None else self._vary + allowed + self._exposed

    def rewritten(self, request: RequestHead, response: ResponseHead) -> bytes:
        """The response's header lines with ours in the place of the function's."""
        kept = [header for header in response.headers if not header[0].lower().startswith(_OURS)]
        return header_lines(kept) + self.lines(request)

    def _allowed(self, origin: bytes) -> bytes | None:
        if self._to_all:
            return b"Access-Control-Allow-Origin: *\r\n"
        if origin.lower() not in self._origins:
            return None
        return b"Access-Control-Allow-Origin: %b\r\n" % origin


def _value(head: RequestHead, name: bytes) -> bytes | None:
    return next((value for given, value in head.headers if given.lower() == name), None)


def _list(name: bytes, words: Iterable[str]) -> bytes:
    listed = ", ".join(words).encode()
    return b"%b: %b\r\n" % (name, listed) if listed else b""


def _echo(wanted: bytes | None) -> bytes:
    if wanted is None or _NAMES.fullmatch(wanted) is None:
        return b""
    return b"Access-Control-Allow-Headers: %b\r\n" % wanted
