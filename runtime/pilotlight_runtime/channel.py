"""A replica's end of its channel to the provider. Its end means that the control plane is gone, and nothing else."""

import socket
import threading
import time

from pilotlight_runtime import launch, process


class Channel:
    """After the launch message has come nothing here blocks or raises."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._frames = launch.Frames()
        self._lock = threading.Lock()
        self.closed = False
        self.closed_at = 0.0

    def fileno(self) -> int:
        return self._sock.fileno()

    def receive_launch(self, seconds: float) -> launch.Message:
        """ConnectionError when the provider is gone, TimeoutError when it says nothing."""
        self._sock.settimeout(seconds)
        message, _ = launch.receive(self._sock)
        self._sock.setblocking(False)
        return message

    def read(self) -> bool:
        """Take what is there; False once the channel is closed. To be called by the main thread, whose parent-death
        signal it is that `keep` clears."""
        try:
            while not self.closed:
                data = self._sock.recv(4096)
                if not data:
                    self._close()
                for message in self._frames.feed(data):
                    if message.get("type") == "keep":
                        process.set_parent_death_signal(0)
        except (BlockingIOError, InterruptedError):
            pass
        except (OSError, ValueError, AttributeError):
            self._close()
        return not self.closed

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
