"""Whether a container takes requests: by /_/ready, by /_/health, or by listening at all."""

import asyncio
from dataclasses import dataclass

from pilotlight.providers.docker.watchdogs import Asked, until_behind

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


async def ask(asked: Asked) -> Readiness:
    address = asked.address
    if not asked.watchdog.asks_ready:
        health = await _get(address, "/_/health")
        if health is None or not health.ours or health.status in _NOT_YET:
            return Readiness(ready=health is not None and health.status not in _NOT_YET, slots=asked.most)
    answer = await _get(address, "/_/ready")
    if answer is not None and answer.status == 404:
        health = await _get(address, "/_/health")
        answer = health if health is not None and health.status in _NOT_YET else answer
    if answer is None:
        return Readiness(ready=False)
    return Readiness(ready=answer.status not in _NOT_YET, slots=answer.slots or asked.most)


async def until_ready(asked: Asked) -> Readiness:
    """Asks as long as it takes; whoever waits for it has the deadline."""
    pause = FIRST_PAUSE
    while not (found := await ask(asked)).ready:
        await asyncio.sleep(pause)
        pause = min(pause * GROWTH, LAST_PAUSE)
    await until_behind(asked)
    return found


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    slots: int | None = None
    ours: bool = False
    """It says itself that its /_/ready is no call of a function."""


async def _get(address: str, path: str) -> _Answer | None:
    """None when nobody listens, or who does hangs up without a word (as a published port does before its container
    listens). Status 0 for what is no HTTP, or says nothing."""
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            reader, writer = await _connect(address)
    except (TimeoutError, OSError):
        return None
    try:
        async with asyncio.timeout(SILENT_SECONDS):
            writer.write(f"GET {path} HTTP/1.1\r\nHost: replica\r\nConnection: close\r\n\r\n".encode())
            return parse_head(await reader.readuntil(b"\r\n\r\n"))
    except (TimeoutError, asyncio.LimitOverrunError):
        return _Answer(0)
    except asyncio.IncompleteReadError as error:
        return _Answer(0) if error.partial else None
    except OSError:
        return None
    finally:
        writer.close()


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if address.startswith("unix:"):
        return await asyncio.open_unix_connection(address.removeprefix("unix:"), limit=_HEAD_LIMIT)
    host, _, port = address.removeprefix("tcp:").rpartition(":")
    return await asyncio.open_connection(host, int(port), limit=_HEAD_LIMIT)


def parse_head(head: bytes) -> _Answer:
    status, *fields = head.split(b"\r\n")
    parts = status.split(b" ")
    if not parts[0].startswith(b"HTTP/1.") or len(parts) < 2 or not parts[1].isdigit():
        return _Answer(0)
    slots, ours = None, False
    for field in fields:
        name, _, value = field.partition(b":")
        if name.strip().lower() == b"x-pilotlight-slots" and value.strip().isdigit():
            slots = max(1, int(value))
        ours = ours or name.strip().lower() == b"x-pilotlight-ready"
    return _Answer(int(parts[1]), slots, ours)
