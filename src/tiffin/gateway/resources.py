"""What Envoy is told, as plain dictionaries in the shape of its JSON."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

Resource = dict[str, Any]

TYPE = "type.googleapis.com/"
FILTERS = TYPE + "envoy.extensions.filters.http."


@dataclass(frozen=True)
class Resources:
    """What Envoy is told at one moment.

    Attributes:
        clusters: Names are unique, and every cluster a route leads to is there.
        endpoints: Of every cluster that does not say its own.
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


def inline(resources: Resources, names: Collection[str]) -> Resources:
    """The same with the endpoints of these clusters in the clusters themselves."""
    told: dict[str, Resource] = {
        entry["cluster_name"]: {"type": "STATIC", "load_assignment": _untyped(entry)}
        for entry in resources.endpoints
        if entry["cluster_name"] in names
    }
    clusters = tuple({**cluster, **told.get(cluster["name"], {})} for cluster in resources.clusters)
    endpoints = tuple(entry for entry in resources.endpoints if entry["cluster_name"] not in told)
    return replace(resources, clusters=clusters, endpoints=endpoints)


def assignments(resources: Resources) -> dict[str, Resource]:
    """The endpoints of every cluster, wherever they are said."""
    apart = {entry["cluster_name"]: _untyped(entry) for entry in resources.endpoints}
    return apart | {
        cluster["name"]: cluster["load_assignment"]
        for cluster in resources.clusters
        if "load_assignment" in cluster
    }


def _untyped(resource: Resource) -> Resource:
    return {key: value for key, value in resource.items() if key != "@type"}


def duration(seconds: float) -> str:
    """Seconds as Envoy reads them."""
    return f"{seconds:.3f}s"
