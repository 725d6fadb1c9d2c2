"""The replica: from a forked child that knows nothing to a function that serves, and to its end.

The order of its stages is the contract of runtime/README.md. A child is prepared before it is known for whom; what a
launch brings comes over its channel, so that the zygote, which runs other functions' imports too, never sees it.
"""

import asyncio
import atexit
import contextlib
import contextvars
import faulthandler
import functools
import inspect
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import uvloop

from pilotlight_runtime import __version__, launch, limits, logs, rehearsal
from pilotlight_runtime.channel import Channel
from pilotlight_runtime.contracts import Application, Conversation, Identity, conversation_in
from pilotlight_runtime.failures import LoadFailed, init_failure, user_traceback
from pilotlight_runtime.loader import PACKAGE, load
from pilotlight_runtime.secret_files import remove_secrets
from pilotlight_runtime.server import Connection, Server
from pilotlight_runtime.tether import Tether
from pilotlight_runtime.workers import Workers

EXIT_LOAD_FAILED = 66
EXIT_STUCK = 70
EXIT_OUT_OF_MEMORY = 137  # as if the kernel had killed it, which is what a limit by cgroup does
DESCRIPTORS = 4
"""Listener, channel, log, previous log."""
LAUNCH_SECONDS = 30.0
SHUTDOWN_SECONDS = 4.0
ATEXIT_SECONDS = 5.0
"""Together less than the grace that a provider gives."""
TICK_SECONDS = 1.0
BUSY_SECONDS, RECENT_SECONDS = 0.2, 60.0
"""In a replica that has been called a short while ago."""
FLOOD_SECONDS, FLOOD_LASTS_SECONDS = 0.02, 5.0
"""While somebody floods the log past us: a program that prints nothing but `y` fills it in 10 ms."""
BACKLOG = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The launch message, parsed."""

    id: str
    function: str
    revision: str
    bundle: str
    contract: str
    handler: str
    variables: dict[str, str]
    secrets_dir: str | None
    memory_mib: int | None
    open_files: int
    processes: int
    concurrency: int | None
    timeout_seconds: float
    max_stream_seconds: float
    debug: bool
    idle_end_seconds: float

    @classmethod
    def of(cls, message: launch.Message) -> "Order":
        """KeyError when the provider left something out; what it says beyond is for newer runtimes."""
        return cls(**{name: message[name] for name in cls.__slots__})

    @property
    def identity(self) -> Identity:
        name, _, namespace = self.function.partition(".")
        return Identity(name, namespace, self.revision, socket.gethostname(), self.timeout_seconds)


class Prepared:
    """What a child makes before it is claimed: all that depends on no launch."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.workers = Workers()
        self.workers.warm()
        self.tether = Tether()
        faulthandler.enable(file=2, all_threads=False)  # the others wait, and would push out what was printed before

    def rehearse(self) -> None:
        """Not for a child that somebody waits for already."""
        try:
            rehearsal.rehearse(self.loop, self.workers)
        except Exception as error:  # it would start more slowly, no more than that
            print(f"pilotlight: a spare's rehearsal failed: {error!r}", file=sys.stderr, flush=True)


def begin(zygote: socket.socket | None, descriptors: list[int]) -> NoReturn:
    """A forked child's life: prepare, wait for the descriptors when they are not here yet, be a replica."""
    prepared = Prepared()
    if zygote is not None:
        prepared.rehearse()
        with zygote:
            with contextlib.suppress(BrokenPipeError):  # it was claimed already, or the zygote is gone
                zygote.send(b"!")
            _, descriptors, _, _ = socket.recv_fds(zygote, 1, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    if len(descriptors) != DESCRIPTORS:
        os._exit(0)  # the zygote wants it no more
    Replica(prepared, *descriptors).run()


class Replica:
    """One function's process, from its launch to its end."""

    def __init__(self, prepared: Prepared, listener: int, channel: int, log: int, log_previous: int) -> None:
        self._loop = prepared.loop
        self._workers = prepared.workers
        self._tether = prepared.tether
        self._listener = socket.socket(fileno=listener)
        self._channel = Channel(socket.socket(fileno=channel))
        self._logs = logs.Logs(logs.LogFile(log, log_previous))
        os.dup2(log, 1)
        os.dup2(log, 2)
        self._phases: dict[str, float] = {}
        self._server: Server | None = None
        self._flooded_at = -FLOOD_LASTS_SECONDS
        self._shutdown: Callable[[], Awaitable[None]] | None = None
        self._last_task: asyncio.Task[None] | None = None
        self._left_alone = False

    def run(self) -> NoReturn:
        try:
            self._order = Order.of(self._channel.receive_launch(LAUNCH_SECONDS))
        except (ConnectionError, TimeoutError):
            os._exit(0)  # nobody wants it any more
        self._tether.follow(self._channel)
        self._logs.install()
        _set_environment(self._order)
        limits.set_limits(open_files=self._order.open_files, processes=self._order.processes)
        _reseed()
        _give_up_rights()
        self._watch_memory()
        try:
            with self._phase("load"):
                application = self._load()
            self._loop.run_until_complete(self._serve(application))
        except LoadFailed as failure:
            self._fail(failure)
        raise AssertionError("serving ends with the process")

    # Starting.

    async def _serve(self, application: Application | Conversation) -> None:
        """One run of the loop from here to the end: between two, uvloop drops signals."""
        self._loop.add_signal_handler(signal.SIGTERM, self._terminate)
        context = contextvars.copy_context()
        with self._phase("init"):
            await self._init(application, context)
        if (conversation := conversation_in(application)) is not None:
            self._shutdown = conversation.shutdown
        server = self._server = self._make_server(application, context)
        with self._phase("listen"):
            await self._listen(server)
        self._say_ready(server, application)
        self._tick()
        await self._loop.create_future()

    @contextlib.contextmanager
    def _phase(self, name: str) -> Any:
        begin = time.perf_counter()
        yield
        self._phases[name] = round((time.perf_counter() - begin) * 1000, 3)

    def _load(self) -> Application | Conversation:
        order = self._order
        try:
            return load(order.bundle, order.handler, order.contract, order.identity)
        except LoadFailed as failure:
            if failure.__cause__ is not None and failure.slug != "handler-syntax":
                self._logs.error(user_traceback(failure.__cause__))
            raise

    async def _init(self, application: Application | Conversation, context: contextvars.Context) -> None:
        """In the thread that will run handlers, and on the loop when it is async; the loop goes on meanwhile."""
        if application.init is None:
            return
        try:
            await self._run_init(application.init, context)
        except BaseException as raised:
            error = raised.error if isinstance(raised, _Raised) else raised
            self._logs.error(user_traceback(error))
            folder = os.path.join(self._order.bundle, PACKAGE)
            raise init_failure(error, folder) from error
        finally:
            self._logs.end_all_lines()

    async def _run_init(self, init: Callable[[], Any], context: contextvars.Context) -> None:
        returned: asyncio.Future[Any] = self._loop.create_future()

        def work() -> None:
            try:
                settle = functools.partial(returned.set_result, context.run(init))
            except BaseException as error:
                settle = functools.partial(returned.set_exception, _Raised(error))
            self._loop.call_soon_threadsafe(settle)

        self._workers.submit(work)
        result = await returned
        if inspect.isawaitable(result):
            await self._loop.create_task(_await(result), context=context)

    def _make_server(self, application: Application | Conversation, context: contextvars.Context) -> Server:
        order = self._order
        slots = order.concurrency or application.slots
        self._workers.allow(slots)
        return Server(
            application,
            self._logs,
            loop=self._loop,
            workers=self._workers,
            context=context,
            slots=slots,
            timeout_seconds=order.timeout_seconds,
            max_stream_seconds=order.max_stream_seconds,
            debug=order.debug,
            on_stuck=self._say_stuck,
            on_drained=self._drained,
        )

    async def _listen(self, server: Server) -> None:
        sock = self._listener
        listen = self._loop.create_unix_server if sock.family == socket.AF_UNIX else self._loop.create_server
        await listen(lambda: Connection(server), sock=sock, backlog=BACKLOG)

    # Serving.

    def _say_ready(self, server: Server, application: Application | Conversation) -> None:
        self._channel.send(
            {
                "type": "ready",
                "slots": server.slots,
                "asynchronous": application.asynchronous,
                "runtime": __version__,
                "phases": self._phases,
            }
        )

    def _tick(self) -> None:
        """What nothing else would notice."""
        now = self._loop.time()
        if self._logs.file.rotate_when_large():
            self._flooded_at = now
        self._loop.call_later(self._tick_seconds(now), self._tick)
        server = self._server
        if server is None or server.draining or not self._channel.closed or server.in_flight:
            return
        silent = now - max(server.last_word, self._channel.closed_at)
        if silent > self._order.idle_end_seconds:
            self._logs.system(f"idle: no request and no control plane for {silent:.0f} s")
            self._left_alone = True
            server.drain()

    def _tick_seconds(self, now: float) -> float:
        if now - self._flooded_at < FLOOD_LASTS_SECONDS:
            return FLOOD_SECONDS
        recent = self._server is not None and (self._server.in_flight or now - self._server.last_word < RECENT_SECONDS)
        return BUSY_SECONDS if recent else TICK_SECONDS

    def _watch_memory(self) -> None:
        if self._order.memory_mib is not None:
            limits.MemoryWatch(self._order.memory_mib, self._out_of_memory).start()

    # Ending.

    def _terminate(self) -> None:
        if self._server is None:
            _exit_orderly(self._logs, 0)
        self._server.drain()

    def _drained(self, stuck: bool) -> None:
        if stuck:
            self._logs.end_all_lines()
            os._exit(EXIT_STUCK)  # what hangs may hang its atexit functions too
        if self._shutdown is None:
            self._leave()
        if self._last_task is None:
            self._last_task = self._loop.create_task(self._shut_down(self._shutdown))

    async def _shut_down(self, shutdown: Callable[[], Awaitable[None]]) -> None:
        """What a handler has to close, then the process' end."""
        try:
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                await shutdown()
        except TimeoutError:
            self._logs.system(f"shutdown: it took more than {SHUTDOWN_SECONDS:g} s and was left")
        except BaseException as error:
            self._logs.error(user_traceback(error))
        self._leave()

    def _leave(self) -> NoReturn:
        """Its secrets are the control plane's to remove; one that has left for good never does."""
        if self._left_alone and self._order.secrets_dir is not None:
            remove_secrets(self._order.secrets_dir)
        _exit_orderly(self._logs, 0)

    def _say_stuck(self, detail: str) -> None:
        self._logs.system(f"stuck: {detail}; this replica ends")
        self._channel.send({"type": "ending", "reason": "stuck", "detail": detail})

    def _out_of_memory(self, limit_mib: int, used_mib: int) -> None:
        """In the watching thread."""
        detail = f"out of memory: {used_mib} MiB in use, the limit is {limit_mib} MiB"
        self._channel.send({"type": "ending", "reason": "out-of-memory", "detail": detail})
        self._logs.end_all_lines()
        self._logs.system(detail)
        os._exit(EXIT_OUT_OF_MEMORY)

    def _fail(self, failure: LoadFailed) -> NoReturn:
        self._logs.end_all_lines()
        self._logs.system(str(failure))
        self._channel.send(failure.message())
        _exit_orderly(self._logs, EXIT_LOAD_FAILED)


class _Raised(Exception):
    """Carries what `init` raised out of its thread: a future takes no StopIteration, and SystemExit ends a loop."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


async def _await(awaitable: Awaitable[Any]) -> None:
    try:
        await awaitable
    except BaseException as error:
        raise _Raised(error) from error


def _set_environment(order: Order) -> None:
    """From nothing: neither the zygote's nor the operator's variables are the function's."""
    name, _, namespace = order.function.partition(".")
    variables = {
        "PATH": os.path.dirname(sys.executable) + ":/usr/local/bin:/usr/bin:/bin",
        "HOME": "/tmp",  # noqa: S108 (writable, and nobody's home)
        "LANG": "C.UTF-8",
        "TMPDIR": "/tmp",  # noqa: S108
        **order.variables,
        "OPENFAAS_NAME": name,
        "OPENFAAS_NAMESPACE": namespace,
    }
    if order.secrets_dir is not None:
        variables["PILOTLIGHT_SECRETS"] = order.secrets_dir
    os.environ.clear()
    os.environ.update(variables)
    tempfile.tempdir = None


def _reseed() -> None:
    """Children of one zygote must not draw the same numbers."""
    random.seed()
    if (numpy_random := sys.modules.get("numpy.random")) is not None:
        numpy_random.seed()
    if (torch := sys.modules.get("torch")) is not None:
        torch.seed()


def _give_up_rights() -> None:
    """The place for isolation `basic` and `strict`: after the limits are set, before the function's first line runs.

    There is only `none` today. What changes the user here must have the tether set the parent-death signal again, which
    the kernel then clears.
    """


def _exit_orderly(log: logs.Logs, code: int) -> NoReturn:
    """Never through the interpreter's own end: after `import onnxruntime` a forked child does not return from it."""
    threading.Thread(target=_exit_late, args=(code,), daemon=True).start()
    with contextlib.suppress(BaseException):
        atexit._run_exitfuncs()
    log.end_all_lines()
    os._exit(code)


def _exit_late(code: int) -> None:
    time.sleep(ATEXIT_SECONDS)
    os._exit(code)
