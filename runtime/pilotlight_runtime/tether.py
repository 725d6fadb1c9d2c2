"""Until its provider says `keep`, a replica dies with its zygote: so none lives that nobody can find.

The kernel's parent-death signal belongs to the thread that asked for it, and only that thread can take it back. A
thread of its own has it, which hears `keep` at once; the main one may import for a minute.
"""

import queue
import signal
import threading

from pilotlight_runtime import process
from pilotlight_runtime.channel import Channel


class Tether:
    """To be made by a main thread that has the signal, which hands it on. Then `follow` names the channel."""

    def __init__(self) -> None:
        self._holds, self._kept = threading.Event(), threading.Event()
        self._channels: queue.SimpleQueue[Channel] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="tether", daemon=True).start()
        self._holds.wait()
        process.set_parent_death_signal(0)

    def follow(self, channel: Channel) -> None:
        self._channels.put(channel)

    def _run(self) -> None:
        process.set_parent_death_signal(signal.SIGKILL)
        self._holds.set()
        self._channels.get().listen(keep=self._let_go)
        self._kept.wait()  # a provider that died before its word: the signal would go with this thread

    def _let_go(self) -> None:
        process.set_parent_death_signal(0)
        self._kept.set()
