"""Whether a container takes requests: by /_/ready, by /_/health, or by listening at all."""

import asyncio
from dataclasses import dataclass

SILENT_SECONDS = 1.0
"""A server that takes a connection and says nothing for this long listens; what it does with a path that it does not
know is its own affair."""
FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.005, 0.25, 1.5
_NOT_YET = (429, 503)
_HEAD_LIMIT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    slots: int | None = None
    """None: it did not say."""


async def ask(address: str) -> Readiness:
    """`address` is `tcp:HOST:PORT`."""
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    answer = await _get(host, int(port), "/_/ready")
    if answer is not None and answer.status == 404:
        health = await _get(host, int(port), "/_/health")
        answer = health if health is not None and health.status in _NOT_YET else answer
    if answer is None:
        return Readiness(ready=False)
    return Readiness(ready=answer.status not in _NOT_YET, slots=answer.slots)


async def until_ready(address: str) -> Readiness:
    """Asks as long as it takes; whoever waits for it has the deadline."""
    pause = FIRST_PAUSE
    while not (found := await ask(address)).ready:
        await asyncio.sleep(pause)
        pause = min(pause * GROWTH, LAST_PAUSE)
    return found


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    slots: int | None = None


async def _get(host: str, port: int, path: str) -> _Answer | None:
    """None when nobody listens, or who does hangs up without a word (as a published port does before its container
    listens). Status 0 for what is no HTTP, or says nothing."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port, limit=_HEAD_LIMIT)
    except (TimeoutError, OSError):
        return None
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except (TimeoutError, asyncio.LimitOverrunError):
        return _Answer(0)
    except asyncio.IncompleteReadError as error:
        return _Answer(0) if error.partial else None
    except OSError:
        return None
    finally:
        writer.close()


def parse_head(head: bytes) -> _Answer:
    status, *fields = head.split(b"\r\n")
    parts = status.split(b" ")
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        return _Answer(0)
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"x-pilotlight-slots" and value.strip().isdigit():
            return _Answer(int(parts[1]), max(1, int(value)))
    return _Answer(int(parts[1]))
