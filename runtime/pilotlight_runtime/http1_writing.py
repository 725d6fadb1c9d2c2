"""Heads and pieces of bodies as bytes: part of http1, which says why."""

import re
from collections.abc import Iterable
from http import HTTPStatus

from pilotlight_runtime.http1_heads import TOKEN

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
BODILESS = frozenset({204, 304})

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
    return not to_head and status >= 200 and status not in BODILESS
