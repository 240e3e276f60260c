"""Who scrapes the replicas' metrics, where the Prometheus operator is there."""

from __future__ import annotations

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement
from tiffin.kube.render import pods
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import ContainerSource, Deployment

PATH = "/metrics"


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """A PodMonitor of the replicas that Tiffin runs itself, or a ServiceMonitor where there are only those."""
    # Pods of Knative's have no port of that name.
    own = [
        slot
        for slot in placement.slots
        if not isinstance(slot.component.source, ContainerSource) and not is_knative(slot, capabilities)
    ]
    kind = "PodMonitor" if capabilities.pod_monitor else "ServiceMonitor" if capabilities.service_monitor else ""
    if not own or not kind:
        return ()
    ports = sorted({str(pods.container_ports(slot)[0].get("name") or "http") for slot in own})
    endpoints = [{"port": port, "path": PATH} for port in ports]
    spec = {
        "selector": {"matchLabels": {names.DEPLOYMENT: names.fitting(deployment.name)}},
        "namespaceSelector": {"matchNames": [deployment.namespace]},
        "podMetricsEndpoints" if kind == "PodMonitor" else "endpoints": endpoints,
    }
    name = names.fitting(deployment.name)
    return (owned(deployment, placement, "monitoring.coreos.com/v1", kind, name, spec=spec),)
