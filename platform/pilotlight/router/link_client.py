"""The router's end of the link: take routes in, say what was applied, and come back when the connection breaks."""

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import structlog

from pilotlight.link import messages
from pilotlight.link.messages import Applied, Change, Door, Hello, LinkBroken, Snapshot, Up, Welcome
from pilotlight.router.levels import LevelReporter
from pilotlight.router.table import Table

FIRST_PAUSE_SECONDS = 0.02
LONGEST_PAUSE_SECONDS = 0.5
FAREWELL_SECONDS = 1.0
HELLO_SECONDS = 10.0
READ_LIMIT_BYTES = 2**20

log = structlog.get_logger()


class LinkClient:
    """One connection at a time, for as long as the router lives."""

    def __init__(
        self,
        socket: Path,
        *,
        table: Table,
        reporter: LevelReporter,
        listen: Callable[[tuple[Door, ...]], dict[str, str]] = lambda _doors: {},
    ) -> None:
        """`listen`: at these doors and no others; what could not be opened, with the reason."""
        self.epoch = os.urandom(8).hex()
        self.up = False
        self._socket = socket
        self._table = table
        self._reporter = reporter
        self._listen = listen
        self._shut: dict[str, str] = {}

    async def run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=READ_LIMIT_BYTES)
            except OSError:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
                continue
            try:
                await self._talk(reader, writer)
            except (OSError, EOFError, LinkBroken) as error:
                log.warning("link lost", reason=str(error) or type(error).__name__)
            except Exception:  # a fault of ours must not leave the router without routes for ever
                log.exception("link lost")
            except asyncio.CancelledError:
                await self._say_farewell(writer)
                raise
            if self.up:
                pause = FIRST_PAUSE_SECONDS
            self._end(writer)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        uplink = _Uplink(writer)
        uplink.send(Hello(epoch=self.epoch, router=os.uname().nodename))
        async with asyncio.timeout(HELLO_SECONDS):
            welcome = await messages.read_down(reader)
        if not isinstance(welcome, Welcome):
            raise LinkBroken(f"{type(welcome).__name__} came before Welcome")
        snapshot = await messages.read_down(reader)
        if not isinstance(snapshot, Snapshot):
            raise LinkBroken(f"{type(snapshot).__name__} came before Snapshot")
        self._reporter.connected(uplink)
        self._apply_snapshot(snapshot, uplink)
        self.up = True
        log.info("link up", control_plane=welcome.epoch, routes=len(self._table), version=snapshot.version)
        while True:
            self._apply(await messages.read_down(reader), uplink)

    def _apply(self, message: messages.Down, uplink: "_Uplink") -> None:
        if isinstance(message, Snapshot):
            self._apply_snapshot(message, uplink)
        elif isinstance(message, Change):
            if message.version != self._table.version + 1:
                raise LinkBroken(f"change {message.version} came after {self._table.version}")
            self._table.change(message)
            if message.doors is not None:
                self._shut = self._listen(message.doors)
            uplink.send(Applied(version=message.version, shut=self._shut))
            touched = (self._table.get(route.function) for route in message.routes)
            self._reporter.applied(touched, message.version, full=False)
        else:
            raise LinkBroken("a second Welcome")

    def _apply_snapshot(self, snapshot: Snapshot, uplink: "_Uplink") -> None:
        self._table.replace(snapshot)
        self._shut = self._listen(snapshot.doors)
        uplink.send(Applied(version=snapshot.version, shut=self._shut))
        self._reporter.applied(self._table, snapshot.version, full=True)

    async def _say_farewell(self, writer: asyncio.StreamWriter) -> None:
        """The last counts are to arrive."""
        self._end(writer)
        with contextlib.suppress(OSError):  # TimeoutError is one
            async with asyncio.timeout(FAREWELL_SECONDS):
                await writer.wait_closed()

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self.up = False
        self._reporter.disconnected()
        writer.close()


class _Uplink:
    """Writes at once: a waiting call must not wait for a task to be scheduled."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, message: Up) -> None:
        if not self._writer.is_closing():
            self._writer.write(messages.encode(message))
