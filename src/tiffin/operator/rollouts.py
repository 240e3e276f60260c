"""Rollouts on a cluster: what people ask for, and what the judge says. Pure; ``rollout.machine`` decides.

People ask by an annotation of the object, which ``tiffin rollout`` writes and any client can:

    tiffin.dev/rollout: <action>[:<revision number>][@<anything>]      e.g. undo:3@2026-11-23T05:00:00Z

``promote``, ``undo`` (to a revision, or the one before), ``pause`` and ``resume``. A value is obeyed once; what
stands after ``@`` makes the same action another value. The spec of the object is never changed: ``undo`` keeps
serving the older revision until the spec says something new. A split by ``canaryTrafficPercent`` is the spec's
alone: it is promoted by removing the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import cast

import msgspec

from tiffin.errors import CallError
from tiffin.operator.histories import History
from tiffin.operator.noting import Note
from tiffin.operator.observing import Observed
from tiffin.operator.revisions import Kept
from tiffin.plan.revision import Revision
from tiffin.plan.share import Aim, Standing
from tiffin.rollout import machine
from tiffin.rollout.machine import Action, Evidence, RolloutState
from tiffin.spec import Deployment

REQUEST = "tiffin.dev/rollout"
LOOK_SECONDS = 2.0
"""How often a rollout that goes on is looked at."""
_FORM = re.compile(r"(promote|undo|pause|resume)(?::(\d{1,9}))?(?:@.*)?", re.DOTALL)
_ALMOST_ALL = 99.999
"""Until the judge promotes, the stable revision keeps a trace: all calls would mean that it is decided."""


def obeyed(
    deployment: Deployment, observed: Observed, history: History, now: float
) -> tuple[History, tuple[Note, ...]]:
    """The history once what somebody asked for by annotation was done, if it was not done yet."""
    kept = history.kept.get(deployment.variant)
    asked = (observed.metadata.get("annotations") or {}).get(REQUEST, "")
    if kept is None or not isinstance(asked, str) or asked == kept.request:
        return history, ()
    standing, note = kept.standing, None
    if asked and standing.rolled_out:  # What is older than the first revision was meant for another one.
        standing, note = _done(deployment, history, standing, asked, now)
    after = msgspec.structs.replace(kept, standing=standing, request=asked)
    found = History(history.known, history.revisions, {**history.kept, deployment.variant: after})
    return found, () if note is None else (note,)


def _done(
    deployment: Deployment, history: History, standing: Standing, asked: str, now: float
) -> tuple[Standing, Note]:
    match = _FORM.fullmatch(asked.strip())
    if match is None:
        return standing, _refused(
            f"expected promote, undo[:revision], pause or resume in {REQUEST}, found {asked[:60]!r}"
        )
    action, to = cast(Action, match[1]), int(match[2] or 0)
    try:
        if action == "undo":
            return _undone(deployment, history, standing, to, now)
        return _steered(deployment, history, standing, action, now)
    except CallError as error:
        return standing, _refused(f"{error}" + (f" ({error.hint})" if error.hint else ""))


def _refused(message: str) -> Note:
    return Note(reason="RolloutRequestRefused", message=message, type="Warning")


def _steered(
    deployment: Deployment, history: History, standing: Standing, action: Action, now: float
) -> tuple[Standing, Note]:
    if standing.rolled_out == standing.current:
        raise CallError(f"{deployment.key} has no rollout in progress")
    if deployment.canary_percent is not None:
        raise CallError(
            f"the calls of {deployment.key} are split by its spec", hint="change or remove the canary's percentage"
        )
    if deployment.rollout is None:
        raise CallError(f"{deployment.key} has no rollout: a new revision takes over once it is ready")
    name = history.revisions[standing.current].name
    state = read_state(standing.judged)
    if action == "promote":
        if standing.current == standing.rejected:
            changed = msgspec.structs.replace(standing, rejected=0, override=100.0, judged=b"", paused=False)
            return changed, Note(reason="Promoted", message=f"{name} gets all calls")
        if standing.current not in standing.proven:
            raise CallError(f"{name} was not ready yet", hint="its pods' problems are in the status")
    if state is not None and not state.is_over:
        state = machine.steer(deployment.rollout, state, action, now)
    judged = standing.judged if state is None else msgspec.json.encode(state)
    if action == "promote":
        changed = msgspec.structs.replace(standing, override=100.0, mirror=0.0, judged=judged, paused=False)
        return changed, Note(reason="Promoted", message=f"{name} gets all calls")
    changed = msgspec.structs.replace(standing, paused=action == "pause", judged=judged)
    if action == "pause":
        return changed, Note(reason="Paused", message=f"the rollout of {name} waits until it is resumed")
    return changed, Note(reason="Resumed", message=f"the rollout of {name} goes on")


def _undone(
    deployment: Deployment, history: History, standing: Standing, to: int, now: float
) -> tuple[Standing, Note]:
    """Keep serving an older revision, whatever the spec says now, until it says something new."""
    number = to or (standing.rolled_out if standing.rolled_out != standing.current else standing.previous)
    revision = history.revisions.get(number)
    if revision is None or revision.variant != deployment.variant:
        known = ", ".join(str(one) for one in sorted(history.revisions)) or "none"
        raise CallError(f"{deployment.key} has no revision to go back to", hint=f"its revisions are {known}")
    reset = msgspec.structs.replace(standing, override=None, mirror=0.0, judged=b"", paused=False)
    if number == standing.current:
        name = history.revisions[number].name
        return msgspec.structs.replace(reset, rejected=0), Note(reason="Undone", message=f"{name} is served again")
    before = standing.rolled_out if standing.rolled_out != number else standing.previous
    changed = msgspec.structs.replace(reset, rolled_out=number, previous=before, rejected=standing.current)
    name = history.revisions[standing.current].name
    message = f"{name} is rolled back; {revision.name} gets all calls"
    return changed, Note(reason="RolledBack", message=message, type="Warning")


def ruled(
    deployment: Deployment,
    kept: Kept,
    found: Aim,
    evidence: Evidence | None,
    revisions: Mapping[int, Revision],
    now: float,
) -> tuple[Kept, tuple[Note, ...]]:
    """What is remembered once the judge has looked; only for an aim with a contest.

    ``evidence`` of ``None``: nobody could be asked, so nothing new was measured.
    """
    rollout, standing = deployment.rollout, kept.standing
    if rollout is None or found.contest is None:
        return kept, ()
    candidate = revisions[found.contest[1]].name
    state = read_state(standing.judged)
    if state is None or state.revision != candidate:
        state = machine.begin(candidate, evidence or Evidence(), now)
    if standing.paused and state.phase == "progressing":
        state = machine.steer(rollout, state, "pause", now)
    state, verdict = machine.decide(rollout, state, evidence or _nothing_new(state), now)
    changes: dict[str, object] = {"judged": msgspec.json.encode(state), "mirror": verdict.mirror_percent}
    reason = "RolloutStep"
    message = f"step {verdict.step + 1} of {len(rollout.steps)}: {verdict.weight:g} % of the calls"
    if verdict.decision == "promote":
        changes |= {"override": 100.0, "mirror": 0.0}
        reason, message = "Promoted", verdict.sentence
    elif verdict.decision == "roll back":
        changes |= {"override": 0.0, "mirror": 0.0, "rejected": found.contest[1]}
        reason, message = "RolledBack", verdict.sentence
    else:
        changes["override"] = min(verdict.weight, _ALMOST_ALL)
    is_news = (standing.override, standing.rejected) != (
        changes["override"],
        changes.get("rejected", standing.rejected),
    )
    after = msgspec.structs.replace(kept, standing=msgspec.structs.replace(standing, **changes))
    if not is_news:
        return after, ()
    note = Note(
        reason=reason,
        message=f"{candidate}: {message}",
        type="Warning" if verdict.decision == "roll back" else "Normal",
    )
    return after, (note,)


def _nothing_new(state: RolloutState) -> Evidence:
    return Evidence(canary=state.canary.last, stable=state.stable.last, agreement=state.agreement_last)


def read_state(judged: bytes) -> RolloutState | None:
    """What the judge remembers; ``None`` when it has not begun, or nobody can read it."""
    if not judged:
        return None
    try:
        return msgspec.json.decode(judged, type=RolloutState)
    except msgspec.MsgspecError:
        return None  # Written by another version: the rollout begins anew, and nothing is lost but its evidence.
