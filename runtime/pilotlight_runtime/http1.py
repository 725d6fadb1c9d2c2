"""HTTP/1.1 on the wire, for both ends of the data path: the router's two sides and the replica's server.

httptools (llhttp) checks the grammar of heads at C speed, and sees nothing but whole heads: its growth is quadratic
when a head comes in pieces, it cannot pause, and it has no mode for answers to HEAD. So this module finds a head's end
itself, within a bound, and frames bodies itself. It refuses what two parsers could read differently: HTTP/0.9, two
lengths, a length beside an encoding, an encoding on HTTP/1.0, any encoding but `chunked`, no Host or two.

One message at a time: bytes that follow a message are held until its user asks for the next one, so pipelining
needs nothing of the user. A user of RequestParser:

    def data_received(self, data):
        try:
            self.parser.feed(data)          # calls on_request, on_body any number of times, on_end
        except ProtocolError as error:
            ...                             # answer error.status, then close; nothing more is read
    def answered(self):
        self.parser.next()                  # the next request, now if its bytes are here (raises like feed)

A parser and its user refer to each other; `close()` cuts that, so that no connection waits for the collector.

`http1_framing` has what both directions share, `http1_fields` sorts headers, `http1_heads` says what a head means,
`http1_chunked` decodes chunks, `http1_writing` writes.
"""

import httptools

from pilotlight_runtime.http1_framing import (
    BETWEEN,
    CHUNKED,
    CLOSED,
    HEAD,
    HEADER_LIMIT_BYTES,
    LENGTH,
    UNTIL_END,
    Framing,
    RequestUser,
    ResponseUser,
)
from pilotlight_runtime.http1_heads import (
    HOP_BY_HOP,
    Headers,
    ProtocolError,
    RequestHead,
    ResponseHead,
    body_length,
    check_host,
    expects_continue,
    origin_form,
    read_connection,
)
from pilotlight_runtime.http1_writing import (
    BODILESS,
    CONTINUE,
    LAST_CHUNK,
    STATUS_LINES,
    chunk,
    header_lines,
    is_header,
    may_have_body,
    response_head,
)

__all__ = [
    "CONTINUE", "HEADER_LIMIT_BYTES", "HOP_BY_HOP", "LAST_CHUNK", "STATUS_LINES", "Headers", "ProtocolError",
    "RequestHead", "RequestParser", "RequestUser", "ResponseHead", "ResponseParser", "ResponseUser", "chunk",
    "header_lines", "is_header", "may_have_body", "response_head",
]  # fmt: skip


class RequestParser(Framing):
    """The server's side."""

    _user: RequestUser
    _refusal = 400
    _too_large = 431

    def __init__(
        self, user: RequestUser, *, noted: frozenset[bytes] = frozenset(), limit: int = HEADER_LIMIT_BYTES
    ) -> None:
        super().__init__(noted, limit)
        self._user = user
        self._state = HEAD
        self._host = b""  # the last one that was checked; a connection's requests nearly always name the same
        self._parser = httptools.HttpRequestParser(self._fields)

    def next(self) -> bool:
        """The message in hand was dealt with: go on with what came after it; within a callback that happens later.
        False when its body is still to come."""
        state = self._state
        if state == BETWEEN:
            self._state = HEAD
            self._searched = 0
            if self.held:
                self._resume()
        return state != LENGTH and state != CHUNKED

    def _on_head(self, data: bytes) -> None:
        fields = self._fields
        if self._stale:
            self._parser = httptools.HttpRequestParser(fields)
            self._stale = False
        head = RequestHead()
        head.headers = fields.headers = []
        noted = head.noted = fields.noted = {}
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stale = True  # what an upgrade means is for our user to say
        except httptools.HttpParserError as error:
            raise self._malformed(error) from None
        try:
            method, target, rest = data.split(b" ", 2)
        except ValueError:
            raise ProtocolError(400, "The request line is not `METHOD TARGET VERSION`.") from None
        head.method = method
        http10 = not rest.startswith(b"HTTP/1.1\r")
        if http10:
            self._check_version(data)
            head.http10 = True
        head.target = target if target[:1] == b"/" else origin_form(target, method)
        host = noted.get(b"host")
        if host != self._host or host is None:
            check_host(host, http10=http10)
            self._host = host or b""
        if http10 or len(noted) > 1:
            self._on_particular(head, noted)
            return
        self._state = BETWEEN
        self._user.on_request(head)
        if self._state == BETWEEN:
            self._user.on_end()

    def _on_particular(self, head: RequestHead, noted: dict[bytes, bytes]) -> None:
        """A request that says more than where it goes."""
        if head.http10 or b"connection" in noted:
            read_connection(head)
        if b"expect" in noted and not head.http10:
            head.expect_continue = expects_continue(noted[b"expect"])
        length: int | None = 0
        if b"content-length" in noted or b"transfer-encoding" in noted:
            length = head.content_length = body_length(noted, head.http10, 400)
        if length == 0:
            self._state = BETWEEN
        else:
            head.has_body = True
            self._begin_body(length)
        self._user.on_request(head)
        if self._state == BETWEEN and length == 0:
            self._user.on_end()

    def _check_version(self, data: bytes) -> None:
        line = data[: data.find(b"\r\n")]
        words = line.split(b" ")
        if len(words) != 3:
            raise ProtocolError(400, "The request line is not `METHOD TARGET VERSION`.")
        if words[2] != b"HTTP/1.0":
            raise ProtocolError(505, "HTTP/1.1 and HTTP/1.0 are spoken here, no other version.")

    def _take_after(self, data: bytes) -> None:
        if self._state == BETWEEN:
            self.held += data


class ResponseParser(Framing):
    """The client's side: `begin` before each response, which may be within the on_end of the one before.

    Within on_end `overrun` says whether bytes came after the response, which belong to none: then the connection is of
    no more use."""

    _user: ResponseUser
    _refusal = 502
    _too_large = 502
    _parser: httptools.HttpResponseParser

    def __init__(self, *, noted: frozenset[bytes] = frozenset(), limit: int = HEADER_LIMIT_BYTES) -> None:
        super().__init__(noted, limit)
        self._state = BETWEEN
        self._to_head = False
        self.keeps_alive = False
        """Within on_end: whether the peer would take another request."""
        self._parser = httptools.HttpResponseParser(self._fields)

    def begin(self, user: ResponseUser, *, to_head: bool = False) -> None:
        """A request was sent, and `user` waits for the response; `to_head` when its method is HEAD, whose answer has
        no body whatever it says."""
        self._user = user
        if not self.overrun:
            self._to_head = to_head
            self._state = HEAD

    def redirect(self, user: ResponseUser) -> None:
        """Tell somebody else about the rest of the response."""
        self._user = user

    def feed_end(self) -> None:
        """The peer will send no more. ProtocolError when a response is missing or not whole."""
        if self._state == UNTIL_END:
            self._state = BETWEEN
            self._user.on_end()
        elif self._state in (HEAD, LENGTH, CHUNKED):
            self._state = CLOSED
            raise ProtocolError(502, "The connection was closed before the response was whole.")

    def _on_head(self, data: bytes) -> None:
        fields = self._fields
        if self._stale:
            self._parser = httptools.HttpResponseParser(fields)
            self._stale = False
        head = ResponseHead()
        head.headers = fields.headers = []
        noted = head.noted = fields.noted = {}
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stale = True  # what an upgrade means is for our user to say
        except httptools.HttpParserError as error:
            raise self._malformed(error) from None
        if not data.startswith(b"HTTP/1.1 "):
            if not data.startswith(b"HTTP/1.0 "):
                raise ProtocolError(502, "The response is neither HTTP/1.1 nor HTTP/1.0.")
            head.http10 = True
        status = head.status = self._parser.get_status_code()
        if status < 200 and status != 101:
            self._on_interim(head)
            return
        if head.http10 or b"connection" in noted:
            read_connection(head)
        self.keeps_alive = head.keep_alive
        length = None
        framed = b"content-length" in noted or b"transfer-encoding" in noted
        if framed:
            length = head.content_length = body_length(noted, head.http10, 502)
        if self._to_head or length == 0 or status in BODILESS:
            self._stale = True
            self._state = BETWEEN
            self._user.on_response(head)
            if self._state == BETWEEN:
                self._user.on_end()
            return
        head.has_body = True
        if framed and status != 101:
            self._begin_body(length)
        else:
            head.keep_alive = self.keeps_alive = False
            self._state = UNTIL_END
        self._user.on_response(head)

    def _on_interim(self, head: ResponseHead) -> None:
        if head.status < 100:
            raise ProtocolError(502, "The response's status is not between 100 and 999.")
        self._user.on_interim(head)

    def _take_after(self, data: bytes) -> None:
        if self._state == BETWEEN:
            raise ProtocolError(502, "Bytes came that belong to no response.")
