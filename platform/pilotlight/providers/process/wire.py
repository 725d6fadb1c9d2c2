"""One end of a conversation in launch frames: a unix stream on the event loop that takes descriptors along.

asyncio's streams cannot send descriptors, and a spare is claimed in less time than they need to be set up.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress

from pilotlight_runtime.launch import ChannelClosed, Frames, Message, encode

MAX_UNSENT = 1024
READ_BYTES, LAST_READS = 64 * 1024, 64


class Wire:
    """`receive` gets each message, `closed` is called once, when the other end is gone or talks nonsense."""

    def __init__(self, sock: socket.socket, receive: Callable[[Message], None], closed: Callable[[], None]) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._receive = receive
        self._closed = closed
        self._loop = asyncio.get_running_loop()
        self._frames = Frames()
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self._open = True
        self._loop.add_reader(sock, self._read)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, now or when there is room; the descriptors must stay open until an answer shows that they arrived.
        On a closed wire nothing happens: `closed` has told."""
        self.send_bytes(encode(message), fds)

    def send_bytes(self, data: bytes, fds: Sequence[int] = ()) -> None:
        """The same for what is encoded already, or a part of it."""
        if not self._open:
            return
        if self._unsent:
            self._unsent.append((data, fds))
            if len(self._unsent) > MAX_UNSENT:
                self._lost()
            return
        rest, fds = self._try(data, fds)
        if rest:
            self._unsent.append((rest, fds))
            self._loop.add_writer(self._sock, self._flush)

    def drain(self) -> None:
        """Take in what has arrived: last words. Of a peer that goes on talking, a part."""
        for _ in range(LAST_READS):
            if not self._read():
                return

    def _read(self) -> bool:
        """One piece, so that a peer that talks without an end does not keep the loop; whether there may be more."""
        if not self._open:
            return False
        try:
            data = self._sock.recv(READ_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        self._take(data)
        return len(data) == READ_BYTES

    def close(self) -> None:
        """Leave without a word; `closed` is not called."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._sock)
            self._loop.remove_writer(self._sock)
            self._sock.close()

    def _take(self, data: bytes) -> None:
        if not data:
            self._lost()
            return
        try:
            messages = self._frames.feed(data)
        except (ChannelClosed, ValueError, RecursionError):
            self._lost()
            return
        for message in messages:
            if self._open and isinstance(message, dict):
                self._receive(message)

    def _flush(self) -> None:
        while self._unsent:
            rest, fds = self._try(*self._unsent.popleft())
            if rest:
                self._unsent.appendleft((rest, fds))
                return
        if self._open:
            self._loop.remove_writer(self._sock)

    def _try(self, data: bytes, fds: Sequence[int]) -> tuple[bytes, Sequence[int]]:
        """What could not be sent yet."""
        try:
            sent = socket.send_fds(self._sock, [data], list(fds)) if fds else self._sock.send(data)
        except BlockingIOError:
            return data, fds
        except OSError:
            # Its last words may still lie in our buffer: they are read before the end is told.
            with suppress(OSError):
                self._sock.shutdown(socket.SHUT_WR)
            return b"", ()
        return data[sent:], ()

    def _lost(self) -> None:
        self.close()
        self._closed()
