"""The warm parent of an environment's replicas: imports once, forks often.

One thread and one loop over poll. A launch is answered from the spares, children that were forked and prepared
before; what is used is forked again a moment after the answer, so that it does not compete with the replica that
starts. What a replica gets passes here as descriptors, unread.
"""

import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, NoReturn

from pilotlight_runtime import __version__, logs, process, replica
from pilotlight_runtime.contracts import CONTRACTS, contract_named
from pilotlight_runtime.control import ControlConnection, close_all
from pilotlight_runtime.failures import describe
from pilotlight_runtime.launch import ChannelClosed, Message

REFILL_SECONDS = 0.03
"""From a claim to the fork of the next spare: the claimed one is ready by then."""
REFORK_SECONDS = 1.0
"""After a spare died unclaimed, or could not be forked."""
ENDS_KEPT = 10_000
_PRIME = "(prime)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    environment: str
    namespace: str
    preimports: list[str]
    prime: str | None
    spares: int
    idle_end_seconds: float

    @classmethod
    def read(cls, fd: int) -> "Config":
        with open(fd, "rb") as file:
            return cls.of(file.read())

    @classmethod
    def of(cls, text: str | bytes) -> "Config":
        values = json.loads(text)
        return cls(**{name: values[name] for name in cls.__slots__})


@dataclass(slots=True)
class Spare:
    """A forked child that waits for descriptors."""

    pid: int
    started: int
    channel: socket.socket
    prepared: bool = False


@dataclass(frozen=True, slots=True)
class Child:
    """A claimed one."""

    id: str
    function: str
    revision: str
    pid: int
    started: int
    spare: bool
    milliseconds: float


def main(arguments: list[str]) -> None:
    """`--control-fd N --config-fd M` as bootstrap.py got them; in a container `--dial PATH --config JSON`."""
    process.set_not_dumpable()
    options = dict(zip(arguments[::2], arguments[1::2], strict=True))
    if (path := options.get("--dial")) is not None:
        from pilotlight_runtime import contained

        contained.main(path, options["--config"])
    config = Config.read(int(options["--config-fd"]))
    listener = socket.socket(fileno=int(options["--control-fd"]))
    preimported, failed = warm_up(config)
    Zygote(config, listener, preimported, failed).run()


def warm_up(config: Config) -> tuple[list[str], dict[str, str]]:
    """Import and prime; what fails is told, and the functions that need it will fail by themselves."""
    failed: dict[str, str] = {}
    logs.stand_in()
    for contract in CONTRACTS:
        contract_named(contract)
    for name in config.preimports:
        try:
            importlib.import_module(name)
        except BaseException as error:  # a module may raise SystemExit as well
            failed[name] = describe(error)
    if config.prime is not None:
        try:
            runpy.run_path(config.prime)
        except BaseException as error:
            failed[_PRIME] = describe(error)
    gc.collect()
    gc.freeze()
    gc.disable()
    return [name for name in config.preimports if name not in failed], failed


class Zygote:
    def __init__(
        self, config: Config, listener: socket.socket | None, preimported: list[str], failed: dict[str, str]
    ) -> None:
        """`listener`: where its provider connects; None where the zygote has another way to it."""
        self._config = config
        self._preimported = preimported
        self._failed = failed
        self._listener = listener
        if listener is not None:
            listener.setblocking(False)
        self._connection: ControlConnection | None = None
        self._alone_since = time.monotonic()
        self._spares: dict[int, Spare] = {}
        self._wanted = config.spares
        self._refill_at = 0.0
        self._told_ready = 0
        self._children: dict[str, Child] = {}
        self._ids: dict[int, str] = {}
        """Of the children that run, by pid."""
        self._ended: OrderedDict[str, Message] = OrderedDict()
        self._retired = False
        self._leaving = False
        self._wake, self._signalled = socket.socketpair()
        for end in (self._wake, self._signalled):
            end.setblocking(False)

    def run(self) -> None:
        for number in (signal.SIGCHLD, signal.SIGTERM):
            signal.signal(number, lambda *_: None)
        signal.set_wakeup_fd(self._signalled.fileno(), warn_on_full_buffer=False)
        while not self._leaving and not (self._retired and not self._ids):
            self._step()
        for spare in self._spares.values():
            spare.channel.close()  # which ends it; if not, its parent's death does

    def _step(self) -> None:
        """Whatever is there to be done, launches first."""
        ready = self._poll()
        if self._connection is not None and self._connection.fileno() in ready:
            self._converse(ready[self._connection.fileno()])
        if self._wake.fileno() in ready:
            self._take_signals()
        if self._listener is not None and self._listener.fileno() in ready:
            self._accept(self._listener)
        for spare in list(self._spares.values()):
            if spare.channel.fileno() in ready:
                self._hear_spare(spare)
        if not ready:
            self._refill()
        self._watch_time()
        self._tell_spares()

    def _poll(self) -> dict[int, int]:
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        if self._listener is not None:
            poll.register(self._listener, select.POLLIN)
        if self._connection is not None:
            poll.register(self._connection, select.POLLIN | (select.POLLOUT * self._connection.wants_to_write))
        for spare in self._spares.values():
            if not spare.prepared:
                poll.register(spare.channel, select.POLLIN)
        return dict(poll.poll(self._pause() * 1000))

    def _pause(self) -> float:
        """Seconds until something is due."""
        return max(0.0, min(self._due()) - time.monotonic())

    def _due(self) -> list[float]:
        due = [time.monotonic() + 60]
        if len(self._spares) < self._wanted:
            due.append(self._refill_at)
        if self._connection is None and not self._retired:
            due.append(self._alone_since + self._config.idle_end_seconds)
        elif self._connection is not None and self._connection.deadline is not None:
            due.append(self._connection.deadline)
        return due

    # The control connection.

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except OSError:
            return
        self._disconnect()
        self._connection = ControlConnection(sock)
        self._send(self._hello())

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
            self._alone_since = time.monotonic()

    def _hello(self) -> Message:
        self._told_ready = self._ready
        return {
            "type": "hello",
            "pid": os.getpid(),
            "runtime": __version__,
            "environment": self._config.environment,
            "preimported": self._preimported,
            "failed": self._failed,
            "spares": self._told_ready,
            "children": [
                {name: getattr(self._children[id_], name) for name in ("id", "function", "revision", "pid", "started")}
                for id_ in self._ids.values()
            ],
            "ended": list(self._ended.values()),
        }

    def _send(self, message: Message) -> None:
        if self._connection is not None:
            try:
                self._connection.send(message)
            except ChannelClosed:
                self._disconnect()

    def _converse(self, events: int) -> None:
        connection = self._connection
        try:
            if connection is not None and events & select.POLLOUT:
                connection.flush()
            if connection is not None and (received := connection.receive(time.monotonic())) is not None:
                self._obey(*received)
        except ChannelClosed:
            self._disconnect()

    def _obey(self, message: Message, fds: list[int]) -> None:
        try:
            match message:
                case {"type": "launch", "id": str(id_), "function": str(function), "revision": str(revision)}:
                    self._launch(id_, function, revision, fds)
                case {"type": "spares", "count": int(count)}:
                    self._want(count)
                case {"type": "forget", "ids": list(ids)}:
                    self._forget(ids)
                case {"type": "retire"}:
                    self._retire()
        finally:
            close_all(fds)

    # Launching.

    def _launch(self, id_: str, function: str, revision: str, fds: list[int]) -> None:
        begin = time.perf_counter()
        if len(fds) != replica.DESCRIPTORS:
            raise ChannelClosed(f"a launch with {len(fds)} descriptors")
        child = self._children.get(id_)
        if child is None:
            if self._retired:
                self._send({"type": "refused", "id": id_, "why": "this zygote is retired"})
                return
            spare = self._claim(fds)
            try:
                pid, started = (spare.pid, spare.started) if spare else self._fork(None, fds)
            except OSError as error:
                self._send({"type": "refused", "id": id_, "why": f"cannot fork: {error.strerror}"})
                return
            took = round((time.perf_counter() - begin) * 1000, 3)
            child = Child(id_, function, revision, pid, started, spare is not None, took)
            self._children[id_] = child
            self._ids[pid] = id_
        told = {name: getattr(child, name) for name in ("id", "pid", "started", "spare", "milliseconds")}
        self._send({"type": "launched", **told})

    def _claim(self, fds: list[int]) -> Spare | None:
        """The readiest spare that takes the descriptors."""
        self._refill_at = max(self._refill_at, time.monotonic() + REFILL_SECONDS)
        for spare in sorted(self._spares.values(), key=lambda spare: not spare.prepared):
            del self._spares[spare.pid]
            with spare.channel:
                try:
                    socket.send_fds(spare.channel, [b"!"], fds)
                except OSError:
                    continue  # it died; its end is on the way
            return spare
        return None

    def _fork(self, channel: tuple[socket.socket, socket.socket] | None, fds: list[int]) -> tuple[int, int]:
        """A spare with a channel, or a replica with its descriptors. No signal is handled between fork and child."""
        gc.collect()
        signals = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                self._be_child(parent, channel, fds)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return pid, process.start_time_ticks(pid) or 0

    def _be_child(self, parent: int, channel: tuple[socket.socket, socket.socket] | None, fds: list[int]) -> NoReturn:
        try:
            _settle(parent)
            self._close_everything()
            if channel is not None:
                channel[0].close()
            replica.begin(channel[1] if channel else None, fds)
        except BaseException as error:
            print(f"pilotlight: a replica ended by a fault of its runtime: {error!r}", file=sys.stderr, flush=True)
        finally:
            os._exit(1)

    def _close_everything(self) -> None:
        """What the zygote holds and its children must not."""
        signal.set_wakeup_fd(-1)
        for sock in (self._listener, self._wake, self._signalled, *(s.channel for s in self._spares.values())):
            if sock is not None:
                sock.close()
        if self._connection is not None:
            self._connection.close()
        gc.enable()

    # Spares.

    @property
    def _ready(self) -> int:
        return sum(spare.prepared for spare in self._spares.values())

    def _want(self, count: int) -> None:
        self._wanted = 0 if self._retired else max(0, count)
        while len(self._spares) > self._wanted:
            self._spares.popitem()[1].channel.close()

    def _refill(self) -> None:
        """One at a time: a launch that comes meanwhile waits for one fork at most."""
        if len(self._spares) >= self._wanted or time.monotonic() < self._refill_at:
            return
        ours, theirs = socket.socketpair()
        try:
            pid, started = self._fork((ours, theirs), [])
        except OSError:
            ours.close()
            self._refill_at = time.monotonic() + REFORK_SECONDS
        else:
            self._spares[pid] = Spare(pid, started, ours)
        finally:
            theirs.close()

    def _hear_spare(self, spare: Spare) -> None:
        try:
            spare.prepared = bool(spare.channel.recv(1))
        except OSError:
            spare.prepared = False
        if not spare.prepared:
            self._lose_spare(spare.pid)

    def _lose_spare(self, pid: int) -> None:
        spare = self._spares.pop(pid, None)
        if spare is not None:
            spare.channel.close()
            self._refill_at = time.monotonic() + REFORK_SECONDS

    def _tell_spares(self) -> None:
        if self._connection is not None and self._ready != self._told_ready:
            self._told_ready = self._ready
            self._send({"type": "spares", "ready": self._told_ready})

    # Ends.

    def _take_signals(self) -> None:
        numbers = self._wake.recv(4096)
        if signal.SIGTERM in numbers:
            self._terminate()
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._lose_spare(pid)
            self._note_end(pid, status, usage.ru_maxrss)

    def _note_end(self, pid: int, status: int, max_rss_kib: int) -> None:
        id_ = self._ids.pop(pid, None)
        if id_ is None:
            return
        end = self._end_message(id_, pid, status, max_rss_kib)
        self._ended[id_] = end
        if len(self._ended) > ENDS_KEPT:
            self._forget([next(iter(self._ended))])
        self._send(end)

    def _end_message(self, id_: str, pid: int, status: int, max_rss_kib: int) -> Message:
        return {"type": "ended", "id": id_, "pid": pid, "status": status, "max_rss_kib": max_rss_kib}

    def _terminate(self) -> None:
        self._leaving = True

    def _forget(self, ids: list[Any]) -> None:
        for id_ in ids:
            if self._ended.pop(id_, None) is not None:
                del self._children[id_]

    def _retire(self) -> None:
        self._retired = True
        self._want(0)

    def _watch_time(self) -> None:
        now = time.monotonic()
        if self._connection is None:
            if now >= self._alone_since + self._config.idle_end_seconds:
                self._retire()
        elif self._connection.deadline is not None and now > self._connection.deadline:
            self._disconnect()


def _settle(parent: int) -> None:
    """What a child changes about itself at once."""
    process.set_parent_death_signal(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)  # it died before we asked to be told
    os.setsid()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT})
