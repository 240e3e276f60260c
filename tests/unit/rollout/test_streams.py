"""Counters that start again with the proxy, and quantiles of durations counted by bounds."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.rollout.streams import Meter, Stream, quantile

BOUNDS = (1.0, 10.0, 100.0)


def stream(calls: int, failed: int = 0, counts: tuple[int, int, int] = (0, 0, 0), timed: int = 0) -> Stream:
    return Stream(calls, failed, tuple(zip(BOUNDS, counts, strict=True)), timed)


GROWTH = st.lists(
    st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)),
    max_size=30,
)


@given(GROWTH)
def test_a_meter_counts_on_through_restarts_of_the_proxy(steps: list[tuple[bool, int, int, int, int]]) -> None:
    meter, shown, calls, timed = Meter(), stream(0), 0, [0, 0, 0, 0]
    for restarts, one, two, three, more in steps:
        # A restart at nought with as many calls again by the next look cannot be seen by anybody.
        before = stream(0) if restarts and shown.timed > one + two + three + more else shown
        new = [one, one + two, one + two + three, one + two + three + more]
        shown = before.plus(stream(new[3], 0, (new[0], new[1], new[2]), new[3]))
        meter = meter.after(shown)
        calls += new[3]
        timed = [a + b for a, b in zip(timed, new, strict=True)]
    assert meter.total.calls == calls
    assert meter.total.timed == timed[3]
    if calls:
        assert [count for _, count in meter.total.latency] == timed[:3]


def test_a_meter_survives_as_json() -> None:
    meter = Meter().after(Stream.of(5, 1, [(1.0, 2), (10.0, 4), (math.inf, 5)]))
    assert msgspec.json.decode(msgspec.json.encode(meter), type=Meter) == meter
    assert meter.total.timed == 5


def test_more_failures_than_calls_are_never_counted() -> None:
    assert Stream.of(3, 7, []).failed == 3


def test_durations_counted_by_new_bounds_begin_anew() -> None:
    meter = Meter().after(Stream(3, 0, ((1.0, 3),), 3)).after(Stream(5, 0, ((2.0, 5),), 5))
    assert meter.total.calls == 5
    assert meter.total.latency == ((2.0, 5),)


@pytest.mark.parametrize(
    ("share", "expected"), [(0.5, 10.0), (0.25, 1.0 + 9.0 / 2), (0.9, 10.0 + 90.0 * 0.8), (1.0, 100.0)]
)
def test_a_quantile_is_interpolated_in_its_bucket(share: float, expected: float) -> None:
    assert quantile(stream(100, 0, (0, 50, 100), 100), share) == pytest.approx(expected)


def test_a_quantile_beyond_the_last_bound_is_that_bound() -> None:
    assert quantile(stream(10, 0, (0, 0, 5), 10), 0.9) == 100.0
    assert math.isnan(quantile(Stream(), 0.9))
