"""Decodes one chunked body, in whatever pieces it comes: part of http1, which says why httptools does not."""

import re
from collections.abc import Callable

from pilotlight_runtime.http1_heads import TOKEN, ProtocolError

CHUNK_LINE_LIMIT_BYTES = 256
TRAILER_LIMIT_BYTES = 8 * 1024

_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
_TRAILER = re.compile(TOKEN + rb":[^\x00-\x08\x0a-\x1f\x7f]*\r\n")


class ChunkedDecoder:
    """`refusal` is the status of the errors that it raises."""

    __slots__ = ("_expects", "_left", "_line", "_refusal", "_trailers")

    def __init__(self, refusal: int) -> None:
        self._refusal = refusal
        self._left = 0
        self._line = b""
        self._trailers = 0
        self._expects = self._size

    def decode(self, data: bytes, emit: Callable[[bytes], bool]) -> bytes | None:
        """Emit the body's bytes, until that says False; at the body's end return what follows it, before that None."""
        position, end = 0, len(data)
        while position < end:
            if self._left:
                piece = data[position : position + self._left]
                position += len(piece)
                self._left -= len(piece)
                if not emit(piece):
                    return b""
                continue
            at = data.find(b"\n", position) + 1
            self._line += data[position : at or end]
            self._check_line()
            if not at:
                return None
            line, self._line = self._line, b""
            position = at
            if self._expects(line):
                return data[position:]
        return None

    def _check_line(self) -> None:
        """It grows piece by piece, but not beyond its bound."""
        if len(self._line) > CHUNK_LINE_LIMIT_BYTES and self._expects != self._trailer:
            raise ProtocolError(self._refusal, "A chunk's size line is too long.")
        if len(self._line) + self._trailers > TRAILER_LIMIT_BYTES:
            raise ProtocolError(self._refusal, "The trailers are too large.", limit="header")

    def _size(self, line: bytes) -> bool:
        match = _CHUNK_SIZE.fullmatch(line)
        if match is None:
            raise ProtocolError(self._refusal, "A chunk's size line is malformed.")
        self._left = int(match[1], 16)
        self._expects = self._after_data if self._left else self._trailer
        return False

    def _after_data(self, line: bytes) -> bool:
        if line != b"\r\n":
            raise ProtocolError(self._refusal, "A chunk is longer than its size.")
        self._expects = self._size
        return False

    def _trailer(self, line: bytes) -> bool:
        """Trailers are checked and dropped."""
        if line == b"\r\n":
            return True
        self._trailers += len(line)
        if _TRAILER.fullmatch(line) is None:
            raise ProtocolError(self._refusal, "A trailer is malformed.")
        return False
