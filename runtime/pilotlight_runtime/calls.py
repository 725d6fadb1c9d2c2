"""One call: from its slot over the handler to the end of its answer.

A call ends once, when its handler (and the iterator that it may have returned) has come to its end, whether somebody
still waits for the answer or not; only then its slot is free. Everything here runs on the event loop, but for what
says that it runs in a handler's thread.
"""

import asyncio
import functools
import inspect
import json
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from pilotlight_runtime import logs
from pilotlight_runtime.contracts import Answer, BadAnswer, RawHeaders, Request
from pilotlight_runtime.failures import describe, user_traceback
from pilotlight_runtime.pump import Pump

if TYPE_CHECKING:
    from pilotlight_runtime.server import Connection, Server

STUCK_SECONDS = 5.0
"""How long after its timeout a handler may take to return, before its replica ends."""


class Call:
    """A request that has a slot."""

    __slots__ = (
        "_begun", "_cancelled", "_connection", "_deadline", "_ended", "_request", "_server", "_stream_end",
        "_streaming", "_task", "_timed_out", "_timer", "call_id",
    )  # fmt: skip

    def __init__(self, server: "Server", connection: "Connection", call_id: str) -> None:
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
        self._deadline = server.loop.time() + server.timeout_seconds
        self._timer = server.loop.call_at(self._deadline, self._expire)

    def start(self, request: Request) -> None:
        """The request is whole: run the handler."""
        server = self._server
        self._request = request
        self._note_progress()
        context = server.context.copy()
        if server.application.asynchronous:
            self._start_task(self._run(request), context)
        else:
            server.workers.submit(functools.partial(context.run, self._work, request))

    def abandon(self) -> None:
        """Nobody waits for the answer: an async handler is cancelled, a sync one runs to its end."""
        if self._request is None:
            self._leave()
        elif not self._cancelled:
            self._cancelled = True
            if self._task is not None and self._begun:  # a task that has not begun would never end its call
                self._task.cancel()

    def lose_connection(self) -> None:
        """There is nobody to answer any more."""
        self._connection = None
        if self._request is None:
            self._end()
        else:
            self.abandon()

    # The handler.

    async def _run(self, request: Request) -> None:
        """An async one."""
        if not self._cancelled:
            answer = _bodiless(request, await self._result(request))
            if isinstance(answer.body, Iterator):
                answer = self._pumped(answer, answer.body)
            await self._deliver(answer)

    async def _result(self, request: Request) -> Answer:
        application = self._server.application
        try:
            result = application.call(request)
            if inspect.isawaitable(result):
                result = await result
            return application.answer(result)
        except BaseException as error:
            if self._cancelled and isinstance(error, asyncio.CancelledError):
                raise
            return self._failure(error)

    def _work(self, request: Request) -> None:
        """A sync one, in its thread."""
        logs.current_call.set(self.call_id)
        application, loop = self._server.application, self._server.loop
        try:
            answer = _bodiless(request, application.answer(application.call(request)))
        except BaseException as error:  # SystemExit must not end the thread
            answer = self._failure(error)
        if isinstance(answer.body, bytes):
            self._server.log.end_line()
            loop.call_soon_threadsafe(self._respond, answer, answer.body)
        elif isinstance(answer.body, AsyncIterator):
            self._deliver_from_thread(answer)
        else:
            pump = Pump(loop, answer.body)
            self._deliver_from_thread(Answer(answer.status, answer.headers, pump))
            pump.run()
            self._server.log.end_line()

    def _deliver_from_thread(self, answer: Answer) -> None:
        self._server.loop.call_soon_threadsafe(self._start_task, self._deliver(answer), copy_context())

    def _pumped(self, answer: Answer, body: Iterator[Any]) -> Answer:
        """An async handler returned a sync iterator."""
        pump = Pump(self._server.loop, body)
        self._server.workers.submit(functools.partial(copy_context().run, pump.run))
        return Answer(answer.status, answer.headers, pump)

    # The answer.

    def _start_task(self, work: Coroutine[Any, Any, None], context: Context) -> None:
        self._task = self._server.loop.create_task(self._guard(work), context=context)

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Whatever happens in the task, the call ends with it."""
        self._begun = True
        logs.current_call.set(self.call_id)
        try:
            await work
        except asyncio.CancelledError:
            pass  # by `abandon`
        finally:
            self._server.log.end_line()
            self._leave()

    async def _deliver(self, answer: Answer) -> None:
        if isinstance(answer.body, AsyncIterator):
            await self._stream(answer, answer.body)
        elif isinstance(answer.body, bytes):
            self._respond(answer, answer.body)

    def _respond(self, answer: Answer, body: bytes) -> None:
        connection, self._connection = self._connection, None
        self._end()
        if connection is not None:
            connection.respond(answer.status, answer.headers, body)

    async def _stream(self, answer: Answer, pieces: AsyncIterator[Any]) -> None:
        failure = None
        try:
            await self._send_pieces(answer, pieces)
        except Exception as error:
            failure = self._failure(error)
        finally:
            await self._close(pieces)
        if failure is not None and not self._streaming:
            self._respond(failure, _bytes_of(failure))
        elif failure is None:
            self._end_stream(answer)

    async def _send_pieces(self, answer: Answer, pieces: AsyncIterator[Any]) -> None:
        """The head goes out with the first piece: until then a failure can still be told."""
        if self._cancelled or self._connection is None:
            return
        async for piece in pieces:
            data = _encoded(piece)
            if (connection := self._connection) is None:
                return
            if not self._streaming:
                self._begin_stream(connection, answer)
            if data:
                connection.write_piece(data)
            await connection.drained()
            self._note_progress()

    def _begin_stream(self, connection: "Connection", answer: Answer) -> None:
        self._streaming = True
        self._stream_end = self._server.loop.call_later(self._server.max_stream_seconds, self._grow_old)
        connection.begin_stream(answer.status, answer.headers)

    async def _close(self, pieces: AsyncIterator[Any]) -> None:
        if (close := getattr(pieces, "aclose", None)) is not None:
            try:
                await close()
            except Exception as error:
                self._failure(error)

    def _end_stream(self, answer: Answer) -> None:
        if not self._streaming:
            self._respond(answer, b"")
            return
        connection, self._connection = self._connection, None
        self._end()
        if connection is not None:
            connection.end_stream()

    def _failure(self, error: BaseException) -> Answer:
        """What a caller is told; the function's log is told all of it. Also runs in a handler's thread."""
        if isinstance(error, BadAnswer):
            self._server.log.system(f"bad-answer: the handler returned {error}", self.call_id)
            return self._error_answer(500, "bad-answer", f"The function returned {error}.")
        trace = user_traceback(error)
        self._server.log.error(trace, self.call_id)
        if self._server.debug:
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
        """The timeout is for the handler's answer, and then for each piece of a stream."""
        self._deadline = self._server.loop.time() + self._server.timeout_seconds

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
        self._server.log.system(f"handler-timeout: no answer after {seconds:g} s", self.call_id)
        connection = self._connection
        self.lose_connection()
        if connection is None:
            return
        if self._streaming:
            connection.abort()
        else:
            sentence = f"The function did not answer within {seconds:g} s."
            answer = self._error_answer(504, "handler-timeout", sentence)
            connection.respond(answer.status, answer.headers, _bytes_of(answer))

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


def _bodiless(request: Request, answer: Answer) -> Answer:
    """To HEAD, an iterator's answer ends before its first piece."""
    if request.method != b"HEAD" or isinstance(answer.body, bytes):
        return answer
    if isinstance(answer.body, Iterator) and (close := getattr(answer.body, "close", None)) is not None:
        close()
    return Answer(answer.status, answer.headers)


def _bytes_of(answer: Answer) -> bytes:
    return answer.body if isinstance(answer.body, bytes) else b""


def _encoded(piece: Any) -> bytes:
    match piece:
        case str():
            return piece.encode("utf-8", "surrogatepass")
        case bytes() | bytearray() | memoryview():
            return bytes(piece)
    raise BadAnswer(f"a stream with a piece of type {type(piece).__name__}; it must be str or bytes")
