"""Which waiting calls go into the next batch: drain what queued while the model was busy, linger a little.

A pure state machine: no clock, no I/O, no model. The rule (measured in docs/architecture/serving-core.md):

* A lone call never waits. When the model is free and calls wait, they go, together.
* *Linger*: if fewer rows wait than the last batch held, wait for more, but no longer than a tenth of the
  average predict time since that batch ended. After a quiet spell the tenth is long over, so nobody waits.
* Only calls of one *group* (equal names, datatypes and trailing shapes) share a batch; the group whose call
  has waited longest goes first, so none starves.
* A batch is capped in rows and in bytes (of L2 cache: about 256 kB); one call larger than a cap goes alone.
* A call whose caller has gone is dropped when its turn comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar


class Item(Protocol):
    """What can wait here. ``group`` equal means batchable together; ``rows`` and ``nbytes`` are its size."""

    group: Hashable
    rows: int
    cancelled: bool

    @property
    def nbytes(self) -> float:
        """Bytes, or what else a batch is full of."""


ItemT = TypeVar("ItemT", bound=Item)

LINGER = 0.1
_SMOOTHING = 0.2


class Batcher(Generic[ItemT]):
    """Waiting calls and the rule above. Times are seconds of any monotonic clock.

    Args:
        max_rows: Most rows in a batch of several calls.
        max_bytes: Most bytes of tensors in a batch of several calls, or of whatever else ``nbytes`` counts.
        linger: Part of the average predict time to wait for company; 0 turns it off.
    """

    __slots__ = ("_average", "_ended", "_groups", "_last_rows", "linger", "max_bytes", "max_rows", "rows")

    def __init__(self, max_rows: int, max_bytes: float, linger: float = LINGER) -> None:
        self.max_rows = max_rows
        self.max_bytes = max_bytes
        self.linger = linger
        self.rows = 0
        self._groups: dict[Hashable, deque[ItemT]] = {}
        self._average = 0.0
        self._ended = 0.0
        self._last_rows = 0

    def add(self, item: ItemT) -> None:
        """Let a call wait for its turn."""
        group = self._groups.get(item.group)
        if group is None:
            # A dict keeps insertion order: the first group is the one that began to wait first.
            self._groups[item.group] = deque((item,))
        else:
            group.append(item)
        self.rows += item.rows or 1  # A call without rows waits like any other.

    def lingers(self, now: float) -> bool:
        """Whether to wait for more calls; ask again at once, the answer turns false with time."""
        return (
            0 < self.rows < self._last_rows
            and self.rows < self.max_rows
            and now - self._ended < self.linger * self._average
        )

    def take(self) -> list[ItemT]:
        """The next batch, without the calls whose caller has gone; empty when nothing waits."""
        batch: list[ItemT] = []
        while self._groups and not batch:
            key = next(iter(self._groups))
            waiting = self._groups.pop(key)
            rows, nbytes = 0, 0.0
            while waiting:
                item = waiting[0]
                if not item.cancelled:
                    if batch and (rows + item.rows > self.max_rows or nbytes + item.nbytes > self.max_bytes):
                        break
                    rows += item.rows
                    nbytes += item.nbytes
                    batch.append(item)
                waiting.popleft()
                self.rows -= item.rows or 1
            if waiting:
                # Behind the other groups: each gets its turn.
                self._groups[key] = waiting
        return batch

    def ended(self, rows: int, seconds: float, now: float) -> None:
        """A batch of ``rows`` took ``seconds`` and ended ``now``."""
        self._last_rows = rows
        self._ended = now
        self._average += (seconds - self._average) * (_SMOOTHING if self._average else 1.0)
