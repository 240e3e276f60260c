"""An Ingress, where a cluster has no Gateway API: a host for the deployment and each component, no split."""

from __future__ import annotations

from typing import Any

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot, front
from tiffin.kube.render import hosts
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """One Ingress; ``routes.unsupported`` warns of what it cannot do."""
    is_wanted = bool(settings.ingress_class) and not hosts.has_gateway(settings, capabilities)
    if not is_wanted or hosts.is_closed(deployment):
        return ()
    slots = {
        slot.component.name: slot
        for slot in placement.slots
        if slot.variant == deployment.variant and slot.role == "stable" and not is_knative(slot, capabilities)
    }
    rules = []
    entry = front(deployment, slots.values())
    if entry is not None:
        rules.append(_rule(deployment, entry, hosts.host(deployment, settings), slots))
    if deployment.dialect == "kserve":
        for name, slot in slots.items():
            rules.append(_rule(deployment, slot, hosts.host(deployment, settings, name), {}))
    if not rules:
        return ()
    spec = {"ingressClassName": settings.ingress_class, "rules": rules}
    kind = ("networking.k8s.io/v1", "Ingress")
    return (owned(deployment, placement, *kind, names.fitting(deployment.name), spec=spec),)


def _rule(deployment: Deployment, slot: Slot, host: str, slots: dict[str, Slot]) -> dict[str, Any]:
    paths = [_path(deployment, slot, "/", "Prefix")]
    if "explainer" in slots:
        # An Ingress has no patterns; the model of an InferenceService is called like it.
        path = f"/v1/models/{deployment.components[0].model_name or deployment.name}:explain"
        paths.insert(0, _path(deployment, slots["explainer"], path, "Exact"))
    return {"host": host, "http": {"paths": paths}}


def _path(deployment: Deployment, slot: Slot, path: str, kind: str) -> dict[str, Any]:
    service = {"name": names.service(deployment, slot), "port": {"number": names.port(deployment)}}
    return {"path": path, "pathType": kind, "backend": {"service": service}}
