"""Connections over the limit wait, and are taken again when there is room."""

import asyncio
import errno
import socket
from pathlib import Path
from typing import Self

import pytest

from pilotlight.config import RouterSettings
from pilotlight.router import server as server_module
from pilotlight.router.control_plane import ControlPlane
from pilotlight.router.levels import LevelReporter
from pilotlight.router.server import Server
from pilotlight.router.table import Table


class ShortOfDescriptors(socket.socket):
    """Cannot be duplicated while a test says so."""

    short = False
    failed = 0

    def dup(self) -> Self:
        if self.short:
            self.failed += 1
            raise OSError(errno.EMFILE, "Too many open files")
        return super().dup()


def _server(listener: socket.socket, nowhere: Path) -> Server:
    table = Table(watch=LevelReporter(), hold_seconds=1, buffer_bytes=1)
    control_plane = ControlPlane(
        nowhere, deadlines=table.deadlines, read_seconds=1, change_seconds=1, buffer_bytes=65_536
    )
    return Server(listener, RouterSettings(connections=1), table, control_plane)


async def _health(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer


async def test_a_router_short_of_descriptors_takes_connections_again_when_it_has_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "SWEEP_SECONDS", 0.02)
    listener = ShortOfDescriptors(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    server = _server(listener, tmp_path / "nowhere.sock")
    async with asyncio.timeout(10):
        await server.start()
        listener.short = True
        assert (await _health(listener.getsockname()[1])).startswith(b"HTTP/1.1 200")
        while not listener.failed:
            await asyncio.sleep(0.01)
        listener.short = False
        assert (await _health(listener.getsockname()[1])).startswith(b"HTTP/1.1 200")
        await server.drain(1)
