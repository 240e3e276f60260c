"""From what is observed of a deployment to its conditions and its revisions' states. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from tiffin.plan.revision import Revision
from tiffin.plan.share import Aim, Spread
from tiffin.plan.state import Condition, Problem, ReplicaStatus, RevisionPhase, RevisionStatus


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What is observed of one deployment.

    ``problem`` is with the deployment as it was written; ``gateway`` is why the gateway was not told. ``idle``
    are revisions that can serve without a replica; ``preparing`` are those whose artefacts are on their way;
    ``serving`` are those that can serve with fewer replicas than are wanted just now.
    ``spread`` is what the gateway was told last, and ``is_told`` whether that is what it should know.
    ``is_observed`` says that this is about the newest spec. ``wanted`` counts replicas by revision and
    component; ``problems`` are with a whole revision, by number.
    """

    aims: dict[str, Aim]
    spread: Spread
    is_told: bool = True
    is_observed: bool = True
    revisions: dict[int, Revision]
    replicas: tuple[ReplicaStatus, ...] = ()
    wanted: dict[int, dict[str, int]] = {}
    problems: dict[int, Problem] = {}
    preparing: frozenset[int] = frozenset()
    idle: frozenset[int] = frozenset()
    serving: frozenset[int] = frozenset()
    entry: str = "predictor"
    is_stopped: bool = False
    problem: Problem | None = None
    gateway: Problem | None = None


def revision_statuses(view: View) -> tuple[RevisionStatus, ...]:
    """Those that have a share, run, or are what the spec says now; the newest last."""
    found = []
    for number, revision in sorted(view.revisions.items()):
        own = [replica for replica in view.replicas if replica.revision == revision.name]
        is_current = any(aim.standing.current == number for aim in view.aims.values())
        if not own and not is_current and number not in view.spread.weights and number not in view.wanted:
            continue
        ready = {part.name: 0 for part in revision.components}
        for replica in own:
            ready[replica.component] = ready.get(replica.component, 0) + (replica.phase == "Ready")
        wanted = view.wanted.get(number, {})
        found.append(
            RevisionStatus(
                name=revision.name,
                variant=revision.variant,
                number=number,
                phase=_phase(view, number, own, wanted, ready),
                weight=view.spread.weights.get(number, 0.0),
                mirror_percent=view.spread.mirrors.get(number),
                tags=tuple(
                    sorted(tag for aim in view.aims.values() for tag, one in aim.tags.items() if one == number)
                ),
                created=revision.created,
                wanted=wanted,
                ready=ready,
                problem=view.problems.get(number) or first_problem(own),
            )
        )
    return tuple(found)


def _phase(
    view: View,
    number: int,
    replicas: Sequence[ReplicaStatus],
    wanted: Mapping[str, int],
    ready: Mapping[str, int],
) -> RevisionPhase:
    if number in view.problems:
        return "Failed"
    if number in view.idle:
        return "Idle"
    if number in view.preparing:
        return "Fetching"
    if number in view.serving:
        return "Ready"
    if wanted and all(ready.get(name, 0) >= max(1, count) for name, count in wanted.items()):
        return "Ready"
    if any(replica.phase in ("Failed", "CrashLoopBackOff") for replica in replicas):
        return "Failed"
    return "Starting" if any(replica.phase in ("Starting", "Ready") for replica in replicas) else "Pending"


def first_problem(replicas: Iterable[ReplicaStatus]) -> Problem | None:
    """What is wrong with the first replica that has a problem."""
    return next((replica.problem for replica in replicas if replica.problem is not None), None)


def conditions(view: View, before: Sequence[Condition], now: float) -> tuple[Condition, ...]:
    """``Ready``, and what it is made of: ``LatestReady``, ``Routed`` and one for each component.

    ``since`` stays while the status does. ``now`` is in seconds since 1970.
    """
    latest = _latest(view)
    routed = _routed(view)
    parts = [_component(view, name) for name in _components(view)]
    wrong = [one for one in (latest, *parts, routed) if one.status != "True"]
    worst = next((one for one in wrong if one.status == "False"), wrong[0] if wrong else None)
    ready = Condition(type="Ready", status="True", reason="Serving") if worst is None else _as_ready(worst)
    old = {condition.type: condition for condition in before}
    return tuple(_dated(one, old.get(one.type), now) for one in (ready, latest, routed, *parts))


def _as_ready(worst: Condition) -> Condition:
    return msgspec.structs.replace(worst, type="Ready")


def _dated(condition: Condition, old: Condition | None, now: float) -> Condition:
    same = old is not None and old.status == condition.status
    return msgspec.structs.replace(condition, since=old.since if same and old is not None else now)


def _failed(type: str, problem: Problem) -> Condition:
    return Condition(type=type, status="False", reason=problem.reason, message=problem.message, hint=problem.hint)


def _latest(view: View) -> Condition:
    """Whether what the spec says now is what serves."""
    type = "LatestReady"
    if not view.is_observed:
        return Condition(type=type, status="Unknown", reason="Starting", message="it has just been applied")
    if view.problem is not None:
        return _failed(type, view.problem)
    if view.is_stopped:
        return Condition(type=type, status="False", reason="Stopped", message="it is kept, with nothing running")
    for aim in view.aims.values():
        current = aim.standing.current
        revision = view.revisions.get(current)
        if aim.is_reached or revision is None:
            continue
        if current == aim.standing.rejected:
            message = f"{revision.name} was rolled back; {view.revisions[aim.standing.rolled_out].name} serves"
            return Condition(type=type, status="False", reason="RolledBack", message=message)
        own = [replica for replica in view.replicas if replica.revision == revision.name]
        problem = view.problems.get(current) or first_problem(own)
        if problem is not None:
            return _failed(type, problem)
        what = "its artefacts are fetched" if current in view.preparing else "its replicas start"
        reason = "Fetching" if current in view.preparing else "Starting"
        return Condition(type=type, status="Unknown", reason=reason, message=f"{revision.name}: {what}")
    if not view.aims:
        return Condition(type=type, status="Unknown", reason="Starting", message="it has just been applied")
    if not view.is_told:
        return Condition(type=type, status="Unknown", reason="Routing", message="the gateway is being told")
    return Condition(type=type, status="True", reason="Serving")


def _routed(view: View) -> Condition:
    if view.gateway is not None:
        return _failed("Routed", view.gateway)
    if view.is_stopped:
        return Condition(type="Routed", status="False", reason="Stopped", message="nothing runs")
    if not view.spread.weights:
        return Condition(
            type="Routed", status="Unknown", reason="NothingReady", message="no revision can serve yet"
        )
    return Condition(type="Routed", status="True", reason="Routed")


def _components(view: View) -> list[str]:
    names = [
        component.name
        for aim in view.aims.values()
        if (revision := view.revisions.get(aim.standing.current)) is not None
        for component in revision.components
    ]
    return list(dict.fromkeys(names))


def _component(view: View, name: str) -> Condition:
    """Whether a component's replicas serve, of any revision that gets calls."""
    type = f"{name[:1].upper()}{name[1:]}Ready"
    names = {view.revisions[number].name for number in view.spread.weights if number in view.revisions}
    own = [replica for replica in view.replicas if replica.component == name]
    serving = [replica for replica in own if replica.revision in names]
    if any(replica.phase == "Ready" for replica in serving):
        return Condition(type=type, status="True", reason="Ready")
    if view.idle & view.spread.weights.keys():
        return Condition(type=type, status="True", reason="Idle", message="nobody calls; a call starts a replica")
    problem = first_problem(own) or next(iter(view.problems.values()), None) or view.problem
    if problem is not None:
        return _failed(type, problem)
    if view.is_stopped:
        return Condition(type=type, status="False", reason="Stopped", message="nothing runs")
    return Condition(type=type, status="Unknown", reason="Starting", message="no replica is ready yet")
