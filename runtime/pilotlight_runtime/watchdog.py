"""Any program as a function: one is run for each request, with the body on its standard input.

    fprocess="wc -c" python -m pilotlight_runtime.watchdog

Its standard output is the answer, its exit code decides the status (500 unless 0), and it finds the request's head in
variables (Http_Method, Http_Path, Http_Query, Http_Content_Type, ...), as under OpenFaaS' watchdogs. It listens on
0.0.0.0:8080; SIGTERM lets what runs end. watchdog_config.py has the variables that it reads.
"""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from pilotlight_runtime import http1
from pilotlight_runtime.watchdog_config import BadVariable, Config, parse_config, parse_duration
from pilotlight_runtime.watchdog_program import Program

HELD_BYTES = 256 * 1024
"""Of a body that its program has not read yet; then its sender waits."""
_NOTED = frozenset({b"x-call-id", b"x-timeout"})
_SHOWN = ((b"host", b"Host"), (b"content-length", b"Content-Length"), (b"transfer-encoding", b"Transfer-Encoding"),
          (b"x-call-id", b"X-Call-Id"), (b"x-timeout", b"X-Timeout"))  # fmt: skip
INTERNAL = (b"X-OpenFaaS-Internal", b"faas-middleware")


class Watchdog:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.draining = False
        self.running: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        return 0 < self.config.max_inflight <= len(self.running)

    def log(self, text: str, *, prefix: str = "") -> None:
        stamp = time.strftime("%Y/%m/%d %H:%M:%S ") if self.config.prefix_logs else ""
        print(f"{stamp}{prefix if self.config.prefix_logs else ''}{text}", file=sys.stderr, flush=True)

    async def serve(self, *, host: str = "0.0.0.0") -> None:
        """Until SIGTERM or SIGINT, and then until what runs has ended."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await loop.create_server(lambda: Connection(self), host, self.config.port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        self.log(f"listening on port {port}; for each request: {' '.join(self.config.command)}")
        await stop.wait()
        self.draining = True
        server.close()
        if self.running:
            self.log(f"{len(self.running)} still running; waiting at most {self.config.drain_seconds:g} s")
            await asyncio.wait(self.running, timeout=self.config.drain_seconds)
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def timeout_for(self, head: http1.RequestHead) -> float:
        """A request may ask for less time."""
        ours = self.config.exec_timeout
        try:
            asked = parse_duration(head.noted.get(b"x-timeout", b"").decode("latin-1"))
        except ValueError:
            return ours
        return min(asked, ours) if ours and asked else ours or asked


class Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self, watchdog: Watchdog) -> None:
        self._watchdog = watchdog
        self._parser = http1.RequestParser(self, noted=_NOTED)
        self._transport: Any = None
        self._head: http1.RequestHead | None = None
        self._body: Body | None = None
        self._begun = False
        self._chunked = False
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
            self._gone = True
            self._transport.write(
                http1.response_head(error.status, [(b"Content-Length", b"0"), (b"Connection", b"close")])
            )
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._gone = True
        self._writable.set()
        if self._body is not None:
            self._body.end()
        self._parser.close()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # What the parser says

    def on_request(self, head: http1.RequestHead) -> None:
        self._head, self._body = head, None
        self._begun = self._chunked = False
        self._sent = 0
        watchdog = self._watchdog
        if head.target.partition(b"?")[0] in (b"/_/health", b"/_/ready"):
            self._answer_probe(head)
        elif watchdog.draining:
            self.answer(503, b"The function is ending.\n", INTERNAL)
        elif watchdog.is_full:
            most = watchdog.config.max_inflight
            text = f"Concurrent request limit exceeded. Max concurrent requests: {most}\n"
            self.answer(429, text.encode(), INTERNAL, (b"Content-Type", b"text/plain"))
        else:
            if head.expect_continue:
                self._transport.write(http1.CONTINUE)
            self._body = Body(self._transport)
            task = asyncio.get_running_loop().create_task(self._run(head, self._body))
            watchdog.running.add(task)
            task.add_done_callback(watchdog.running.discard)

    def on_body(self, data: bytes) -> None:
        if self._body is not None:
            self._body.add(data)

    def on_end(self) -> None:
        if self._body is not None:
            self._body.end()
        elif self._begun:
            self._next()

    def _answer_probe(self, head: http1.RequestHead) -> None:
        if head.method != b"GET":
            self.answer(405, b"")
        elif self._watchdog.draining:
            self.answer(503, b"")
        elif self._watchdog.is_full and head.target.startswith(b"/_/ready"):
            self.answer(429, b"")
        else:
            self.answer(200, b"OK")

    # The program

    async def _run(self, head: http1.RequestHead, body: "Body") -> None:
        began = time.perf_counter()
        config, watchdog = self._watchdog.config, self._watchdog
        program = Program(config, variables_of(head) if config.cgi_headers else {}, watchdog.log)
        duration = (b"X-Duration-Seconds", b"%f")
        try:
            end = await program.run(body, self._say_piece, timeout=watchdog.timeout_for(head))
            seconds = (duration[0], b"%f" % (time.perf_counter() - began))
            if end.ok:
                self._finish(end.output, seconds)
            elif self._begun:
                self._transport.abort()  # nothing can be said any more but that the answer is not whole
            else:
                self.answer(end.status, end.output, seconds, (b"Content-Type", b"text/plain"))
        except asyncio.CancelledError:
            self._transport.abort()
            raise
        finally:
            self._log_end(head, time.perf_counter() - began)
        if not self._gone and self._body is body and body.ended:
            self._next()

    async def _say_piece(self, piece: bytes) -> None:
        """Of a streamed answer; waits for a slow client."""
        if not self._begun:
            self._begin(200, ((b"Content-Type", self._watchdog.config.content_type.encode()),), None)
        self._sent += len(piece)
        if not self._gone and self._head is not None and self._head.method != b"HEAD":
            self._transport.write(http1.chunk(piece) if self._chunked else piece)
        await self._writable.wait()

    def _finish(self, output: bytes, seconds: tuple[bytes, bytes]) -> None:
        if not self._begun:
            self.answer(200, output, seconds, (b"Content-Type", self._watchdog.config.content_type.encode()))
            return
        if self._chunked and not self._gone:
            self._transport.write(http1.LAST_CHUNK)
        self._close_unless_kept()

    def answer(self, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
        self._begin(status, headers, len(body))
        self._sent = len(body)
        if not self._gone and self._head is not None and self._head.method != b"HEAD":
            self._transport.write(body)
        self._close_unless_kept()

    def _begin(self, status: int, headers: tuple[tuple[bytes, bytes], ...], length: int | None) -> None:
        head = self._head
        self._begun, self._status = True, status
        self._chunked = length is None and head is not None and not head.http10
        framing = [(b"Content-Length", b"%d" % length)] if length is not None else []
        if self._chunked:
            framing.append((b"Transfer-Encoding", b"chunked"))
        if not self._keeps_alive:
            framing.append((b"Connection", b"close"))
        if not self._gone:
            self._transport.write(http1.response_head(status, [*headers, *framing]))

    @property
    def _keeps_alive(self) -> bool:
        """Also not one whose body was left in the middle: nobody could tell where the next request begins."""
        head = self._head
        refused = self._body is None and head is not None and head.has_body
        cut = self._body is not None and not self._body.ended
        return head is not None and not head.http10 and head.keep_alive and not (
            refused or cut or self._watchdog.draining
        )  # fmt: skip

    def _close_unless_kept(self) -> None:
        if not self._keeps_alive:
            self._gone = True
            self._transport.close()

    def _next(self) -> None:
        if not self._gone:
            try:
                self._parser.next()
            except http1.ProtocolError:
                self._transport.close()

    def _log_end(self, head: http1.RequestHead, seconds: float) -> None:
        phrase = HTTPStatus(self._status).phrase if self._status else "cut"
        call = head.noted.get(b"x-call-id", b"").decode("latin-1")
        target = head.target.partition(b"?")[0].decode("latin-1")
        line = (
            f"{head.method.decode()} {target} - {self._status} {phrase} - ContentLength: {self._sent}B ({seconds:.4f}s)"
        )
        self._watchdog.log(line + (f" [{call}]" if call and self._watchdog.config.log_callid else ""))


class Body:
    """A request's body on its way to a program; its sender waits while much of it was not read."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._more = asyncio.Event()
        self.ended = False

    def add(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        self._more.set()
        if self._bytes > HELD_BYTES:
            self._transport.pause_reading()

    def end(self) -> None:
        self.ended = True
        self._more.set()

    async def take(self) -> bytes:
        """What has come since the last time; empty at the end."""
        while not self._pieces and not self.ended:
            self._more.clear()
            await self._more.wait()
        data, self._pieces, self._bytes = b"".join(self._pieces), [], 0
        self._transport.resume_reading()
        return data


def variables_of(head: http1.RequestHead) -> dict[str, str]:
    """The request's head as variables for its program."""
    path, _, query = head.target.decode("latin-1").partition("?")
    shown = [(name, head.noted[noted]) for noted, name in _SHOWN if noted in head.noted]
    found: dict[str, str] = {}
    for name, value in (*head.headers, *shown):
        found["Http_" + name.decode("latin-1").replace("-", "_")] = value.decode("latin-1")
    found |= {"Http_Method": head.method.decode(), "Http_Path": path, "Http_Query": query}
    if (length := head.noted.get(b"content-length")) is not None:
        found["Http_ContentLength"] = length.decode("latin-1")
    return found


def main(variables: Mapping[str, str] | None = None) -> int:
    try:
        config = parse_config(os.environ if variables is None else variables)
    except BadVariable as error:
        print(f"watchdog: {error}", file=sys.stderr)
        return 2
    try:
        asyncio.run(Watchdog(config).serve())
    except OSError as error:
        print(f"watchdog: port {config.port} cannot be listened on: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
