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
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Protocol

import httptools

from pilotlight_runtime.http1_chunked import ChunkedDecoder
from pilotlight_runtime.http1_heads import (
    HOP_BY_HOP,
    NOTED,
    TOKEN,
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

__all__ = [
    "CONTINUE", "HEADER_LIMIT_BYTES", "HOP_BY_HOP", "LAST_CHUNK", "STATUS_LINES", "Headers", "ProtocolError",
    "RequestHead", "RequestParser", "RequestUser", "ResponseHead", "ResponseParser", "ResponseUser", "chunk",
    "header_lines", "is_header", "may_have_body", "response_head",
]  # fmt: skip

HEADER_LIMIT_BYTES = 64 * 1024
HEADER_LIMIT_COUNT = 256
_FEW_HEADERS_BYTES = 4 * HEADER_LIMIT_COUNT  # nobody fits more headers than are allowed into so little

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"


class RequestUser(Protocol):
    def on_request(self, head: RequestHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...


class ResponseUser(Protocol):
    def on_interim(self, head: ResponseHead) -> None:
        """100 to 199 but 101; the response itself follows."""

    def on_response(self, head: ResponseHead) -> None:
        """After a 101 everything is given to on_body as it comes."""

    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...


# Where a parser stands.
_HEAD, _LENGTH, _CHUNKED, _UNTIL_END, _BETWEEN, _CLOSED = range(6)


class _Parser:
    """What the two directions share: finding heads, framing bodies, holding what follows."""

    _refusal: int
    """The status of a ProtocolError that has no better one."""
    _state: int
    _too_large: int
    """The same for a head over its limit."""
    _parser: httptools.HttpRequestParser | httptools.HttpResponseParser

    _user: RequestUser | ResponseUser

    def __init__(self, noted: frozenset[bytes], limit: int) -> None:
        self._names = NOTED | noted
        self._limit = limit
        self._held = bytearray()
        self._searched = 0
        self._running = False
        self._stale = False
        """Whether llhttp waits for a body that it will not see; then the next head needs a new one."""
        self._more = False
        """Whether bytes came with the last ones of the message in hand."""
        self._left = 0
        self._whole = True
        """Whether nothing of a body with a length came yet."""
        self._chunks: ChunkedDecoder | None = None
        self._headers: Headers = []
        self._noted: dict[bytes, bytes] = {}

    @property
    def held_bytes(self) -> int:
        """Of a head that is not whole, or after the message in hand. Stop reading when it grows."""
        return len(self._held)

    @property
    def in_head(self) -> bool:
        """Whether a part of a head is here; its sender may not take for ever."""
        return self._state == _HEAD and bool(self._held)

    def take_held(self) -> bytes:
        """What came after the message in hand, for somebody who reads it as something else (an upgrade)."""
        held = bytes(self._held)
        self._held.clear()
        return held

    def feed(self, data: bytes) -> None:
        """Take bytes in; calls the user back. ProtocolError ends this parser: whatever follows is ignored."""
        if self._held:
            self._feed_held(data)
            return
        self._running = True
        try:
            while data:
                state = self._state
                if state == _HEAD:
                    end = data.find(b"\r\n\r\n") + 4
                    if end == len(data) <= _FEW_HEADERS_BYTES and end > 4 and 0x41 <= data[0] <= 0x5A:
                        self._more = False
                        self._on_head(data)
                        return
                    data = self._take_head(data, end)
                elif state == _LENGTH:
                    data = self._take_length(data)
                elif state == _CHUNKED:
                    data = self._take_chunked(data)
                elif state == _UNTIL_END:
                    self._user.on_body(data)
                    return
                else:
                    self._take_after(data)
                    return
        except ProtocolError:
            self._state = _CLOSED
            raise
        finally:
            self._running = False

    def close(self) -> None:
        """Ignore everything from now on, and let go of the user."""
        self._state = _CLOSED
        self._held.clear()
        self._chunks = None
        self.__dict__.pop("_user", None)
        self.__dict__.pop("_parser", None)

    def on_header(self, name: bytes, value: bytes) -> None:
        """httptools calls this within `feed`."""
        lower = name.lower()
        value = value.rstrip(b" \t")
        if lower not in self._names:
            self._headers.append((name, value))
        elif lower in self._noted:
            self._noted[lower] += b", " + value
        else:
            self._noted[lower] = value

    def _feed_held(self, data: bytes) -> None:
        """More of what cannot be read yet. Each byte of a head that comes in pieces is looked at once."""
        self._held += data
        if self._state != _HEAD:
            return
        if self._held.find(b"\r\n\r\n", self._searched) < 0:
            self._searched = max(0, len(self._held) - 3)
            if len(self._held) > self._limit:
                self._state = _CLOSED
                raise self._header_too_large()
            return
        self.feed(self.take_held())

    def _take_head(self, data: bytes, end: int) -> bytes:
        """A head that is not alone, not whole, or large."""
        if end < 4 or end > self._limit or not 0x41 <= data[0] <= 0x5A:
            return self._take_odd_head(data)
        if end > _FEW_HEADERS_BYTES and data.count(b"\n", 0, end) > HEADER_LIMIT_COUNT + 2:
            raise self._header_too_large()
        self._more = end < len(data)
        self._on_head(data[:end])
        return data[end:]

    def _take_odd_head(self, data: bytes) -> bytes:
        """Empty lines before a message are ignored (RFC 9112, 2.2); a method and `HTTP/` begin with A to Z."""
        stripped = data.lstrip(b"\r\n")
        if len(stripped) < len(data):
            return stripped
        if not 0x41 <= data[0] <= 0x5A:
            raise ProtocolError(self._refusal, "This is not HTTP.")
        if len(data) > self._limit:
            raise self._header_too_large()
        self._held += data
        self._searched = max(0, len(data) - 3)
        return b""

    def _take_length(self, data: bytes) -> bytes:
        left = self._left
        size = len(data)
        if size < left:
            self._left = left - size
            self._whole = False
            self._user.on_body(data)
            return b""
        rest = b""
        if size > left:
            data, rest = data[:left], data[left:]
        if self._whole:
            # Most bodies come in one piece: showing it to llhttp is cheaper than a new llhttp.
            self._parser.feed_data(data)
            self._stale = False
        self._user.on_body(data)
        if self._state == _LENGTH:
            self._more = rest != b""
            self._state = _BETWEEN
            self._user.on_end()
        return rest

    def _take_chunked(self, data: bytes) -> bytes:
        chunks = self._chunks
        assert chunks is not None  # noqa: S101 (the state says so; this tells the type checker)
        rest = chunks.decode(data, self._emit)
        if rest is None:
            return b""
        if self._state == _CHUNKED:
            self._chunks = None
            self._more = rest != b""
            self._state = _BETWEEN
            self._user.on_end()
        return rest

    def _emit(self, data: bytes) -> bool:
        """A piece of a chunked body; False when the user closed the parser."""
        self._user.on_body(data)
        return self._state == _CHUNKED

    def _resume(self) -> None:
        if self._held and not self._running:
            self.feed(self.take_held())

    def _malformed(self, error: httptools.HttpParserError) -> ProtocolError:
        if isinstance(error, httptools.HttpParserInvalidMethodError):
            return ProtocolError(501, "The request's method is not known here.")
        return ProtocolError(self._refusal, f"This is not HTTP/1.1: {error}.")

    def _header_too_large(self) -> ProtocolError:
        sentence = f"The head has more than {self._limit} bytes or {HEADER_LIMIT_COUNT} headers."
        return ProtocolError(self._too_large, sentence, limit="header")

    def _begin_body(self, length: int | None) -> None:
        """None: chunked."""
        self._stale = True
        if length is None:
            self._chunks = ChunkedDecoder(self._refusal)
            self._state = _CHUNKED
        else:
            self._left = length
            self._whole = True
            self._state = _LENGTH

    def _on_head(self, data: bytes) -> None:
        raise NotImplementedError

    def _take_after(self, data: bytes) -> None:
        raise NotImplementedError


class RequestParser(_Parser):
    """The server's side."""

    _user: RequestUser
    _refusal = 400
    _too_large = 431

    def __init__(
        self, user: RequestUser, *, noted: frozenset[bytes] = frozenset(), limit: int = HEADER_LIMIT_BYTES
    ) -> None:
        super().__init__(noted, limit)
        self._user = user
        self._state = _HEAD
        self._host = b""  # the last one that was checked; a connection's requests nearly always name the same
        self._parser = httptools.HttpRequestParser(self)

    def next(self) -> bool:
        """The message in hand was dealt with: go on with what came after it; within a callback that happens later.
        False when its body is still to come."""
        state = self._state
        if state == _BETWEEN:
            self._state = _HEAD
            self._searched = 0
            if self._held:
                self._resume()
        return state != _LENGTH and state != _CHUNKED

    def _on_head(self, data: bytes) -> None:
        if self._stale:
            self._parser = httptools.HttpRequestParser(self)
            self._stale = False
        head = RequestHead()
        head.headers = self._headers = []
        noted = head.noted = self._noted = {}
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
        if http10 or b"connection" in noted:
            read_connection(head)
        if b"expect" in noted and not http10:
            head.expect_continue = expects_continue(noted[b"expect"])
        if b"content-length" in noted or b"transfer-encoding" in noted:
            self._on_framed(head, noted)
            return
        self._state = _BETWEEN
        self._user.on_request(head)
        if self._state == _BETWEEN:
            self._user.on_end()

    def _on_framed(self, head: RequestHead, noted: dict[bytes, bytes]) -> None:
        length = head.content_length = body_length(noted, head.http10, 400)
        if length == 0:
            self._state = _BETWEEN
        else:
            head.has_body = True
            self._begin_body(length)
        self._user.on_request(head)
        if self._state == _BETWEEN and length == 0:
            self._user.on_end()

    def _check_version(self, data: bytes) -> None:
        line = data[: data.find(b"\r\n")]
        words = line.split(b" ")
        if len(words) != 3:
            raise ProtocolError(400, "The request line is not `METHOD TARGET VERSION`.")
        if words[2] != b"HTTP/1.0":
            raise ProtocolError(505, "HTTP/1.1 and HTTP/1.0 are spoken here, no other version.")

    def _take_after(self, data: bytes) -> None:
        if self._state == _BETWEEN:
            self._held += data


class ResponseParser(_Parser):
    """The client's side: `begin` before each response, which may be within the on_end of the one before."""

    _user: ResponseUser
    _refusal = 502
    _too_large = 502
    _parser: httptools.HttpResponseParser

    def __init__(self, *, noted: frozenset[bytes] = frozenset(), limit: int = HEADER_LIMIT_BYTES) -> None:
        super().__init__(noted, limit)
        self._state = _BETWEEN
        self._to_head = False
        self.keeps_alive = False
        """Within on_end: whether the peer would take another request."""
        self._parser = httptools.HttpResponseParser(self)

    @property
    def overrun(self) -> bool:
        """Within on_end: bytes came after the response, which belong to none. The connection is of no more use."""
        return self._more

    def begin(self, user: ResponseUser, *, to_head: bool = False) -> None:
        """A request was sent, and `user` waits for the response; `to_head` when its method is HEAD, whose answer has
        no body whatever it says."""
        self._user = user
        if not self._more:
            self._to_head = to_head
            self._state = _HEAD

    def redirect(self, user: ResponseUser) -> None:
        """Tell somebody else about the rest of the response."""
        self._user = user

    def feed_end(self) -> None:
        """The peer will send no more. ProtocolError when a response is missing or not whole."""
        if self._state == _UNTIL_END:
            self._state = _BETWEEN
            self._user.on_end()
        elif self._state in (_HEAD, _LENGTH, _CHUNKED):
            self._state = _CLOSED
            raise ProtocolError(502, "The connection was closed before the response was whole.")

    def _on_head(self, data: bytes) -> None:
        if self._stale:
            self._parser = httptools.HttpResponseParser(self)
            self._stale = False
        head = ResponseHead()
        head.headers = self._headers = []
        noted = head.noted = self._noted = {}
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
        self._on_final(head, status)

    def _on_interim(self, head: ResponseHead) -> None:
        if head.status < 100:
            raise ProtocolError(502, "The response's status is not between 100 and 999.")
        self._user.on_interim(head)

    def _on_final(self, head: ResponseHead, status: int) -> None:
        noted = head.noted
        framed = b"content-length" in noted or b"transfer-encoding" in noted
        length = head.content_length = body_length(noted, head.http10, 502) if framed else None
        self.keeps_alive = head.keep_alive
        if self._to_head or status in _BODILESS or length == 0:
            self._stale = True
            self._state = _BETWEEN
            self._user.on_response(head)
            if self._state == _BETWEEN:
                self._user.on_end()
            return
        head.has_body = True
        if framed and status != 101:
            self._begin_body(length)
        else:
            head.keep_alive = self.keeps_alive = False
            self._state = _UNTIL_END
        self._user.on_response(head)

    def _take_after(self, data: bytes) -> None:
        if self._state == _BETWEEN:
            raise ProtocolError(502, "Bytes came that belong to no response.")


# Writing.

_BODILESS = frozenset({204, 304})
_BAD_VALUE = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(TOKEN)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"


STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, _reason(status)) for status in range(100, 1000)}
"""The status line by status, ready to be written."""


def is_header(name: bytes, value: bytes) -> bool:
    """Whether a header that somebody made up may be written: neither can end its line."""
    return _NAME.fullmatch(name) is not None and _BAD_VALUE.search(value) is None


def response_head(status: int, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """A whole head; the headers must have been checked (`is_header`) or parsed."""
    return b"%b%b\r\n" % (STATUS_LINES[status], header_lines(headers))


def header_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"".join([b"%b: %b\r\n" % header for header in headers])


def chunk(data: bytes) -> bytes:
    """A piece of a chunked body; the piece must not be empty, since that would end it."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def may_have_body(status: int, *, to_head: bool) -> bool:
    """Whether bytes may follow the head of a response."""
    return not to_head and status >= 200 and status not in _BODILESS
