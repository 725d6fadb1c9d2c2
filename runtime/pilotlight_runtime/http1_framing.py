"""What the parsers of requests and responses share: finding heads, framing bodies, holding what follows. Part of http1,
which says why."""

from typing import Protocol

import httptools

from pilotlight_runtime.http1_chunked import ChunkedDecoder
from pilotlight_runtime.http1_fields import Fields, spellings
from pilotlight_runtime.http1_heads import ProtocolError, RequestHead, ResponseHead

HEADER_LIMIT_BYTES = 64 * 1024
HEADER_LIMIT_COUNT = 256
_FEW_HEADERS_BYTES = 4 * HEADER_LIMIT_COUNT  # nobody fits more headers than are allowed into so little


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
HEAD, LENGTH, CHUNKED, UNTIL_END, BETWEEN, CLOSED = range(6)


class Framing:
    """One side's bytes on their way from a connection to a user."""

    _refusal: int
    """The status of a ProtocolError that has no better one."""
    _state: int
    _too_large: int
    """The same for a head over its limit."""
    _parser: httptools.HttpRequestParser | httptools.HttpResponseParser

    _user: RequestUser | ResponseUser

    def __init__(self, noted: frozenset[bytes], limit: int) -> None:
        self._fields = Fields(spellings(noted))
        self._limit = limit
        self._few = min(_FEW_HEADERS_BYTES, limit)
        self.held = bytearray()
        """Of a head that is not whole, or after the message in hand. Stop reading when it grows."""
        self.overrun = False
        """Whether bytes came with the last ones of the message in hand."""
        self._searched = 0
        self._running = False
        self._stale = False
        """Whether llhttp waits for a body that it will not see; then the next head needs a new one."""
        self._left = 0
        self._whole = True
        """Whether nothing of a body with a length came yet, and llhttp may see it."""
        self._chunks: ChunkedDecoder | None = None

    @property
    def held_bytes(self) -> int:
        return len(self.held)

    @property
    def in_head(self) -> bool:
        """Whether a part of a head is here; its sender may not take for ever."""
        return self._state == HEAD and bool(self.held)

    def take_held(self) -> bytes:
        """What came after the message in hand, for somebody who reads it as something else (an upgrade)."""
        held = bytes(self.held)
        self.held.clear()
        return held

    def feed(self, data: bytes) -> None:
        """Take bytes in; calls the user back. ProtocolError ends this parser: whatever follows is ignored."""
        if self.held:
            self._feed_held(data)
            return
        self._running = True
        try:
            while data:
                state = self._state
                if state == HEAD:
                    end = data.find(b"\r\n\r\n") + 4
                    size = len(data)
                    if 4 < end <= self._few and 0x41 <= data[0] <= 0x5A:
                        if end == size:
                            self.overrun = False
                            self._on_head(data)
                            return
                        self.overrun = True
                        self._on_head(data[:end])
                        data = data[end:]
                    else:
                        data = self._take_head(data, end)
                elif state == LENGTH:
                    data = self._take_length(data)
                elif state == CHUNKED:
                    data = self._take_chunked(data)
                elif state == UNTIL_END:
                    self._user.on_body(data)
                    return
                else:
                    self._take_after(data)
                    return
        except ProtocolError:
            self._state = CLOSED
            raise
        finally:
            self._running = False

    def close(self) -> None:
        """Ignore everything from now on, and let go of the user."""
        self._state = CLOSED
        self.held.clear()
        self._chunks = None
        self.__dict__.pop("_user", None)
        self.__dict__.pop("_parser", None)

    def _feed_held(self, data: bytes) -> None:
        """More of what cannot be read yet. Each byte of a head that comes in pieces is looked at once."""
        self.held += data
        if self._state != HEAD:
            return
        if self.held.find(b"\r\n\r\n", self._searched) < 0:
            self._searched = max(0, len(self.held) - 3)
            if len(self.held) > self._limit:
                self._state = CLOSED
                raise self._header_too_large()
            return
        self.feed(self.take_held())

    def _take_head(self, data: bytes, end: int) -> bytes:
        """A head that is not whole, or large."""
        if end < 4 or end > self._limit or not 0x41 <= data[0] <= 0x5A:
            return self._take_odd_head(data)
        if end > _FEW_HEADERS_BYTES and data.count(b"\n", 0, end) > HEADER_LIMIT_COUNT + 2:
            raise self._header_too_large()
        self.overrun = end < len(data)
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
        self.held += data
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
        if self._state == LENGTH:
            self.overrun = rest != b""
            self._state = BETWEEN
            self._user.on_end()
        return rest

    def _take_chunked(self, data: bytes) -> bytes:
        chunks = self._chunks
        assert chunks is not None  # noqa: S101 (the state says so; this tells the type checker)
        rest = chunks.decode(data, self._emit)
        if rest is None:
            return b""
        if self._state == CHUNKED:
            self._chunks = None
            self.overrun = rest != b""
            self._state = BETWEEN
            self._user.on_end()
        return rest

    def _emit(self, data: bytes) -> bool:
        """A piece of a chunked body; False when the user closed the parser."""
        self._user.on_body(data)
        return self._state == CHUNKED

    def _resume(self) -> None:
        if self.held and not self._running:
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
        upgraded, self._stale = self._stale, True
        if length is None:
            self._chunks = ChunkedDecoder(self._refusal)
            self._state = CHUNKED
        else:
            self._left = length
            self._whole = not upgraded  # after `Upgrade` llhttp would take the body for another head
            self._state = LENGTH

    def _on_head(self, data: bytes) -> None:
        raise NotImplementedError

    def _take_after(self, data: bytes) -> None:
        raise NotImplementedError
