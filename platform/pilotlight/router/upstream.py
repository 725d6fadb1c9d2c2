"""Keep-alive connections to one address, most recently used first, and the protocol on each of them."""

import asyncio
import errno
import select
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, Protocol, cast

from pilotlight_runtime.http1 import ProtocolError, ResponseHead, ResponseParser

CONNECT_SECONDS = 5.0
LINGER_SECONDS = 5.0
"""What is left of a request that was answered before it was read may take so long."""
IDLE_UNPROVEN_SECONDS = 0.005
"""An idle connection that rested for longer is looked at before something is sent on it that cannot be repeated."""

NOTED = frozenset(
    {b"content-type", b"x-call-id", b"x-start-time", b"x-duration-seconds", b"x-pilotlight-busy", b"server-timing"}
)
_GONE = select.POLLIN | select.POLLRDHUP | select.POLLERR | select.POLLHUP


class Exchange(Protocol):
    """The consumer of a connection: one request that is sent on it, and what becomes of the response. It is an
    http1.ResponseUser whose on_end calls the connection's `done`."""

    down: list[bytes]
    """Bytes for the caller that were not written yet; the connection says `flush_down` after each piece it read."""
    to_head: bool
    once: bool
    """Whether it may be sent only once: a connection is looked at closely before it is used."""
    over: bool
    """Whether nobody waits for it any more."""

    def attach(self, connection: "Connection") -> None: ...
    def connect_failed(self, error: OSError) -> None: ...
    def on_response(self, head: ResponseHead) -> None: ...
    def on_interim(self, head: ResponseHead) -> None: ...
    def on_body(self, data: bytes) -> None: ...
    def on_end(self) -> None: ...
    def flush_down(self) -> None: ...
    def on_lost(self, sentence: str) -> None: ...
    def pause_up(self) -> None: ...
    def resume_up(self) -> None: ...


class Connection(asyncio.Protocol):
    """One connection to a replica or to the control plane; one exchange at a time."""

    __slots__ = (
        "_abort", "_busy", "_closed", "_parser", "_transport", "exchange", "idle_since", "paused", "pool",
        "request_whole", "write",
    )  # fmt: skip
    write: Callable[[bytes], object]
    """The transport's own, until it is closed; then bytes go nowhere."""

    def __init__(self, pool: "Pool") -> None:
        self.pool = pool
        self.exchange: Exchange | None = None
        self.request_whole = False
        """Whether the exchange has written its whole request."""
        self.paused = False
        self.idle_since = 0.0
        self._closed = False
        self._busy = False
        self._abort: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport
        self._parser = ResponseParser(noted=NOTED)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(self.pool.buffer_bytes)
        self.write = self._transport.write

    @property
    def closed(self) -> bool:
        """What would begin on it now is never told of an end."""
        return self._closed

    def begin(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self.request_whole = False
        self._busy = True
        self._parser.begin(exchange, to_head=exchange.to_head)
        exchange.attach(self)

    def abandon(self, seconds: float) -> None:
        """Nobody wants the answer any more. The replica is told by the half-close; its slot is taken until it is done,
        or `seconds` have passed."""
        self.exchange = None
        if self._closed:
            return
        self._parser.redirect(self)
        self.request_whole = False
        self.resume_reading()
        self._transport.write_eof()
        self._abort_after(seconds)

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self.write = _drop
            if self._transport.get_write_buffer_size():  # a peer that reads no more would keep it for ever
                self._abort_after(LINGER_SECONDS)
            self._transport.close()

    def pause_reading(self) -> None:
        if not self._closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._closed:
            self._transport.resume_reading()

    def is_usable(self) -> bool:
        """Whether the peer has neither closed it nor sent anything; asks the kernel."""
        if self._closed:
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), _GONE)
        return not poll.poll(0)

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except ProtocolError as error:
            self._fail(error.sentence)
            return
        exchange = self.exchange
        if exchange is not None and exchange.down:
            exchange.flush_down()

    def eof_received(self) -> bool:
        try:
            self._parser.feed_end()
        except ProtocolError as error:
            self._fail(error.sentence)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._closed = True
        self.write = _drop
        if self._abort is not None:
            self._abort.cancel()
        self._parser.close()
        exchange, self.exchange = self.exchange, None
        self.pool.lost(self)
        if exchange is not None:
            exchange.on_lost("The connection broke before the response was whole.")
        if self._busy:
            self._busy = False
            self.pool.on_release(self.pool, monotonic())

    def pause_writing(self) -> None:
        self.paused = True
        if self.exchange is not None:
            self.exchange.pause_up()

    def resume_writing(self) -> None:
        self.paused = False
        if self.exchange is not None:
            self.exchange.resume_up()

    def done(self, now: float) -> None:
        """The exchange has its response: it lets go of the connection before it does anything else."""
        self.exchange = None
        self._busy = False
        parser, pool = self._parser, self.pool
        if parser.keeps_alive and self.request_whole and not self.paused and not pool.closed and not parser.overrun:
            self.idle_since = now
            pool.idle.append(self)
        else:
            self.close()
        pool.on_release(pool, now)

    # http1.ResponseUser, for a response that nobody waits for any more

    def on_interim(self, head: ResponseHead) -> None: ...

    def on_response(self, head: ResponseHead) -> None: ...

    def on_body(self, data: bytes) -> None: ...

    def on_end(self) -> None:
        self.done(monotonic())

    def _abort_after(self, seconds: float) -> None:
        if self._abort is None:
            self._abort = asyncio.get_running_loop().call_later(seconds, self._transport.abort)

    def _fail(self, sentence: str) -> None:
        exchange, self.exchange = self.exchange, None
        self.close()
        if exchange is not None:
            exchange.on_lost(sentence)


class Pool:
    """The connections to one address."""

    __slots__ = ("_connecting", "address", "buffer_bytes", "closed", "idle", "on_release", "reuse_idle_seconds")

    def __init__(
        self,
        address: str,
        *,
        reuse_idle_seconds: float,
        buffer_bytes: int,
        on_release: "Callable[[Any, float], None]" = lambda _, now: None,
    ) -> None:
        self.address = address
        self.on_release = on_release
        """What `send` began is over, once for each: the peer is done with it, or gone. Called with this pool."""
        self.reuse_idle_seconds = reuse_idle_seconds
        self.buffer_bytes = buffer_bytes
        self.closed = False
        """Whether connections are kept no more."""
        self.idle: list[Connection] = []
        """Those that may be used again, the last used one last."""
        self._connecting: set[asyncio.Task[Connection]] = set()

    def send(self, exchange: Exchange, now: float) -> None:
        """On the connection that was used last; on a new one when there is none."""
        while self.idle:
            connection = self.idle.pop()
            idle = now - connection.idle_since
            if idle > self.reuse_idle_seconds:
                connection.close()
                self.close_idle()  # the others rested for longer
            elif exchange.once and idle > IDLE_UNPROVEN_SECONDS and not connection.is_usable():
                connection.close()
            else:
                connection.begin(exchange)
                return
        task = asyncio.get_running_loop().create_task(_open(self.address, partial(Connection, self)))
        self._connecting.add(task)
        task.add_done_callback(partial(self._opened, exchange))

    def lost(self, connection: Connection) -> None:
        """The connection is gone, whatever it did."""
        if connection in self.idle:
            self.idle.remove(connection)

    def connected(self) -> None:
        """A new connection stands."""

    def refused(self) -> None:
        """A new connection could not be made."""

    def close(self) -> None:
        """No connection is kept from now on; those in use end with their exchanges. One that is being made is given up:
        until it stands, the address of a container that has ended may be another's."""
        self.closed = True
        self.close_idle()
        connecting, self._connecting = self._connecting, set()
        for task in connecting:
            task.cancel()

    def close_idle(self) -> None:
        idle, self.idle = self.idle, []
        for connection in idle:
            connection.close()

    def _opened(self, exchange: Exchange, task: "asyncio.Task[Connection]") -> None:
        """Whatever became of it, the exchange hears of it. A callback hears of a task, too, that was given up before
        its first step, in which no line of the coroutine runs."""
        if task.cancelled():
            if task not in self._connecting:  # else the loop ends, and nobody can be told
                self._not_connected(exchange, ConnectionAbortedError(errno.ECONNABORTED, "the replica is gone"))
            return
        self._connecting.discard(task)
        if (error := task.exception()) is not None:
            self._not_connected(exchange, error if isinstance(error, OSError) else OSError(errno.EIO, repr(error)))
            return
        connection = task.result()
        if connection.closed:  # before this callback: it has said so already, to nobody
            self._not_connected(exchange, ConnectionResetError(errno.ECONNRESET, "the replica hung up at once"))
            return
        self.connected()
        if exchange.over:
            connection.close()
            self.on_release(self, monotonic())
        else:
            connection.begin(exchange)

    def _not_connected(self, exchange: Exchange, error: OSError) -> None:
        self.refused()
        self.on_release(self, monotonic())
        exchange.connect_failed(error)


def _drop(data: bytes) -> None:
    """The connection is closed."""


async def _open(address: str, factory: Callable[[], Connection]) -> Connection:
    async with asyncio.timeout(CONNECT_SECONDS):
        return await _open_without_limit(address, factory)


async def _open_without_limit(address: str, factory: Callable[[], Connection]) -> Connection:
    loop = asyncio.get_running_loop()
    kind, _, rest = address.partition(":")
    if kind == "unix":
        return (await loop.create_unix_connection(factory, rest))[1]
    host, _, port = rest.rpartition(":")
    if kind != "tcp" or not port.isdigit() or int(port) > 65535:
        raise OSError(errno.EADDRNOTAVAIL, f"{address!r} is neither unix:PATH nor tcp:HOST:PORT")
    return (await loop.create_connection(factory, host.strip("[]"), int(port)))[1]
