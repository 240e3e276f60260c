"""What is observed of an InferenceService, in KServe's words."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any

from tiffin.dialects import kserve_context
from tiffin.dialects.kserve import CLUSTER_RUNTIME, RUNTIME
from tiffin.plan.state import DeploymentStatus, Problem, ReplicaStatus, RevisionStatus
from tiffin.spec import Deployment

_STATES = {"Pending": "Pending", "Fetching": "Loading", "Starting": "Pending", "Ready": "Loaded",
           "Idle": "Standby", "Failed": "FailedToLoad"}  # fmt: skip
_FAILURES = ("RuntimeUnhealthy", "RuntimeDisabled", "NoSupportingRuntime", "RuntimeNotRecognized",
             "InvalidPredictorSpec")  # fmt: skip
_LIVING = ("Ready", "PredictorReady", "IngressReady", "Stopped")
_NO_REPLICA = ("CrashLoopBackOff", "Failed")

_Condition = dict[str, str]


def render(deployment: Deployment, status: DeploymentStatus) -> dict[str, Any]:
    """``status`` of the object, as KServe's controller would write it, as plain JSON values.

    ``Ready`` is ``PredictorReady`` and ``IngressReady``; a transformer or explainer that is not ready keeps
    ``IngressReady`` from being true.
    """
    mode = deployment.annotations.get(kserve_context.MODE, "Knative")
    latest = _named(status, status.latest.get(deployment.variant, ""))
    found: dict[str, Any] = {
        "observedGeneration": status.observed_generation,
        "conditions": _conditions(deployment, status, latest, is_knative=mode == "Knative"),
        "modelStatus": _model_status(deployment, status, latest),
        "deploymentMode": mode,
    }
    if not deployment.stopped:
        address = f"http://{_service(deployment, mode)}.{deployment.namespace}.svc.cluster.local"
        is_ready = any(each["type"] == "Ready" and each["status"] == "True" for each in found["conditions"])
        if is_ready:
            found["url"] = address if _is_internal(deployment) else status.url
            found["address"] = {"url": address}
        found["components"] = {
            component.name: _component(deployment, status, component.name) for component in deployment.components
        }
    if deployment.variants:
        found["canaryStatuses"] = _canaries(deployment, status)
    for key, annotation in (("servingRuntimeName", RUNTIME), ("clusterServingRuntimeName", CLUSTER_RUNTIME)):
        if annotation in deployment.annotations:
            found[key] = deployment.annotations[annotation]
    return found


def _service(deployment: Deployment, mode: str) -> str:
    return deployment.name if mode == "Knative" else f"{deployment.name}-{deployment.entry}"


def _is_internal(deployment: Deployment) -> bool:
    return any(deployment.labels.get(label) == "cluster-local" for label in kserve_context.VISIBILITY)


def _named(status: DeploymentStatus, name: str) -> RevisionStatus | None:
    return next((revision for revision in status.revisions if revision.name == name), None)


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---- conditions


def _conditions(
    deployment: Deployment, status: DeploymentStatus, latest: RevisionStatus | None, *, is_knative: bool
) -> list[_Condition]:
    if deployment.stopped:
        found = dict.fromkeys(("Ready", "PredictorReady", "IngressReady"), ("False", "Stopped", ""))
        found |= {f"{name}Ready": ("False", "Stopped", "") for name in _titles(deployment)}
        if deployment.variants:
            found["CanaryPredictorReady"] = ("False", "Stopped", "")
        return _written(found | {"Stopped": ("True", "Stopped", "")}, status)
    parts = {name.capitalize(): _ready(latest, name) for name in map(str.lower, _titles(deployment))}
    found = {f"{name}Ready": state for name, state in parts.items()}
    found["IngressReady"] = _ingress(parts, status)
    found["Stopped"] = ("False", "", "")
    if is_knative:
        for name, state in parts.items():
            found[f"{name}{'RoutesReady' if name == 'Explainer' else 'RouteReady'}"] = state
            found[f"{name}ConfigurationReady"] = state
        found["LatestDeploymentReady"] = found["RoutesReady"] = least(parts.values())
    if deployment.variants:
        ready = all(each["ready"] for each in _canaries(deployment, status))
        reason = "AllCanariesReady" if ready else "CanariesNotReady"
        found["CanaryPredictorReady"] = ("True" if ready else "False", reason, "")
    found["Ready"] = least([found["PredictorReady"], found["IngressReady"]])
    return _written(found, status)


def _titles(deployment: Deployment) -> list[str]:
    return [component.name.capitalize() for component in deployment.components]


def _ready(revision: RevisionStatus | None, component: str) -> tuple[str, str, str]:
    """Status, reason and message for one component of the newest revision."""
    if revision is None:
        return "Unknown", "", ""
    wanted, ready = revision.wanted.get(component, 0), revision.ready.get(component, 0)
    if revision.phase in ("Ready", "Idle") or (wanted > 0 and ready >= wanted):
        return "True", "", ""
    problem = revision.problem
    if problem is None:
        return ("False" if revision.phase == "Failed" else "Unknown"), "", ""
    # Also while it may still come up: an image that cannot be pulled is nothing to wait for in silence.
    return "False", problem.reason, _told(problem)


def _told(problem: Problem) -> str:
    hint = (f"hint: {problem.hint}",) if problem.hint else ()
    return "\n".join((problem.message, *problem.log, *hint))


def _ingress(parts: dict[str, tuple[str, str, str]], status: DeploymentStatus) -> tuple[str, str, str]:
    for name, (state, _, _) in parts.items():
        if state != "True":
            return state, f"{name} ingress not created" if state == "False" else "", ""
    routed = status.condition("Routed")
    if routed is not None and routed.status == "False":
        return "False", routed.reason, routed.message
    return ("True", "", "") if status.url else ("Unknown", "", "")


def least(states: Iterable[tuple[str, str, str]]) -> tuple[str, str, str]:
    """What several conditions (status, reason, message) come to: False before Unknown before True."""
    states = list(states)
    for wanted in ("False", "Unknown"):
        for state in states:
            if state[0] == wanted:
                return state
    return "True", "", ""


def _written(found: dict[str, tuple[str, str, str]], status: DeploymentStatus) -> list[_Condition]:
    ready = status.condition("Ready")
    result = []
    for name in sorted(found):
        state, reason, message = found[name]
        condition = {"type": name, "status": state}
        if name not in _LIVING:
            condition["severity"] = "Info"
        if ready is not None and ready.since:
            condition["lastTransitionTime"] = _time(ready.since)
        result.append(
            condition | ({"reason": reason} if reason else {}) | ({"message": message} if message else {})
        )
    return result


# ---- components


def _component(deployment: Deployment, status: DeploymentStatus, name: str) -> dict[str, Any]:
    variant = deployment.variant
    rolled_out = status.rolled_out.get(variant, "")
    found: dict[str, Any] = {
        "latestCreatedRevision": status.latest.get(variant, ""),
        "latestReadyRevision": status.latest_ready.get(variant, ""),
        "latestRolledoutRevision": rolled_out,
        "previousRolledoutRevision": _before(deployment, status, rolled_out),
    }
    found = {key: value for key, value in found.items() if value}
    traffic = _traffic(deployment, status)
    if traffic:
        found["traffic"] = traffic
    if _ready(_named(status, status.latest.get(variant, "")), name)[0] == "True":
        service = f"{deployment.name}-{name}.{deployment.namespace}"
        address = f"http://{service}.svc.cluster.local"
        found["address"] = {"url": address}
        found["url"] = address if _is_internal(deployment) else f"http://{service}.{_domain(deployment)}"
    return found


def _domain(deployment: Deployment) -> str:
    """The end of the host names that the deployment's routes were made with."""
    start = f"{deployment.name}.{deployment.namespace}."
    ends = [host[len(start) :] for route in deployment.routes for host in route.hosts if host.startswith(start)]
    outside = [end for end in ends if end != "svc" and not end.endswith(("cluster.local", "localhost"))]
    return outside[0] if outside else "localhost"


def _before(deployment: Deployment, status: DeploymentStatus, rolled_out: str) -> str:
    current = _named(status, rolled_out)
    if current is None:
        return ""
    older = [
        revision
        for revision in status.revisions
        if revision.variant == deployment.variant and revision.number < current.number
    ]
    return max(older, key=lambda revision: revision.number).name if older else ""


def _traffic(deployment: Deployment, status: DeploymentStatus) -> list[dict[str, Any]]:
    """The newest revision first; only revisions of the main variant, as canaries have a list of their own."""
    newest = status.latest_ready.get(deployment.variant, "")
    found = []
    for revision in sorted(status.revisions, key=lambda each: -each.number):
        if revision.variant != deployment.variant or (revision.weight <= 0 and revision.name != newest):
            continue
        is_latest = revision.name == newest
        target: dict[str, Any] = {
            "revisionName": revision.name,
            "latestRevision": is_latest,
            "percent": round(revision.weight),
        }
        tag = "prev" if "prev" in revision.tags else "latest" if "canary" in revision.tags else ""
        if tag:
            host = f"{tag}-{deployment.name}-predictor.{deployment.namespace}.{_domain(deployment)}"
            target |= {"tag": tag, "url": f"http://{host}"}
        found.append(target)
    return found


# ---- the model


def _model_status(
    deployment: Deployment, status: DeploymentStatus, latest: RevisionStatus | None
) -> dict[str, Any]:
    if deployment.stopped or latest is None:
        return {"transitionStatus": "InProgress" if not deployment.stopped else "UpToDate"} | (
            {} if deployment.stopped else {"states": {"activeModelState": "", "targetModelState": "Pending"}}
        )
    serving = _named(status, status.latest_ready.get(deployment.variant, ""))
    active = _STATES[serving.phase] if serving is not None else ""
    target = _STATES[latest.phase]
    transition = {"Loaded": "UpToDate", "Standby": "UpToDate", "FailedToLoad": "BlockedByFailedLoad"}
    replicas = [
        replica
        for replica in status.replicas
        if replica.component == "predictor" and replica.revision == latest.name
    ]
    failed = [replica for replica in replicas if replica.phase in _NO_REPLICA]
    found: dict[str, Any] = {
        "transitionStatus": transition.get(target, "InProgress"),
        "states": {"activeModelState": active, "targetModelState": target},
        "copies": {
            "failedCopies": len(failed),
            "totalCopies": sum(replica.phase == "Ready" for replica in replicas),
        },
    }
    failure = _failure(latest, failed)
    return found | ({"lastFailureInfo": failure} if failure else {})


def _failure(revision: RevisionStatus, failed: list[ReplicaStatus]) -> dict[str, Any]:
    told = next((replica for replica in failed if replica.problem is not None), None)
    problem = told.problem if told is not None else revision.problem if revision.phase == "Failed" else None
    if problem is None:
        return {}
    found: dict[str, Any] = {
        "reason": problem.reason if problem.reason in _FAILURES else "ModelLoadFailed",
        "message": _told(problem),
        "modelRevisionName": revision.name,
    }
    if problem.exit_code is not None:
        found["exitCode"] = problem.exit_code
    if told is not None:
        found["location"] = told.name
        if told.started:
            found["time"] = _time(told.started)
    return found


def _canaries(deployment: Deployment, status: DeploymentStatus) -> list[dict[str, Any]]:
    found = []
    for variant in deployment.variants:
        revision = _named(status, status.latest.get(variant.name, ""))
        state = _STATES[revision.phase] if revision is not None else "Pending"
        found.append(
            {
                "name": variant.name,
                "ready": revision is not None and revision.phase in ("Ready", "Idle"),
                "trafficPercent": round(variant.weight),
                "modelStatus": {
                    "transitionStatus": "UpToDate" if state in ("Loaded", "Standby") else "InProgress",
                    "states": {"activeModelState": state, "targetModelState": state},
                },
            }
        )
    return found
