"""What a launch hands to a zygote's child: four descriptors, and one message on its channel.

Of both providers that have zygotes; where these run, and what else a start takes, is theirs.
"""

import errno
import os
import socket
from contextlib import ExitStack

from pilotlight.core.errors import StartFailed, StorageFull
from pilotlight.providers.base import Launch
from pilotlight.providers.process.logfiles import LogFiles
from pilotlight.providers.process.records import listen
from pilotlight_runtime.launch import Message

_FULL = (errno.ENOSPC, errno.EDQUOT)


class Parts:
    """What a replica is given as descriptors: its listener, its end of the channel, its log and the part before it."""

    def __init__(self, socket_path: str, logs: LogFiles, launch: Launch) -> None:
        with ExitStack() as closers:
            self.channel, other = socket.socketpair()
            closers.callback(self.channel.close)
            closers.callback(other.close)
            self.channel.setblocking(False)
            listener = closers.enter_context(listen(socket_path))
            self.logs = logs.open(launch.function, launch.id)
            for fd in (self.logs.log, self.logs.previous):
                closers.callback(os.close, fd)
            self.theirs = (listener.fileno(), other.fileno(), self.logs.log, self.logs.previous)
            self._closers = closers.pop_all()

    def __enter__(self) -> "Parts":
        return self

    def __exit__(self, *_error: object) -> None:
        self._closers.close()

    def take_channel(self) -> socket.socket:
        """Our end, from now on the caller's to close."""
        return self.channel.dup()


def launch_message(
    launch: Launch,
    *,
    bundle: str,
    variables: dict[str, str],
    secrets_dir: str | None,
    memory_mib: int | None,
    processes: int,
    idle_end_seconds: float,
) -> Message:
    """Its fields: runtime/README.md. `bundle` and `secrets_dir`: paths as the replica sees them. `memory_mib`: it
    watches its own memory, None where the kernel does."""
    return {
        "type": "launch",
        "id": launch.id,
        "function": launch.function,
        "revision": launch.revision,
        "bundle": bundle,
        "contract": launch.contract,
        "handler": launch.handler,
        "variables": variables,
        "secrets_dir": secrets_dir,
        "memory_mib": memory_mib,
        "open_files": launch.limits.open_files,
        "processes": processes,
        "concurrency": launch.concurrency,
        "timeout_seconds": launch.timeout_seconds,
        "max_stream_seconds": launch.max_stream_seconds,
        "debug": launch.debug,
        "idle_end_seconds": idle_end_seconds,
    }


def start_failure(error: OSError) -> StartFailed | StorageFull:
    """Of what this machine refused."""
    kind = StorageFull if error.errno in _FULL else StartFailed
    return kind(f"no replica was started: {error.strerror or error}")
