"""Values over time, by the second, and their average over a window that ends now."""

from __future__ import annotations

import math
from typing import NamedTuple


class Bucket(NamedTuple):
    """The values of one stretch of time: which (counted from the clock's zero), their sum, and how many."""

    place: int
    total: float
    values: int


Buckets = tuple[Bucket, ...]


def recorded(buckets: Buckets, now: float, value: float, *, width: float, window: float) -> Buckets:
    """With another value, without what is older than ``window`` seconds; buckets are ``width`` seconds wide."""
    place = math.floor(now / width)
    oldest = place - length(window, width)
    if buckets and buckets[-1].place == place:
        last = buckets[-1]
        added = Bucket(place, last.total + value, last.values + 1)
        kept = buckets[:-1]
    else:
        added, kept = Bucket(place, value, 1), buckets
    return (*(bucket for bucket in kept if bucket.place > oldest), added)


def average(buckets: Buckets, now: float, *, width: float, window: float) -> float | None:
    """The mean of the buckets in the window; ``None`` when there is none.

    As Knative does, the mean is over the seconds that were seen: a window that is not full yet counts no zeros.
    """
    oldest = math.floor(now / width) - length(window, width)
    means = [bucket.total / bucket.values for bucket in buckets if bucket.place > oldest]
    return math.fsum(means) / len(means) if means else None


def length(window: float, width: float) -> int:
    """How many buckets a window has."""
    return max(1, math.ceil(window / width - 1e-9))
