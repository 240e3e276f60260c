"""A plain generator that is stepped in threads, and closed when nobody takes its items any more."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from typing import Any


class Steps:
    """The steps of one generator, or of another iterator; at most one runs at a time.

    A caller may leave while a step runs in its thread: a generator that runs cannot be closed, so that step closes
    it when it has ended, and the author's ``finally`` is not left to the garbage collector.
    """

    __slots__ = ("_items", "_left", "_lock", "_running")

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()
        self._running = False
        self._left = False

    def next(self, done: Any) -> Any:
        """The next item; ``done`` after the last one, or when nobody takes it."""
        with self._lock:
            left = self._left
            self._running = not left
        if left:
            return done
        try:
            return next(self._items, done)
        finally:
            with self._lock:
                self._running = False
                left = self._left
            if left:
                self.close()

    def leave(self) -> bool:
        """Take no more items; true when ``close`` is to be called, as no step runs that will do it."""
        with self._lock:
            self._left = True
            running = self._running
        is_open = (
            inspect.isgenerator(self._items) and inspect.getgeneratorstate(self._items) == inspect.GEN_SUSPENDED
        )
        return is_open and not running

    def close(self) -> None:
        """Close a generator; another iterator has nothing to be closed."""
        if inspect.isgenerator(self._items):
            self._items.close()
