"""How many replicas a pool should have now: all its measures, its bounds, and zero."""

from __future__ import annotations

import msgspec

from tiffin.autoscale import hpa, knative
from tiffin.autoscale.samples import Sample
from tiffin.spec import Measure, Scaling

LONGEST_STEP_SECONDS = 10.0
"""More time than this between two ticks is no time that was watched: a clock was set, or the machine slept."""


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a pool between ticks.

    ``elapsed`` is the time all else here is in: seconds that were watched, whatever the clock ``now`` did.
    """

    now: float | None = None
    elapsed: float = 0.0
    knative: dict[str, knative.State] = {}
    hpa: hpa.State = hpa.State()
    idle_since: float | None = None
    is_initialized: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """``replicas`` a pool should have, and why, as a sentence without a full stop.

    Attributes:
        unbounded: Replicas before the bounds.
        is_panic: There is a burst: only ever up.
        excess_burst: Calls that could arrive at once beyond the burst capacity; below 0, waiting calls may pass
            the activator although there are replicas.
    """

    replicas: int
    reason: str
    unbounded: int = 0
    is_panic: bool = False
    excess_burst: float = 0.0


def decide(scaling: Scaling, state: State, sample: Sample, now: float) -> tuple[State, Decision]:
    """One tick, about one a second and whenever a call is held; ``now`` in seconds of any clock."""
    state = _watched(state, sample, now)
    if scaling.is_fixed and sample.is_reachable:
        return state, Decision(
            replicas=scaling.min_replicas, unbounded=scaling.min_replicas, reason="the number is fixed"
        )
    state, found = _recommended(scaling, state, sample)
    replicas, reason = found.replicas, found.reason
    low, high = bounds(scaling, state, sample)
    if replicas < low:
        reason = f"the minimum is {low}" if replicas or not low else f"{reason}; the minimum is {low}"
        replicas = low
    elif high is not None and replicas > high:
        reason = f"{reason}; the maximum is {high}"
        replicas = high
    if replicas == 0:
        replicas, reason = _to_zero(scaling, state, sample, reason)
    return state, msgspec.structs.replace(found, replicas=replicas, reason=reason)


def bounds(scaling: Scaling, state: State, sample: Sample) -> tuple[int, int | None]:
    """The least and the most replicas now; ``None`` is no limit."""
    low = scaling.min_replicas if sample.is_reachable else 0
    high: int | None = scaling.max_replicas
    if high is None:
        high = max(1, scaling.min_replicas)
    elif high == 0:
        high = None
    if not state.is_initialized and sample.is_reachable:
        low = max(low, scaling.windows.initial_scale)
    return (low if high is None else min(low, high)), high


def _watched(state: State, sample: Sample, now: float) -> State:
    """Time goes on, and whether anybody called is noted."""
    is_first = state.now is None
    step = 0.0 if state.now is None else min(max(0.0, now - state.now), LONGEST_STEP_SECONDS)
    elapsed = state.elapsed + step
    memories = state.knative
    if is_first:
        memories = {metric: knative.State.of(sample.ready, elapsed) for metric in ("concurrency", "rps")}
    load = sample.load
    is_called = load is not None and (load.concurrency > 0 or load.rps > 0)
    # A replica that is still starting has not had its chance of being called.
    is_idle = load is not None and not is_called and (sample.ready > 0 or sample.wanted == 0)
    since = None
    if is_idle:
        since = elapsed if state.idle_since is None else state.idle_since
    return State(
        now=now,
        elapsed=elapsed,
        knative=memories,
        hpa=state.hpa,
        idle_since=since,
        # Once there was a replica (or a wish for none), the number to begin with has done its work.
        is_initialized=state.is_initialized or sample.ready > 0,
    )


def _recommended(scaling: Scaling, state: State, sample: Sample) -> tuple[State, Decision]:
    """Every measure asked, before bounds; the highest answer counts."""
    found = []
    for measure in scaling.measures:
        if measure.metric in ("concurrency", "rps"):
            state, answer = _by_calls(measure, scaling, state, sample)
            found.append(answer)
    resources = [measure for measure in scaling.measures if measure.metric in ("cpu", "memory")]
    if resources:
        state, answer = _by_use(resources, scaling, state, sample)
        found.append(answer)
    most = max(found, key=lambda answer: answer.replicas)
    return state, msgspec.structs.replace(
        most,
        is_panic=any(answer.is_panic for answer in found),
        excess_burst=min(answer.excess_burst for answer in found),
    )


def _by_calls(measure: Measure, scaling: Scaling, state: State, sample: Sample) -> tuple[State, Decision]:
    windows = scaling.windows
    load = sample.load
    target = knative.target_of(measure, windows, sample.max_concurrency)
    value = None if load is None else load.rps if measure.metric == "rps" else load.concurrency
    memory, found = knative.recommend(
        state.knative.get(measure.metric, knative.State()),
        value,
        windows=windows,
        target=target,
        ready=sample.ready,
        now=state.elapsed,
        is_reachable=sample.is_reachable,
    )
    state = msgspec.structs.replace(state, knative={**state.knative, measure.metric: memory})
    if found is None:
        return state, _kept(sample, "nothing is known of the calls")
    what = "calls at once" if measure.metric == "concurrency" else "calls a second"
    if found.stable == 0 and found.panic == 0:
        reason = f"no calls for {windows.stable_seconds:g} s"
    elif found.is_panic and found.panic > found.stable:
        seconds = windows.stable_seconds * windows.panic_percent / 100
        reason = f"a burst of {_shown(found.panic)} {what} in {seconds:g} s, {_shown(target.aim)} a replica"
    else:
        seconds = windows.stable_seconds
        reason = f"{_shown(found.stable)} {what} in {seconds:g} s, {_shown(target.aim)} a replica"
    return state, Decision(
        replicas=found.replicas,
        unbounded=found.replicas,
        reason=reason,
        is_panic=found.is_panic,
        excess_burst=found.excess_burst,
    )


def _by_use(measures: list[Measure], scaling: Scaling, state: State, sample: Sample) -> tuple[State, Decision]:
    settings = scaling.stabilization
    answers = {
        measure.metric: hpa.replicas_for(
            measure,
            sample.uses,
            cpu=sample.cpu,
            memory_bytes=sample.memory_bytes,
            tolerance=settings.tolerance,
        )
        for measure in measures
    }
    known = {metric: answer for metric, answer in answers.items() if answer is not None}
    current = max(sample.wanted, len(sample.uses))
    is_idle = state.idle_since is not None and state.elapsed - state.idle_since >= scaling.windows.stable_seconds
    can_be_none = scaling.min_replicas == 0 or not sample.is_reachable
    if not known and is_idle and can_be_none:
        return state, Decision(replicas=0, reason="no calls")  # Whatever it uses, nobody would miss it.
    if not known:
        is_called = sample.load is not None and sample.load.concurrency > 0
        return state, _kept(sample, "calls arrive" if is_called else "nothing is known of its use", is_called)
    wanted = max(known.values())
    if len(known) < len(answers) and wanted < current:
        return state, _kept(sample, "not all that is measured is known")
    wanted = 0 if is_idle and can_be_none else max(1, wanted)
    memory, replicas = hpa.stabilized(state.hpa, wanted, current=current, settings=settings, now=state.elapsed)
    if wanted == 0:
        replicas = 0  # What nobody calls is not kept up by what it used when it was called.
    metric = max(known, key=lambda name: known[name])
    shown = f"{'processor' if metric == 'cpu' else 'memory'} asks for {known[metric]}"
    reason = "no calls" if wanted == 0 else shown if replicas == wanted else f"{shown}; not so fast"
    state = msgspec.structs.replace(state, hpa=memory)
    return state, Decision(replicas=replicas, unbounded=replicas, reason=reason)


def _to_zero(scaling: Scaling, state: State, sample: Sample, reason: str) -> tuple[int, str]:
    """None only after nobody called for a stable window, and its last replica was kept as long as is asked."""
    if sample.wanted == 0:
        return 0, reason
    windows = scaling.windows
    idle = 0.0 if state.idle_since is None else state.elapsed - state.idle_since
    if idle < windows.stable_seconds:
        return 1, f"no calls for {idle:.0f} s of {windows.stable_seconds:g} s"
    if idle < windows.stable_seconds + windows.zero_retention_seconds:
        return 1, f"the last replica is kept for {windows.zero_retention_seconds:g} s"
    if not sample.is_held and idle < windows.stable_seconds + windows.zero_grace_seconds:
        return 1, "calls would not be held yet"
    return 0, f"no calls for {idle:.0f} s"


def _kept(sample: Sample, why: str, is_called: bool = False) -> Decision:
    replicas = max(sample.wanted, 1 if is_called else 0)
    return Decision(replicas=replicas, unbounded=replicas, reason=why)


def _shown(value: float) -> str:
    return f"{value:.3g}" if value >= 0.1 else "under 0.1"
