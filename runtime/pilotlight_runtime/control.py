"""The zygote's end of its control connection: frames with descriptors, never waiting for the peer.

Reads are cut at the ends of frames, so that descriptors, which travel with a frame's first byte, cannot be taken for
another frame's.
"""

import array
import json
import os
import socket
from collections.abc import Iterable

from pilotlight_runtime import launch
from pilotlight_runtime.launch import ChannelClosed, Message

HALF_FRAME_SECONDS = 10.0
OUTGOING_LIMIT_BYTES = 2 * launch.MAX_FRAME_BYTES
_HEAD_BYTES = 4
_RIGHTS = socket.CMSG_SPACE(launch.MAX_FDS * array.array("i").itemsize)


class ControlConnection:
    """ChannelClosed from any method means that it is of no use any more."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._head = b""
        self._body = bytearray()
        self._wanted = _HEAD_BYTES
        self._fds: list[int] = []
        self._outgoing = bytearray()
        self.deadline: float | None = None
        """When the frame of which a part is here must be whole."""

    def fileno(self) -> int:
        return self._sock.fileno()

    @property
    def wants_to_write(self) -> bool:
        return bool(self._outgoing)

    def receive(self, now: float) -> tuple[Message, list[int]] | None:
        """The next whole frame, or None while there is none."""
        while (data := self._read(self._wanted)) is not None:
            self.deadline = self.deadline or now + HALF_FRAME_SECONDS
            self._wanted -= len(data)
            if len(self._head) < _HEAD_BYTES:
                self._head += data
                if self._wanted == 0:
                    self._wanted = self._length()
            else:
                self._body += data
            if self._wanted == 0:
                return self._take()
        return None

    def send(self, message: Message) -> None:
        """As much as the peer takes now; the rest when `flush` is called."""
        self._outgoing += launch.encode(message)
        if len(self._outgoing) > OUTGOING_LIMIT_BYTES:
            raise ChannelClosed("the peer does not read")
        self.flush()

    def flush(self) -> None:
        try:
            while self._outgoing:
                del self._outgoing[: self._sock.send(self._outgoing)]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def close(self) -> None:
        close_all(self._fds)
        self._fds = []
        self._sock.close()

    def _read(self, count: int) -> bytes | None:
        try:
            data, ancillary, flags, _ = self._sock.recvmsg(count, _RIGHTS, socket.MSG_CMSG_CLOEXEC)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                self._fds.extend(received)
        if flags & socket.MSG_CTRUNC or len(self._fds) > launch.MAX_FDS:
            raise ChannelClosed("too many descriptors")
        if not data:
            raise ChannelClosed("the peer closed")
        return data

    def _length(self) -> int:
        length = int.from_bytes(self._head, "big")
        if not 2 <= length <= launch.MAX_FRAME_BYTES:
            raise ChannelClosed(f"a frame of {length} bytes")
        return length

    def _take(self) -> tuple[Message, list[int]]:
        try:
            message = json.loads(self._body)
        except ValueError as error:
            raise ChannelClosed("a frame that is no JSON") from error
        if not isinstance(message, dict):
            raise ChannelClosed("a frame that is no message")
        fds, self._fds = self._fds, []
        self._head, self._body, self._wanted, self.deadline = b"", bytearray(), _HEAD_BYTES, None
        return message, fds


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
