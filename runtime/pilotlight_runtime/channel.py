"""A replica's end of its channel to the provider. Its end means that the control plane is gone, and nothing else."""

import select
import socket
import threading
import time
from collections.abc import Callable

from pilotlight_runtime import launch


class Channel:
    """After the launch message has come `send` neither blocks nor raises."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = launch.Frames()
        self._lock = threading.Lock()
        self.closed = False
        self.closed_at = 0.0

    def receive_launch(self, seconds: float) -> launch.Message:
        """ConnectionError when the provider is gone, TimeoutError when it says nothing."""
        self._sock.settimeout(seconds)
        message, _ = launch.receive(self._sock)
        self._sock.setblocking(False)
        return message

    def listen(self, keep: Callable[[], None]) -> None:
        """Hear what the provider says, until it is gone. Blocks: the tether's thread does it, for the process' life."""
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        try:
            while not self.closed:
                poll.poll()
                self._read(keep)
        except (OSError, ValueError, AttributeError):
            self._close()

    def _read(self, keep: Callable[[], None]) -> None:
        try:
            data = self._sock.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._close()
        for message in self._frames.feed(data):
            if message.get("type") == "keep":
                keep()

    def send(self, message: launch.Message) -> None:
        """From any thread. A provider that is gone, or does not read, learns it from the end of the process."""
        with self._lock:
            try:
                self._sock.sendall(launch.encode(message))
            except OSError:
                self._close()

    def _close(self) -> None:
        if not self.closed:
            self.closed = True
            self.closed_at = time.monotonic()
