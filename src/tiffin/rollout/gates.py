"""One gate, and what was measured of canary and stable: judged, with the evidence. Pure.

Every gate is looked at over two windows: since the step began, and over the whole rollout. It fails when one of
them rejects "the canary is within the gate" at its share of the false alarms. It waits while there are too few
calls, or while what was seen so far is outside of the gate without being enough to say so.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from tiffin.rollout import sequential
from tiffin.rollout.streams import Stream, quantile
from tiffin.spec.rollout import Gate

Outcome = Literal["pass", "wait", "fail"]
Window = Literal["step", "rollout"]

LEAST_AGREEMENT = 0.99
READINGS_IN_A_ROW = 3
"""So many readings of a query have to be outside of its bounds, one after the other, for it to fail."""
_MOST_LOG = 700.0


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a query said at a time (seconds since 1970), or why it said nothing."""

    value: float | None = None
    time: float = 0.0
    error: str = ""


class Agreement(msgspec.Struct, frozen=True):
    """Mirrored calls whose two answers were compared, and those that were equal."""

    compared: int = 0
    equal: int = 0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One side: ``hits`` of ``calls``; the estimate and an interval that holds at all times at once.

    Shares for error rates and agreement, milliseconds for latency. ``high`` is ``None`` when nothing bounds it.
    """

    calls: int
    hits: int = 0
    estimate: float | None = None
    low: float | None = None
    high: float | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate says, and why.

    ``bound`` is the chance of a false alarm this look is allowed, over all time; ``evidence`` is how many times
    likelier what was seen is without the hypothesis "within the gate": it fails from ``1 / bound`` on.
    """

    gate: int
    kind: str
    window: Window
    outcome: Outcome
    sentence: str
    threshold: float | None = None
    canary: Measured | None = None
    stable: Measured | None = None
    bound: float | None = None
    evidence: float | None = None


def error_rate(
    index: int, gate: Gate, window: Window, canary: Stream, stable: Stream, *, least: int, alpha: float
) -> Finding:
    """Is the canary's share of failed calls more than ``margin`` above the stable one's?"""
    log = sequential.log_evidence_of_more(
        (canary.calls, canary.failed), (stable.calls, stable.failed), gate.margin
    )
    ours, theirs = _share(canary.calls, canary.failed, alpha / 2), _share(stable.calls, stable.failed, alpha / 2)
    outcome: Outcome = "pass"
    what = (
        f"canary failed {canary.failed} of {canary.calls} calls ({_percent(ours.estimate)}), "
        f"stable {stable.failed} of {stable.calls} ({_percent(theirs.estimate)}); "
        f"{_percent(gate.margin)} more is allowed"
    )
    if few := _few(canary.calls, stable.calls, least, window):
        outcome, what = "wait", f"{few}; {what}"
    elif log >= -math.log(alpha):
        outcome = "fail"
    elif log > 0.0 or (ours.estimate or 0.0) > (theirs.estimate or 0.0) + gate.margin:
        outcome, what = "wait", f"not decided yet: {what}"
    return Finding(
        gate=index,
        kind=gate.kind,
        window=window,
        outcome=outcome,
        sentence=f"error rate {_since(window)}: {what}",
        threshold=gate.margin,
        canary=ours,
        stable=theirs,
        bound=alpha,
        evidence=math.exp(min(log, _MOST_LOG)),
    )


def latency(
    index: int, gate: Gate, window: Window, canary: Stream, stable: Stream, *, least: int, alpha: float
) -> Finding:
    """Is the canary's quantile more than ``ratio`` times the stable one's?

    A quantile is above a bound exactly when the share of calls within the bound is below its level: the interval
    of a quantile needs the interval of one share only, whatever the number of bounds (Howard and Ramdas, 2022).
    """
    ours, theirs = _quantile(canary, gate.quantile, alpha / 2), _quantile(stable, gate.quantile, alpha / 2)
    outcome: Outcome = "pass"
    name = f"p{gate.quantile * 100:g}"
    what = (
        f"canary {name} is {_ms(ours.estimate)} ({_range(ours)}, {ours.calls} calls), "
        f"stable {_ms(theirs.estimate)} ({_range(theirs)}, {theirs.calls} calls); {gate.ratio:g} times is allowed"
    )
    if few := _few(ours.calls, theirs.calls, least, window):
        outcome, what = "wait", f"{few}; {what}"
    elif ours.low and theirs.high is not None and ours.low >= gate.ratio * theirs.high:
        outcome = "fail"
    elif (ours.estimate or 0.0) > gate.ratio * (theirs.estimate or math.inf):
        outcome, what = "wait", f"not decided yet: {what}"
    return Finding(
        gate=index,
        kind=gate.kind,
        window=window,
        outcome=outcome,
        sentence=f"latency {_since(window)}: {what}",
        threshold=gate.ratio,
        canary=ours,
        stable=theirs,
        bound=alpha,
    )


def agreement(index: int, gate: Gate, window: Window, seen: Agreement, *, least: int, alpha: float) -> Finding:
    """Are fewer than the share ``least`` of the mirrored answers equal?"""
    wanted = LEAST_AGREEMENT if gate.least is None else gate.least
    log = sequential.log_evidence_of_less(seen.compared, seen.equal, wanted)
    ours = _share(seen.compared, seen.equal, alpha)
    outcome: Outcome = "pass"
    what = (
        f"{seen.equal} of {seen.compared} mirrored answers are equal ({_percent(ours.estimate)}); "
        f"at least {_percent(wanted)} are wanted"
    )
    if seen.compared < least:
        outcome, what = "wait", f"{seen.compared} answers were compared, at least {least} are needed; {what}"
    elif log >= -math.log(alpha):
        outcome = "fail"
    elif seen.equal < wanted * seen.compared:
        outcome, what = "wait", f"not decided yet: {what}"
    return Finding(
        gate=index,
        kind=gate.kind,
        window=window,
        outcome=outcome,
        sentence=f"agreement {_since(window)}: {what}",
        threshold=wanted,
        canary=ours,
        bound=alpha,
        evidence=math.exp(min(log, _MOST_LOG)),
    )


def query(index: int, gate: Gate, reading: Reading | None, outside: int) -> Finding:
    """Is the value within its bounds? ``outside`` counts the readings in a row that were not."""
    outcome: Outcome = "pass"
    value: float | None = None
    if reading is None:
        outcome, what = "wait", "it was not asked yet"
    elif reading.value is None or math.isnan(reading.value):
        outcome, what = "wait", reading.error or "it has no value"
    else:
        value = reading.value
        what = f"{value:g}, {_bounds(gate)}"
        if not is_within(gate, value):
            outcome = "fail" if outside >= READINGS_IN_A_ROW else "wait"
            what += f"; {outside} readings in a row were outside, {READINGS_IN_A_ROW} decide"
    return Finding(
        gate=index,
        kind=gate.kind,
        window="rollout",
        outcome=outcome,
        sentence=f"query {gate.query}: {what}",
        threshold=gate.most if gate.most is not None else gate.least,
        canary=None if value is None else Measured(calls=0, estimate=value),
    )


def is_within(gate: Gate, value: float) -> bool:
    """Whether a query's value is between its bounds."""
    return (gate.least is None or value >= gate.least) and (gate.most is None or value <= gate.most)


def _share(calls: int, hits: int, alpha: float) -> Measured:
    low, high = sequential.interval(calls, hits, alpha)
    return Measured(calls=calls, hits=hits, estimate=hits / calls if calls else None, low=low, high=high)


def _quantile(stream: Stream, share: float, alpha: float) -> Measured:
    low, high = 0.0, None
    for bound, count in stream.latency:
        quick = min(count, stream.timed)
        if not sequential.rejects(stream.timed, quick, share, alpha):
            continue
        if quick >= share * stream.timed:
            high = bound
            break
        low = bound
    estimate = quantile(stream, share)
    return Measured(calls=stream.timed, estimate=None if math.isnan(estimate) else estimate, low=low, high=high)


def _few(canary: int, stable: int, least: int, window: Window) -> str:
    if canary < least:
        return f"canary got {canary} calls, at least {least} are needed"
    # A step that gives the canary everything leaves no call for the stable one: the whole rollout has them.
    if stable < least:
        return f"stable got {stable} calls, at least {least} are needed"
    return ""


def _since(window: Window) -> str:
    return "in this step" if window == "step" else "in the whole rollout"


def _percent(share: float | None) -> str:
    return "none" if share is None else f"{100 * share:.3g} %"


def _ms(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g} ms"


def _range(side: Measured) -> str:
    high = "above" if side.high is None else f"{side.high:g} ms"
    return f"between {side.low or 0.0:g} and {high}"


def _bounds(gate: Gate) -> str:
    if gate.least is not None and gate.most is not None:
        return f"between {gate.least:g} and {gate.most:g} is wanted"
    if gate.least is not None:
        return f"at least {gate.least:g} is wanted"
    return f"at most {gate.most:g} is wanted" if gate.most is not None else "anything is wanted"
