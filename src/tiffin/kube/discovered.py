"""The kinds an API server serves, of its aggregated discovery: two answers instead of one for each group. Pure.

Source: Kubernetes' ``apidiscovery.k8s.io`` (v2 since 1.30, v2beta1 since 1.27). A server that does not know it
answers with the list of groups, as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ACCEPT = ",".join(
    [
        *(f"application/json;g=apidiscovery.k8s.io;v={one};as=APIGroupDiscoveryList" for one in ("v2", "v2beta1")),
        "application/json",
    ]
)


def is_aggregated(answer: Any) -> bool:
    """Whether an answer to ``ACCEPT`` at ``/api`` or ``/apis`` is an aggregated one."""
    return isinstance(answer, Mapping) and answer.get("kind") == "APIGroupDiscoveryList"


def kinds_in(answer: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, str, str, str, bool]]:
    """By group and kind: group, version, kind, plural, whether it is in namespaces.

    Of the version that comes first: versions are listed with the preferred one first; not all have the same kinds.
    """
    found: dict[tuple[str, str], tuple[str, str, str, str, bool]] = {}
    for each in answer.get("items") or ():
        group = (each.get("metadata") or {}).get("name") or ""
        for version in each.get("versions") or ():
            for resource in version.get("resources") or ():
                kind = (resource.get("responseKind") or {}).get("kind")
                if not kind:  # only subresources are served of it
                    continue
                is_namespaced = resource.get("scope") == "Namespaced"
                there = (group, version["version"], kind, resource["resource"], is_namespaced)
                found.setdefault((group, kind), there)
    return found
