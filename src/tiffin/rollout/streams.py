"""What was counted of a revision's calls, so that a proxy that starts again at nought loses nothing. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec


class Stream(msgspec.Struct, frozen=True):
    """Calls counted: how many, of these failed, and the durations.

    ``latency`` is the number of calls that took at most so many milliseconds, by rising bounds: cumulative.
    ``timed`` is how many durations are known, those above the last bound included.
    """

    calls: int = 0
    failed: int = 0
    latency: tuple[tuple[float, int], ...] = ()
    timed: int = 0

    @classmethod
    def of(cls, calls: int, failed: int, latency: Sequence[tuple[float, int]]) -> Stream:
        """From a gateway's sample; a bound of infinity becomes ``timed``, since JSON has no infinity."""
        finite = tuple((float(bound), int(count)) for bound, count in latency if math.isfinite(bound))
        timed = max((int(count) for _, count in latency), default=0)
        return cls(int(calls), min(int(failed), int(calls)), finite, timed)

    def plus(self, other: Stream) -> Stream:
        """Both together; durations counted by other bounds than the newer ones are forgotten."""
        return Stream(self.calls + other.calls, self.failed + other.failed, *_added(self, other, 1))

    def minus(self, other: Stream) -> Stream:
        """What came since ``other``, an earlier state of this one."""
        return Stream(self.calls - other.calls, self.failed - other.failed, *_added(other, self, -1))

    def has_restarted_since(self, before: Stream) -> bool:
        """Whether this count began again at nought."""
        if self.calls < before.calls or self.failed < before.failed or self.timed < before.timed:
            return True
        known = dict(before.latency)
        return any(count < known.get(bound, 0) for bound, count in self.latency)


def _added(older: Stream, newer: Stream, sign: int) -> tuple[tuple[tuple[float, int], ...], int]:
    if not older.timed:
        return newer.latency, newer.timed
    if not newer.timed and sign > 0:
        return older.latency, older.timed
    if [bound for bound, _ in older.latency] != [bound for bound, _ in newer.latency]:
        return newer.latency, newer.timed
    pairs = zip(newer.latency, older.latency, strict=True)
    return tuple((bound, count + sign * more) for (bound, count), (_, more) in pairs), (
        newer.timed + sign * older.timed
    )


class Meter(msgspec.Struct, frozen=True):
    """A count that goes on where the proxy's begins again: ``last`` is the proxy's, ``total`` ours."""

    last: Stream = Stream()
    total: Stream = Stream()

    def after(self, seen: Stream) -> Meter:
        """The meter once the proxy has said ``seen``."""
        more = seen if seen.has_restarted_since(self.last) else seen.minus(self.last)
        return Meter(seen, self.total.plus(more))


def quantile(stream: Stream, share: float) -> float:
    """The duration in ms that ``share`` of the calls did not exceed, interpolated in its bucket; nan if none."""
    if not stream.timed:
        return math.nan
    wanted = share * stream.timed
    low, below = 0.0, 0
    for bound, count in stream.latency:
        if count >= wanted and count > below:
            return low + (bound - low) * (wanted - below) / (count - below)
        low, below = bound, count
    return low
