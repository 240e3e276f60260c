"""Live objects of a cluster, as the API server gives them: deployments, and what they refer to."""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.dialects import kserve, routes, sources
from tiffin.dialects import resources as objects
from tiffin.dialects.documents import Document
from tiffin.dialects.kserve_context import MODE
from tiffin.dialects.resources import Resources
from tiffin.spec import Deployment, for_target


def read_object(
    document: dict[str, Any],
    *,
    resources: Resources | None = None,
    domain: str = routes.DOMAIN,
    default_mode: str = "Standard",
) -> Deployment:
    """One object as the deployment that a cluster runs.

    What the server added by itself is fine, and so are fields of a newer version of its definition, which are
    warned of. Values of Secrets are left to the pods that use them: ``resources`` are runtimes, config maps,
    service accounts, and secrets with nothing but their annotations. ``default_mode`` is of an InferenceService
    that names none, as KServe's webhook writes it.

    Raises:
        SpecError: it is of no kind that is read, or says what cannot be served.
    """
    item = Document(value=_with_mode(document, default_mode))
    version, kind = sources.kind_of(item)
    front = sources.FRONTS.get((version, kind))
    if front is None:
        raise sources.unknown(item, version, kind)
    known = msgspec.structs.replace(resources or Resources(), on_cluster=True)
    return for_target(front(item, base="", domain=domain, resources=known, target="kubernetes"), "kubernetes")


def read_resource(document: dict[str, Any]) -> Resources:
    """One object that deployments refer to: a runtime, a secret, a service account or a config map.

    Raises:
        SpecError: it is of another kind, or does not say what one must.
    """
    item = Document(value=document)
    version, kind = sources.kind_of(item)
    if (version, kind) not in objects.KINDS:
        raise sources.unknown(item, version, kind)
    return objects.read(item, kind)[0]


def _with_mode(document: dict[str, Any], mode: str) -> dict[str, Any]:
    if document.get("kind") != kserve.KIND or not isinstance(document.get("metadata"), dict) or not mode:
        return document
    metadata = document["metadata"]
    annotations = metadata.get("annotations") or {}
    if not isinstance(annotations, dict) or MODE in annotations:
        return document
    return {**document, "metadata": {**metadata, "annotations": {**annotations, MODE: mode}}}
