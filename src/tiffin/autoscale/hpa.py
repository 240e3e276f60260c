"""Replicas for processor and memory, by the rules of Kubernetes' HorizontalPodAutoscaler.

The rules and their numbers are those of Kubernetes' documentation, "Horizontal Pod Autoscaling": the sections
"Algorithm details", "Stabilization window" and "Default behavior".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from tiffin.autoscale.samples import Use
from tiffin.spec import Measure, Stabilization

TARGET_PERCENT = 80.0
CPU_CORES = 1.0
MEMORY_BYTES = 2 * 1024**3
"""What percentages are of when a component asks for nothing: what KServe asks for by default."""
PERIOD_SECONDS = 15.0
UP_REPLICAS = 4
UP_FACTOR = 2.0
"""In each period by 4 replicas or to twice as many, whichever is more; down without a limit."""


class State(msgspec.Struct, frozen=True):
    """What is remembered: recommendations by time, and how many replicas there were."""

    recommended: tuple[tuple[float, int], ...] = ()
    counts: tuple[tuple[float, int], ...] = ()


def replicas_for(
    measure: Measure, uses: Sequence[Use], *, cpu: float | None, memory_bytes: int | None, tolerance: float
) -> int | None:
    """How many replicas bring their average to the target; ``None`` when nothing is known of any of them.

    A replica whose use is not known is taken to use all of its target when there would be fewer replicas, and
    nothing when there would be more; one that is not ready uses nothing when there would be more. What turns
    the direction round then, or ends within the tolerance, changes nothing.
    """
    known, fresh, missing = [], 0, 0
    for use in uses:
        amount = use.cpu if measure.metric == "cpu" else use.memory_bytes
        if measure.metric == "cpu" and not use.is_ready:
            fresh += 1  # A start takes processor that serving will not.
        elif amount is None:
            missing += 1
        else:
            known.append(amount)
    if not known:
        return None
    target = _amount(measure, cpu, memory_bytes)
    ratio = math.fsum(known) / (target * len(known))
    if not missing and not (fresh and ratio > 1):
        return len(uses) if abs(ratio - 1) <= tolerance + 1e-9 else _ceil(ratio * len(known))
    total = math.fsum(known) / target
    count = len(known)
    if ratio < 1:
        total, count = total + missing, count + missing
    else:
        count += missing + fresh
    new = total / count
    if abs(new - 1) <= tolerance + 1e-9 or (ratio < 1) != (new < 1):
        return len(uses)
    replicas = _ceil(new * count)
    turned = replicas > len(uses) if new < 1 else replicas < len(uses)
    return len(uses) if turned else replicas


def stabilized(
    state: State, wanted: int, *, current: int, settings: Stabilization, now: float
) -> tuple[State, int]:
    """Down only to the most, up only to the least, that was recommended in each window; and up not too fast."""
    longest = max(settings.up_seconds, settings.down_seconds)
    kept = tuple((at, count) for at, count in state.recommended if at > now - longest)
    down = max((count for at, count in kept if at > now - settings.down_seconds), default=wanted)
    up = min((count for at, count in kept if at > now - settings.up_seconds), default=wanted)
    up, down = min(up, wanted), max(down, wanted)
    replicas = current
    if replicas < up:
        replicas = up
    if replicas > down:
        replicas = down
    counts = (*((at, count) for at, count in state.counts if at > now - PERIOD_SECONDS), (now, current))
    start = counts[0][1]
    if replicas > current:
        replicas = max(current, min(replicas, max(start + UP_REPLICAS, math.ceil(start * UP_FACTOR))))
    return State((*_without_repeats(kept), (now, wanted)), _without_repeats(counts)), replicas


def _amount(measure: Measure, cpu: float | None, memory_bytes: int | None) -> float:
    """What one replica should use, in cores or bytes."""
    if measure.is_value and measure.target:
        return measure.target
    whole = (cpu or CPU_CORES) if measure.metric == "cpu" else (memory_bytes or MEMORY_BYTES)
    return whole * (measure.target or TARGET_PERCENT) / 100


def _without_repeats(entries: Sequence[tuple[float, int]]) -> tuple[tuple[float, int], ...]:
    """Of equal counts in a row the first and the last say it all."""
    return tuple(
        entry
        for index, entry in enumerate(entries)
        if index in (0, len(entries) - 1) or not entries[index - 1][1] == entry[1] == entries[index + 1][1]
    )


def _ceil(value: float) -> int:
    """Rounded up, without being fooled by the last bit."""
    return math.ceil(value - 1e-9)
