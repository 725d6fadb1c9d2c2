"""The zygote's end of its connection: whole frames with their own descriptors, and never a wait."""

import array
import contextlib
import os
import socket
from collections.abc import Iterator

import pytest

from pilotlight_runtime.control import HALF_FRAME_SECONDS, ControlConnection
from pilotlight_runtime.launch import ChannelClosed, encode, receive, send


@pytest.fixture
def ends() -> Iterator[tuple[ControlConnection, socket.socket]]:
    ours, theirs = socket.socketpair()
    connection = ControlConnection(ours)
    with theirs:
        yield connection, theirs
    connection.close()


@pytest.fixture
def connection(ends: tuple[ControlConnection, socket.socket]) -> ControlConnection:
    return ends[0]


@pytest.fixture
def peer(ends: tuple[ControlConnection, socket.socket]) -> socket.socket:
    return ends[1]


def test_frames_come_one_by_one(connection: ControlConnection, peer: socket.socket) -> None:
    assert connection.receive(0.0) is None
    send(peer, {"type": "a"})
    send(peer, {"type": "b"})
    assert connection.receive(0.0) == ({"type": "a"}, [])
    assert connection.receive(0.0) == ({"type": "b"}, [])
    assert connection.receive(0.0) is None


def test_descriptors_come_with_their_own_frame(connection: ControlConnection, peer: socket.socket) -> None:
    with open(os.devnull) as one, open(os.devnull) as two:
        send(peer, {"type": "without"})
        send(peer, {"type": "first"}, [one.fileno()])
        send(peer, {"type": "second"}, [one.fileno(), two.fileno()])
    frames = [connection.receive(0.0) for _ in range(3)]
    assert [(frame[0]["type"], len(frame[1])) for frame in frames if frame] == [
        ("without", 0),
        ("first", 1),
        ("second", 2),
    ]
    for frame in frames:
        for fd in frame[1] if frame else []:
            os.close(fd)


def test_half_a_frame_has_a_deadline(connection: ControlConnection, peer: socket.socket) -> None:
    data = encode({"type": "slow"})
    for position in range(len(data) - 1):
        peer.sendall(data[position : position + 1])
        assert connection.receive(100.0 + position) is None
    assert connection.deadline == 100.0 + HALF_FRAME_SECONDS
    peer.sendall(data[-1:])
    assert connection.receive(200.0) == ({"type": "slow"}, [])
    assert connection.deadline is None


@pytest.mark.parametrize(
    "garbage", [b"\0\0\0\0", b"\0\0\0\x02no", b"\0\0\0\x0212", b"\x7f\0\0\0", b"\0\0\0\x02\xff\xff"]
)
def test_garbage_closes(connection: ControlConnection, peer: socket.socket, garbage: bytes) -> None:
    peer.sendall(garbage)
    with pytest.raises(ChannelClosed):
        connection.receive(0.0)


def test_the_peers_end_closes(connection: ControlConnection, peer: socket.socket) -> None:
    peer.sendall(b"\0\0")
    peer.close()
    with pytest.raises(ChannelClosed):
        connection.receive(0.0)


def test_too_many_descriptors_close_and_none_is_left_open(connection: ControlConnection, peer: socket.socket) -> None:
    read, write = os.pipe()
    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write] * 5))
    for byte in (b"\0", b"\0"):
        peer.sendmsg([byte], [rights])
    os.close(write)
    with pytest.raises(ChannelClosed):
        connection.receive(0.0)
    connection.close()
    assert os.read(read, 1) == b""
    os.close(read)


def test_what_the_peer_does_not_take_yet_is_written_later(connection: ControlConnection, peer: socket.socket) -> None:
    message = {"type": "large", "text": "x" * 2_000_000}
    connection.send(message)
    assert connection.wants_to_write
    peer.setblocking(False)
    received = b""
    while connection.wants_to_write:
        connection.flush()
        with contextlib.suppress(BlockingIOError):
            while True:
                received += peer.recv(2**20)
    assert received == encode(message)


def test_a_peer_that_never_reads_is_let_go(connection: ControlConnection, peer: socket.socket) -> None:
    for _ in range(3):
        connection.send({"text": "x" * 10_000_000})
    with pytest.raises(ChannelClosed):
        connection.send({"text": "x" * 10_000_000})


def test_a_peer_that_is_gone_is_noticed_when_sending(connection: ControlConnection, peer: socket.socket) -> None:
    peer.close()
    with pytest.raises(ChannelClosed):
        connection.send({"type": "hello"})


def test_both_ends_speak_the_same_frames(connection: ControlConnection, peer: socket.socket) -> None:
    connection.send({"type": "hello", "n": 1})
    assert receive(peer) == ({"type": "hello", "n": 1}, [])
