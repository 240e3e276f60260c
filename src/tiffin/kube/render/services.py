"""The Service of each slot, and the way to the activator while nobody can serve."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from tiffin.dialects.kserve_context import MODE
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement, Slot, front
from tiffin.kube.render import pods
from tiffin.kube.render.objects import owned
from tiffin.kube.render.workloads import is_knative
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment

SELDON_GRPC = 5001
START_SECONDS = 120.0
"""How much longer than a call may take it may wait: for a replica to start."""
_H2C = "kubernetes.io/h2c"
HEADLESS = "seldon.io/headless-svc"
_PORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """A Service for each slot, and EndpointSlices for those that the activator answers for now."""
    found: list[Manifest] = []
    for slot in placement.slots:
        if is_knative(slot, capabilities):
            continue
        found.append(_service(deployment, placement, slot))
        found += _slices(deployment, placement, slot)
    return (*found, *_alias(deployment, placement, settings, capabilities))


def ports(deployment: Deployment, slot: Slot) -> list[dict[str, Any]]:
    """The ports of a slot's Service, the one for calls first; routes name them by number."""
    found: list[dict[str, Any]] = []
    for index, one in enumerate(pods.container_ports(slot)):
        number = one["containerPort"]
        name = str(one.get("name") or "")
        is_h2 = "grpc" in name or "h2c" in name
        entry: dict[str, Any] = {
            "name": name if _PORT_NAME.fullmatch(name) else ("http" if index == 0 else f"port-{number}"),
            "port": _outer(deployment, index, number, is_h2=is_h2),
            "targetPort": number,
            "protocol": one.get("protocol") or "TCP",
        }
        if is_h2:
            entry["appProtocol"] = _H2C
        found.append(entry)
    # Two container ports may come to the same outer one: the first has it.
    outer: dict[tuple[int, str], dict[str, Any]] = {}
    for entry in found:
        outer.setdefault((entry["port"], entry["protocol"]), entry)
    return list(outer.values())


def _outer(deployment: Deployment, index: int, number: int, *, is_h2: bool) -> int:
    if index == 0:
        return names.port(deployment)
    return SELDON_GRPC if deployment.dialect == "seldon" and is_h2 else number


def is_headless(deployment: Deployment) -> bool:
    """Whether names of its Services lead to the pods themselves."""
    return deployment.annotations.get(HEADLESS, "").lower() == "true"


def _service(deployment: Deployment, placement: Placement, slot: Slot) -> Manifest:
    spec: dict[str, Any] = {"selector": names.selector(deployment, slot), "ports": ports(deployment, slot)}
    if is_headless(deployment):
        spec["clusterIP"] = "None"
    annotations = {}
    if slot.activator_port is not None:
        annotations[names.PORT] = str(slot.activator_port)
        if (least := slot.component.scaling.windows.activation_scale) > 1:
            annotations[names.ACTIVATION] = str(least)
        if (seconds := slot.component.timeout_seconds) is not None:
            annotations[names.HOLD_SECONDS] = f"{seconds + START_SECONDS:g}"
    return owned(
        deployment,
        placement,
        "v1",
        "Service",
        names.service(deployment, slot),
        labels=pods.labels(deployment, slot),
        annotations=annotations,
        spec={"type": "ClusterIP", **spec},
    )


def _slices(deployment: Deployment, placement: Placement, slot: Slot) -> list[Manifest]:
    """EndpointSlices of Tiffin's own beside those that Kubernetes keeps for the Service's pods, one a family."""
    if not slot.held or slot.activator_port is None:
        return []
    families: dict[str, list[str]] = {}
    for address in sorted(set(placement.activators)):
        families.setdefault(f"IPv{ipaddress.ip_address(address).version}", []).append(address)
    service = names.service(deployment, slot)
    own = {"kubernetes.io/service-name": service, names.SLICE_MANAGER: "tiffin"}
    return [
        owned(
            deployment,
            placement,
            "discovery.k8s.io/v1",
            "EndpointSlice",
            names.fitting(f"{service}-activator" + ("" if family == "IPv4" else f"-{family.lower()}")),
            labels={**names.slot_labels(deployment, slot), **own},
            addressType=family,
            endpoints=[{"addresses": [address], "conditions": {"ready": True}} for address in addresses],
            ports=_activator_ports(deployment, slot),
        )
        for family, addresses in sorted(families.items())
    ]


def _activator_ports(deployment: Deployment, slot: Slot) -> list[dict[str, Any]]:
    """The activator's ports under the names of the Service's, in their order."""
    assert slot.activator_port is not None
    found: list[dict[str, Any]] = []
    for index, one in enumerate(ports(deployment, slot)[: names.ACTIVATOR_PORTS]):
        kept: dict[str, Any] = {key: one[key] for key in ("name", "protocol", "appProtocol") if key in one}
        found.append({**kept, "port": slot.activator_port + index})
    return found


def _alias(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """``{isvc}``, the address within the cluster that users of KServe on Knative know, where there is no Knative.

    Raw deployments have none in KServe, so that a Service of that name may be somebody else's.
    """
    entry = front(deployment, placement.version(deployment.variant, "stable"))
    on_knative = deployment.dialect == "kserve" and deployment.annotations.get(MODE) == "Knative"
    if not on_knative or entry is None or is_knative(entry, capabilities):
        return ()
    target = names.host(deployment, entry, settings)
    spec = {
        "type": "ExternalName",
        "externalName": target,
        "ports": [{"name": "http", "port": names.port(deployment), "protocol": "TCP"}],
    }
    return (owned(deployment, placement, "v1", "Service", names.fitting(deployment.name), spec=spec),)
