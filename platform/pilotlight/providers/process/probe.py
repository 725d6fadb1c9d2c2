"""Asking an adopted replica whether it takes requests: it was started by an earlier control plane, and its channel
died with that one. The question is also the word from a control plane without which replicas end themselves."""

import asyncio
from dataclasses import dataclass

_REQUEST = b"GET /_/ready HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n"
_HEAD_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    slots: int | None = None
    """None: it did not say."""


async def ask_ready(path: str, *, seconds: float) -> Readiness | None:
    """None when it gave no answer in that time. One that is still loading does not accept connections yet: its answer
    comes when it has loaded. One that closes the connection instead of answering is about to end."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(path, limit=_HEAD_LIMIT)
            try:
                writer.write(_REQUEST)
                return _readiness(await reader.readuntil(b"\r\n\r\n"))
            finally:
                writer.close()
    except TimeoutError:
        return None
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return Readiness(ready=False)


def _readiness(head: bytes) -> Readiness:
    status, *fields = head.split(b"\r\n")
    parts = status.split(b" ")
    if not parts[0].startswith(b"HTTP/1.") or parts[1:2] != [b"200"]:
        return Readiness(ready=False)
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"x-pilotlight-slots" and value.strip().isdigit():
            return Readiness(ready=True, slots=max(1, int(value)))
    return Readiness(ready=True)
