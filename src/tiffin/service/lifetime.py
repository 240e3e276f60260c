"""How long a call has, and whether anybody still waits for it: what ``ctx.deadline`` and ``ctx.cancelled`` ask."""

from __future__ import annotations

import threading
import time


class Lifetime:
    """One call's end. Made for every call that has a context, so it makes nothing before it is asked.

    Args:
        ends_at: When its time is over, as ``time.monotonic()`` counts; ``None`` when it may take for ever.
    """

    __slots__ = ("_event", "ends_at", "is_cancelled")

    def __init__(self, ends_at: float | None = None) -> None:
        self.ends_at = ends_at
        self.is_cancelled = False
        self._event: threading.Event | None = None

    def cancel(self) -> None:
        """Nobody waits any more. May be called from any thread."""
        self.is_cancelled = True
        if self._event is not None:
            self._event.set()

    def left(self) -> float | None:
        """Seconds until the end, 0 when it is over; ``None`` without one."""
        return None if self.ends_at is None else max(0.0, self.ends_at - time.monotonic())

    def wait(self, seconds: float) -> bool:
        """Wait in a thread, no longer than until it is cancelled; whether it is."""
        if self._event is None:
            self._event = threading.Event()
        # After the event is in place: a cancel in between is seen by one or the other.
        return self.is_cancelled or self._event.wait(seconds)
