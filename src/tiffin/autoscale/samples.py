"""From counters to load: how many calls at once, and how many a second, between two readings."""

from __future__ import annotations

from typing import Protocol

import msgspec

LEAST = 0.001
"""Load of a pool that had any call at all: never rounded down to none, which would mean it is idle."""


class Counters(Protocol):
    """What a gateway counts for a pool: see ``gateway.router.PoolSample``."""

    @property
    def active(self) -> int:
        """Calls in hand."""

    @property
    def waiting(self) -> int:
        """Calls that wait for a connection."""

    @property
    def calls(self) -> int:
        """Calls that ended; only grows, and starts again with the gateway."""


class Reading(msgspec.Struct, frozen=True):
    """Counters of a pool at a moment (seconds of any clock), with the calls the activator holds."""

    time: float
    active: int = 0
    waiting: int = 0
    calls: int = 0
    held: int = 0

    @classmethod
    def of(cls, time: float, counters: Counters | None, held: int = 0) -> Reading:
        """A pool the gateway knows nothing of has counted nothing."""
        if counters is None:
            return cls(time, held=held)
        return cls(time, counters.active, counters.waiting, counters.calls, held)

    @property
    def at_once(self) -> int:
        """Calls that somebody waits for now."""
        return self.active + self.waiting + self.held


class Load(msgspec.Struct, frozen=True):
    """Averages between two readings: calls at once, and calls a second."""

    concurrency: float = 0.0
    rps: float = 0.0


def load_between(before: Reading | None, after: Reading) -> Load:
    """The load between two readings of one pool; of a first reading, only what is at hand is known.

    Calls at once are the mean of both ends: over a window of readings that is without bias, whatever the
    calls' lengths. A gateway that was started again counts from 0: what it has counted is then all that is new.
    """
    if before is None or after.time <= before.time:
        return Load(float(after.at_once), LEAST if after.at_once else 0.0)
    seconds = after.time - before.time
    ended = after.calls - before.calls if after.calls >= before.calls else after.calls
    arrived = ended + max(0, after.held - before.held)
    concurrency = (before.at_once + after.at_once) / 2
    if arrived or after.at_once:
        return Load(max(concurrency, LEAST), max(arrived / seconds, LEAST))
    return Load(concurrency, 0.0)


class Use(msgspec.Struct, frozen=True):
    """What one replica uses: cores and bytes, ``None`` when not known. Fresh ones are not ready yet."""

    cpu: float | None = None
    memory_bytes: float | None = None
    is_ready: bool = True


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a pool at one tick.

    Attributes:
        load: Since the tick before; ``None`` when the gateway could not be asked.
        wanted: Replicas that were decided last.
        ready: Replicas that take calls.
        uses: One of each replica that runs, for ``cpu`` and ``memory``.
        cpu: Cores one replica asks for; percentages of ``cpu`` are of these.
        memory_bytes: Bytes one replica asks for.
        max_concurrency: Calls at once a replica takes at most; ``None``: no limit.
        is_reachable: Whether callers can get there; ``min_replicas`` is not kept for what nobody reaches.
        is_held: Whether calls would wait for a replica, so that the last one may go.
    """

    load: Load | None = None
    wanted: int = 0
    ready: int = 0
    uses: tuple[Use, ...] = ()
    cpu: float | None = None
    memory_bytes: int | None = None
    max_concurrency: int | None = None
    is_reachable: bool = True
    is_held: bool = True
