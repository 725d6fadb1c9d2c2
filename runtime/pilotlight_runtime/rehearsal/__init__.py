"""A spare's rehearsal: it loads a function of ours and serves a request, then forgets both.

What a forked process touches for the first time costs it page faults, two milliseconds of them from its launch to its
first answer. A spare has the time to touch all of it beforehand.
"""

import asyncio
import contextlib
import contextvars
import os
import socket
import sys
from collections.abc import Iterator

from pilotlight_runtime import loader, logs
from pilotlight_runtime.contracts import Application, Conversation, Identity
from pilotlight_runtime.server import Connection, Server
from pilotlight_runtime.workers import Workers

_BUNDLE = os.path.dirname(os.path.abspath(__file__))
_IDENTITY = Identity("rehearsal", "", "0", "")
_REQUEST = b"POST /?a=b HTTP/1.1\r\nHost: rehearsal\r\nX-Call-Id: r1\r\nContent-Length: 2\r\n\r\nhi"
_SECONDS = 5.0


def rehearse(loop: asyncio.AbstractEventLoop, workers: Workers) -> None:
    """Nothing of it is left in the process but warm memory."""
    with _forgotten():
        application = loader.load(_BUNDLE, "handler", "http", _IDENTITY)
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_APPEND)
        try:
            log = logs.Logs(logs.LogFile(nowhere, nowhere))
            loop.run_until_complete(_serve_once(_server(application, log, loop, workers)))
        finally:
            os.close(nowhere)


def _server(
    application: Application | Conversation, log: logs.Logs, loop: asyncio.AbstractEventLoop, workers: Workers
) -> Server:
    return Server(
        application,
        log,
        loop=loop,
        workers=workers,
        context=contextvars.copy_context(),
        slots=1,
        timeout_seconds=_SECONDS,
        max_stream_seconds=_SECONDS,
        debug=False,
        on_stuck=lambda _: None,
        on_drained=lambda _: None,
    )


async def _serve_once(server: Server) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")  # a name that the kernel chooses, in no folder
    accepting = await server.loop.create_unix_server(lambda: Connection(server), sock=listener)
    with socket.socket(socket.AF_UNIX) as client:
        client.setblocking(False)
        async with asyncio.timeout(_SECONDS):
            await server.loop.sock_connect(client, listener.getsockname())
            await server.loop.sock_sendall(client, _REQUEST)
            await server.loop.sock_recv(client, 4096)
    accepting.close()
    await accepting.wait_closed()


@contextlib.contextmanager
def _forgotten() -> Iterator[None]:
    """The interpreter finds and has imported what it did before."""
    path = list(sys.path)
    modules = set(sys.modules)
    finders = set(sys.path_importer_cache)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name == loader.PACKAGE or name.startswith(f"{loader.PACKAGE}."):
                del sys.modules[name]
        for entry in set(sys.path_importer_cache) - finders:
            del sys.path_importer_cache[entry]
        os.chdir("/")
