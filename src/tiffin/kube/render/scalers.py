"""Who changes the number of a slot's replicas, and the object that says so: an HPA, or KEDA's ScaledObject."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from tiffin.dialects import kserve_triggers
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render.objects import owned
from tiffin.kube.settings import Settings
from tiffin.spec import Component, Deployment, Measure, Scaling, SpecWarning, Stabilization

Owner = Literal["tiffin", "hpa", "keda", "knative", "external", "none"]

USUAL_PERCENT = 80
LONGEST_WINDOW = 3600
"""Seconds; an API server takes no longer one."""
_OF_PODS = ("cpu", "memory")


def owner_of(scaling: Scaling) -> Owner:
    """Whose the number is: what was said, else by what is measured."""
    if scaling.autoscaler:
        return scaling.autoscaler
    if scaling.is_fixed:
        return "none"
    measures_pods = all(measure.metric in _OF_PODS for measure in scaling.measures)
    return "hpa" if measures_pods and scaling.min_replicas > 0 else "tiffin"


def scaler_of(scaling: Scaling, capabilities: Capabilities) -> Owner:
    """Whose the number is in a cluster: what was said, as far as the cluster has it."""
    return owner_of(_had(scaling, capabilities))


def settled(deployment: Deployment, capabilities: Capabilities) -> Deployment:
    """The deployment, without the autoscalers that the cluster does not have."""

    def of(components: tuple[Component, ...]) -> tuple[Component, ...]:
        return tuple(
            msgspec.structs.replace(part, scaling=_had(part.scaling, capabilities)) for part in components
        )

    variants = tuple(msgspec.structs.replace(one, components=of(one.components)) for one in deployment.variants)
    return msgspec.structs.replace(deployment, components=of(deployment.components), variants=variants)


def _had(scaling: Scaling, capabilities: Capabilities) -> Scaling:
    is_there = {"keda": capabilities.keda, "knative": capabilities.knative}.get(scaling.autoscaler, True)
    return scaling if is_there else msgspec.structs.replace(scaling, autoscaler="", autoscaler_spec={})


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """The autoscaler of each slot whose number is not Tiffin's."""
    return tuple(_scalers(deployment, placement, capabilities))


def _scalers(deployment: Deployment, placement: Placement, capabilities: Capabilities) -> Iterable[Manifest]:
    for slot in placement.slots:
        scaling = slot.component.scaling
        owner = scaler_of(scaling, capabilities)
        name = names.workload(deployment, slot)
        labels = names.slot_labels(deployment, slot)
        if owner == "hpa":
            kind = ("autoscaling/v2", "HorizontalPodAutoscaler")
            yield owned(deployment, placement, *kind, name, labels=labels, spec=_hpa(slot, name))
        elif owner == "keda":
            kind = ("keda.sh/v1alpha1", "ScaledObject")
            yield owned(deployment, placement, *kind, name, labels=labels, spec=_keda(slot, name))


def _most(scaling: Scaling) -> int:
    """At least the minimum, and 1: 0 is no bound elsewhere, and here it has to be a number."""
    return max(1, scaling.min_replicas, scaling.max_replicas or 0)


def _hpa(slot: Slot, name: str) -> dict[str, Any]:
    scaling = slot.component.scaling
    spec: dict[str, Any] = {
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
        "minReplicas": max(1, scaling.min_replicas),
        "maxReplicas": _most(scaling),
        "metrics": [_metric(measure) for measure in _of_pods(scaling)],
    }
    if (windows := scaling.stabilization) != Stabilization():
        spec["behavior"] = {
            "scaleUp": {"stabilizationWindowSeconds": _window(windows.up_seconds)},
            "scaleDown": {"stabilizationWindowSeconds": _window(windows.down_seconds)},
        }
    return spec | (scaling.autoscaler_spec if scaling.autoscaler in ("", "hpa") else {})


def _window(seconds: float) -> int:
    return min(int(seconds), LONGEST_WINDOW)


def _of_pods(scaling: Scaling) -> tuple[Measure, ...]:
    """What an HPA can measure by itself; cpu where nothing of that kind is asked for."""
    found = tuple(measure for measure in scaling.measures if measure.metric in _OF_PODS)
    return found or (Measure(metric="cpu"),)


def _metric(measure: Measure) -> dict[str, Any]:
    return {"type": "Resource", "resource": {"name": measure.metric, "target": _target(measure)}}


def _target(measure: Measure) -> dict[str, Any]:
    if measure.is_value and measure.target is not None:
        amount = f"{round(measure.target * 1000)}m" if measure.metric == "cpu" else str(round(measure.target))
        return {"type": "AverageValue", "averageValue": amount}
    percent = USUAL_PERCENT if measure.target is None else max(1, round(measure.target))
    return {"type": "Utilization", "averageUtilization": percent}


def _keda(slot: Slot, name: str) -> dict[str, Any]:
    scaling = slot.component.scaling
    spec: dict[str, Any] = {
        "scaleTargetRef": {"name": name},
        "minReplicaCount": scaling.min_replicas,
        "maxReplicaCount": _most(scaling),
        "triggers": [kserve_triggers.of_resource(measure) for measure in _of_pods(scaling)],
    } | scaling.autoscaler_spec
    kinds = {one.get("type") for one in spec["triggers"] if isinstance(one, dict)}
    if kinds <= set(_OF_PODS) and spec["minReplicaCount"] == 0:
        # Without pods there is nothing to measure, so KEDA refuses it.
        spec["minReplicaCount"] = 1
    return spec


def unsupported(deployment: Deployment, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """What was asked of an autoscaler that this cluster does not have."""
    found = []
    parts = {"keda": (capabilities.keda, "KEDA"), "knative": (capabilities.knative, "Knative")}
    for variant in deployment.all_variants:
        for component in variant.components:
            asked = component.scaling.autoscaler
            is_there, called = parts.get(asked, (True, ""))
            if not is_there:
                instead = scaler_of(component.scaling, capabilities)
                message = f"{called} is not in this cluster; {_INSTEAD[instead]} until it is"
                found.append(SpecWarning(f"{component.name}: autoscaler", message, "kubernetes"))
    return tuple(dict.fromkeys(found))


_INSTEAD: dict[Owner, str] = {
    "tiffin": "Tiffin scales by calls",
    "hpa": "a HorizontalPodAutoscaler scales by cpu and memory",
    "none": "the number stays at the minimum",
    "keda": "KEDA scales",
    "knative": "Knative scales",
    "external": "somebody else scales",
}
