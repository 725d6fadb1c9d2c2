"""An event loop on which time is a number and a process is a context: nothing sleeps, and a kill is a kill.

When nothing is ready the loop does not wait for its next timer: it sets its clock to it. Unix sockets are made of
deques, so all that happens, happens in one thread and in an order that a seed decides.

`kill -9` is the hard part of a model that runs everything in one process: cancelling a task runs its `finally` blocks,
which a killed process never does. So every callback knows by a context variable which process it belongs to; killing
one drops what it has scheduled, whatever it schedules later, and closes its sockets.
"""

import asyncio
import contextlib
import selectors
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import Context, ContextVar, copy_context
from pathlib import Path
from typing import Any, TypeVar

_T = TypeVar("_T")
_PROCESS: ContextVar["Process | None"] = ContextVar("process", default=None)
LAST_WORDS = 8
"""Awaits in the `finally` blocks of one coroutine that is thrown away."""


class Process:
    """What lives and dies together."""

    def __init__(self, name: str, loop: "VirtualLoop") -> None:
        self.name = name
        self.alive = True
        self._loop = loop
        self._context = copy_context()
        self._context.run(_PROCESS.set, self)
        self._tasks: weakref.WeakSet[asyncio.Task[Any]] = weakref.WeakSet()
        self._dead: list[asyncio.Task[Any]] = []
        self.transports: weakref.WeakSet[MemoryTransport] = weakref.WeakSet()

    def call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """Run something as this process."""
        return self._context.copy().run(function, *arguments)

    def context(self) -> Context:
        """For what is called later as this process."""
        return self._context.copy()

    def spawn(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        return self._loop.create_task(work, context=self._context.copy())

    def tasks(self) -> "list[asyncio.Task[Any]]":
        return [task for task in self._tasks if not task.done()]

    def enrol(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.add(task)

    def kill(self) -> None:
        """Not one line of it runs any more."""
        self.alive = False
        self._dead = self.tasks()
        self._loop.drop(self)
        for transport in list(self.transports):
            transport.owner_died()

    def bury(self) -> None:
        """At the end of the history: let go of coroutines that stopped in the middle."""
        self.alive = False
        for transport in list(self.transports):
            transport.forget()
        buried: set[asyncio.Task[Any]] = set()
        # What a `finally` begins would be another loop's else, and a warning in another test.
        asyncio._set_running_loop(self._loop)
        try:
            while fresh := {*self._dead, *self.tasks()} - buried:
                for task in fresh:
                    self._close(task)
                buried |= fresh
        finally:
            asyncio._set_running_loop(None)

    def _close(self, task: "asyncio.Task[Any]") -> None:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
        coroutine: Any = task.get_coro()
        for _ in range(LAST_WORDS):
            with contextlib.suppress(BaseException):
                self.call(coroutine.close)
                break


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its sockets are in memory, its time is what it says."""

    def __init__(self) -> None:
        self._now = 1000.0
        self.listening: dict[str, MemoryServer] = {}
        super().__init__(_Jump(self))
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self._now

    def jump(self, seconds: float) -> None:
        self._now += seconds

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with all that happens in it."""
        self.call_later(seconds, self.stop, context=Context())
        self.run_forever()

    def step(self, count: int) -> None:
        """Let things happen that take no time: so many turns of the loop."""
        for _ in range(count):
            self.call_soon(self.stop, context=Context())
            self.run_forever()

    def drop(self, process: Process) -> None:
        for handle in [*self._ready, *self._scheduled]:  # type: ignore[attr-defined]
            if handle._context is not None and handle._context.get(_PROCESS) is process:
                handle.cancel()

    def create_task(self, coro: Any, **options: Any) -> "asyncio.Task[Any]":
        context = options.get("context")
        task = super().create_task(coro, **options)
        process = context.get(_PROCESS) if context is not None else _PROCESS.get()
        if process is not None:
            process.enrol(task)
        return task

    def call_soon(  # type: ignore[override]
        self, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        return _dropped_if_dead(super().call_soon(callback, *args, context=context), context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Any, *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        return _dropped_if_dead(super().call_at(when, callback, *args, context=context), context)

    async def create_unix_server(self, protocol_factory: Any, path: Any = None, **_: Any) -> Any:
        Path(path).touch()
        server = self.listening[str(path)] = MemoryServer(self, protocol_factory, str(path))
        return server

    async def create_unix_connection(self, protocol_factory: Any, path: Any = None, **_: Any) -> Any:
        server = self.listening.get(str(path))
        if server is None or server.process is None or not server.process.alive:
            raise ConnectionRefusedError(111, "Connection refused")
        near = MemoryTransport(self, _PROCESS.get())
        far = MemoryTransport(self, server.process)
        near.peer, far.peer = far, near
        protocol = protocol_factory()
        near.set_protocol(protocol)
        server.process.call(server.accept, far)
        protocol.connection_made(near)
        return near, protocol


class MemoryServer:
    """A listening socket."""

    def __init__(self, loop: VirtualLoop, factory: Callable[[], asyncio.BaseProtocol], path: str) -> None:
        self.process = _PROCESS.get()
        self._loop = loop
        self._factory = factory
        self._path = path

    def accept(self, transport: "MemoryTransport") -> None:
        protocol = self._factory()
        transport.set_protocol(protocol)
        self._loop.call_soon(protocol.connection_made, transport)

    def close(self) -> None:
        if self._loop.listening.get(self._path) is self:
            del self._loop.listening[self._path]


class MemoryTransport(asyncio.Transport):
    """One end of a connection. What is written lies in the peer's inbox until its owner's loop turns to it."""

    peer: "MemoryTransport"

    def __init__(self, loop: VirtualLoop, process: Process | None) -> None:
        super().__init__()
        self._loop = loop
        self._process = process
        self._context = copy_context() if process is None else process.call(copy_context)
        self._inbox: deque[bytes] = deque()
        self._ended = False
        self._paused = False
        self._stalled_until = 0.0
        self._closing = False
        self._turn: asyncio.Handle | None = None
        self._protocol: Any = None
        if process is not None:
            process.transports.add(self)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def write(self, data: Any) -> None:
        if not self._closing and not self.peer._closing:
            self.peer._inbox.append(bytes(data))
            self.peer._wake()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.peer._end()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            self._inbox.clear()
            self.peer._end()
            self._loop.call_soon(self._protocol.connection_lost, None, context=self._context)

    def abort(self) -> None:
        """What the peer has not read is lost, from some byte on."""
        kept = sum(map(len, self.peer._inbox)) // 2
        self.peer._cut(kept)
        self.close()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._wake()

    def is_reading(self) -> bool:
        return not self._paused

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.peer._inbox))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def stall(self, seconds: float) -> None:
        """Its owner reads nothing for so long: it is slow, or stopped by a debugger."""
        self._stalled_until = self._loop.time() + seconds
        self._wake()

    def owner_died(self) -> None:
        self.forget()
        self.peer._end()

    def forget(self) -> None:
        self._closing = True
        self._inbox.clear()

    def _end(self) -> None:
        self._ended = True
        self._wake()

    def _cut(self, kept: int) -> None:
        data = b"".join(self._inbox)[:kept]
        self._inbox = deque([data] if data else [])

    def _wake(self) -> None:
        if self._turn is not None or self._closing or not (self._inbox or self._ended):
            return
        self._turn = self._loop.call_at(
            max(self._loop.time(), self._stalled_until), self._take_turn, context=self._context
        )

    def _take_turn(self) -> None:
        self._turn = None
        if self._closing or self._paused:
            return
        if self._stalled_until > self._loop.time() + 1e-3:
            self._wake()
            return
        if self._inbox:
            data = b"".join(self._inbox)
            self._inbox.clear()
            self._protocol.data_received(data)
        if self._ended and not self._closing and not self._paused:
            self._protocol.eof_received()
            self.close()


class _Jump(selectors.BaseSelector):
    """Waits for nothing: the clock jumps instead."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, int(fileobj), events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("everything waits, and nothing will ever happen")
        if timeout > 0:
            self._loop.jump(timeout)
        return []

    def close(self) -> None:
        self._keys.clear()


_H = TypeVar("_H", bound=asyncio.Handle)


def _dropped_if_dead(handle: _H, context: Context | None) -> _H:
    process = context.get(_PROCESS) if context is not None else _PROCESS.get()
    if process is not None and not process.alive:
        handle.cancel()
    return handle
