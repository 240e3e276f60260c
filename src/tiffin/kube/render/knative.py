"""A Knative Service for each slot whose mode is Knative, where Knative is there: it stands for all else."""

from __future__ import annotations

from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import hosts, pods
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Component, Deployment, SpecWarning

_LOCAL = {"networking.knative.dev/visibility": "cluster-local"}
"""A label: Knative gives it no address outside of the cluster."""
TAGGED = "serving.kserve.io/enable-tag-routing"
_PREFIX = "autoscaling.knative.dev/"
_NOT_THERE = ("lifecycle", "resizePolicy", "restartPolicy")
"""Fields of containers that Knative refuses."""
_NOT_IN_PODS = ("terminationGracePeriodSeconds",)


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """One for each slot; Knative makes and scales its revisions."""
    return tuple(
        owned(
            deployment,
            placement,
            "serving.knative.dev/v1",
            "Service",
            names.service(deployment, slot),
            labels=names.slot_labels(deployment, slot) | (_LOCAL if hosts.is_closed(deployment) else {}),
            annotations={names.REVISION: slot.revision} if slot.revision else None,
            spec=_spec(deployment, placement, slot, settings, capabilities),
        )
        for slot in placement.slots
        if is_knative(slot, capabilities)
    )


def _spec(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> dict[str, Any]:
    template = pods.template(deployment, placement, slot, settings, capabilities)
    component = slot.component
    spec = {key: value for key, value in template["spec"].items() if key not in _NOT_IN_PODS}
    spec["containers"] = [_container(one, is_first=index == 0) for index, one in enumerate(spec["containers"])]
    if component.max_concurrency:
        spec["containerConcurrency"] = component.max_concurrency
    if component.timeout_seconds:
        seconds = max(1, round(component.timeout_seconds))
        spec |= {"timeoutSeconds": seconds, "responseStartTimeoutSeconds": seconds}
    metadata = {**template["metadata"]}
    metadata["annotations"] = {**metadata.get("annotations", {}), **_scaling(component)}
    return {
        "template": {"metadata": metadata, "spec": spec},
        "traffic": _traffic(deployment, slot),
    }


def _traffic(deployment: Deployment, slot: Slot) -> list[dict[str, Any]]:
    """Shares of Knative's revisions, with the tags that KServe gives them: each tag is an address of its own."""
    split = slot.split
    newest: dict[str, Any] = {"latestRevision": True, "percent": 100 if split is None else split.percent}
    if deployment.annotations.get(TAGGED) == "true":
        newest["tag"] = "latest"
    if split is None:
        return [newest]
    rest = {"latestRevision": False, "revisionName": split.rest, "percent": 100 - split.percent, "tag": "prev"}
    return [newest, rest]


def _container(container: dict[str, Any], *, is_first: bool) -> dict[str, Any]:
    found = {key: value for key, value in container.items() if key not in _NOT_THERE}
    # Knative serves one port, that of the first container.
    ports = [
        {key: one[key] for key in ("containerPort", "protocol") if key in one} for one in found.pop("ports", ())
    ]
    return found | ({"ports": ports[:1]} if is_first and ports else {})


def _scaling(component: Component) -> dict[str, str]:
    scaling = component.scaling
    measure = scaling.measures[0] if scaling.measures else None
    found = {"class": "kpa.autoscaling.knative.dev", "min-scale": str(scaling.min_replicas)}
    if scaling.max_replicas:
        found["max-scale"] = str(scaling.max_replicas)
    if measure is not None and measure.metric in ("concurrency", "rps"):
        found["metric"] = measure.metric
        if measure.target is not None:
            found["target"] = f"{measure.target:g}"
    return {_PREFIX + name: value for name, value in found.items()}


def unsupported(deployment: Deployment, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """Splits that are not between two revisions of one Service."""
    if not any(capabilities.knative and part.scaling.autoscaler == "knative" for part in deployment.components):
        return ()
    found = []
    if deployment.variants:
        message = "are not called in mode Knative, whose ingress knows one predictor; leave the mode out"
        found.append(SpecWarning("variants", message, "kubernetes"))
    if deployment.rollout is not None:
        message = "is not done in mode Knative: give canaryTrafficPercent by hand, or leave the mode out"
        found.append(SpecWarning("rollout", message, "kubernetes"))
    return tuple(found)
