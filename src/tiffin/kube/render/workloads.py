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
_ROLLING = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}


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


def _workload(
    deployment: Deployment, placement: Placement, slot: Slot, settings: Settings, capabilities: Capabilities
) -> Manifest:
    pod = slot.component.pod
    seconds = pod.progress_deadline_seconds
    spec: dict[str, Any] = {
        "selector": {"matchLabels": names.selector(deployment, slot)},
        "strategy": pod.strategy or _ROLLING,
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
