"""What every object of a deployment has: its name, its labels, and whom it goes with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.kube import names
from tiffin.kube.manifests import Manifest
from tiffin.kube.placement import Placement
from tiffin.spec import Deployment


def owned(
    deployment: Deployment,
    placement: Placement,
    api_version: str,
    kind: str,
    name: str,
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
    **fields: Any,
) -> Manifest:
    """An object that goes when what the deployment was written as goes; ``fields`` are ``spec`` and its like."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": deployment.namespace,
        "labels": names.labels(deployment, {**_own(deployment), **(labels or {})}),
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    if placement.uid:
        version, owner = placement.owner
        reference = {"apiVersion": version, "kind": owner, "name": deployment.name, "uid": placement.uid}
        metadata["ownerReferences"] = [reference | {"controller": True}]
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata, **fields}


def _own(deployment: Deployment) -> Mapping[str, str]:
    """The labels of a file of Tiffin's own, which all its objects get; its pods have ``pod.labels``, and roll."""
    return deployment.labels if deployment.dialect == "tiffin" else {}
