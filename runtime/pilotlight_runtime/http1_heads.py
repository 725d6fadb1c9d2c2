"""What the head of an HTTP/1.1 message may say, and what that means: part of http1, which says why.

The parsers ask here for everything that an ordinary head does not have, so that an ordinary one costs little.
"""

import re

Headers = list[tuple[bytes, bytes]]

HOP_BY_HOP = frozenset(
    {
        b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
        b"te", b"trailer", b"transfer-encoding", b"upgrade",
    }
)  # fmt: skip
NOTED = HOP_BY_HOP | {b"host", b"content-length", b"expect"}

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_HOST = re.compile(rb"[A-Za-z0-9.\-_~%!$&'()*+;=:\[\]]*")
_ABSOLUTE = re.compile(rb"[Hh][Tt][Tt][Pp][Ss]?://[^/?#]+(/[^#]*|\?[^#]*)?(?:#.*)?")
_CONNECTION_OPTIONS = frozenset({b"close", b"keep-alive", b"upgrade", b"te", b""})


class ProtocolError(Exception):
    """The peer broke HTTP: the status to answer (if one can still be given), a sentence, and the limit that fired."""

    def __init__(self, status: int, sentence: str, *, limit: str | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.limit = limit


class RequestHead:
    """A request line and headers that were checked.

    `headers` are in the order and spelling in which they came, without those in `noted`: by lower-case name, the
    hop-by-hop ones, Host, Content-Length, Expect, and what the parser's user wanted noted (a repeated one is joined by
    ", "). What stays in `headers` may be passed on as it is.
    """

    # Values of an ordinary request stand here, so that making a head sets only what it has of its own.
    method: bytes
    target: bytes
    """In origin form (`/path?query`), or `*`."""
    headers: Headers
    noted: dict[bytes, bytes]
    http10: bool = False
    keep_alive: bool = True
    has_body: bool = False
    """Whether on_body may follow."""
    content_length: int | None = 0
    """None when the body is chunked; 0 when there is none."""
    expect_continue: bool = False
    upgrade: bytes | None = None
    """The protocol that is asked for, with `Connection: upgrade`."""


class ResponseHead:
    """A status line and headers that were checked; `headers` and `noted` as in RequestHead."""

    status: int
    headers: Headers
    noted: dict[bytes, bytes]
    http10: bool = False
    keep_alive: bool = True
    """False too when only the connection's end ends the body."""
    has_body: bool = False
    content_length: int | None = None
    """As the header says, also where no body may follow (HEAD, 304); None when it says nothing."""
    upgrade: bytes | None = None


def origin_form(target: bytes, method: bytes) -> bytes:
    """A target that does not begin with a slash."""
    if method == b"CONNECT":
        raise ProtocolError(501, "CONNECT is not supported: this is no forward proxy.")
    if target == b"*" and method == b"OPTIONS":
        return target
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        raise ProtocolError(400, "The request's target is neither a path nor an http URL.")
    path: bytes = match[1] or b"/"
    return path if path.startswith(b"/") else b"/" + path


def check_host(host: bytes | None, *, http10: bool) -> None:
    if host is None:
        if not http10:
            raise ProtocolError(400, "The request has no Host header.")
    elif _HOST.fullmatch(host) is None:  # two of them were joined by a comma
        raise ProtocolError(400, "The request has more than one Host header, or a malformed one.")


def read_connection(head: RequestHead | ResponseHead) -> None:
    """keep_alive, upgrade, and what Connection names as hop-by-hop."""
    connection = head.noted.get(b"connection")
    if connection is None:
        head.keep_alive = not head.http10
        return
    tokens = {token.strip() for token in connection.lower().split(b",")}
    head.keep_alive = b"close" not in tokens and (not head.http10 or b"keep-alive" in tokens)
    if b"upgrade" in tokens and not head.http10:
        head.upgrade = head.noted.get(b"upgrade")
    if named := tokens - _CONNECTION_OPTIONS:
        # What frames the message or names its host cannot be made to vanish.
        for name in named - NOTED:
            head.noted.pop(name, None)
        head.headers = [header for header in head.headers if header[0].lower() not in named]


def expects_continue(value: bytes) -> bool:
    if value.lower() != b"100-continue":
        raise ProtocolError(417, "Of all expectations only `100-continue` is known.")
    return True


def body_length(noted: dict[bytes, bytes], http10: bool, refusal: int) -> int | None:
    """How long the body is, by headers of which at least one is there; None for chunked."""
    length = noted.get(b"content-length")
    encoding = noted.get(b"transfer-encoding")
    if encoding is None:
        if length is None or not length.isdigit() or len(length) > 18:
            raise ProtocolError(refusal, "Content-Length is no number, or there are two of them.")
        return int(length)
    if length is not None:
        raise ProtocolError(refusal, "Content-Length and Transfer-Encoding exclude each other.")
    if http10:
        raise ProtocolError(refusal, "HTTP/1.0 has no Transfer-Encoding.")
    if encoding.lower() != b"chunked":
        raise ProtocolError(501 if refusal == 400 else refusal, "Of all transfer encodings only `chunked` is known.")
    return None
