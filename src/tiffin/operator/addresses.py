"""The addresses that a status names, and what routes say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.settings import Settings
from tiffin.plan.state import DeploymentStatus, Problem
from tiffin.spec import Deployment

VISIBILITY = ("networking.kserve.io/visibility", "networking.knative.dev/visibility")
_BAD = ("Accepted", "ResolvedRefs", "Programmed")


def urls(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[str, ...]:
    """Where callers reach a deployment, the first one first."""
    inside = f"http://{deployment.name}-{deployment.entry}.{deployment.namespace}.svc.{settings.cluster_domain}"
    is_internal = any(deployment.labels.get(label) == "cluster-local" for label in VISIBILITY)
    has_gateway = settings.gateway is not None and capabilities.http_route
    if is_internal or not (has_gateway or settings.ingress_class):
        return (inside,)
    host = settings.host_template.format(
        name=deployment.name, namespace=deployment.namespace, domain=settings.domain
    )
    return (f"{settings.url_scheme}://{host}", inside)


def outside(
    native: Mapping[str, Any], deployment: Deployment, status: DeploymentStatus, settings: Settings
) -> dict[str, Any]:
    """A native status with the addresses that this cluster has."""
    found = dict(native)
    if "url" in found:
        found["url"] = status.url
    return found


def problem(routes: Iterable[Manifest]) -> Problem | None:
    """Why a gateway does not take a route, where it says so."""
    for route in routes:
        for parent in (route.get("status") or {}).get("parents") or ():
            for condition in parent.get("conditions") or ():
                if condition.get("type") in _BAD and condition.get("status") == "False":
                    name = f"{route['kind']} {route['metadata']['name']}"
                    message = f"{name}: {condition.get('message') or condition.get('reason')}"
                    hint = "look at the Gateway it is attached to: its listeners and who may attach"
                    return Problem(
                        reason=str(condition.get("reason") or "RouteRefused"), message=message, hint=hint
                    )
    return None
