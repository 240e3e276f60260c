"""What is observed of a SeldonDeployment, in Seldon's words."""

from __future__ import annotations

import datetime
import hashlib
from typing import Any, Literal
from urllib.parse import urlsplit

from tiffin.plan.state import Condition, DeploymentStatus, RevisionStatus
from tiffin.spec import Deployment, Variant

State = Literal["Available", "Creating", "Failed"]

_PATHS = {
    "seldon": "/api/v1.0/predictions",
    "kserve-v1": "/v1/models/{unit}:predict",
    "open-inference": "/v2/models/{unit}/infer",
}
_LONGEST = 63


def render(deployment: Deployment, status: DeploymentStatus) -> dict[str, Any]:
    """``status`` of the object, as Seldon's operator would write it, as plain JSON values."""
    state = _state(deployment, status)
    ready = status.condition("Ready")
    deployments: dict[str, Any] = {}
    services: dict[str, Any] = {}
    for variant in deployment.all_variants:
        _variant(deployment, status, variant, deployments, services)
    return {
        "state": state,
        "description": ready.message if ready is not None and state == "Failed" else "",
        "replicas": sum(one["replicas"] for one in deployments.values() if "explainerFor" not in one),
        "deploymentStatus": deployments,
        "serviceStatus": services,
        "address": {"url": _address(deployment, status)},
        "conditions": _conditions(deployment, status),
    }


def _state(deployment: Deployment, status: DeploymentStatus) -> State:
    ready = status.condition("Ready")
    if deployment.stopped or (ready is not None and ready.status == "True"):
        return "Available"  # 0 replicas, as wished, are no failure
    return "Failed" if ready is not None and ready.status == "False" else "Creating"


def _variant(
    deployment: Deployment,
    status: DeploymentStatus,
    variant: Variant,
    deployments: dict[str, Any],
    services: dict[str, Any],
) -> None:
    revision = _revision(status, variant.name)
    service = service_of(deployment, variant.name)
    for component in variant.components:
        is_explainer = component.name == "explainer"
        wanted = revision.wanted.get(component.name, 0) if revision is not None else 0
        there = revision.ready.get(component.name, 0) if revision is not None else 0
        found: dict[str, Any] = {
            "name": object_name(deployment, variant, component.name),
            "status": _part_state(deployment, revision, wanted, there),
            "replicas": wanted,
            "availableReplicas": there,
        }
        if revision is not None and revision.problem is not None:
            found["description"] = revision.problem.message
        name = f"{service}-explainer" if is_explainer else service
        endpoint = {"svcName": name, "httpEndpoint": f"{name}.{deployment.namespace}:8000"}
        if is_explainer:
            found["explainerFor"] = endpoint["explainerFor"] = service
        deployments[found["name"]] = found
        services[name] = endpoint


def _revision(status: DeploymentStatus, variant: str) -> RevisionStatus | None:
    """The newest revision of a predictor."""
    own = [revision for revision in status.revisions if revision.variant == variant]
    named = [revision for revision in own if revision.name == status.latest.get(variant)]
    return max(named or own, key=lambda revision: revision.number, default=None)


def _part_state(deployment: Deployment, revision: RevisionStatus | None, wanted: int, ready: int) -> State:
    if deployment.stopped:
        return "Available"
    if revision is None:
        return "Creating"
    if revision.phase in ("Ready", "Idle") and ready >= wanted:
        return "Available"
    return "Failed" if revision.phase == "Failed" else "Creating"


def service_of(deployment: Deployment, variant: str) -> str:
    """The name of a predictor's Kubernetes Service: its host name says it."""
    namespace = f".{deployment.namespace}"
    wanted = ("", variant) if not deployment.variants else (variant,)
    for route in deployment.routes if deployment.dialect == "seldon" else ():
        if route.path == "/" and route.shared and route.variant in wanted and route.hosts:
            host = route.hosts[0]
            if host.endswith(namespace):
                return host.removesuffix(namespace)
    return f"{deployment.name}-{variant}"


def unit_of(deployment: Deployment) -> str:
    """The name of the graph's node, by which the model is called; the deployment's where nothing says it."""
    return deployment.components[0].model_name or deployment.name


def object_name(deployment: Deployment, variant: Variant, component: str) -> str:
    """What Seldon would call the Deployment of a component."""
    name = f"{deployment.name}-{variant.name}"
    found = f"{name}-explainer" if component == "explainer" else f"{name}-0-{unit_of(deployment)}"
    if len(found) <= _LONGEST:
        return found
    return "seldon-" + hashlib.md5(found.encode(), usedforsecurity=False).hexdigest()


def _address(deployment: Deployment, status: DeploymentStatus) -> str:
    """Where callers reach it here; inside a cluster when nobody knows."""
    path = _PATHS.get(deployment.protocol, _PATHS["seldon"]).format(unit=unit_of(deployment))
    parts = urlsplit(status.url)
    if parts.netloc:
        return f"{parts.scheme}://{parts.netloc}/seldon/{deployment.namespace}/{deployment.name}{path}"
    service = service_of(deployment, deployment.variant)
    return f"http://{service}.{deployment.namespace}.svc.cluster.local:8000{path}"


def _conditions(deployment: Deployment, status: DeploymentStatus) -> list[dict[str, Any]]:
    latest, routed, ready = (status.condition(name) for name in ("LatestReady", "Routed", "Ready"))
    found = [
        _condition("DeploymentsReady", latest or ready),
        _condition("ServicesReady", routed or ready),
        _condition("istioVirtualServicesReady", routed or ready),
        _condition("Ready", ready),
    ]
    parts = [part for variant in deployment.all_variants for part in variant.components]
    if any(not part.scaling.is_fixed for part in parts):
        found.insert(1, _condition("HpasReady", latest or ready))
    return sorted((one for one in found if one), key=lambda one: str(one["type"]))


def _condition(type: str, condition: Condition | None) -> dict[str, Any]:
    if condition is None:
        return {"type": type, "status": "Unknown"}
    found = {"type": type, "status": condition.status}
    if condition.since:
        moment = datetime.datetime.fromtimestamp(condition.since, datetime.UTC)
        found["lastTransitionTime"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    if condition.status != "True":
        found |= {
            key: text for key, text in (("reason", condition.reason), ("message", condition.message)) if text
        }
    return found
