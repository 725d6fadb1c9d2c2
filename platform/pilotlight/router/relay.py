"""One request on its way through: its body up, its response down, each made to wait for the slower side.

What a feed of either parser produces is gathered and written in one piece, since every write is a system call.
"""

from collections.abc import Callable
from time import monotonic
from typing import Protocol

from pilotlight.router.headers import offers_websocket
from pilotlight.router.problems import Problem
from pilotlight.router.upstream import Connection
from pilotlight_runtime.http1 import (
    CONTINUE,
    LAST_CHUNK,
    ProtocolError,
    RequestHead,
    ResponseHead,
    chunk,
    header_lines,
    response_head,
)

REPLAY_BYTES = 64 * 1024
"""A request's body is kept while it is this small, so that it can be sent to another replica."""

ABANDON_SECONDS = 10.0
"""What a replica gets to notice that nobody waits for its answer any more, after the call's own time."""

IDEMPOTENT = frozenset({b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS"})


class Caller(Protocol):
    """The connection that the request came on."""

    feeding: bool
    """Whether it is in the middle of taking bytes in; it says `flush_up` afterwards."""
    address: bytes
    closing: bool
    """Whether it should end with this response."""

    @property
    def write(self) -> Callable[[bytes], object]: ...
    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...
    def finished(self, now: float, *, keep: bool) -> None:
        """The response is written whole."""

    def abort(self) -> None:
        """The response cannot be finished; the caller must be able to tell."""

    def become_tunnel(self, connection: Connection) -> None: ...


class Relay:
    """Between a caller and a connection. Subclasses say where it goes, and what its heads look like."""

    __slots__ = (
        "_body", "_body_bytes", "_body_kept", "_chunk_down", "_connection", "_continue_said", "_head", "_ignoring",
        "_keep", "_responding", "caller", "down", "once", "over", "request_whole", "status", "to_head", "up",
    )  # fmt: skip

    def __init__(self, caller: Caller, head: RequestHead) -> None:
        self.caller = caller
        self.to_head = head.method == b"HEAD"
        self.once = head.method not in IDEMPOTENT
        self.over = False
        self.status = 0
        """What the caller got; 499 when it left before."""
        self.down: list[bytes] = []
        self.up: list[bytes] = []
        """Bytes for the connection that were not written yet; the caller says `flush_up` after each piece it read."""
        self._head = head
        self._connection: Connection | None = None
        self.request_whole = not head.has_body
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._body_kept = True
        """Whether `_body` is the whole body so far, and so can be sent again."""
        self._continue_said = False
        self._responding = False
        self._ignoring = False
        """Whether the response at hand is not for the caller."""
        self._chunk_down = False
        self._keep = False

    # What subclasses say.

    def _request_head(self) -> bytes:
        raise NotImplementedError

    def _response_head(self, head: ResponseHead, theirs: bytes, framing: bytes) -> bytes:
        """The response's head with `theirs`, which are passed on as they are, and `framing` as its last lines."""
        raise NotImplementedError

    def _is_refusal(self, head: ResponseHead) -> bool:
        """Whether this 503 is for us, and not for the caller."""
        raise NotImplementedError

    def _refused(self) -> None:
        """A response that was a refusal is over."""
        raise NotImplementedError

    def _over_limit(self) -> Problem | None:
        """Whether the body is too large by now."""
        raise NotImplementedError

    def _lost(self, sentence: str) -> Problem:
        """What the caller is told when the connection broke before a response."""
        raise NotImplementedError

    def _give_up(self, sentence: str) -> None:
        """It will not be sent again."""
        self.refuse(self._lost(sentence))

    def _again(self) -> bool:
        """Have it sent once more, if that is still possible."""
        raise NotImplementedError

    def _close(self, now: float) -> None:
        """It is over: let go of everything that knows it. `status` is what the caller got."""
        raise NotImplementedError

    def _problem_lines(self) -> tuple[bytes | None, bytes]:
        """The call id for an error's body, and further header lines."""
        raise NotImplementedError

    def _switched(self) -> None:
        """It has become a tunnel, which may last as long as both sides like."""

    def _abandon_seconds(self) -> float:
        return ABANDON_SECONDS

    # From the caller.

    def on_request_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if (problem := self._over_limit()) is not None:
            self.refuse(problem)
            return
        self._send_up(chunk(data) if self._head.content_length is None else data)
        if self._body_bytes > REPLAY_BYTES and self._connection is None:
            self.caller.pause_reading()

    def on_request_end(self) -> None:
        if self.request_whole:
            return
        self.request_whole = True
        if self._head.content_length is None:
            self._send_up(LAST_CHUNK)
        elif self._connection is not None and not self.up:
            self._connection.request_whole = True

    def flush_up(self) -> None:
        """Write what the last feed brought."""
        connection = self._connection
        if connection is not None:
            up, self.up = self.up, []
            connection.request_whole = self.request_whole
            connection.write(up[0] if len(up) == 1 else b"".join(up))

    def caller_gone(self) -> None:
        if not self.over:
            self.status = self.status or 499
            self._leave_connection()
            self.over = True
            self._close(monotonic())

    def say_continue(self) -> None:
        """The caller waits for a word before it sends its body."""
        if self._head.has_body:
            self._continue_said = True
            self.caller.write(CONTINUE)

    def pause_down(self) -> None:
        if self._connection is not None:
            self._connection.pause_reading()

    def resume_down(self) -> None:
        if self._connection is not None:
            self._connection.resume_reading()

    # From the connection (upstream.Exchange).

    def attach(self, connection: Connection) -> None:
        self._connection = connection
        if not self._head.has_body:
            connection.request_whole = True
            connection.write(self._request_head())
            return
        self.up = [self._request_head(), *self._body]
        if self._body_bytes > REPLAY_BYTES:
            self._drop_body()
            self.caller.resume_reading()
        if not self.caller.feeding:
            self.flush_up()

    def on_interim(self, head: ResponseHead) -> None:
        """100 was said by us already; others (early hints) are passed on."""
        if head.status != 100 and not self._head.http10:
            self.caller.write(response_head(head.status, head.headers))

    def on_response(self, head: ResponseHead) -> None:
        status = head.status
        if status == 503 and self._is_refusal(head):
            self._ignoring = True
            return
        if status == 101 and not offers_websocket(self._head):
            # The caller may be a proxy, which would send others' requests into the tunnel.
            raise ProtocolError(502, "It switched to another protocol, which it had not been asked for.")
        self._responding = True
        self.status = status
        theirs = header_lines(head.headers) if head.headers else b""
        mine, length = self._head, head.content_length
        keep = mine.keep_alive and not self.caller.closing and (self.request_whole or self._can_discard())
        if keep and length is not None and not mine.http10 and status != 204:
            self._keep = True
            framing = b"Content-Length: %d\r\n\r\n" % length
        elif status != 101:
            framing = self._framing_lines(head, keep=keep)
        else:
            framing = self._switch(head)
        self.down.append(self._response_head(head, theirs, framing))

    def on_body(self, data: bytes) -> None:
        if not self._ignoring:
            self.down.append(chunk(data) if self._chunk_down else data)

    def flush_down(self) -> None:
        down, self.down = self.down, []
        self.caller.write(down[0] if len(down) == 1 else b"".join(down))

    def on_end(self) -> None:
        connection, self._connection = self._connection, None
        now = monotonic()
        if connection is not None:
            connection.done(now)
        if self._ignoring:
            self._ignoring = False
            self._refused()
            return
        if self._chunk_down:
            self.down.append(LAST_CHUNK)
        down = self.down
        if down:
            self.caller.write(down[0] if len(down) == 1 else b"".join(down))
        self.over = True
        self._close(now)
        self.caller.finished(now, keep=self._keep)

    def on_lost(self, sentence: str) -> None:
        self._connection = None
        if self._responding:
            self._finish_broken()
        elif self.once or not self._body_kept or not self._again():
            self._give_up(sentence)

    def pause_up(self) -> None:
        self.caller.pause_reading()

    def resume_up(self) -> None:
        self.caller.resume_reading()

    # Ours.

    def refuse(self, problem: Problem) -> None:
        """Answer in the function's place; when an answer has begun already, break it off."""
        if self.over:
            return
        self._leave_connection()
        if self._responding:
            self._finish_broken()
            return
        call_id, lines = self._problem_lines()
        connection, keep = self._after_own_answer()
        response = problem.response(
            call_id=call_id, to_head=self.to_head, lines=lines + connection, plain=self._speaks_openfaas()
        )
        self._finish_with(problem.status, response, keep=keep)

    def _speaks_openfaas(self) -> bool:
        """Whether its errors are plain text."""
        return False

    def _after_own_answer(self) -> tuple[bytes, bool]:
        """What becomes of the caller's connection after an answer in the function's place: as a line, and whether it
        is kept."""
        keep = self._head.keep_alive and not self.caller.closing and self._can_discard()
        if keep:
            return b"Connection: keep-alive\r\n" if self._head.http10 else b"", True
        return b"Connection: close\r\n", False

    def _finish_with(self, status: int, response: bytes, *, keep: bool) -> None:
        self.status = status
        self.caller.write(response)
        self.over = True
        now = monotonic()
        self._close(now)
        self.caller.finished(now, keep=keep)

    def _can_discard(self) -> bool:
        """Whether the rest of the request's body is so small that reading it is cheaper than a new connection; it may
        never come when its sender waits for a word of ours."""
        if self.request_whole:
            return True
        length = self._head.content_length
        small = length is not None and length <= REPLAY_BYTES
        return small and (self._continue_said or not self._head.expect_continue)

    def _send_up(self, data: bytes) -> None:
        if self._connection is not None:
            self.up.append(data)
            if self._body_bytes > REPLAY_BYTES:
                self._drop_body()
        if self._body_kept:
            self._body.append(data)

    def _drop_body(self) -> None:
        self._body_kept = False
        self._body = []

    def _framing_lines(self, head: ResponseHead, *, keep: bool) -> bytes:
        """How the caller finds the response's end; the last lines of the head."""
        length, http10 = head.content_length, self._head.http10
        framing = b""
        if length is not None and head.status != 204:
            framing = b"Content-Length: %d\r\n" % length
        elif head.has_body and http10:
            keep = False
        elif head.has_body:
            framing = b"Transfer-Encoding: chunked\r\n"
            self._chunk_down = True
        self._keep = keep
        if not keep:
            return framing + b"Connection: close\r\n\r\n"
        return framing + (b"Connection: keep-alive\r\n\r\n" if http10 else b"\r\n")

    def _switch(self, head: ResponseHead) -> bytes:
        """Both sides speak another protocol from now on; bytes are passed as they come."""
        self._switched()
        if self._connection is not None:
            self.caller.become_tunnel(self._connection)
        return b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % (head.upgrade or b"websocket")

    def _leave_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon(self._abandon_seconds())

    def _finish_broken(self) -> None:
        """A response without its end: only closing tells the caller."""
        if self.down:
            self.flush_down()
        self.over = True
        self._close(monotonic())
        self.caller.abort()
