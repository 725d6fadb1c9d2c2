"""A call whose handler speaks by itself: it is told when its client leaves, and its slot is taken until it returns."""

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING

from pilotlight_runtime import http1
from pilotlight_runtime.calls import Call, bytes_of
from pilotlight_runtime.contracts import BadAnswer, Conversation, RawHeaders, Request

if TYPE_CHECKING:
    from pilotlight_runtime.server import Connection, Server


class ClientLeft(OSError):
    """There is nobody to say it to."""


class ConversingCall(Call):
    """Is the `Hearer` of its handler as well."""

    __slots__ = ("_conversation", "_departure", "_head", "_silent", "_unsaid")

    def __init__(
        self, conversation: Conversation, server: "Server", connection: "Connection", call_id: str, depth: int
    ) -> None:
        super().__init__(server, connection, call_id, depth)
        self._conversation = conversation
        self._departure = asyncio.Event()
        """The client left, or was told all."""
        self._head: tuple[int, RawHeaders] | None = None
        self._unsaid: int | None = None
        """Bytes that the answer's length promises."""
        self._silent = False
        """Whether no body may follow the head; what is said is dropped."""

    def abandon(self) -> None:
        """It is told, and goes on: what it has begun is its own to end."""
        if self._request is None:
            self._leave()
        else:
            self._departure.set()
            if not self._begun:
                self._cancelled = True

    def _run_handler(self, request: Request, context: Context) -> None:
        self._start_task(self._converse(request), context)

    async def _converse(self, request: Request) -> None:
        if self._cancelled:
            return
        try:
            await self._conversation.run(request, self)
            self._check_whole()
        except BaseException as error:
            if self._departure.is_set() and _came_of_leaving(error):
                return
            if self._cancelled and isinstance(error, asyncio.CancelledError):
                raise
            failure = self._failure(error)
            if not self._streaming and self._connection is not None:
                self._respond(failure, bytes_of(failure))

    # What its handler says.

    @property
    def gone(self) -> bool:
        return self._departure.is_set()

    async def left(self) -> None:
        await self._departure.wait()

    def begin(self, status: int, headers: RawHeaders, length: int | None) -> None:
        if self._head is not None:
            raise BadAnswer("a second beginning of its answer")
        self._head = (status, headers)
        self._unsaid = length
        to_head = self._request is not None and self._request.method == b"HEAD"
        self._silent = not http1.may_have_body(status, to_head=to_head)

    async def say(self, piece: bytes, *, last: bool) -> None:
        if self._head is None:
            raise BadAnswer("a body before its answer's beginning")
        if self._silent:
            self._say_head_alone(*self._head)
            await asyncio.sleep(0)  # nothing holds an endless answer back, and others have their calls
            return
        connection = self._connection
        if connection is None or self.gone:
            raise ClientLeft("the client has left")
        length = self._unsaid
        self._count(piece, last=last)
        if last and not self._streaming:
            self._finish()
            connection.respond(*self._head, piece)
            return
        if not self._streaming:
            self._begin_stream(connection, *self._head, length)
        if piece:
            connection.write_piece(piece)
        if last:
            self._finish()
            connection.end_stream()
        else:
            await connection.drained()
            self._note_progress()

    def _say_head_alone(self, status: int, headers: RawHeaders) -> None:
        if (connection := self._connection) is not None:
            length = self._unsaid
            self._finish()
            connection.respond(status, headers, b"", length)

    def _count(self, piece: bytes, *, last: bool) -> None:
        if self._unsaid is None:
            return
        self._unsaid -= len(piece)
        if self._unsaid < 0 or (last and self._unsaid):
            more = "more" if self._unsaid < 0 else "less"
            raise BadAnswer(f"{more} than its Content-Length says")

    def _finish(self) -> None:
        """All is said; the handler may go on with what nobody waits for, for another timeout."""
        self._connection = None
        self._departure.set()
        self._note_progress()
        if self._stream_end is not None:
            self._stream_end.cancel()

    def _check_whole(self) -> None:
        if self._connection is not None and not self.gone:
            raise BadAnswer("without an answer" if self._head is None else "before its answer was whole")

    # Time.

    def _time_out(self) -> None:
        super()._time_out()
        self._cancel()

    def _overdue(self, seconds: float) -> str:
        if self._connection is None:
            return f"it still ran {seconds:g} s after its client was told all or had left"
        return super()._overdue(seconds)


def _came_of_leaving(error: BaseException) -> bool:
    """Frameworks raise errors of their own from ours."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, ClientLeft):
            return True
        if isinstance(found, BaseExceptionGroup):
            return all(_came_of_leaving(each) for each in found.exceptions)
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return False
