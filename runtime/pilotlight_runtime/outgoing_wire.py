"""HTTP/1.1 as a client, for calls of other functions: blocking in a thread, or on its event loop.

Connections to the router are kept, by thread. One that the router closed meanwhile is seen before it is used, so that
nothing needs to be sent twice.
"""

import asyncio
import contextlib
import os
import select
import socket
import threading
import time
from typing import Any, NamedTuple, TypeVar

from pilotlight_runtime import http1

IDLE_SECONDS = 60.0
"""Less than the router keeps an idle connection."""
KEPT = 8
"""Idle connections of a thread."""
RESTART_SECONDS = 8.0
"""While a server is restarted nobody listens for some seconds. Nothing was sent, so a refused connection is tried again
for this long."""
AGAIN_SECONDS = 0.1
BODY_LIMIT_BYTES = 256 * 2**20
_READ_BYTES = 256 * 1024


class Address(NamedTuple):
    host: str
    port: int
    authority: str
    """As the Host header has it."""
    prefix: str
    """Of every path; empty, or beginning with a slash and not ending with one."""


class Received(NamedTuple):
    status: int
    headers: http1.Headers
    body: bytes


class Failed(Exception):
    """No answer came; the sentence says why."""


def exchange(address: Address, data: bytes, to_head: bool, seconds: float) -> Received:
    """Send a request and wait for its answer, blocking this thread. Failed when none comes within `seconds`."""
    deadline = time.monotonic() + seconds
    try:
        connection = _idle(_kept.blocking, address) or _Blocking(address, seconds)
        received = connection.exchange(data, to_head, deadline)
    except TimeoutError as error:
        raise Failed(_too_late(seconds)) from error
    except OSError as error:
        raise Failed(f"the connection to {address.authority} failed: {error.strerror or error}") from error
    _keep(_kept.blocking, connection)
    return received


async def exchange_async(address: Address, data: bytes, to_head: bool, seconds: float) -> Received:
    """The same on the running event loop."""
    loop = asyncio.get_running_loop()
    connection: _Asynchronous | None = None
    try:
        async with asyncio.timeout(seconds):
            connection = _idle(_kept.asynchronous, address, loop)
            if connection is None:
                connection = made = _Asynchronous(address, loop)
                await _reached(loop, made, address)
            received = await connection.exchange(data, to_head)
    except TimeoutError as error:
        raise Failed(_too_late(seconds)) from error
    except OSError as error:
        raise Failed(f"the connection to {address.authority} failed: {error.strerror or error}") from error
    finally:
        if connection is not None and not connection.reusable:
            connection.close()
    if threading.current_thread() is not threading.main_thread():
        connection.close()  # this loop is somebody's own, and may end before the thread does
    else:
        _keep(_kept.asynchronous, connection)
    return received


def close_kept() -> None:
    """For whoever ends a loop or a thread that has called."""
    while _kept.blocking:
        _kept.blocking.pop().close()
    while _kept.asynchronous:
        _kept.asynchronous.pop().close()


class _Answer:
    """An answer on its way, as http1's parser tells of it."""

    def __init__(self) -> None:
        self.received: Received | None = None
        self._head: http1.ResponseHead | None = None
        self._pieces: list[bytes] = []
        self._bytes = 0

    def on_interim(self, head: http1.ResponseHead) -> None:
        pass

    def on_response(self, head: http1.ResponseHead) -> None:
        self._head = head

    def on_body(self, data: bytes) -> None:
        self._pieces.append(data)
        self._bytes += len(data)
        if self._bytes > BODY_LIMIT_BYTES:
            raise http1.ProtocolError(502, f"The answer is larger than {BODY_LIMIT_BYTES // 2**20} MiB.")

    def on_end(self) -> None:
        if self._head is not None:
            self.received = Received(self._head.status, self._head.headers, b"".join(self._pieces))


class _Connection:
    """What both kinds share."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.owner = os.getpid()
        self.reusable = False
        self.used_at = 0.0
        self._parser = http1.ResponseParser()

    def _note_whole(self) -> None:
        self.reusable = self._parser.keeps_alive and not self._parser.overrun
        self.used_at = time.monotonic()

    def fresh(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


def _dialled(address: Address, seconds: float) -> socket.socket:
    begun = time.monotonic()
    while True:
        passed = time.monotonic() - begun
        try:
            return socket.create_connection((address.host, address.port), max(seconds - passed, 0.001))
        except ConnectionRefusedError:
            if passed + AGAIN_SECONDS > min(seconds, RESTART_SECONDS):
                raise
        time.sleep(AGAIN_SECONDS)


async def _reached(loop: asyncio.AbstractEventLoop, connection: "_Asynchronous", address: Address) -> None:
    begun = loop.time()
    while True:
        try:
            await loop.create_connection(lambda: connection, address.host, address.port)
        except ConnectionRefusedError:
            if loop.time() - begun + AGAIN_SECONDS > RESTART_SECONDS:
                raise
        else:
            return
        await asyncio.sleep(AGAIN_SECONDS)


class _Blocking(_Connection):
    def __init__(self, address: Address, seconds: float) -> None:
        super().__init__(address)
        if seconds <= 0:
            raise TimeoutError
        self._socket = _dialled(address, seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def exchange(self, data: bytes, to_head: bool, deadline: float) -> Received:
        self.reusable = False
        answer = _Answer()
        try:
            self._parser.begin(answer, to_head=to_head)
            self._bound(deadline)
            self._socket.sendall(data)
            while answer.received is None:
                self._bound(deadline)
                if piece := self._socket.recv(_READ_BYTES):
                    self._parser.feed(piece)
                else:
                    self._parser.feed_end()
            self._note_whole()
        except http1.ProtocolError as error:
            raise Failed(error.sentence) from error
        finally:
            if not self.reusable:
                self.close()
        return answer.received

    def fresh(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        return _is_quiet(self._socket.fileno())

    def close(self) -> None:
        self._socket.close()

    def __del__(self) -> None:
        """Its thread has ended."""
        if hasattr(self, "_socket"):
            self._socket.close()

    def _bound(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)


def _is_quiet(descriptor: int) -> bool:
    """Whatever can be read from an idle connection is the other's end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return not poll.poll(0)


class _Asynchronous(_Connection, asyncio.Protocol):
    def __init__(self, address: Address, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(address)
        self._loop = loop
        self._transport: Any = None
        self._answer: _Answer | None = None
        self._done: asyncio.Future[Received] | None = None
        self._lost = False

    async def exchange(self, data: bytes, to_head: bool) -> Received:
        self.reusable = False
        self._answer = _Answer()
        self._done = self._loop.create_future()
        self._parser.begin(self._answer, to_head=to_head)
        if self._lost:
            raise ConnectionResetError("it was closed")
        self._transport.write(data)
        return await self._done

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except http1.ProtocolError as error:
            self._lost = True
            self._settle(Failed(error.sentence))
        else:
            self._look()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.reusable = False
        try:
            self._parser.feed_end()
        except http1.ProtocolError as broken:
            self._settle(error if isinstance(error, OSError) else Failed(broken.sentence))
        else:
            self._look()

    def fresh(self, loop: asyncio.AbstractEventLoop | None) -> bool:
        """A loop that was busy has not been told of the end that is there already."""
        if loop is not self._loop or self._lost or self._transport.is_closing():
            return False
        return _is_quiet(self._transport.get_extra_info("socket").fileno())

    def close(self) -> None:
        if self._transport is not None and self.owner == os.getpid():
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._transport.abort()

    def _look(self) -> None:
        received = self._answer.received if self._answer is not None else None
        if received is not None and self._done is not None and not self._done.done():
            self._answer = None
            if not self._lost:
                self._note_whole()
            self._done.set_result(received)

    def _settle(self, error: Exception) -> None:
        if self._done is not None and not self._done.done():
            self._done.set_exception(error)


class _Kept(threading.local):
    """This thread's idle connections, the last used one last."""

    def __init__(self) -> None:
        self.blocking: list[_Blocking] = []
        self.asynchronous: list[_Asynchronous] = []


_kept = _Kept()


_C = TypeVar("_C", bound=_Connection)


def _idle(kept: list[_C], address: Address, loop: asyncio.AbstractEventLoop | None = None) -> _C | None:
    """A connection that can be used; those that cannot are dropped on the way."""
    while kept:
        connection = kept.pop()
        if connection.owner != os.getpid():
            continue  # this process was forked, and the connection is its parent's
        young = time.monotonic() - connection.used_at < IDLE_SECONDS
        if young and connection.address == address and connection.fresh(loop):
            return connection
        connection.close()
    return None


def _keep(kept: list[_C], connection: _C) -> None:
    if connection.reusable and len(kept) < KEPT:
        kept.append(connection)
    else:
        connection.close()


def _too_late(seconds: float) -> str:
    return f"it did not answer within {seconds:.3g} s"
