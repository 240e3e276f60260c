"""What keeps pods from harm: budgets for planned disruptions, and policies for who may reach them."""

from __future__ import annotations

from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.render import pods
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """A PodDisruptionBudget for each slot that has one to keep, and NetworkPolicies where they are wanted."""
    found: list[Manifest] = []
    for slot in placement.slots:
        if is_knative(slot, capabilities):
            continue
        if budget := _budget(slot):
            found.append(
                _guard(deployment, placement, slot, "policy/v1", "PodDisruptionBudget", "selector", budget)
            )
        if settings.network_policies:
            policy = _policy(deployment, slot, settings)
            kind = ("networking.k8s.io/v1", "NetworkPolicy", "podSelector")
            found.append(_guard(deployment, placement, slot, *kind, policy))
    return tuple(found)


def _guard(
    deployment: Deployment,
    placement: Placement,
    slot: Slot,
    api_version: str,
    kind: str,
    selector: str,
    spec: dict[str, Any],
) -> Manifest:
    return owned(
        deployment,
        placement,
        api_version,
        kind,
        names.workload(deployment, slot),
        labels=pods.labels(deployment, slot),
        spec={selector: {"matchLabels": names.selector(deployment, slot)}, **spec},
    )


def _budget(slot: Slot) -> dict[str, Any]:
    """As it was written; else one pod at a time, where there are always several.

    A lone pod gets none: a budget for it would keep its node from ever being drained.
    """
    if written := slot.component.pod.disruption:
        return dict(written)
    return {"maxUnavailable": 1} if slot.component.scaling.min_replicas > 1 else {}


def _policy(deployment: Deployment, slot: Slot, settings: Settings) -> dict[str, Any]:
    """Only the ports that serve are reached; those of a service that others depend on, only by them.

    Whoever may call a deployment decides at the gateway, whose own pods may be in any namespace.
    """
    rule: dict[str, Any] = {
        "ports": [
            {"port": one["containerPort"], "protocol": one.get("protocol") or "TCP"}
            for one in pods.container_ports(slot)
        ]
    }
    if slot.component.is_dependency:
        # The activator and the operator, which counts its calls.
        own = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": settings.namespace}}}
        callers = {"podSelector": {"matchLabels": {names.DEPLOYMENT: names.fitting(deployment.name)}}}
        rule["from"] = [callers, own]
    return {"policyTypes": ["Ingress"], "ingress": [rule]}
