"""From a deployment and where it stands to the objects of a cluster. Pure.

``workloads`` (Deployment, and the pods in it) | ``services`` (Service, EndpointSlice) | ``routes`` (HTTPRoute,
GRPCRoute, Ingress) | ``scalers`` (HPA, ScaledObject) | ``knative`` | ``guards`` (PodDisruptionBudget,
NetworkPolicy) | ``monitors``.
"""

from __future__ import annotations

from collections.abc import Callable

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement
from tiffin.kube.render import gaps, guards, ingress, knative, monitors, routes, scalers, services, workloads
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment, SpecWarning

Part = Callable[[Deployment, Placement, Settings, Capabilities], tuple[Manifest, ...]]


def render(
    deployment: Deployment, placement: Placement, settings: Settings, capabilities: Capabilities
) -> tuple[Manifest, ...]:
    """Every object there should be, in the order they are to be applied; the same input gives the same bytes.

    Objects carry ``names.labels`` and an owner reference, so that what is no longer rendered is found and deleted.
    A stopped deployment has none.
    """
    if deployment.stopped:
        return ()
    return tuple(manifest for part in PARTS for manifest in part(deployment, placement, settings, capabilities))


PARTS: tuple[Part, ...] = (
    workloads.render,
    services.render,
    knative.render,
    scalers.render,
    guards.render,
    monitors.render,
    routes.render,
    ingress.render,
)


def unsupported(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[SpecWarning, ...]:
    """What a deployment asks for that this cluster cannot do; each is left out, and said by name."""
    return (
        *scalers.unsupported(deployment, capabilities),
        *knative.unsupported(deployment, capabilities),
        *gaps.unsupported(deployment, settings, capabilities),
    )
