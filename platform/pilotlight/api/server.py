"""The API as an application, and as a server on a unix socket behind the router."""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from aiohttp import web

from pilotlight.api.auth import Credentials, guard
from pilotlight.api.builds import Builds
from pilotlight.api.images import Images, Pusher
from pilotlight.api.keys import Keys
from pilotlight.api.namespaces import Namespaces
from pilotlight.api.openapi import Description
from pilotlight.api.problems import outside_handlers, problems
from pilotlight.api.reading import defer_invitation
from pilotlight.api.secrets import Secrets
from pilotlight.api.system import System
from pilotlight.api.system_alert import Alerts
from pilotlight.api.system_namespaces import SystemNamespaces
from pilotlight.api.system_secrets import SystemSecrets
from pilotlight.api.uploads import sweep
from pilotlight.api.v1 import V1
from pilotlight.api.work import Work
from pilotlight.control.views import Control
from pilotlight.core.errors import Conflict

_PROBE_SECONDS = 2.0
_BACKLOG = 128
_NO_LOG = logging.Logger("no access log", level=logging.CRITICAL)  # the router counts and logs requests


def make_app(
    control: Control,
    *,
    credentials: Credentials | None,
    version: str,
    provider: str,
    staging_dir: Path,
    upload_limit_mib: int,
    public_url: str = "",
    pusher: Pusher | None = None,
) -> web.Application:
    """Everything but the socket. Without credentials everyone is let in. `pusher`: where functions are images."""
    work = Work()
    declared = [
        *V1(control, work, version=version, provider=provider).endpoints(),
        *Builds(control, work, staging_dir=staging_dir, upload_limit_mib=upload_limit_mib).endpoints(),
        *(Images(pusher, work).endpoints() if pusher else ()),
        *Secrets(control.secrets, work).endpoints(),
        *Namespaces(control.namespaces, work).endpoints(),
        *Keys(control, work).endpoints(),
    ]
    endpoints = Description(declared, version=version).endpoints
    open_paths = {"/healthz", *(endpoint.path for endpoint in endpoints if endpoint.is_open)}
    guarded = guard(credentials, open_paths=frozenset(open_paths), public_url=public_url)
    app = web.Application(middlewares=[problems, guarded])
    routes = [
        *_pages(version, public_url),
        *(endpoint.route() for endpoint in endpoints),
        *System(control, work, version=version, provider=provider).routes(),
        *SystemSecrets(control, work).routes(),
        *SystemNamespaces(control, work).routes(),
        *Alerts(control, work).routes(),
    ]
    for route in routes:
        route.kwargs["expect_handler"] = defer_invitation
    app.add_routes(routes)

    async def start(_: web.Application) -> None:
        await asyncio.to_thread(sweep, staging_dir)

    async def sign(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["Server"] = f"pilotlight/{version}"

    app.on_startup.append(start)
    app.on_response_prepare.append(sign)
    app.on_shutdown.append(work.stop)
    app.on_cleanup.append(work.close)
    return app


@asynccontextmanager
async def serving(app: web.Application, socket_path: Path, *, close_seconds: float = 5.0) -> AsyncIterator[None]:
    """The application answers on the socket for as long as the block lasts. Leaving it, streams end, requests have
    `close_seconds` to finish and are cancelled then. Conflict when another server answers on the socket."""
    # A client that goes away cancels its handler.
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=close_seconds)
    with await _bind(socket_path) as listener:  # before the application starts: its start removes what others left
        mine = socket_path.stat().st_ino
        try:
            await runner.setup()
            server = await _listen(runner, listener)
            try:
                yield
            finally:
                server.close()
        finally:
            _remove(socket_path, mine)
            await runner.cleanup()


class _Connection(web.RequestHandler):
    """aiohttp's, but what it cannot read as HTTP is answered like every other error."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionAbortedError("an answer has begun already")
        return outside_handlers(request, exc, message or str(exc or status))


async def _listen(runner: web.AppRunner, listener: socket.socket) -> asyncio.Server:
    manager = cast(web.Server, runner.server)  # setup() has made it
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(
        lambda: _Connection(manager, loop=loop, access_log=_NO_LOG, auto_decompress=False),
        sock=listener,
        backlog=_BACKLOG,
    )


async def _bind(path: Path) -> socket.socket:
    await _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Linux makes the file with the mode that the unbound socket has: at no moment is it open to others.
        os.fchmod(listener.fileno(), stat.S_IRUSR | stat.S_IWUSR)
        listener.setblocking(False)
        listener.bind(str(path))
    except BaseException:
        listener.close()
        raise
    return listener


async def _clear(path: Path) -> None:
    """Remove the socket of a server that was killed; Conflict when one answers, or when it is no socket at all."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Conflict(f"{path} is in the way and is no socket", hint="Remove it and start again.")
    try:
        async with asyncio.timeout(_PROBE_SECONDS):
            _, writer = await asyncio.open_unix_connection(path)
    except (ConnectionRefusedError, FileNotFoundError):
        path.unlink(missing_ok=True)
        return
    except (TimeoutError, BlockingIOError):  # its backlog is full: it listens, and is busy
        writer = None
    if writer is not None:
        writer.close()
    raise Conflict(f"another server answers on {path}", hint="Stop it first, or use another data directory.")


def _remove(path: Path, inode: int) -> None:
    """Ours only: the next server may have put its own there already."""
    try:
        if path.lstat().st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        pass


def _pages(version: str, public_url: str) -> list[web.RouteDef]:
    text = (
        f"Pilotlight {version}\n\n"
        f"Functions answer at {public_url}/function/NAME.\n"
        f"The API is {public_url}/api/v1, and OpenFaaS' at {public_url}/system; `faasctl` speaks it.\n"
        "There is no user interface yet.\n"
    )

    async def index(_: web.Request) -> web.Response:
        return web.Response(text=text)

    async def healthz(_: web.Request) -> web.Response:
        return web.Response(text="OK")

    return [web.get("/", index), web.get("/healthz", healthz)]
