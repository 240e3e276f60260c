"""Threads for work that must not run on the event loop, such as a class's ``predict``."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)

Work = Callable[[], None]


class Threads:
    """A fixed number of threads that take work in order.

    They are daemons: unlike an executor's, they do not hold up the end of the process while a call hangs.
    ``submit`` may be called before ``start``; nothing is taken before it.
    """

    def __init__(self, count: int, name: str) -> None:
        self._queue: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._take, name=f"{name}-{i}", daemon=True) for i in range(max(1, count))
        ]

    def start(self) -> None:
        """Begin taking work."""
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work) -> None:
        """Have ``work`` done by the next free thread; it should not raise."""
        self._queue.put(work)

    def stop(self) -> None:
        """Each thread ends after the work in hand and what was submitted before; nothing is waited for."""
        for _ in self._threads:
            self._queue.put(None)

    def _take(self) -> None:
        while (work := self._queue.get()) is not None:
            try:
                work()
            except Exception:
                log.exception("work in a thread failed")
