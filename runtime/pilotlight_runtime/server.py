"""The replica's HTTP server: connections in, slots, refusals, health, drain.

A request takes its slot when its head is here, so that a replica without a free one refuses before anything of the
request is lost, and holds it until its handler has returned, also when nobody waits for the answer any more.
What happens in between is in calls.py and its neighbours.
"""

import asyncio
import contextvars
import functools
import json
from collections.abc import Callable
from typing import Any, cast

from pilotlight_runtime import http1, logs
from pilotlight_runtime.calls import Call
from pilotlight_runtime.calls_answering import AnsweringCall
from pilotlight_runtime.calls_conversing import ConversingCall
from pilotlight_runtime.contracts import Application, Conversation, RawHeaders, Request, conversation_in
from pilotlight_runtime.current import depth_of
from pilotlight_runtime.workers import Workers

BODY_LIMIT_BYTES = 256 * 2**20
HELD_LIMIT_BYTES = 64 * 1024
FLUSH_SECONDS = 5.0
_NOTED = frozenset({b"x-call-id", b"x-pilotlight-depth"})
_SHOWN = ((b"host", b"Host"), (b"content-length", b"Content-Length"), (b"x-call-id", b"X-Call-Id"))
_JSON: RawHeaders = [(b"Content-Type", b"application/json")]


class Server:
    """What all connections of a replica share."""

    def __init__(
        self,
        application: Application | Conversation,
        log: logs.Logs,
        *,
        loop: asyncio.AbstractEventLoop,
        workers: Workers,
        context: contextvars.Context,
        slots: int,
        timeout_seconds: float,
        max_stream_seconds: float,
        debug: bool,
        on_stuck: Callable[[str], None],
        on_drained: Callable[[bool], None],
    ) -> None:
        self._new_call = _call_for(application)
        self.log = log
        self.loop = loop
        self.workers = workers
        self.context = context
        self.slots = slots
        self.timeout_seconds = timeout_seconds
        self.max_stream_seconds = max_stream_seconds
        self.debug = debug
        self.draining = False
        self.connections: set[Connection] = set()
        self.last_word = loop.time()
        """When the last request came, or the last question whether we are ready."""
        self._on_stuck = on_stuck
        self._on_drained = on_drained
        self._calls: set[Call] = set()
        self._stuck: set[Call] = set()
        self._was_stuck = False

    @property
    def in_flight(self) -> int:
        return len(self._calls)

    def admit(self, connection: "Connection", call_id: str, depth: int) -> Call | None:
        """A call with a slot, or None when there is none to have."""
        self.last_word = self.loop.time()
        if self.draining or len(self._calls) >= self.slots:
            return None
        call = self._new_call(self, connection, call_id, depth)
        self._calls.add(call)
        return call

    def release(self, call: Call) -> None:
        self._calls.discard(call)
        self._stuck.discard(call)
        if self.draining:
            self.loop.call_soon(self._end_when_drained)  # its answer is written after this

    def drain(self) -> None:
        """Refuse what is new; once nothing is in flight, `on_drained` is called."""
        self.draining = True
        self._end_when_drained()

    def stuck(self, call: Call, detail: str) -> None:
        """The handler should have returned long ago. Nothing can end a thread but its process; the other calls, whose
        own timeouts bound them, are waited for."""
        self._stuck.add(call)
        if not self._was_stuck:
            self._was_stuck = True
            self._on_stuck(detail)
        self.drain()

    def _end_when_drained(self) -> None:
        if len(self._calls) == len(self._stuck):
            self._flush(self.loop.time() + FLUSH_SECONDS)

    def _flush(self, deadline: float) -> None:
        """Answers that were written may still lie in our buffers."""
        waiting = any(connection.unsent_bytes for connection in self.connections)
        if waiting and self.loop.time() < deadline:
            self.loop.call_later(0.01, self._flush, deadline)
        else:
            self._on_drained(self._was_stuck)


def _call_for(application: Application | Conversation) -> Callable[[Server, "Connection", str, int], Call]:
    conversation = conversation_in(application)
    if conversation is not None:
        return functools.partial(ConversingCall, conversation)
    return functools.partial(AnsweringCall, cast(Application, application))


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = http1.RequestParser(self, noted=_NOTED)
        self._transport: Any = None
        self._head: http1.RequestHead | None = None
        self._call: Call | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._answered = False
        self._chunked = False
        self._closing = False
        """Whether the connection ends with the answer in hand."""
        self._resumed: asyncio.Future[None] | None = None

    @property
    def unsent_bytes(self) -> int:
        size: int = self._transport.get_write_buffer_size()
        return size

    # What the transport says.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._server.connections.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except http1.ProtocolError as error:
            self._break(error)
        if self._parser.held_bytes > HELD_LIMIT_BYTES and self._call is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """The client waits for no answer; what must run to its end keeps the connection until then."""
        self._closing = True
        if self._call is not None:
            self._call.abandon()
        return self._call is not None

    def connection_lost(self, error: Exception | None) -> None:
        self._server.connections.discard(self)
        self.resume_writing()
        call, self._call = self._call, None
        if call is not None:
            call.lose_connection()
        self._parser.close()

    def pause_writing(self) -> None:
        self._resumed = self._server.loop.create_future()

    def resume_writing(self) -> None:
        if self._resumed is not None:
            if not self._resumed.done():
                self._resumed.set_result(None)
            self._resumed = None

    # What the parser says.

    def on_request(self, head: http1.RequestHead) -> None:
        self._head = head
        self._answered = False
        if head.target.startswith(b"/_/") and self._answer_probe(head):
            return
        if (head.content_length or 0) > BODY_LIMIT_BYTES:
            self._refuse_body()
            return
        depth = head.noted.get(b"x-pilotlight-depth")
        self._call = self._server.admit(self, _call_id(head), depth_of(depth) if depth else 0)
        if self._call is None:
            self._refuse_busy(head)
        elif head.expect_continue:
            self._transport.write(http1.CONTINUE)

    def on_body(self, data: bytes) -> None:
        if self._call is not None:
            self._body.append(data)
            self._body_bytes += len(data)
            if self._body_bytes > BODY_LIMIT_BYTES:
                self._refuse_body()

    def on_end(self) -> None:
        if self._answered:
            self._end_exchange()
        elif self._call is not None and self._head is not None:
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._body, self._body_bytes = [], 0
            self._call.start(_request(self._head, body, self._call.call_id))

    # What a call says.

    @property
    def paused(self) -> bool:
        """Whether the client reads more slowly than we write."""
        return self._resumed is not None

    async def drained(self) -> None:
        """Let others run, and wait for a slow client; at once when the connection is lost."""
        await asyncio.sleep(0)
        while self._resumed is not None:
            await self._resumed

    def respond(self, status: int, headers: RawHeaders, body: bytes, length: int | None = None) -> None:
        """A whole answer, then the next request; `length` is that of a body that is left out (HEAD)."""
        self._write_answer(status, headers, body, length)
        self._end_exchange()

    def begin_stream(self, status: int, headers: RawHeaders, length: int | None) -> None:
        """`length` is that of all pieces together, where it is known."""
        head = self._head
        self._chunked = length is None and head is not None and not head.http10
        framing = [(b"Transfer-Encoding", b"chunked")] if self._chunked else []
        if length is not None:
            framing.append((b"Content-Length", b"%d" % length))
        if (length is None and not self._chunked) or not self._keeps_alive:
            self._closing = True
            framing.append((b"Connection", b"close"))
        elif head is not None and head.http10:
            framing.append((b"Connection", b"keep-alive"))
        self._transport.write(http1.response_head(status, [*headers, *framing]))

    def write_piece(self, data: bytes) -> None:
        """Of a streamed body; not empty."""
        self._transport.write(http1.chunk(data) if self._chunked else data)

    def end_stream(self) -> None:
        if self._chunked:
            self._transport.write(http1.LAST_CHUNK)
        self._end_exchange()

    def abort(self) -> None:
        """Nothing can be said any more but that the answer is not whole."""
        self._call = None
        self._transport.abort()

    def close(self) -> None:
        """The call has ended without an answer, which nobody waits for."""
        self._call = None
        self._transport.close()

    # How it is done.

    @property
    def _keeps_alive(self) -> bool:
        head = self._head
        return head is not None and head.keep_alive and not self._closing and not self._server.draining

    def _write_answer(self, status: int, headers: RawHeaders, body: bytes, length: int | None = None) -> None:
        head = self._head
        framing: RawHeaders = []
        if status not in (204, 304):
            framing.append((b"Content-Length", b"%d" % (len(body) if length is None else length)))
        if not self._keeps_alive:
            framing.append((b"Connection", b"close"))
        elif head is not None and head.http10:
            framing.append((b"Connection", b"keep-alive"))
        data = http1.response_head(status, [*headers, *framing])
        if http1.may_have_body(status, to_head=head is not None and head.method == b"HEAD"):
            data += body
        self._transport.write(data)
        self._answered = True

    def _end_exchange(self) -> None:
        self._call = None
        if self._keeps_alive:
            self._next()
        else:
            self._transport.close()

    def _next(self) -> None:
        self._answered = False
        self._transport.resume_reading()
        try:
            self._parser.next()
        except http1.ProtocolError as error:
            self._break(error)

    def _answer_probe(self, head: http1.RequestHead) -> bool:
        path = head.target.partition(b"?")[0]
        if path == b"/_/health":
            self._write_answer(200, [], b"")
        elif path == b"/_/ready":
            self._server.last_word = self._server.loop.time()
            slots = (b"X-Pilotlight-Slots", b"%d" % self._server.slots)
            self._write_answer(503 if self._server.draining else 200, [slots], b"")
        else:
            return False
        return True

    def _refuse_busy(self, head: http1.RequestHead) -> None:
        """At once, while the router still has the whole request; the rest of it is read and dropped."""
        if head.expect_continue:
            self._closing = True  # its body will not come
        self._write_answer(503, [(b"X-Pilotlight-Busy", b"1")], b"")
        if self._closing:
            self._transport.close()

    def _refuse_body(self) -> None:
        sentence = f"The body is larger than {BODY_LIMIT_BYTES // 2**20} MiB."
        self._break(http1.ProtocolError(413, sentence, limit="body"))

    def _break(self, error: http1.ProtocolError) -> None:
        """Answer if an answer can be told from another one's, and hang up."""
        call, self._call = self._call, None
        if call is not None:
            call.lose_connection()
        self._closing = True
        if not self._answered:
            self._write_answer(error.status, _JSON, json.dumps({"error": error.sentence}).encode())
        self._parser.close()
        self._transport.close()


def _call_id(head: http1.RequestHead) -> str:
    text = head.noted.get(b"x-call-id", b"").decode("latin-1")
    return text if logs.is_call_id(text) else logs.NO_CALL


def _request(head: http1.RequestHead, body: bytes, call_id: str) -> Request:
    """What ends at our connection is not shown to the function; the rest is."""
    noted = head.noted
    headers = [*head.headers, *[(shown, noted[name]) for name, shown in _SHOWN if name in noted]]
    known_id = "" if call_id == logs.NO_CALL else call_id
    return Request(head.method, head.target, headers, body, known_id, head.http10, head.upgrade)
