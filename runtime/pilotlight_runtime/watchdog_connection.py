"""One connection of a watchdog: HTTP in, a request at a time to whoever answers, its answer out."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Protocol

from pilotlight_runtime import http1
from pilotlight_runtime.watchdog_answer import Body, Header, Log, Runner, TooSlow
from pilotlight_runtime.watchdog_config import Config, parse_duration
from pilotlight_runtime.watchdog_program import TEXT

_NOTED = frozenset({b"x-call-id", b"x-timeout"})
REFUSED = (b"X-OpenFaaS-Internal", b"faas-middleware")
AGAIN = (b"X-Pilotlight-Busy", b"1")
"""To the router: nothing of the request was given to anybody, so it may go elsewhere."""
OWN_READY = (b"X-Pilotlight-Ready", b"1")
"""In the answer of /_/health: /_/ready may be asked, which other watchdogs take for a call of the function."""


Work = Callable[[http1.RequestHead, Body], Coroutine[Any, Any, None]]


class Owner(Protocol):
    """The watchdog, as a connection knows it."""

    config: Config
    log: Log
    runner: Runner
    running: set["asyncio.Task[None]"]
    draining: bool
    """Whether no request is taken any more."""

    @property
    def is_full(self) -> bool: ...
    def is_healthy(self) -> bool: ...


class Connection(asyncio.Protocol):
    """One request at a time. It is the Answer of the request in hand."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._parser = http1.RequestParser(self, noted=_NOTED)
        self._transport: Any = None
        self._head: http1.RequestHead | None = None
        self._body: Body | None = None
        self._task: asyncio.Task[None] | None = None
        self._late: asyncio.TimerHandle | None = None
        self._begun = False
        self._chunked = False
        self._left: int | None = None
        """Bytes of the answer's body that its head promised and that were not written."""
        self._sent = 0
        self._status = 0
        self._gone = False
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except http1.ProtocolError as error:
            self._refuse(error)
            return
        self._watch_head()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        self._writable.set()
        if self._late is not None:
            self._late.cancel()
        if self._task is not None and self._owner.runner.leaves_with_client:
            self._task.cancel()
        if self._body is not None:
            self._body.end()
        self._parser.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _watch_head(self) -> None:
        """A head that has begun must be whole in time."""
        waiting = self._head is None and self._parser.held_bytes > 0
        if not waiting and self._late is not None:
            self._late.cancel()
            self._late = None
        elif waiting and self._late is None and (seconds := self._owner.config.read_timeout):
            late = http1.ProtocolError(408, "The request's head did not come in time.")
            self._late = asyncio.get_running_loop().call_later(seconds, self._refuse, late)

    def _refuse(self, error: http1.ProtocolError) -> None:
        if not self._gone and self._task is None:
            framing = [(b"Content-Length", b"0"), (b"Connection", b"close")]
            self._transport.write(http1.response_head(error.status, framing))
        self._gone = True
        self._transport.close()

    # What the parser says

    def on_request(self, head: http1.RequestHead) -> None:
        self._head, self._body = head, None
        self._begun = self._chunked = False
        self._sent = self._status = 0
        owner = self._owner
        path = head.target.partition(b"?")[0]
        if path in (b"/_/health", b"/_/ready"):
            self._probed(head, ready=path == b"/_/ready")
        elif owner.draining:
            self.say(503, b"The function is ending.\n", TEXT, REFUSED, AGAIN)
        elif owner.is_full:
            most = owner.config.max_inflight
            text = f"Concurrent request limit exceeded. Max concurrent requests: {most}\n"
            self.say(429, text.encode(), REFUSED, (b"Content-Type", b"text/plain"))
        else:
            if head.expect_continue:
                self._transport.write(http1.CONTINUE)
            self._take(head, self._run)

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._body.add(data)

    def on_end(self) -> None:
        if self._body is not None:
            self._body.end()
        elif self._begun:
            self._next()

    def _probed(self, head: http1.RequestHead, *, ready: bool) -> None:
        owner = self._owner
        if head.method != b"GET":
            self.say(405, b"")
        elif owner.draining or not owner.is_healthy():
            self.say(503, b"")
        elif ready and owner.is_full:
            self.say(429, b"")
        elif ready:
            self._take(head, self._tell_ready)
        else:
            self.say(200, b"OK", OWN_READY)

    def _take(self, head: http1.RequestHead, work: Work) -> None:
        """A request that somebody else answers."""
        self._body = Body(self._transport, read_timeout=self._owner.config.read_timeout)
        self._task = asyncio.get_running_loop().create_task(work(head, self._body))
        if work == self._run:  # and no question whether it could
            self._owner.running.add(self._task)
            self._task.add_done_callback(self._owner.running.discard)

    async def _tell_ready(self, head: http1.RequestHead, body: Body) -> None:
        runner, config = self._owner.runner, self._owner.config
        if not await runner.is_ready():
            self.say(503, b"")
        elif config.ready_path:
            head.target = config.ready_path.encode()
            await runner.respond(head, body, self, config.exec_timeout)
        else:
            slots = ((b"X-Pilotlight-Slots", b"%d" % config.max_inflight),) if config.max_inflight else ()
            self.say(200, b"OK", *slots)
        self._done(body)

    async def _run(self, head: http1.RequestHead, body: Body) -> None:
        began = time.perf_counter()
        if self._owner.config.debug_headers:
            for name, value in head.headers:
                self._owner.log.say(f"{name.decode('latin-1')}: {value.decode('latin-1')}")
        try:
            await self._owner.runner.respond(head, body, self, timeout_for(head, self._owner.config))
        except asyncio.CancelledError:
            self.cut()
            raise
        except Exception as error:
            self._owner.log.say(f"the watchdog failed: {error!r}")
            self.cut()
        finally:
            self._log_end(head, time.perf_counter() - began)
        self._done(body)

    def _done(self, body: Body) -> None:
        self._task = None
        if not self._gone and self._body is body and body.ended:
            self._next()

    # The answer

    @property
    def begun(self) -> bool:
        return self._begun

    def begin(self, status: int, headers: Iterable[Header], length: int | None) -> None:
        head = self._head
        self._begun, self._status = True, status
        to_head = head is not None and head.method == b"HEAD"
        framing: list[Header] = []
        self._left = length if http1.may_have_body(status, to_head=to_head) else 0
        self._chunked = self._left is None and head is not None and not head.http10
        if length is not None and (self._left is not None or to_head) and status not in (204, 304):
            framing.append((b"Content-Length", b"%d" % length))
        elif self._chunked:
            framing.append((b"Transfer-Encoding", b"chunked"))
        if not self._keeps_alive:
            framing.append((b"Connection", b"close"))
        if not self._gone:
            self._transport.write(http1.response_head(status, [*headers, *framing]))

    async def piece(self, data: bytes) -> None:
        self._sent += len(data)
        if self._gone or self._left == 0:
            return
        if self._left is not None:
            self._left = max(0, self._left - len(data))
        self._transport.write(http1.chunk(data) if self._chunked else data)
        if self._writable.is_set():
            return
        seconds = self._owner.config.write_timeout
        try:
            async with asyncio.timeout(seconds or None):
                await self._writable.wait()
        except TimeoutError:
            raise TooSlow(f"the client left its answer untaken for {seconds:g} s (write_timeout)") from None

    def finish(self) -> None:
        if self._chunked and not self._gone:
            self._transport.write(http1.LAST_CHUNK)
        if not self._keeps_alive:
            self._gone = True
            self._transport.close()

    def cut(self) -> None:
        self._gone = True
        self._transport.abort()

    def say(self, status: int, body: bytes, *headers: Header) -> None:
        self.begin(status, headers, len(body))
        self._sent = len(body)
        if not self._gone and self._left:
            self._transport.write(body)
        self.finish()

    @property
    def _keeps_alive(self) -> bool:
        """Also not one whose body was left in the middle: nobody could tell where the next request begins."""
        head = self._head
        refused = self._body is None and head is not None and head.has_body
        cut = self._body is not None and not self._body.ended
        endless = self._left is None and not self._chunked
        return head is not None and not head.http10 and head.keep_alive and not (
            refused or cut or endless or self._owner.draining
        )  # fmt: skip

    def _next(self) -> None:
        if self._gone:
            return
        self._head = None
        try:
            self._parser.next()
        except http1.ProtocolError as error:
            self._refuse(error)
            return
        self._watch_head()

    def _log_end(self, head: http1.RequestHead, seconds: float) -> None:
        phrase = http1.STATUS_LINES[self._status][13:].strip().decode() if self._status else "cut"
        call = head.noted.get(b"x-call-id", b"").decode("latin-1")
        target = head.target.partition(b"?")[0].decode("latin-1")
        line = (
            f"{head.method.decode()} {target} - {self._status} {phrase} - ContentLength: {self._sent}B ({seconds:.4f}s)"
        )
        self._owner.log.say(line + (f" [{call}]" if call and self._owner.config.log_callid else ""))


def timeout_for(head: http1.RequestHead, config: Config) -> float:
    """A request may ask for less time."""
    ours = config.exec_timeout
    try:
        asked = parse_duration(head.noted.get(b"x-timeout", b"").decode("latin-1"))
    except ValueError:
        return ours
    return min(asked, ours) if ours and asked else ours or asked
