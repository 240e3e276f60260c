"""What Envoy is told, as plain dictionaries in the shape of its JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Resource = dict[str, Any]

TYPE = "type.googleapis.com/"
FILTERS = TYPE + "envoy.extensions.filters.http."


@dataclass(frozen=True)
class Resources:
    """What Envoy is told at one moment.

    Attributes:
        clusters: Names are unique, and every cluster a route leads to is there.
        endpoints: Of every cluster whose endpoints change while it lives.
        routes: The one route configuration.
        tokens: The configuration of the filter that checks tokens; routes name its requirements.
    """

    clusters: tuple[Resource, ...]
    endpoints: tuple[Resource, ...]
    routes: Resource
    tokens: Resource


def merge(before: Resources, after: Resources) -> Resources:
    """``after`` with the clusters and token checks that only ``before`` has: the step between two snapshots.

    Old routes may still need those until Envoy has taken the new routes.
    """
    known = {cluster["name"] for cluster in after.clusters}
    old_clusters = tuple(cluster for cluster in before.clusters if cluster["name"] not in known)
    old_endpoints = tuple(entry for entry in before.endpoints if entry["cluster_name"] not in known)
    tokens = {
        key: {**before.tokens[key], **value} if isinstance(value, dict) else value
        for key, value in after.tokens.items()
    }
    return Resources(after.clusters + old_clusters, after.endpoints + old_endpoints, after.routes, tokens)


def duration(seconds: float) -> str:
    """Seconds as Envoy reads them."""
    return f"{seconds:.3f}s"
