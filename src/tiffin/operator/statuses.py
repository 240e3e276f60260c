"""What is said of a deployment: one status in the words every target shares, and the object's own. Pure.

Times in conditions are those of the status that is there as long as their ``status`` stays, so that a deployment
that does not change is never written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import Settings
from tiffin.operator import addresses, knative, knative_status, problems
from tiffin.operator.observing import Observed, moment, number_of, seconds
from tiffin.operator.placing import Placed
from tiffin.operator.problems import rank
from tiffin.plan.conditions import View, conditions, first_problem, revision_statuses
from tiffin.plan.state import Condition, DeploymentStatus, Problem, ReplicaStatus
from tiffin.spec import Deployment
from tiffin.spec.views import warnings_for

INTERNAL = ("replicas", "curl", "url")
"""What a native status of Tiffin's own leaves out: it changes with every pod, or is said elsewhere."""


def status_of(
    deployment: Deployment,
    observed: Observed,
    placed: Placed,
    settings: Settings,
    capabilities: Capabilities,
    now: float,
) -> DeploymentStatus:
    """What a deployment is like now."""
    entry = knative.services(deployment, observed).get(deployment.entry)
    urls = knative.urls([knative.told(entry)] if entry is not None else [])
    urls = urls or addresses.urls(deployment, settings, capabilities)
    view = view_of(deployment, observed, placed)
    revisions = placed.history.revisions

    def named(number: int) -> str:
        return revisions[number].name if number in revisions else ""

    standings = {name: kept.standing for name, kept in placed.history.kept.items() if name in placed.steps}
    return DeploymentStatus(
        observed_generation=observed.generation,
        conditions=conditions(view, written_conditions(observed.object), now),
        url=urls[0] if urls else "",
        urls=urls,
        revisions=revision_statuses(view),
        replicas=view.replicas,
        rolled_out={name: named(one.rolled_out) for name, one in standings.items() if named(one.rolled_out)},
        latest={name: named(one.current) for name, one in standings.items() if named(one.current)},
        latest_ready={name: named(one.latest_ready) for name, one in standings.items() if named(one.latest_ready)},
        warnings=tuple(map(str, warnings_for(deployment.warnings, "kubernetes"))) + tuple(_unjudged(deployment)),
    )


def native(
    deployment: Deployment,
    status: DeploymentStatus,
    observed: Observed,
    settings: Settings,
    capabilities: Capabilities,
    now: float,
    given: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """``status`` of the object, in the words of the system it was written for.

    ``given`` is the revision that each component of the main variant is given now, by component.
    """
    found = addresses.native_status(deployment, status, settings, capabilities)
    if deployment.dialect not in ("kserve", "seldon"):
        found = {key: value for key, value in found.items() if key not in INTERNAL}
        found["url"] = status.url
        found["conditions"] = [_as_kubernetes(one) for one in status.conditions]
        found["warnings"] = list(status.warnings)
        found["urls"] = list(status.urls)
    elif capabilities.knative and deployment.dialect == "kserve" and _is_on_knative(deployment):
        services, before = knative.services(deployment, observed), observed.object.get("status") or {}
        found = knative_status.laid_over(found, deployment, services, before, given or {})
    plain = _without_nulls(msgspec.json.decode(msgspec.json.encode(found)))
    return _dated(plain, observed.object, now)


def _without_nulls(value: Any) -> Any:
    """As the API server keeps it: with a null the status would differ from what is there at each look."""
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _is_on_knative(deployment: Deployment) -> bool:
    on_knative = all(part.scaling.autoscaler == "knative" for part in deployment.components)
    return on_knative and not deployment.stopped


def written_conditions(manifest: Manifest) -> tuple[Condition, ...]:
    """The conditions that stand in an object's status; what is no condition is left out."""
    found = []
    for one in _conditions(manifest):
        status = one.get("status")
        if isinstance(one.get("type"), str) and status in ("True", "False", "Unknown"):
            since = seconds(one.get("lastTransitionTime"))
            found.append(Condition(type=one["type"], status=status, since=since))
    return tuple(found)


def _as_kubernetes(condition: Condition) -> dict[str, Any]:
    told = f"{condition.message} ({condition.hint})" if condition.hint else condition.message
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason or "Unknown",
        "message": told,
        "lastTransitionTime": moment(condition.since),
    }


def _dated(status: dict[str, Any], manifest: Manifest, now: float) -> dict[str, Any]:
    """Conditions with the time their status began, which is kept as long as it stays."""
    before = {one.get("type"): one for one in _conditions(manifest)}
    after = []
    for one in status.get("conditions") or ():
        old = before.get(one["type"])
        same = old is not None and old.get("status") == one["status"] and old.get("lastTransitionTime")
        since = old["lastTransitionTime"] if same and old is not None else moment(now)
        after.append(one | {"lastTransitionTime": since})
    return status | {"conditions": after}


def _conditions(manifest: Manifest) -> Iterable[Mapping[str, Any]]:
    found = (manifest.get("status") or {}).get("conditions")
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _unjudged(deployment: Deployment) -> Iterable[str]:
    gates = deployment.rollout.gates if deployment.rollout is not None else ()
    for index, gate in enumerate(gates):
        if gate.kind == "agreement":
            yield f"rollout.gates[{index}]: answers are compared on one machine only: promote it by hand"


# -- what is observed ------------------------------------------------------------------------------------------


def view_of(deployment: Deployment, observed: Observed, placed: Placed) -> View:
    """What is observed, for the conditions that every target shares."""
    replicas = tuple(_replicas(deployment, observed, placed))
    wanted = _wanted(placed, deployment)
    return View(
        aims={name: step.aim for name, step in placed.steps.items()},
        spread=placed.spread,
        revisions=placed.history.revisions,
        replicas=replicas,
        wanted=wanted,
        problems=_problems(placed, replicas),
        preparing=_preparing(observed, placed, replicas),
        idle=placed.idle,
        serving=_serving(placed),
        entry=deployment.entry,
        is_stopped=deployment.stopped,
        gateway=addresses.problem(observed.routes),
    )


_SLOT = (names.VARIANT, names.COMPONENT, names.ROLE)


def _replicas(deployment: Deployment, observed: Observed, placed: Placed) -> list[ReplicaStatus]:
    """All pods; those with a problem first, the worst before the others, then by name."""
    found = []
    given = {tuple(map(names.slot_labels(deployment, slot).get, _SLOT)): slot for slot in placed.placement.slots}
    labelled = {names.label(one.name): one.name for one in placed.history.revisions.values()}
    for pod in observed.pods:
        labels = pod["metadata"].get("labels") or {}
        slot = given.get(tuple(map(labels.get, _SLOT)))
        status = pod.get("status") or {}
        containers = status.get("containerStatuses") or ()
        found.append(
            ReplicaStatus(
                name=pod["metadata"]["name"],
                revision=labelled.get(labels.get(names.REVISION, ""), slot.revision if slot is not None else ""),
                component=slot.component.name if slot is not None else str(labels.get(names.COMPONENT, "")),
                phase=problems.phase_of(pod),
                endpoint=str(status.get("podIP") or ""),
                restarts=sum(int(one.get("restartCount") or 0) for one in containers),
                started=seconds(status.get("startTime")),
                problem=problems.of_pod(pod, observed.events),
            )
        )
    return sorted(found, key=lambda one: (rank(one.problem) if one.problem else 10_000, one.name))


def _wanted(placed: Placed, deployment: Deployment) -> dict[int, dict[str, int]]:
    wanted: dict[int, dict[str, int]] = {}
    for slot in placed.placement.slots:
        number = number_of(slot.revision, deployment.name)
        seen = placed.seen.get((slot.variant, slot.role))
        part = seen.parts.get(slot.component.name) if seen is not None else None
        count = slot.replicas if slot.replicas is not None else part.wanted if part is not None else None
        own = wanted.setdefault(number, {})
        least = max(1, slot.component.scaling.min_replicas)
        own[slot.component.name] = own.get(slot.component.name, 0) + (least if count is None else count)
    return wanted


def _serving(placed: Placed) -> frozenset[int]:
    """Revisions that serve in a slot, also while there are fewer pods than are wanted."""
    return frozenset(
        number
        for name, step in placed.steps.items()
        for role, number in step.kept.residents.items()
        if step.targets.get(role) == number
        and (seen := placed.seen.get((name, role))) is not None
        and (revision := placed.history.revisions.get(number)) is not None
        and seen.is_given(number, own := [component.name for component in revision.components])
        and seen.has_ready(needed=own)
    )


def _problems(placed: Placed, replicas: Iterable[ReplicaStatus]) -> dict[int, Problem]:
    """What is wrong with a whole revision: its pods cannot be made, or did not come up in time."""
    pods = list(replicas)
    found: dict[int, Problem] = {}
    serving = _serving(placed)
    for (name, role), seen in placed.seen.items():
        number = placed.steps[name].targets.get(role, 0) if name in placed.steps else 0
        revision = placed.history.revisions.get(number)
        if revision is None or seen.revision != number or number in serving:
            continue
        for part in seen.parts.values():
            problem = problems.of_part(part)
            if problem is None or part.is_rolled_out:
                continue
            own = [one for one in pods if one.revision == revision.name and one.component == part.component]
            found[number] = first_problem(own) or problem
    return found


def _preparing(observed: Observed, placed: Placed, replicas: Iterable[ReplicaStatus]) -> frozenset[int]:
    """Revisions whose artefacts are on their way."""
    fetching = {pod["metadata"]["name"] for pod in observed.pods if problems.is_fetching(pod)}
    by_name = {revision.name: number for number, revision in placed.history.revisions.items()}
    return frozenset(by_name[one.revision] for one in replicas if one.name in fetching and one.revision in by_name)
