"""Threads for sync handlers: made when they are needed, as many as there are slots.

The standard library's executor would do, at twice the price per call: this hands a function over and nothing back.
"""

import threading
from collections.abc import Callable
from queue import SimpleQueue

Work = Callable[[], object]


class Workers:
    """`submit` never waits: whoever calls it keeps to the number of threads, or accepts that work queues."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Work] = SimpleQueue()
        self._limit = 1
        self._threads = 0
        self._busy = 0
        self._lock = threading.Lock()

    def allow(self, limit: int) -> None:
        self._limit = limit

    def warm(self) -> None:
        """Start the first thread now, so that the first call does not wait for it."""
        self._start_thread()

    def submit(self, work: Work) -> None:
        """Run it in a thread; it must not raise."""
        with self._lock:
            self._busy += 1
            more = self._busy > self._threads and self._threads < self._limit
        self._queue.put(work)
        if more:
            self._start_thread()

    def _start_thread(self) -> None:
        self._threads += 1
        threading.Thread(target=self._run, name=f"handler-{self._threads}", daemon=True).start()

    def _run(self) -> None:
        while True:
            work = self._queue.get()
            work()
            del work  # what a call held is not kept until the next one
            with self._lock:
                self._busy -= 1
