"""The addresses that a status names, and what routes say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from tiffin.dialects import seldon_status, statuses
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Slot
from tiffin.kube.render import hosts
from tiffin.kube.settings import Settings
from tiffin.plan.state import DeploymentStatus, Problem
from tiffin.spec import Deployment

_BAD = ("Accepted", "ResolvedRefs", "Programmed")


def urls(deployment: Deployment, settings: Settings, capabilities: Capabilities) -> tuple[str, ...]:
    """Where callers reach a deployment, the first one first."""
    found = hosts.addresses(deployment, settings, capabilities)
    return tuple(dict.fromkeys((found.url, found.inside)))


def native_status(
    deployment: Deployment, status: DeploymentStatus, settings: Settings, capabilities: Capabilities
) -> dict[str, Any]:
    """The ``status`` in the words of the system a file was written for, with the addresses this cluster has."""
    if deployment.dialect == "seldon":
        # Its users expect the address within the cluster, which is what is said when none from outside is known.
        seldon = statuses.native_status(deployment, msgspec.structs.replace(status, url="", urls=()))
        return seldon | {"deploymentStatus": _as_called(deployment, seldon["deploymentStatus"])}
    found = statuses.native_status(deployment, status)
    known = hosts.addresses(deployment, settings, capabilities)
    if "url" in found:
        found["url"] = known.url
    if "address" in found:
        found["address"] = {"url": known.inside}
    for component in deployment.components:
        told = (found.get("components") or {}).get(component.name)
        if told is None or "url" not in told:
            continue
        slot = Slot(variant=deployment.variant, component=component)
        inside = f"http://{names.host(deployment, slot, settings)}"
        told["url"] = known.components.get(component.name, inside)
        told["address"] = {"url": inside}
    return found


def _as_called(deployment: Deployment, told: Mapping[str, Any]) -> dict[str, Any]:
    """``deploymentStatus`` of Seldon's by the names that the Deployments have here: those of their containers."""
    called = {
        seldon_status.object_name(deployment, variant, component.name): names.workload(
            deployment, Slot(variant=variant.name, component=component)
        )
        for variant in deployment.all_variants
        for component in variant.components
    }
    return {called.get(name, name): {**one, "name": called.get(name, name)} for name, one in told.items()}


def _is_of(route: Manifest, condition: Mapping[str, Any]) -> bool:
    """Whether it is said of the route as it is, and not of what it was before."""
    seen = condition.get("observedGeneration")
    return not isinstance(seen, int) or seen >= int(route["metadata"].get("generation") or 0)


def problem(routes: Iterable[Manifest]) -> Problem | None:
    """Why a gateway does not take a route, where it says so."""
    for route in routes:
        for parent in (route.get("status") or {}).get("parents") or ():
            for condition in parent.get("conditions") or ():
                if (
                    condition.get("type") in _BAD
                    and condition.get("status") == "False"
                    and _is_of(route, condition)
                ):
                    name = f"{route['kind']} {route['metadata']['name']}"
                    message = f"{name}: {condition.get('message') or condition.get('reason')}"
                    hint = "look at the Gateway it is attached to: its listeners and who may attach"
                    return Problem(
                        reason=str(condition.get("reason") or "RouteRefused"), message=message, hint=hint
                    )
    return None
