"""The router as a program.

    python -m pilotlight.router --public-fd N --metrics-fd M --lifeline-fd L [--shelf-fds R W] --settings-json JSON

Its listening sockets are the supervisor's, so that nobody is refused while it is started again; those that it opens
itself (doors) it leaves on the shelf. It ends, after it has
drained, when it is told to (SIGTERM, SIGINT) or when the lifeline's other end is gone.
"""

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import signal
import socket
import sys

import structlog
import uvloop

from pilotlight.config import Settings
from pilotlight.core.errors import InvalidSetting
from pilotlight.log_lines import log_to_stderr
from pilotlight.router import meter, metrics_server
from pilotlight.router.control_plane import ControlPlane
from pilotlight.router.doors import Doors, Shelf
from pilotlight.router.levels import LevelReporter
from pilotlight.router.link_client import LinkClient
from pilotlight.router.server import Server
from pilotlight.router.table import Table
from pilotlight_problems import told
from pilotlight_runtime.process import set_not_dumpable

log = structlog.get_logger()


def main(arguments: list[str] | None = None) -> None:
    options = _parse(arguments)
    set_not_dumpable()
    _allow_many_connections()
    log_to_stderr()
    try:
        settings = Settings.from_json(options.settings_json)
    except InvalidSetting as error:
        print(told(error.slug, error.detail, error.hint), file=sys.stderr)
        sys.exit(2)  # the supervisor's word for: do not start me again
    # What was imported lives as long as the program: the collector need not look at it again. Calls leave no cycles.
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
    shelf = Shelf(*(socket.socket(fileno=number) for number in options.shelf_fds)) if options.shelf_fds else None
    uvloop.run(_run(settings, options.public_fd, options.metrics_fd, options.lifeline_fd, shelf))


def _allow_many_connections() -> None:
    """The soft limit of open files is often 1024; the hard one is what this process may really have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pilotlight.router", description=__doc__)
    parser.add_argument("--public-fd", type=int, required=True, help="listening socket for callers")
    parser.add_argument("--metrics-fd", type=int, required=True, help="listening socket for /metrics")
    parser.add_argument("--lifeline-fd", type=int, required=True, help="read end of the supervisor's pipe")
    parser.add_argument("--shelf-fds", type=int, nargs=2, help="what a killed router leaves for the next one")
    parser.add_argument("--settings-json", required=True, help="the server's settings (config.Settings.to_json)")
    return parser.parse_args(arguments)


async def _run(
    settings: Settings, public_fd: int, metrics_fd: int, lifeline_fd: int, shelf: Shelf | None = None
) -> None:
    buffer_bytes = settings.router.buffer_bytes
    reporter = LevelReporter()
    table = Table(
        watch=reporter,
        hold_seconds=settings.router.hold_without_routes_seconds,
        buffer_bytes=buffer_bytes,
        call_depth=settings.router.call_depth,
    )
    control_plane = ControlPlane(
        settings.api_socket,
        deadlines=table.deadlines,
        read_seconds=settings.router.api_seconds,
        change_seconds=2 * settings.control.start_timeout_seconds,
        buffer_bytes=buffer_bytes,
    )
    public = socket.socket(fileno=public_fd)
    server = Server(public, settings.router, table, control_plane)
    doors = Doors(public, server, shelf)
    link = LinkClient(settings.link_socket, table=table, reporter=reporter, listen=doors.listen)
    stop = _stop_event(lifeline_fd)

    def render() -> str:
        return meter.render(table, epoch=link.epoch, connected=link.up, routes_version=table.version)

    scrapes = await metrics_server.serve(socket.socket(fileno=metrics_fd), render)
    linking = asyncio.create_task(link.run())
    await server.start()
    log.info("router serves", epoch=link.epoch, pid=os.getpid())
    await stop.wait()
    log.info("router drains", seconds=settings.control.drain_seconds)
    doors.close()
    scrapes.close()  # with its listening socket, as `drain` does: the next server may want both ports at once
    await server.drain(settings.control.drain_seconds)
    reporter.report()
    linking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await linking
    log.info("router ends")


def _stop_event(lifeline_fd: int) -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    def lifeline() -> None:
        if not os.read(lifeline_fd, 4096):
            loop.remove_reader(lifeline_fd)
            stop.set()

    loop.add_reader(lifeline_fd, lifeline)
    return stop


if __name__ == "__main__":
    main()
