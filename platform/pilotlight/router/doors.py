"""Doors: further listening sockets, for containers that do not reach the public one of a server on 127.0.0.1.

The control plane says which there are to be (link.messages.Door), and they are bound here, at the public port. What a
killed router listened on stays open on the *shelf*, a pair of sockets that the supervisor holds: a descriptor that
lies in there is as good as one that a process has. Connections wait in it until the next router takes it out.
"""

import asyncio
import contextlib
import errno
import ipaddress
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from pilotlight.link.messages import Door

log = structlog.get_logger()
BACKLOG = 1024
_MAPPED = "::ffff:"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Listener:
    """A listening socket that connections are taken from, or not for a while."""

    def __init__(self, sock: socket.socket, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._sock = sock
        self._protocol = protocol
        self._accepting: asyncio.AbstractServer | None = None
        self._closed = False

    @property
    def paused(self) -> bool:
        return self._accepting is None

    async def accept(self) -> None:
        if self._closed or self._accepting is not None:
            return
        # A server closes the socket that it was given; the listening one must outlast it.
        sock = self._sock.dup()
        server = await asyncio.get_running_loop().create_server(self._protocol, sock=sock, backlog=BACKLOG)
        if self._closed or self._accepting is not None:
            server.close()
        else:
            self._accepting = server

    def pause(self) -> None:
        """Later connections wait in the socket's backlog."""
        if self._accepting is not None:
            self._accepting.close()
            self._accepting = None

    def close(self) -> None:
        self._closed = True
        self.pause()
        self._sock.close()


class House(Protocol):
    """What doors lead into: the router's server."""

    def open_door(self, door: Door, sock: socket.socket) -> None: ...
    def close_door(self, door: Door) -> None: ...
    def cover_doors(self, networks: Mapping[str, Network]) -> None:
        """Connections to these addresses come in by the public socket, which listens on all."""
        ...


class Shelf:
    """Descriptors that outlive a router."""

    def __init__(self, reading: socket.socket, writing: socket.socket) -> None:
        self._reading, self._writing = reading, writing
        for end in (reading, writing):
            end.setblocking(False)
        self._count = 0

    def replace(self, sockets: Iterable[socket.socket]) -> None:
        """These lie there, and no others. First the new ones: a router can be killed at any line."""
        before = self._count
        self._count = 0
        with contextlib.suppress(OSError):  # it is full: those beyond are lost with this router, as all would be
            for sock in sockets:
                socket.send_fds(self._writing, [b"."], [sock.fileno()])
                self._count += 1
        for sock in self._taken(before):
            sock.close()

    def take(self) -> list[socket.socket]:
        """What the router before this one left; it still lies there."""
        found = list(self._taken(None))
        self.replace(found)
        return found

    def clear(self) -> None:
        self.replace(())

    def _taken(self, count: int | None) -> Iterable[socket.socket]:
        while count is None or count > 0:
            try:
                word, numbers, _flags, _address = socket.recv_fds(self._reading, 1, 1)
            except OSError:
                return
            if not word:
                return
            count = None if count is None else count - 1
            yield from (socket.socket(fileno=number) for number in numbers)


class Doors:
    """Opens and closes them as the control plane says."""

    def __init__(self, public: socket.socket, house: House, shelf: Shelf | None = None) -> None:
        self._host, self._port = public.getsockname()[:2]
        self._house = house
        self._shelf = shelf
        self._open: dict[Door, socket.socket] = {}
        self._closed = False
        self._found = {sock.getsockname()[0]: sock for sock in (shelf.take() if shelf else ())}

    def listen(self, wanted: Iterable[Door]) -> dict[str, str]:
        """At these and no others. The addresses at which that is not possible, each with its reason."""
        doors = {} if self._closed else {door.address: door for door in wanted}
        for door in [door for door in self._open if doors.get(door.address) != door]:
            self._house.close_door(door)
            del self._open[door]
        covered: dict[str, Network] = {}
        shut: dict[str, str] = {}
        for door in doors.values():
            try:
                self._listen(door)
            except (OSError, ValueError) as error:
                if self._is_covered(error):
                    covered[door.address] = ipaddress.ip_network(door.network)
                elif door.address != self._host:
                    shut[door.address] = str(getattr(error, "strerror", None) or error)
        self._house.cover_doors(covered)
        for sock in self._found.values():
            sock.close()
        self._found.clear()
        if self._shelf is not None:
            self._shelf.replace(self._open.values())
        return shut

    def close(self) -> None:
        """For good: the next router may be another server's."""
        self._closed = True
        if self._shelf is not None:
            self._shelf.clear()
        for door in self._open:
            self._house.close_door(door)
        self._open.clear()

    def _listen(self, door: Door) -> None:
        if door in self._open:
            return
        ipaddress.ip_network(door.network)
        sock = self._found.pop(door.address, None) or _bound(door.address, self._port)
        self._open[door] = sock
        self._house.open_door(door, sock)
        log.info("router listens for containers", address=door.address, port=self._port, network=door.network)

    def _is_covered(self, error: Exception) -> bool:
        in_use = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        return in_use and ipaddress.ip_address(self._host).is_unspecified


def unmapped(address: str) -> str:
    """An IPv4 address as IPv4 has it, also where a socket of both kinds tells it."""
    return address.removeprefix(_MAPPED)


def _bound(address: str, port: int) -> socket.socket:
    """OSError when that is not possible."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock
