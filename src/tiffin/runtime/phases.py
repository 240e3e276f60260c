"""How long the phases of a replica's start took: import, load, warm-up."""

from __future__ import annotations

import os
import time

PHASES = ("import", "load", "warm-up")


def _age_seconds() -> float:
    """How long this process has been there, so that the interpreter's own start counts as import."""
    try:
        with open("/proc/self/stat", "rb") as file:
            born = int(file.read().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - born)
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


class Phases:
    """A stopwatch with laps. Forked, it goes on with what it has."""

    def __init__(self, age_seconds: float = 0.0) -> None:
        self._lap = time.monotonic() - age_seconds
        self.seconds: dict[str, float] = {}

    def end(self, phase: str) -> None:
        """The time since the phase before ended belongs to this one."""
        now = time.monotonic()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self._lap
        self._lap = now

    def restart(self) -> None:
        """A new process begins, by a fork: what was before is not its own."""
        self._lap = time.monotonic()
        self.seconds = {}


start = Phases(_age_seconds())
"""Of this process."""
