"""The life of a rollout: its steps, who holds it, and how it ends. Pure.

    progressing --- the step's time is over, its gates pass ---> the next step ... ---> promoted
        |  ^
        |  +--- resume --- paused (by the step, or by somebody)
        +--- a gate fails, or undo ---> rolled back

``promoted`` and ``rolled-back`` are for good: another try is another revision, with a state of its own. Time only
counts while somebody looks: the controller being away, or a clock that jumps, never ends a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

from tiffin.errors import CallError
from tiffin.rollout import gates
from tiffin.rollout.gates import Agreement, Finding, Reading, Window
from tiffin.rollout.streams import Meter, Stream
from tiffin.spec.rollout import Gate, Rollout

Phase = Literal["progressing", "paused", "promoted", "rolled-back"]
Decision = Literal["promote", "hold", "roll back"]
Action = Literal["promote", "undo", "pause", "resume"]

MOST_SECONDS_A_LOOK = 10.0
"""More than this between two looks was not watched, and does not count."""


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured by now: counters that only grow, and what queries said, by the number of their gate."""

    canary: Stream = Stream()
    stable: Stream = Stream()
    agreement: Agreement = Agreement()
    readings: dict[int, Reading] = {}


class RolloutState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a rollout is; everything that must outlive the controller.

    ``revision`` is the new one's name. ``elapsed`` is how many seconds of the step were watched, ``looked`` when
    it was last looked at (seconds since 1970). ``step_*`` is what had been counted when the step began,
    ``outside`` how many readings in a row each query was out of its bounds. ``reason`` says why it is where it is.
    """

    revision: str = ""
    phase: Phase = "progressing"
    step: int = 0
    elapsed: float = 0.0
    looked: float = 0.0
    started: float = 0.0
    ended: float = 0.0
    paused_by: Literal["", "step", "user"] = ""
    failed: str = ""
    reason: str = ""
    canary: Meter = Meter()
    stable: Meter = Meter()
    agreement: Agreement = Agreement()
    agreement_last: Agreement = Agreement()
    step_canary: Stream = Stream()
    step_stable: Stream = Stream()
    step_agreement: Agreement = Agreement()
    outside: dict[int, int] = {}
    asked: dict[int, float] = {}

    @property
    def is_over(self) -> bool:
        """Whether nothing can change it any more."""
        return self.phase in ("promoted", "rolled-back")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to do now, and why: percentages for the new revision, and what each gate found."""

    decision: Decision
    weight: float
    mirror_percent: float
    sentence: str
    step: int
    findings: tuple[Finding, ...] = ()


def begin(revision: str, evidence: Evidence, now: float) -> RolloutState:
    """A rollout that begins: what was counted before does not count."""
    return RolloutState(
        revision=revision,
        looked=now,
        started=now,
        reason="it has begun",
        canary=Meter(last=evidence.canary),
        stable=Meter(last=evidence.stable),
        agreement_last=evidence.agreement,
    )


def decide(rollout: Rollout, state: RolloutState, evidence: Evidence, now: float) -> tuple[RolloutState, Verdict]:
    """Look once: what was measured moves the rollout on, holds it or ends it."""
    if state.is_over:
        return state, _verdict(rollout, state)
    state = _measured(rollout, state, evidence, now)
    findings = tuple(_findings(rollout, state, evidence))
    failing = next((finding for finding in findings if finding.outcome == "fail"), None)
    if failing is not None and not state.failed:
        state = _with(state, failed=failing.sentence)
    if state.failed and rollout.automatic_rollback:
        state = _with(state, phase="rolled-back", ended=now, reason=state.failed, paused_by="")
    elif state.failed:
        state = _with(state, reason=f"a gate failed, and rolling back is left to you: {state.failed}")
    else:
        state = _advanced(rollout, state, findings, now)
    return state, _verdict(rollout, state, findings)


def steer(rollout: Rollout, state: RolloutState, action: Action, now: float) -> RolloutState:
    """What somebody asks for; raises CallError when the rollout is over.

    ``promote`` and ``undo`` end it at once, whatever the gates say. ``resume`` goes on after a ``pause``, or after
    the pause of a step. Pausing twice is the same as once.
    """
    if state.is_over:
        raise CallError(
            f"expected a rollout that goes on, found one that is {state.phase.replace('-', ' ')}: {state.reason}",
            hint="apply a new revision to begin another, or undo to go back to an earlier one",
        )
    if action == "promote":
        return _with(state, phase="promoted", ended=now, paused_by="", reason="somebody promoted it")
    if action == "undo":
        return _with(state, phase="rolled-back", ended=now, paused_by="", reason="somebody rolled it back")
    if action == "pause":
        # A step's own pause stays what it is: one resume is enough.
        by = state.paused_by or "user"
        return _with(
            state, phase="paused", paused_by=by, reason="somebody paused it" if by == "user" else state.reason
        )
    if state.paused_by == "step":
        return _stepped(rollout, state, now, "somebody resumed it")
    return _with(state, phase="progressing", paused_by="", reason="somebody resumed it")


def _measured(rollout: Rollout, state: RolloutState, evidence: Evidence, now: float) -> RolloutState:
    watched = min(max(0.0, now - state.looked), MOST_SECONDS_A_LOOK)
    outside, asked = dict(state.outside), dict(state.asked)
    for index, reading in evidence.readings.items():
        if not 0 <= index < len(rollout.gates) or reading.time <= asked.get(index, 0.0):
            continue
        asked[index] = reading.time
        if reading.value is not None and reading.value == reading.value:
            is_in = gates.is_within(rollout.gates[index], reading.value)
            outside[index] = 0 if is_in else outside.get(index, 0) + 1
    seen, last = evidence.agreement, state.agreement_last
    more = seen if seen.compared < last.compared or seen.equal < last.equal else _less(seen, last)
    return _with(
        state,
        elapsed=state.elapsed + (watched if state.phase == "progressing" else 0.0),
        looked=now,
        canary=state.canary.after(evidence.canary),
        stable=state.stable.after(evidence.stable),
        agreement=Agreement(state.agreement.compared + more.compared, state.agreement.equal + more.equal),
        agreement_last=seen,
        outside=outside,
        asked=asked,
    )


def _less(one: Agreement, other: Agreement) -> Agreement:
    return Agreement(one.compared - other.compared, one.equal - other.equal)


def _findings(rollout: Rollout, state: RolloutState, evidence: Evidence) -> Iterator[Finding]:
    counted = max(1, sum(gate.kind != "query" for gate in rollout.gates))
    whole = rollout.false_alarm / counted / 2
    step = whole / max(1, len(rollout.steps))
    for index, gate in enumerate(rollout.gates):
        if gate.kind == "query":
            yield gates.query(index, gate, evidence.readings.get(index), state.outside.get(index, 0))
            continue
        yield _finding(rollout, state, index, gate, "step", step)
        yield _finding(rollout, state, index, gate, "rollout", whole)


def _finding(
    rollout: Rollout, state: RolloutState, index: int, gate: Gate, window: Window, alpha: float
) -> Finding:
    is_step = window == "step"
    weight = rollout.steps[state.step].weight if rollout.steps else 100.0
    if gate.kind == "agreement":
        least = rollout.min_calls if not is_step else 0
        seen = _less(state.agreement, state.step_agreement) if is_step else state.agreement
        found = gates.agreement(index, gate, window, seen, least=least, alpha=alpha)
        if found.outcome == "wait" and not rollout.mirror_percent:
            why = "no calls are mirrored to compare answers of: say how many per cent"
            return msgspec.structs.replace(found, sentence=f"{why}; {found.sentence}")
        return found
    canary, stable = state.canary.total, state.stable.total
    least = rollout.min_calls
    if is_step:
        canary = canary.minus(state.step_canary)
        if weight < 100.0:  # Beyond that the stable one gets no calls: the whole rollout's are compared with.
            stable = stable.minus(state.step_stable)
    if weight <= 0.0 and not rollout.mirror_percent:
        least = 0  # A step that gives no calls cannot wait for any.
    judge = gates.error_rate if gate.kind == "error-rate" else gates.latency
    return judge(index, gate, window, canary, stable, least=least, alpha=alpha)


def _advanced(rollout: Rollout, state: RolloutState, findings: tuple[Finding, ...], now: float) -> RolloutState:
    """The step after this one when its time is over and its gates pass, else why not."""
    if not rollout.steps:
        return (
            _ended_well(state, now, "its gates pass, and it has no steps")
            if _passes(findings)
            else _waiting(state, findings)
        )
    step = rollout.steps[state.step]
    if state.phase == "paused":
        return state
    if state.elapsed < step.seconds:
        return _with(state, reason=f"{state.elapsed:.0f} of {step.seconds:g} s of this step are over")
    if not _passes(findings):
        return _waiting(state, findings)
    if step.pause:
        return _with(state, phase="paused", paused_by="step", reason="this step waits until it is resumed")
    return _stepped(rollout, state, now, "its gates pass")


def _passes(findings: tuple[Finding, ...]) -> bool:
    return all(finding.outcome == "pass" for finding in findings)


def _waiting(state: RolloutState, findings: tuple[Finding, ...]) -> RolloutState:
    waiting = next(finding for finding in findings if finding.outcome != "pass")
    return _with(state, reason=f"held: {waiting.sentence}")


def _stepped(rollout: Rollout, state: RolloutState, now: float, why: str) -> RolloutState:
    if state.step + 1 >= len(rollout.steps):
        return _ended_well(state, now, f"{why}, and this was the last step")
    return _with(
        state,
        phase="progressing",
        paused_by="",
        step=state.step + 1,
        elapsed=0.0,
        step_canary=state.canary.total,
        step_stable=state.stable.total,
        step_agreement=state.agreement,
        reason=f"step {state.step + 2} of {len(rollout.steps)} began: {why}",
    )


def _ended_well(state: RolloutState, now: float, reason: str) -> RolloutState:
    return _with(state, phase="promoted", ended=now, paused_by="", reason=reason)


def _verdict(rollout: Rollout, state: RolloutState, findings: tuple[Finding, ...] = ()) -> Verdict:
    decision: Decision = "hold"
    weight = rollout.steps[state.step].weight if rollout.steps else 0.0
    mirror = rollout.mirror_percent
    if state.phase == "promoted":
        decision, weight, mirror = "promote", 100.0, 0.0
    elif state.phase == "rolled-back":
        decision, weight, mirror = "roll back", 0.0, 0.0
    return Verdict(
        decision=decision,
        weight=weight,
        mirror_percent=mirror,
        sentence=state.reason,
        step=state.step,
        findings=findings,
    )


def _with(state: RolloutState, **changes: object) -> RolloutState:
    return msgspec.structs.replace(state, **changes)
