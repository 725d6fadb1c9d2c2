"""Headers that the router adds: who calls, through what, under which id."""

import os
import re

from pilotlight_runtime.http1 import RequestHead, header_lines

REQUEST_NOTED = frozenset(
    {
        b"content-type", b"x-call-id", b"x-start-time", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto",
        b"x-pilotlight-depth",
    }
)  # fmt: skip
_BLOCK = 4096
_CALL_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class CallIds:
    """UUIDs (version 4 by their form), made in blocks: a random beginning for each block, counted within it."""

    __slots__ = ("_count", "_endings", "_prefix")

    def __init__(self) -> None:
        self._count = 0
        self._endings = [b"%012x" % number for number in range(_BLOCK)]
        self._prefix = b""

    def of(self, given: bytes | None) -> bytes:
        """The caller's own where it is sane."""
        if given is not None and _CALL_ID.fullmatch(given) is not None:
            return given
        if self._count == 0:
            digits = os.urandom(10).hex()
            self._prefix = f"{digits[:8]}-{digits[8:12]}-4{digits[12:15]}-a{digits[15:18]}-".encode()
            self._count = _BLOCK
        count = self._count = self._count - 1
        return self._prefix + self._endings[count]


def depth_of(head: RequestHead) -> int:
    """How many functions lie between the first caller and this call; the runtime counts it up."""
    given = head.noted.get(b"x-pilotlight-depth", b"")
    return int(given) if given.isdigit() and len(given) <= 9 else 0


def offers_websocket(head: RequestHead) -> bool:
    """Other upgrades are not offered on: a function that took `h2c` would be out of our sight."""
    return head.upgrade is not None and head.upgrade.lower() == b"websocket"


def forwarded(head: RequestHead, path: bytes, caller: bytes, own: bytes) -> bytes:
    """A request's head as it is passed on, with `own` as its last header lines."""
    noted = head.noted
    host = noted.get(b"host", b"")
    lines = header_lines(head.headers) if head.headers else b""
    proto, original = b"http", host
    if len(noted) > 1 or head.has_body:
        lines += _framing(head)
        proto = noted.get(b"x-forwarded-proto", proto)
        original = noted.get(b"x-forwarded-host", original)
        if b"x-forwarded-for" in noted:
            caller = noted[b"x-forwarded-for"] + b", " + caller
    return (
        b"%b %b HTTP/1.1\r\nHost: %b\r\n%b"
        b"X-Forwarded-For: %b\r\nX-Forwarded-Host: %b\r\nX-Forwarded-Proto: %b\r\n%b\r\n"
    ) % (head.method, path, host, lines, caller, original, proto, own)


def _framing(head: RequestHead) -> bytes:
    """What the parser noted and the next one needs to know as well."""
    noted = head.noted
    lines = b""
    if b"content-type" in noted:
        lines += b"Content-Type: %b\r\n" % noted[b"content-type"]
    if depth := depth_of(head):
        lines += b"X-Pilotlight-Depth: %d\r\n" % depth
    if head.content_length is None:
        lines += b"Transfer-Encoding: chunked\r\n"
    elif b"content-length" in noted:
        lines += b"Content-Length: %d\r\n" % head.content_length
    if offers_websocket(head):
        lines += b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    return lines
