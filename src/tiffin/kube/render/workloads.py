"""The Deployment of each slot."""

from __future__ import annotations

from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import pods
from tiffin.kube.render.objects import owned
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment

PROGRESS_SECONDS = 600
"""How long Kubernetes waits for an update to get on before it says that it does not; KServe's."""
HISTORY = 10
_AT_ONCE = {"kserve": "25%", "seldon": "10%"}
"""How many pods an update may take away at a time, as users of each system know it."""


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """A Deployment for each slot that Knative does not run.

    Raises:
        SpecError: a component cannot run on a cluster as it is written.
    """
    return tuple(
        _workload(deployment, placement, slot, settings, capabilities)
        for slot in placement.slots
        if not is_knative(slot, capabilities)
    )


def is_knative(slot: Slot, capabilities: Capabilities) -> bool:
    """Whether a Knative Service stands in for the slot's Deployment, Service and scaler."""
    return capabilities.knative and slot.component.scaling.autoscaler == "knative"


def _rolling(dialect: str) -> dict[str, Any]:
    # Where nobody is used to another number: a replica goes once the one that takes its place is ready.
    bounds = {"maxUnavailable": _AT_ONCE.get(dialect, 0), "maxSurge": "25%"}
    return {"type": "RollingUpdate", "rollingUpdate": bounds}


def _workload(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> Manifest:
    pod = slot.component.pod
    seconds = pod.progress_deadline_seconds
    spec: dict[str, Any] = {
        "selector": {"matchLabels": names.selector(deployment, slot)},
        "strategy": pod.strategy or _rolling(deployment.dialect),
        "revisionHistoryLimit": HISTORY,
        "progressDeadlineSeconds": PROGRESS_SECONDS if seconds is None else seconds,
        "template": pods.template(deployment, placement, slot, settings, capabilities),
    }
    # A number that is not written stays with whom it belongs to: applying it would take it from them.
    if slot.replicas is not None:
        spec = {"replicas": slot.replicas, **spec}
    annotations = {names.REVISION: slot.revision} if slot.revision else {}
    return owned(
        deployment,
        placement,
        "apps/v1",
        "Deployment",
        names.workload(deployment, slot),
        labels=pods.labels(deployment, slot),
        annotations=annotations,
        spec=spec,
    )
