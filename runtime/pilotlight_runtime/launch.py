"""The messages between a provider, a zygote and a replica: a 4-byte big-endian length, JSON, and file descriptors.

runtime/README.md says who sends what, and when. Both ends of every conversation use this module.
"""

import array
import json
import os
import socket
import struct
from typing import Any

_LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 16 * 2**20
MAX_FDS = 8

Message = dict[str, Any]


class ChannelClosed(ConnectionError):
    """The other end is gone, in the middle of a message or between two."""


def encode(message: Message) -> bytes:
    body = json.dumps(message, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes; at most {MAX_FRAME_BYTES} are allowed")
    return _LENGTH.pack(len(body)) + body


def send(sock: socket.socket, message: Message, fds: list[int] | None = None) -> None:
    """Send one message, blocking; the descriptors travel with its first byte and stay open here."""
    data = encode(message)
    try:
        if fds:
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
            sent = sock.sendmsg([data], rights)
            data = data[sent:]
        if data:
            sock.sendall(data)
    except (BrokenPipeError, ConnectionResetError) as error:
        raise ChannelClosed(str(error)) from error


def receive(sock: socket.socket) -> tuple[Message, list[int]]:
    """Wait for one message and the descriptors that came with it.

    ChannelClosed at the end and for what is no message; descriptors that came with it are closed then."""
    fds: list[int] = []
    try:
        (length,) = _LENGTH.unpack(_receive_exactly(sock, _LENGTH.size, fds))
        if length > MAX_FRAME_BYTES:
            raise ChannelClosed(f"a message of {length} bytes; at most {MAX_FRAME_BYTES} are allowed")
        return json.loads(_receive_exactly(sock, length, fds)), fds
    except BaseException as error:
        for fd in fds:
            os.close(fd)
        if isinstance(error, (ConnectionResetError, ValueError)):
            raise ChannelClosed(str(error)) from error
        raise


def _receive_exactly(sock: socket.socket, count: int, fds: list[int]) -> bytes:
    chunks = []
    while count:
        data, ancillary, _flags, _address = sock.recvmsg(count, socket.CMSG_SPACE(MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC)
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(payload[: len(payload) - len(payload) % received.itemsize])
                fds.extend(received)
        if not data:
            raise ChannelClosed("the other end closed the channel")
        chunks.append(data)
        count -= len(data)
    return b"".join(chunks)


class Frames:
    """Cuts a byte stream into messages, for a reader that does not block."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        self._buffer += data
        messages = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise ChannelClosed(f"a message of {length} bytes; at most {MAX_FRAME_BYTES} are allowed")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            messages.append(json.loads(bytes(self._buffer[_LENGTH.size : end])))
            del self._buffer[:end]
        return messages
