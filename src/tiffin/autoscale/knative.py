"""Replicas for calls at once and calls a second, by the rules of Knative's pod autoscaler.

The rules and their numbers are those of Knative Serving's documentation ("Autoscaling", "Configuring targets",
"Additional autoscaling configuration" and "Scale bounds"), and of the tables of its autoscaler's tests.
"""

from __future__ import annotations

import math

import msgspec

from tiffin.autoscale import buckets
from tiffin.autoscale.buckets import Buckets
from tiffin.spec import Measure, Windows

CONCURRENCY_TARGET = 100.0
"""Calls at once per replica where nobody says (``container-concurrency-target-default``)."""
RPS_TARGET = 200.0
"""Calls a second per replica where nobody says (``requests-per-second-target-default``)."""
LEAST_TARGET = 0.01
"""What is aimed at is never less."""
BUCKET_SECONDS = 1.0


class Target(msgspec.Struct, frozen=True):
    """Of one replica: ``total`` is its capacity, ``aim`` what the autoscaler goes for."""

    total: float
    aim: float


class State(msgspec.Struct, frozen=True):
    """What is remembered between ticks: values, since when there is panic and its peak, and what was delayed."""

    values: Buckets = ()
    panic_since: float | None = None
    panic_peak: int = 0
    delayed: tuple[tuple[float, int], ...] = ()

    @classmethod
    def of(cls, ready: int, now: float) -> State:
        """Without a history, as after a restart: what runs is not reduced before a stable window has passed."""
        return cls(panic_since=now, panic_peak=ready) if ready > 1 else cls()


class Recommendation(msgspec.Struct, frozen=True, kw_only=True):
    """Replicas before bounds. ``stable`` and ``panic`` are the averages it comes from."""

    replicas: int
    stable: float
    panic: float
    is_panic: bool
    excess_burst: float


def target_of(measure: Measure, windows: Windows, max_concurrency: int | None) -> Target:
    """What one replica takes: the measure's own target, but never more than it accepts at once."""
    if measure.metric == "rps":
        total = measure.target or RPS_TARGET
    else:
        total = measure.target or max_concurrency or CONCURRENCY_TARGET
        if max_concurrency:
            total = min(total, max_concurrency)
    return Target(total, max(LEAST_TARGET, total * windows.utilization_percent / 100))


def recommend(
    state: State,
    value: float | None,
    *,
    windows: Windows,
    target: Target,
    ready: int,
    now: float,
    is_reachable: bool = True,
) -> tuple[State, Recommendation | None]:
    """One tick. ``value`` is the load since the last one, of all replicas together; ``None``: not known.

    There is no recommendation while nothing is known of the whole stable window.
    """
    stable_seconds = windows.stable_seconds
    panic_seconds = stable_seconds * windows.panic_percent / 100
    width = min(BUCKET_SECONDS, panic_seconds)
    values = state.values
    if value is not None:
        values = buckets.recorded(values, now, value, width=width, window=stable_seconds)
    stable = buckets.average(values, now, width=width, window=stable_seconds)
    if stable is None:
        return msgspec.structs.replace(state, values=values), None
    panic = buckets.average(values, now, width=width, window=panic_seconds)
    if panic is None:  # Not asked lately: what is known is old, and says nothing of a burst.
        panic = stable
    for_stable = math.ceil(stable / target.aim)
    for_panic = math.ceil(panic / target.aim)
    counted = max(1, ready)
    is_over = for_panic / counted >= windows.panic_threshold_percent / 100
    since, peak = _panic(state, is_over, now, stable_seconds)

    def limited(wanted: int) -> int:
        # Rounded so that a slow rate still moves by one.
        most = math.ceil(windows.max_up_rate * counted)
        least = math.floor(counted / windows.max_down_rate) if is_reachable else 0
        limited = min(max(wanted, least), most)
        return max(limited, windows.activation_scale) if wanted > 0 else limited

    replicas = limited(for_stable)
    if since is not None:
        # Only ever up while in panic.
        peak = max(peak, replicas, limited(for_panic))
        replicas = peak
    delayed, replicas = _delay(state.delayed, now, replicas, windows.scale_down_delay_seconds)
    found = Recommendation(
        replicas=replicas,
        stable=stable,
        panic=panic,
        is_panic=since is not None,
        excess_burst=excess_burst(windows, target, ready, panic),
    )
    return State(values, since, peak, delayed), found


def excess_burst(windows: Windows, target: Target, ready: int, panic: float) -> float:
    """Calls more than the burst capacity that could arrive now; below 0, the activator should stay in the path."""
    if windows.burst_capacity == 0:
        return 0.0
    if windows.burst_capacity < 0:
        return -1.0
    return float(math.floor(ready * target.total - windows.burst_capacity - panic))


def _panic(state: State, is_over: bool, now: float, stable_seconds: float) -> tuple[float | None, int]:
    """Since when there is panic: as long as the burst lasts, and until it fills the stable window."""
    if is_over:
        return now, state.panic_peak
    if state.panic_since is not None and state.panic_since + stable_seconds < now:
        return None, 0
    return state.panic_since, state.panic_peak


def _delay(
    delayed: tuple[tuple[float, int], ...], now: float, replicas: int, seconds: float
) -> tuple[tuple[tuple[float, int], ...], int]:
    """The most that was wanted within ``seconds``; kept as a falling sequence, which is short."""
    if seconds <= 0:
        return (), replicas
    kept = tuple((at, count) for at, count in delayed if at > now - seconds and count > replicas)
    kept = (*kept, (now, replicas))
    return kept, kept[0][1]
