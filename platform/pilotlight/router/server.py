"""Callers' connections: requests in order, answers in order, and nobody who holds a connection for nothing."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Callable, Mapping
from time import monotonic
from typing import cast

import structlog

from pilotlight.config import RouterSettings
from pilotlight.link.messages import Door
from pilotlight.router import problems
from pilotlight.router.call import FunctionCall
from pilotlight.router.control_plane import ControlPlane
from pilotlight.router.doors import Listener, Network, unmapped
from pilotlight.router.headers import REQUEST_NOTED, CallIds
from pilotlight.router.problems import Problem
from pilotlight.router.relay import Relay
from pilotlight.router.table import Table
from pilotlight.router.upstream import Connection
from pilotlight_runtime.http1 import ProtocolError, RequestHead, RequestParser

log = structlog.get_logger()
FUNCTION = b"/function/"
ASYNC_FUNCTION = b"/async-function/"
PIPELINE_BYTES = 64 * 1024
LINGER_SECONDS = 5.0
SWEEP_SECONDS = 1.0
DRAIN_IDLE_SECONDS = 1.0
"""Whoever calls often has called again by then."""
DRAIN_LOOK_SECONDS = 0.1
_HEALTHY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n"


class Server:
    """The public listening socket and the doors beside it, and all connections that were accepted on them."""

    def __init__(
        self, listener: socket.socket, settings: RouterSettings, table: Table, control_plane: ControlPlane
    ) -> None:
        self.settings = settings
        self.table = table
        self.control_plane = control_plane
        self.ids = CallIds()
        self.closing = False
        self.clients: set[Client] = set()
        self.covered: Mapping[str, Network] = {}
        """Doors' addresses at which the public socket listens itself."""
        self._public = Listener(listener, lambda: Client(self))
        self._doors: dict[Door, Listener] = {}
        self._opening: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()

    async def start(self) -> None:
        await self._public.accept()
        self._sweeper = asyncio.get_running_loop().create_task(self._sweep())

    async def drain(self, seconds: float) -> None:
        """Accept nothing more, finish what is in flight, but not for ever. Somebody who has just had an answer may be
        sending the next request already: it is answered, too, with `Connection: close`."""
        self.closing = True
        for listener in self._listeners:
            listener.close()
        for client in tuple(self.clients):
            client.closing = True
        try:
            async with asyncio.timeout(seconds):
                while self.clients:
                    self._idle.clear()
                    for client in tuple(self.clients):
                        client.close_if_idle(monotonic())
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._idle.wait(), DRAIN_LOOK_SECONDS)
        except TimeoutError:
            for client in tuple(self.clients):
                client.cut()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def joined(self, client: "Client") -> None:
        self.clients.add(client)
        client.closing = self.closing
        if len(self.clients) >= self.settings.connections:
            for listener in self._listeners:
                listener.pause()

    def left(self, client: "Client") -> None:
        self.clients.discard(client)
        if not self.clients:
            self._idle.set()

    # doors.House

    def open_door(self, door: Door, sock: socket.socket) -> None:
        network = ipaddress.ip_network(door.network)
        listener = self._doors[door] = Listener(sock, lambda: Client(self, network))
        if len(self.clients) < self.settings.connections:
            task = asyncio.get_running_loop().create_task(listener.accept())
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    def close_door(self, door: Door) -> None:
        self._doors.pop(door).close()

    def cover_doors(self, networks: Mapping[str, Network]) -> None:
        self.covered = networks

    @property
    def _listeners(self) -> tuple[Listener, ...]:
        return (self._public, *self._doors.values())

    async def _sweep(self) -> None:
        """No look is the last one, whatever happens in it: callers would wait in the backlog for ever."""
        said = ""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now = monotonic()
            for client in tuple(self.clients):
                _look_at(client, now)
            reason = await self._accept_again()
            if reason and reason != said:
                log.warning("new connections wait", reason=reason)
            said = reason

    async def _accept_again(self) -> str:
        """Why not, where it cannot be done: as a rule there is no descriptor left."""
        try:
            if not self.closing and len(self.clients) < self.settings.connections:
                for listener in self._listeners:
                    await listener.accept()
        except OSError as error:
            return error.strerror or str(error)
        return ""


def _look_at(client: "Client", now: float) -> None:
    try:
        client.look_at_the_clock(now)
    except Exception:  # of ours: it is not to keep the others from being looked at
        log.exception("a fault of a connection, which is closed")
        client.cut()


class Client(asyncio.Protocol):
    """One connection of a caller (relay.Caller, http1.RequestUser)."""

    __slots__ = (
        "_body_waits", "_discarding", "_from", "_full", "_head_since", "_lingering_since", "_parser", "_paused",
        "_relay", "_server", "_since", "_transport", "_tunnel", "_unread", "address", "closing", "feeding",
        "write",
    )  # fmt: skip
    write: Callable[[bytes], object]
    """The transport's own, until it is gone; then bytes go nowhere."""

    def __init__(self, server: Server, network: Network | None = None) -> None:
        self._server = server
        self._from = network
        """Of a caller who came by a door: functions are all that is served, to callers from this network alone."""
        self._relay: Relay | None = None
        self._tunnel: Connection | None = None
        self._discarding = False
        """The answer was given, the rest of the request's body is read and dropped."""
        self._since = monotonic()
        self._head_since = 0.0
        self._lingering_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._parser = RequestParser(self, noted=REQUEST_NOTED, limit=server.settings.header_limit_bytes)
        self._body_waits = False
        self._full = False
        """Whether it has more to read than we like to keep."""
        self._paused = False
        self._unread = 0
        self.address = b""
        self.closing = False
        self.feeding = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        self._transport.set_write_buffer_limits(self._server.settings.buffer_bytes)
        peer = transport.get_extra_info("peername")
        self.address = peer[0].encode() if isinstance(peer, tuple) else b"127.0.0.1"
        self._server.joined(self)
        if self._server.covered and self._from is None:
            self._from = self._server.covered.get(unmapped(transport.get_extra_info("sockname")[0]))
        if self._from is not None and ipaddress.ip_address(unmapped(self.address.decode())) not in self._from:
            self.cut()  # another machine that sends packets for this network our way, or another network's container

    def data_received(self, data: bytes) -> None:
        if self._tunnel is not None:
            self._tunnel.write(data)
            return
        self.feeding = True
        parser = self._parser
        try:
            parser.feed(data)
        except ProtocolError as error:
            self._refuse(error)
        self.feeding = False
        relay = self._relay
        if relay is not None and relay.up:
            relay.flush_up()
        if parser.held and parser.held_bytes > PIPELINE_BYTES:
            self._regulate()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.write = _drop
        self._parser.close()
        self._server.left(self)
        relay, self._relay = self._relay, None
        if relay is not None:
            relay.caller_gone()

    def pause_writing(self) -> None:
        self._full = True
        if self._relay is not None:
            self._relay.pause_down()

    def resume_writing(self) -> None:
        self._full = False
        if self._relay is not None:
            self._relay.resume_down()
        elif not self._lingering_since:
            self._go_on()
            self._regulate()

    # http1.RequestUser

    def on_request(self, head: RequestHead) -> None:
        self._head_since = 0.0
        target = head.target
        server = self._server
        if target.startswith(FUNCTION):
            address, path = target[10:], b"/"
            if b"/" in address or b"?" in address:
                address, path = _split(target)
            call = FunctionCall(self, head, server.table, server.ids, address, path)
            self._relay = call
            call.start()
        elif target.startswith(ASYNC_FUNCTION):
            self._refuse_asynchronous(head)
        elif self._from is not None:
            self._answer_itself(head, problems.functions_alone(target.decode("ascii", "replace")))
        elif target == b"/healthz" and head.method in (b"GET", b"HEAD"):
            self._say_healthy(head)
        else:
            relay = server.control_plane.pass_on(self, head)
            self._relay = relay
            relay.start()

    def on_body(self, data: bytes) -> None:
        if self._relay is not None:
            self._relay.on_request_body(data)

    def on_end(self) -> None:
        relay = self._relay
        if relay is not None:
            if not relay.request_whole:
                relay.on_request_end()
        elif self._discarding:
            self._discarding = False
            self._parser.next()

    # relay.Caller

    def pause_reading(self) -> None:
        self._body_waits = True
        self._regulate()

    def resume_reading(self) -> None:
        self._body_waits = False
        self._regulate()

    def finished(self, now: float, *, keep: bool) -> None:
        self._relay = None
        self._since = now
        if self._tunnel is not None or not keep:
            self._linger()
            return
        self._body_waits = False
        if self._full:
            return  # no further request of somebody who does not read the answers
        if self._parser.held and not self.feeding:
            self._go_on()
        elif not self._parser.next():
            self._discarding = True
        if self._paused:
            self._regulate()

    def abort(self) -> None:
        self._relay = None
        self._tunnel = None
        if self._transport is not None:
            self._lingering_since = monotonic()
            self._parser.close()
            self._transport.close()

    def become_tunnel(self, connection: Connection) -> None:
        self._tunnel = connection
        if held := self._parser.take_held():
            connection.write(held)

    # Ours.

    def _go_on(self) -> None:
        """The next request, of which something is here already."""
        self.feeding = True
        try:
            if not self._parser.next():
                self._discarding = True
        except ProtocolError as error:
            self._refuse(error)
        self.feeding = False
        if self._relay is not None and self._relay.up:
            self._relay.flush_up()

    def _regulate(self) -> None:
        """Read on, or not: a body may have to wait for its function, and requests for those before them."""
        pause = self._body_waits or self._parser.held_bytes > PIPELINE_BYTES
        if pause is self._paused or self._transport is None:
            return
        self._paused = pause
        if pause:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def close_if_idle(self, now: float) -> None:
        """When no response is on its way, and no request for a while."""
        busy = self._relay is not None or self._tunnel is not None or self._discarding or self._parser.in_head
        if self._transport is None or busy or self._lingering_since:
            return
        if now - self._since > DRAIN_IDLE_SECONDS:
            self._transport.close()

    def cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def look_at_the_clock(self, now: float) -> None:
        """Close the connection of somebody who sends nothing, or a head or a body nobody wants, bit by bit."""
        settings = self._server.settings
        if self._transport is None:
            return
        if unread := self._transport.get_write_buffer_size():
            self._look_at_a_slow_reader(now, unread)
        elif self._lingering_since:
            if now - self._lingering_since > LINGER_SECONDS:
                self.cut()
        elif self._relay is not None:
            return
        elif self._discarding:
            if now - self._since > settings.read_timeout_seconds:
                self.cut()
        elif self._parser.in_head:
            self._head_since = self._head_since or now
            if now - self._head_since > settings.read_timeout_seconds:
                self._transport.close()
        elif now - self._since > settings.keep_alive_seconds:
            self._transport.close()

    def _look_at_a_slow_reader(self, now: float, unread: int) -> None:
        """An answer is whole and on its way out: as long as that goes on, however slowly, the connection stays."""
        if self._relay is not None:
            return
        if unread != self._unread:
            self._unread = unread
            self._since = now
            self._lingering_since = self._lingering_since and now
        elif now - self._since > self._server.settings.read_timeout_seconds:
            self.cut()

    def _say_healthy(self, head: RequestHead) -> None:
        keep = head.keep_alive and not self.closing and not head.has_body
        lines = b"" if keep and not head.http10 else b"Connection: keep-alive\r\n" if keep else b"Connection: close\r\n"
        self.write(b"%b%b\r\n%b" % (_HEALTHY, lines, b"" if head.method == b"HEAD" else b"OK"))
        self.finished(monotonic(), keep=keep)

    def _refuse_asynchronous(self, head: RequestHead) -> None:
        problem = problems.not_asynchronous()
        if head.method != b"POST":
            method = head.method.decode("ascii", "replace")
            problem = problems.method_not_allowed(method, ("POST",), what="/async-function/NAME")
        self._answer_itself(head, problem)

    def _answer_itself(self, head: RequestHead, problem: Problem) -> None:
        keep = head.keep_alive and not self.closing and not head.has_body and not head.http10
        lines = b"" if keep else b"Connection: close\r\n"
        self.write(problem.response(call_id=None, to_head=head.method == b"HEAD", lines=lines))
        self.finished(monotonic(), keep=keep)

    def _refuse(self, error: ProtocolError) -> None:
        if self._relay is not None:  # its body is broken
            self._relay.refuse(problems.malformed(error))
            return
        problem = problems.malformed(error)
        self.write(problem.response(call_id=None, to_head=False, lines=b"Connection: close\r\n"))
        self._linger()

    def _linger(self) -> None:
        """Say that nothing more comes, and read what is still on its way: a reset would take the answer with it."""
        if self._transport is None:
            return
        self._parser.close()
        self._lingering_since = monotonic()
        self._transport.write_eof()
        self.resume_reading()


def _drop(data: bytes) -> None:
    """Nobody is there any more."""


def _split(target: bytes) -> tuple[bytes, bytes]:
    """`/function/NAME/path?query` as (NAME, what the function sees)."""
    end = target.find(b"/", 10)
    query = target.find(b"?", 10)
    if query >= 0 and (end < 0 or query < end):
        return target[10:query], b"/" + target[query:]
    if end < 0:
        return target[10:], b"/"
    return target[10:end], target[end:]
