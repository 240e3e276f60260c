"""The addresses that a status names, and what routes say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.render import hosts
from tiffin.kube.settings import Settings
from tiffin.plan.state import DeploymentStatus, Problem
from tiffin.spec import Deployment

_BAD = ("Accepted", "ResolvedRefs", "Programmed")


def urls(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[str, ...]:
    """Where callers reach a deployment, the first one first."""
    found = hosts.addresses(deployment, settings, capabilities)
    return tuple(dict.fromkeys((found.url, found.inside)))


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
