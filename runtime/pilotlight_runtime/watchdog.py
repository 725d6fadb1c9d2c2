"""Any program as a function: one is run for each request, with the body on its standard input.

    fprocess="wc -c" python -m pilotlight_runtime.watchdog
    fprocess="wc -c" python -P LAYER/pilotlight_runtime/watchdog.py

Its standard output is the answer, its exit code decides the status (500 unless 0), and it finds the request's head in
variables (Http_Method, Http_Path, Http_Query, Http_Content_Type, ...), as under OpenFaaS' watchdogs. With `mode=http`
one program answers all requests over HTTP, with `mode=static` files do. It listens on 0.0.0.0:8080; SIGTERM lets what
runs end. watchdog_config.py has the variables that it reads.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # the layer, where it is run as a file

from pilotlight_runtime.watchdog_answer import Log, Runner
from pilotlight_runtime.watchdog_config import HTTP, STATIC, BadVariable, Config, parse_config
from pilotlight_runtime.watchdog_connection import Connection
from pilotlight_runtime.watchdog_files import Files
from pilotlight_runtime.watchdog_program import Programs
from pilotlight_runtime.watchdog_upstream import Server

NOTICEABLE_SECONDS = 0.1


class Watchdog:
    def __init__(self, config: Config) -> None:
        self.config = config
        self.log = Log(config)
        self.runner = _runner(config, self.log)
        self.draining = False
        self.running: set[asyncio.Task[None]] = set()
        self._leaving = False
        self._lock = None if config.suppress_lock else lock_file()

    @property
    def is_full(self) -> bool:
        return 0 < self.config.max_inflight <= len(self.running)

    def is_healthy(self) -> bool:
        """Whoever removes the lock file says that it is not."""
        return not self._leaving and (self._lock is None or self._lock.exists())

    async def serve(self, *, host: str = "0.0.0.0") -> int:
        """Until SIGTERM or SIGINT, and then until what runs has ended; an exit code. OSError when the port or the lock
        file is not to be had."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        server = await loop.create_server(lambda: Connection(self), host, self.config.port, backlog=1024)
        if self._lock is not None:
            self._lock.touch()
        for note in self.config.notes:
            self.log.say(f"note: {note}")
        self.log.say(f"listening on port {server.sockets[0].getsockname()[1]}; {self.runner.words}")
        answering = asyncio.create_task(self.runner.run())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((answering, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if answering.done():
            self.log.say(answering.result())
            server.close()
            self._unlock()
            await self._end_requests()
            return 1
        await self._leave(server)
        answering.cancel()
        with suppress(asyncio.CancelledError):
            await answering
        return 0

    async def _leave(self, server: asyncio.Server) -> None:
        """First nobody should send any more, then nobody can."""
        self._leaving = True
        self._unlock()
        seconds = self.config.healthcheck_interval
        if seconds >= NOTICEABLE_SECONDS:
            self.log.say(f"ending; requests are taken for {seconds:g} s yet")
        await asyncio.sleep(seconds)
        self.draining = True
        server.close()
        if self.running:
            seconds = self.config.write_timeout
            self.log.say(f"{len(self.running)} still running; waiting at most {seconds:g} s")
            await asyncio.wait(self.running, timeout=seconds)
        await self._end_requests()

    async def _end_requests(self) -> None:
        for task in self.running:
            task.cancel()
        await asyncio.gather(*self.running, return_exceptions=True)

    def _unlock(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                self._lock.unlink()


def lock_file() -> Path:
    return Path(os.environ.get("TMPDIR") or "/tmp", ".lock")  # noqa: S108 (the name that OpenFaaS' health checks know)


def main(variables: Mapping[str, str] | None = None, arguments: list[str] | None = None) -> int:
    if "--run-healthcheck" in (sys.argv[1:] if arguments is None else arguments):
        return 0 if lock_file().exists() else 1
    try:
        config = parse_config(os.environ if variables is None else variables)
    except BadVariable as error:
        print(f"watchdog: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(Watchdog(config).serve())
    except OSError as error:
        if error.filename is not None:
            why = f"{error.filename} cannot be written: {error.strerror}; suppress_lock=true does without it"
        else:
            why = f"port {config.port} cannot be listened on: {error.strerror}"
        print(f"watchdog: {why}", file=sys.stderr)
        return 1


def _runner(config: Config, log: Log) -> Runner:
    if config.mode == HTTP:
        return Server(config, log)
    return Files(config) if config.mode == STATIC else Programs(config, log)


if __name__ == "__main__":
    sys.exit(main())
