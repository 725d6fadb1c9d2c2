"""A zygote in a container of its own: it dials its provider, makes one replica, and ends as that replica did.

The container cannot be reached and its listening folder is read-only, so the conversation begins here; when it breaks,
because the control plane starts anew, it is dialled again. As the container's first process it collects every orphan.
"""

import errno
import json
import os
import signal
import socket
import time
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

from pilotlight_runtime.control import ControlConnection
from pilotlight_runtime.launch import Message
from pilotlight_runtime.zygote import Config, Zygote, warm_up

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 1.0
"""Between two tries to reach the provider."""
LAST_WORDS = "pilotlight-ended "
"""With this begins the line that says how the replica ended, for a provider that was away at that moment."""
_COUNTS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")


class ContainedZygote(Zygote):
    def __init__(self, config: Config, path: str, preimported: list[str], failed: dict[str, str]) -> None:
        """`path`: the provider's socket."""
        super().__init__(config, None, preimported, failed)
        self._path = path
        self._dial_at = 0.0
        self._dial_pause = FIRST_PAUSE
        self._dialled_at = 0.0
        self._oom_kills = oom_kills()
        self.exit_code = 0

    def _step(self) -> None:
        if self._connection is None and time.monotonic() >= self._dial_at:
            self._dial()
        super()._step()

    def _due(self) -> list[float]:
        return [*super()._due(), *([self._dial_at] if self._connection is None else [])]

    def _dial(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.connect(self._path)  # a unix socket is connected at once, or not at all
        except OSError as error:
            sock.close()
            self._dial_at = time.monotonic() + self._dial_pause
            if error.errno != errno.EAGAIN:
                self._dial_pause = min(self._dial_pause * 2, LONGEST_PAUSE)
            return
        self._dialled_at = time.monotonic()
        self._connection = ControlConnection(sock)
        self._send(self._hello())

    def _disconnect(self) -> None:
        now = time.monotonic()
        if self._connection is not None:
            lasted = now - self._dialled_at > LONGEST_PAUSE
            self._dial_pause = FIRST_PAUSE if lasted else min(self._dial_pause * 2, LONGEST_PAUSE)
            self._dial_at = now + self._dial_pause
        super()._disconnect()

    def _obey(self, message: Message, fds: list[int]) -> None:
        match message:
            case {"type": "signal", "number": int(number)}:
                self._signal(number)
        super()._obey(message, fds)

    def _launch(self, id_: str, function: str, revision: str, fds: list[int]) -> None:
        super()._launch(id_, function, revision, fds)
        if self._children:
            self._retire()  # never a second one

    def _note_end(self, pid: int, status: int, max_rss_kib: int) -> None:
        if pid in self._ids:
            code = os.waitstatus_to_exitcode(status)
            self.exit_code = code if code >= 0 else 128 - code
        super()._note_end(pid, status, max_rss_kib)

    def _end_message(self, id_: str, pid: int, status: int, max_rss_kib: int) -> Message:
        end = super()._end_message(id_, pid, status, max_rss_kib) | {"oom": oom_kills() > self._oom_kills}
        with suppress(OSError):
            os.write(1, f"{LAST_WORDS}{json.dumps(end)}\n".encode())
        return end

    def _terminate(self) -> None:
        """What the engine is told to stop is the replica, which drains; without one nothing is lost."""
        if not self._ids:
            super()._terminate()
        self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for pid in self._ids:
            with suppress(ProcessLookupError, ValueError, OSError):
                os.kill(pid, number)


def oom_kills() -> int:
    """Processes of this container that the kernel has killed for memory; 0 where it does not count them."""
    for path in _COUNTS:
        with suppress(OSError), open(path, "rb", buffering=0) as file:
            for line in file.read(4096).splitlines():
                name, _, count = line.partition(b" ")
                if name == b"oom_kill" and count.isdigit():
                    return int(count)
    return 0


def main(path: str, text: str) -> NoReturn:
    config = Config.of(text)
    if config.prime is not None and not os.path.exists(config.prime):
        config = replace(config, prime=None)  # its template has none
    zygote = ContainedZygote(config, path, *warm_up(config))
    zygote.run()
    os._exit(zygote.exit_code)  # not through the interpreter's end, which some imported libraries never leave
