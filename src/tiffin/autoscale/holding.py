"""Which calls wait for which pool, in the order they came, and which of them may not wait any longer. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import count

MOST_CALLS = 1000
MOST_IN_ALL = 8000
MOST_SECONDS = 300.0


class Entry(Enum):
    """What becomes of a call that arrives."""

    PASSES = "passes"
    WAITS = "waits"
    IS_TOO_MUCH = "is too much"


@dataclass
class _Pool:
    most: int = MOST_CALLS
    seconds: float = MOST_SECONDS
    is_open: bool = False
    endpoints: tuple[str, ...] = ()
    waiting: dict[int, None] = field(default_factory=dict)
    turn: int = 0


class Holds:
    """The waiting calls of all pools, by ticket. A pool that nothing was said of is held."""

    def __init__(self, *, most_in_all: int = MOST_IN_ALL) -> None:
        self._pools: dict[str, _Pool] = {}
        self._tickets = count(1)
        self._total = 0
        self._most_in_all = most_in_all

    def hold(self, pool: str, *, most: int | None = None, seconds: float | None = None) -> None:
        """Calls wait from now on, at most so many, for so long."""
        found = self._pools.setdefault(pool, _Pool())
        found.is_open, found.endpoints = False, ()
        if most is not None:
            found.most = max(1, most)
        if seconds is not None:
            found.seconds = seconds

    def arrive(self, pool: str) -> tuple[Entry, int]:
        """A call for this pool; the ticket of one that waits (else 0)."""
        found = self._pools.setdefault(pool, _Pool())
        if found.is_open:
            return Entry.PASSES, 0
        if len(found.waiting) >= found.most or self._total >= self._most_in_all:
            return Entry.IS_TOO_MUCH, 0
        ticket = next(self._tickets)
        found.waiting[ticket] = None
        self._total += 1
        return Entry.WAITS, ticket

    def leave(self, pool: str, ticket: int) -> None:
        """The caller has gone, or waited too long; nothing happens when it was let go before."""
        found = self._pools.get(pool)
        if found is not None and ticket in found.waiting:
            del found.waiting[ticket]
            self._total -= 1

    def release(self, pool: str, endpoints: Sequence[str]) -> list[int]:
        """Calls pass from now on; the tickets of those that waited, first come first."""
        tickets = self.refuse(pool)
        found = self._pools.setdefault(pool, _Pool())
        found.is_open, found.endpoints = True, tuple(endpoints)
        return tickets

    def refuse(self, pool: str) -> list[int]:
        """Forget those that wait; their tickets, first come first. What comes next is treated as before."""
        found = self._pools.get(pool)
        if found is None:
            return []
        tickets = list(found.waiting)
        found.waiting.clear()
        self._total -= len(tickets)
        return tickets

    def forget(self, pool: str) -> list[int]:
        """Know nothing of this pool any more; the tickets of those that wait."""
        tickets = self.refuse(pool)
        self._pools.pop(pool, None)
        return tickets

    def held(self, pool: str) -> int:
        """How many wait."""
        found = self._pools.get(pool)
        return 0 if found is None else len(found.waiting)

    def seconds(self, pool: str) -> float:
        """How long a call may wait."""
        found = self._pools.get(pool)
        return MOST_SECONDS if found is None else found.seconds

    def endpoints(self, pool: str) -> tuple[str, ...]:
        """The replicas, beginning with the one whose turn it is; none while the pool is held."""
        found = self._pools.get(pool)
        if found is None or not found.endpoints:
            return ()
        found.turn = (found.turn + 1) % len(found.endpoints)
        return found.endpoints[found.turn :] + found.endpoints[: found.turn]

    @property
    def pools(self) -> list[str]:
        """Those something is known of."""
        return list(self._pools)
