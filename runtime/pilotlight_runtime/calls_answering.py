"""A call whose handler is asked and answers: with a value, or with an iterator whose pieces are streamed."""

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from pilotlight_runtime import http1
from pilotlight_runtime.calls import Call, bytes_of
from pilotlight_runtime.contracts import Answer, Application, BadAnswer, Fault, Request
from pilotlight_runtime.pump import Pump

if TYPE_CHECKING:
    from pilotlight_runtime.server import Connection, Server


class AnsweringCall(Call):
    __slots__ = ("_application",)

    def __init__(
        self, application: Application, server: "Server", connection: "Connection", call_id: str, depth: int
    ) -> None:
        super().__init__(server, connection, call_id, depth)
        self._application = application

    def _run_handler(self, request: Request, context: Context) -> None:
        if self._application.asynchronous:
            self._start_task(self._run(request), context)
        else:
            self._server.workers.submit(functools.partial(context.run, self._work, request))

    def _own_words(self, fault: Fault) -> Answer | None:
        return None if self._request is None else self._application.failure(self._request, fault)

    # The handler.

    async def _run(self, request: Request) -> None:
        """An async one."""
        if not self._cancelled:
            answer = _bodiless(request, await self._result(request))
            if isinstance(answer.body, Iterator):
                answer = self._pumped(answer, answer.body)
            await self._deliver(answer)

    async def _result(self, request: Request) -> Answer:
        try:
            result = self._application.call(request)
            if inspect.isawaitable(result):
                result = await result
            return self._application.answer(result, request)
        except BaseException as error:
            if self._is_cancelled_by_us(error):
                raise
            return self._failure(error)

    def _work(self, request: Request) -> None:
        """A sync one, in its thread."""
        self._enter()
        application, loop = self._application, self._server.loop
        try:
            answer = _bodiless(request, application.answer(application.call(request), request))
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

    async def _deliver(self, answer: Answer) -> None:
        if isinstance(answer.body, AsyncIterator):
            await self._stream(answer, answer.body)
        elif isinstance(answer.body, bytes):
            self._respond(answer, answer.body)

    async def _stream(self, answer: Answer, pieces: AsyncIterator[Any]) -> None:
        failure = None
        try:
            await self._send_pieces(answer, pieces)
        except BaseException as error:  # SystemExit must not end the event loop
            if self._is_cancelled_by_us(error):
                raise
            failure = self._failure(error)
        finally:
            await self._close(pieces)
        if failure is not None and not self._streaming:
            self._respond(failure, bytes_of(failure))
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
                self._begin_stream(connection, answer.status, answer.headers, None)
            if data:
                connection.write_piece(data)
            await connection.drained()
            self._note_progress()

    async def _close(self, pieces: AsyncIterator[Any]) -> None:
        if (close := getattr(pieces, "aclose", None)) is not None:
            try:
                await close()
            except BaseException as error:
                if self._is_cancelled_by_us(error):
                    raise
                self._failure(error)

    def _is_cancelled_by_us(self, error: BaseException) -> bool:
        return self._cancelled and isinstance(error, asyncio.CancelledError)

    def _end_stream(self, answer: Answer) -> None:
        if not self._streaming:
            self._respond(answer, b"")
            return
        connection, self._connection = self._connection, None
        self._end()
        if connection is not None:
            connection.end_stream()


def _bodiless(request: Request, answer: Answer) -> Answer:
    """Where no body may follow, an iterator's answer ends before its first piece."""
    if isinstance(answer.body, bytes) or http1.may_have_body(answer.status, to_head=request.method == b"HEAD"):
        return answer
    if isinstance(answer.body, Iterator) and (close := getattr(answer.body, "close", None)) is not None:
        close()
    return Answer(answer.status, answer.headers)


def _encoded(piece: Any) -> bytes:
    match piece:
        case str():
            return piece.encode("utf-8", "surrogatepass")
        case bytes() | bytearray() | memoryview():
            return bytes(piece)
    raise BadAnswer(f"a stream with a piece of type {type(piece).__name__}; it must be str or bytes")
