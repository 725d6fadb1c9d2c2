"""The callers of a round of chaos: patient, slow, impatient and rude ones; and what may become of each call."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from pilotlight.config import RouterSettings
from pilotlight.supervisor import LONGEST_PAUSE
from tests.bench._chaos_plan import GONE, LEAVING, Ask, Round
from tests.bench._soak_traffic import Kill
from tests.load import Connection

ROUTER, CONTROL_PLANE = "router", "control plane"
BUSY_SECONDS = 2.0
"""The router looks at deadlines each 50 ms, and a call that was lost is explained within 0.3 s. The rest is for the
machine: on two cores, with some forty processes being started and killed, any of them may be late by a second."""
BACK_SECONDS = LONGEST_PAUSE + 3.0
"""A killed router or control plane is started again after the supervisor's pause, the longest if it was killed often;
then Python, its imports and the adoption of what runs take up to three seconds on a busy machine. A call that was not
yet accepted waits in the listening socket, and its time begins when the next router reads it."""
HOLD_SECONDS = RouterSettings().hold_without_routes_seconds
"""A new router has no routes while there is no control plane: it holds calls for so long, whatever their timeout."""
PATIENCE_SECONDS = 90.0
"""More than anybody may have to wait: who is still there has been forgotten."""
LEFT, BROKEN, FORGOTTEN, WRONG = "left", "broken", "forgotten", "wrong"
STATUSES = frozenset({"200", "429", "502", "503", "504"})
"""Answered, a full queue, a replica that died, none that starts (or no routes), and too late."""
PIECE_BYTES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a caller got: a status, or one of the words above; `wrong` has what is wrong about it."""

    ask: Ask
    what: str
    detail: str = ""
    began: float
    ended: float


async def call_all(url: str, plan: Round) -> list[Told]:
    calls: list[asyncio.Task[Told]] = []
    for wave in plan.waves:
        calls += [asyncio.create_task(_told(url, ask)) for ask in wave.asks]
        await asyncio.sleep(wave.rest_seconds)
    return await asyncio.gather(*calls)


def limit_seconds(timeout_seconds: float, began: float, ended: float, kills: Sequence[Kill]) -> float:
    """How long a call may have taken that began and ended then."""
    roles = [kill.role for kill in kills if began - BACK_SECONDS <= kill.at <= ended]
    routers = roles.count(ROUTER)
    held = HOLD_SECONDS if routers and CONTROL_PLANE in roles else 0.0
    return max(timeout_seconds, held) + routers * BACK_SECONDS + BUSY_SECONDS


def complaint(told: Told, timeout_seconds: float, kills: Sequence[Kill]) -> str:
    """What is wrong with what became of the call; empty when nothing is."""
    ask, took = told.ask, told.ended - told.began
    which = f"call {ask.id} of {ask.function} ({ask.method}, {len(ask.body)} bytes, {ask.way}; {ask.work})"
    if told.what == FORGOTTEN:
        return f"{which} had no answer within {PATIENCE_SECONDS:g} s"
    if told.what == LEFT:
        return ""
    limit = limit_seconds(timeout_seconds, told.began, told.ended, kills)
    if took > limit:
        return f"{which}: {told.what} after {took:.1f} s, where {limit:.1f} s are the most"
    if told.what == BROKEN:
        return "" if _may_break(told, kills) else f"{which}: the connection broke, and no router was killed"
    if told.what in STATUSES or (told.what == "404" and ask.function == GONE):
        return ""
    return f"{which}: {told.what} {told.detail}"


def _may_break(told: Told, kills: Sequence[Kill]) -> bool:
    """With its router; in the middle of an answer, with its replica. Who closes one side of it is taken for gone."""
    if told.ask.work == "stream" or told.ask.way == "half-closed":
        return True
    since = told.began - BACK_SECONDS
    return any(kill.role == ROUTER and since <= kill.at <= told.ended for kill in kills)


async def _told(url: str, ask: Ask) -> Told:
    began, detail = time.monotonic(), ""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            what, detail = await _call(url, ask)
    except TimeoutError:
        what = FORGOTTEN
    except (OSError, EOFError):
        what = BROKEN
    except ValueError as error:  # a head or a chunk that is none
        what, detail = WRONG, repr(error)
    return Told(ask=ask, what=what, detail=detail, began=began, ended=time.monotonic())


async def _call(url: str, ask: Ask) -> tuple[str, str]:
    """It is heard while it still speaks: an answer may come before the body was sent."""
    connection = await Connection.open(url)
    speaking = asyncio.create_task(_speak(connection.writer, ask))
    try:
        if ask.way in LEAVING:
            await _leave(connection, ask)
            return LEFT, ""
        status, body = await connection.answer()
    finally:
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        connection.close()
    if status == 200 and body != ask.right:
        return WRONG, f"{len(body)} bytes, {body[:60]!r}"
    return str(status), repr(body[:300])


async def _leave(connection: Connection, ask: Ask) -> None:
    if ask.way == "leaves the answer":
        await connection.reader.read(10)
    else:
        await asyncio.sleep(ask.pause_seconds)


async def _speak(writer: asyncio.StreamWriter, ask: Ask) -> None:
    head = f"{ask.method} /function/{ask.function} HTTP/1.1\r\nHost: chaos\r\nX-Id: {ask.id}\r\nX-Work: {ask.work}\r\n"
    length = len(ask.body) + (10 if ask.way == "leaves its body unfinished" else 0)
    framing = "Transfer-Encoding: chunked" if ask.way == "chunked" else f"Content-Length: {length}"
    expect = "Expect: 100-continue\r\n" if ask.way == "expect" else ""
    await _send(writer, f"{head}{expect}{framing}\r\n\r\n".encode())
    if ask.way in ("chunked", "slow body"):
        for start in range(0, len(ask.body), PIECE_BYTES):
            piece = ask.body[start : start + PIECE_BYTES]
            await _send(writer, b"%x\r\n%b\r\n" % (len(piece), piece) if ask.way == "chunked" else piece)
            await asyncio.sleep(ask.pause_seconds)
        await _send(writer, b"0\r\n\r\n" if ask.way == "chunked" else b"")
        return
    if ask.way == "expect":  # it does not wait for ever, as the standard has it
        await asyncio.sleep(ask.pause_seconds)
    await _send(writer, ask.body)
    if ask.way == "half-closed":
        writer.write_eof()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()
