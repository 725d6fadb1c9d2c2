"""One call: from its slot to the end of its answer; what every contract's calls have in common.

A call ends once, when its handler (and the iterator that it may have returned) has come to its end, whether somebody
still waits for the answer or not; only then its slot is free. Everything here runs on the event loop, but for what
says that it runs in a handler's thread. How a handler is run is in calls_answering.py and calls_conversing.py.
"""

import asyncio
import json
import time
from collections.abc import Coroutine
from contextvars import Context
from typing import TYPE_CHECKING, Any

from pilotlight_runtime import logs
from pilotlight_runtime.contracts import Answer, BadAnswer, Fault, RawHeaders, Request
from pilotlight_runtime.current import Surroundings, surroundings
from pilotlight_runtime.failures import describe, user_traceback

if TYPE_CHECKING:
    from pilotlight_runtime.server import Connection, Server

STUCK_SECONDS = 5.0
"""How long after its timeout a handler may take to return, before its replica ends."""


class Call:
    """A request that has a slot."""

    __slots__ = (
        "_begun", "_cancelled", "_connection", "_deadline", "_ended", "_request", "_server", "_stream_end",
        "_streaming", "_surroundings", "_task", "_timed_out", "_timer", "call_id",
    )  # fmt: skip

    def __init__(self, server: "Server", connection: "Connection", call_id: str, depth: int) -> None:
        self.call_id = call_id
        self._server = server
        self._connection: Connection | None = connection
        self._request: Request | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._cancelled = False
        self._ended = False
        self._stream_end: asyncio.TimerHandle | None = None
        self._streaming = False
        self._timed_out = False
        self._surroundings = Surroundings(depth)
        self._note_progress()
        self._timer = server.loop.call_at(self._deadline, self._expire)

    def start(self, request: Request) -> None:
        """The request is whole: run the handler."""
        self._request = request
        self._note_progress()
        self._run_handler(request, self._server.context.copy())

    def abandon(self) -> None:
        """Nobody waits for the answer: an async handler is cancelled, a sync one runs to its end."""
        if self._request is None:
            self._leave()
        else:
            self._cancel()

    def lose_connection(self) -> None:
        """There is nobody to answer any more."""
        self._connection = None
        if self._request is None:
            self._end()
        else:
            self.abandon()

    # For those who know how the handler is called.

    def _run_handler(self, request: Request, context: Context) -> None:
        raise NotImplementedError

    def _own_words(self, fault: Fault) -> Answer | None:
        """The contract's, for a caller."""
        return None

    def _enter(self) -> None:
        """What runs from here on belongs to this call, and so does what it prints and whom it calls."""
        logs.current_call.set(self.call_id)
        surroundings.set(self._surroundings)

    def _start_task(self, work: Coroutine[Any, Any, None], context: Context) -> None:
        self._task = self._server.loop.create_task(self._guard(work), context=context)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever happens in the task, the call ends with it."""
        self._begun = True
        self._enter()
        try:
            await work
        except asyncio.CancelledError:
            pass  # by us
        finally:
            self._server.log.end_line()
            self._leave()

    def _cancel(self) -> None:
        if not self._cancelled:
            self._cancelled = True
            if self._task is not None and self._begun:  # a task that has not begun would never end its call
                self._task.cancel()

    # The answer.

    def _respond(self, answer: Answer, body: bytes) -> None:
        connection, self._connection = self._connection, None
        self._end()
        if connection is not None:
            connection.respond(answer.status, answer.headers, body)

    def _begin_stream(self, connection: "Connection", status: int, headers: RawHeaders, length: int | None) -> None:
        self._streaming = True
        self._stream_end = self._server.loop.call_later(self._server.max_stream_seconds, self._grow_old)
        connection.begin_stream(status, headers, length)

    def _failure(self, error: BaseException) -> Answer:
        """What a caller is told; the function's log is told all of it. Also runs in a handler's thread."""
        debug = self._server.debug
        if isinstance(error, BadAnswer):
            self._server.log.system(f"bad-answer: the handler returned {error}", self.call_id)
            own = self._own_words(Fault("bad-answer", error, None))
            return own or self._error_answer(500, "bad-answer", f"The function returned {error}.")
        trace = user_traceback(error)
        self._server.log.error(trace, self.call_id)
        own = self._own_words(Fault("handler-raised", error, trace if debug else None))
        if own is not None:
            return own
        if debug:
            return self._error_answer(500, "handler-raised", describe(error), traceback=trace)
        return self._error_answer(500, "handler-raised", "The function failed; its log says why.")

    def _error_answer(self, status: int, slug: str, sentence: str, **more: str) -> Answer:
        headers: RawHeaders = [(b"Content-Type", b"application/json"), (b"X-Pilotlight-Error", slug.encode())]
        body = {"error": sentence, "call_id": self.call_id} | more
        return Answer(status, headers, json.dumps(body).encode())

    # The end.

    def _leave(self) -> None:
        """It ended without an answer, or within one."""
        connection, self._connection = self._connection, None
        self._end()
        if connection is not None:
            connection.abort() if self._streaming else connection.close()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._timer.cancel()
            if self._stream_end is not None:
                self._stream_end.cancel()
            self._server.release(self)

    # Time.

    def _note_progress(self) -> None:
        """The timeout is for the handler's answer, then for each piece of a stream; so long may what it calls take."""
        self._deadline = self._server.loop.time() + self._server.timeout_seconds
        self._surroundings.deadline = time.monotonic() + self._server.timeout_seconds

    def _expire(self) -> None:
        loop, connection = self._server.loop, self._connection
        if self._streaming and connection is not None and connection.paused:
            self._note_progress()  # the client is slow, not the handler
        if loop.time() < self._deadline:
            self._timer = loop.call_at(self._deadline, self._expire)
        elif self._request is None:
            self._leave()
        elif not self._timed_out:
            self._time_out()
            self._timer = loop.call_later(STUCK_SECONDS, self._expire_again)

    def _time_out(self) -> None:
        self._timed_out = True
        seconds = self._server.timeout_seconds
        self._server.log.system(f"handler-timeout: {self._overdue(seconds)}", self.call_id)
        connection = self._connection
        self.lose_connection()
        if connection is None:
            return
        if self._streaming:
            connection.abort()
        else:
            sentence = f"The function did not answer within {seconds:g} s."
            answer = self._error_answer(504, "handler-timeout", sentence)
            connection.respond(answer.status, answer.headers, bytes_of(answer))

    def _overdue(self, seconds: float) -> str:
        return f"no answer after {seconds:g} s"

    def _grow_old(self) -> None:
        """A stream that never ends would hold its replica, and an old revision, for ever."""
        seconds = self._server.max_stream_seconds
        self._server.log.system(
            f"stream-ended: it lasted {seconds:g} s, which is the most that is allowed", self.call_id
        )
        connection = self._connection
        self.lose_connection()
        if connection is not None:
            connection.abort()

    def _expire_again(self) -> None:
        seconds = self._server.timeout_seconds + STUCK_SECONDS
        self._server.stuck(self, f"call {self.call_id}: the handler still runs after {seconds:g} s")


def bytes_of(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""
