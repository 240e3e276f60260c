"""Where relative paths of a document start once it has left its file: an annotation says it.

A document that is shown is often applied again from another directory, by a pipe or from a copy. What is shown
therefore carries the directory, and what is read takes it out again: it is no part of what is desired.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import msgspec

from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import describe
from tiffin.errors import SpecError
from tiffin.spec import Artefact, ClassSource, ContainerSource, Deployment

BASE = "tiffin.dev/base"


def taken(document: Document, base: str) -> tuple[Document, str]:
    """The document without the annotation, and the directory it names; ``base`` where it names none.

    Raises:
        SpecError: the annotation is no absolute path.
    """
    value = document.value
    metadata = value.get("metadata") if isinstance(value, dict) else None
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(annotations, dict) or BASE not in annotations:
        return document, base
    found = annotations[BASE]
    if not isinstance(found, str) or not os.path.isabs(found) or "\0" in found:
        at = child(child(child(document.path, "metadata"), "annotations"), BASE)
        raise SpecError(
            f"expected the absolute path of a directory, found {describe(found)}",
            at=at,
            place=document.place(at),
            hint="relative paths of the document start there; without it they start at its file",
        )
    return msgspec.structs.replace(document, value=without(value)), found


def without(document: dict[str, Any]) -> dict[str, Any]:
    """The document as it was before the annotation was added."""
    metadata = document.get("metadata")
    annotations = metadata.get("annotations") if isinstance(metadata, dict) else None
    if not isinstance(metadata, dict) or not isinstance(annotations, dict) or BASE not in annotations:
        return document
    rest = {name: text for name, text in annotations.items() if name != BASE}
    kept = {name: part for name, part in metadata.items() if name != "annotations"}
    # In the place it had, since it may be compared or shown; none at all where it was the only one.
    metadata = {name: rest if name == "annotations" else part for name, part in metadata.items()} if rest else kept
    return {**document, "metadata": metadata}


def noted(document: dict[str, Any], deployment: Deployment) -> dict[str, Any]:
    """The document with the annotation, where it names paths that are not absolute."""
    base = _base(deployment)
    if not document or base is None:
        return document
    metadata = document.get("metadata") or {}
    annotations = {**(metadata.get("annotations") or {}), BASE: base}
    return {**document, "metadata": {**metadata, "annotations": annotations}}


def _base(deployment: Deployment) -> str | None:
    artefacts = list(_artefacts(deployment))
    relative = [artefact for artefact in artefacts if _is_relative(artefact.uri)]
    has_jwks = deployment.traffic.jwt is not None and deployment.traffic.jwt.jwks_file
    if not relative and (has_jwks or deployment.policy.keys):
        relative = artefacts  # Files of keys are kept with their directory before them: they may be relative.
    return os.path.abspath(relative[0].base) if relative else None


def _is_relative(uri: str) -> bool:
    return bool(uri) and "://" not in uri and not uri.startswith(("/", "~"))


def _artefacts(deployment: Deployment) -> Iterator[Artefact]:
    variants = (component for variant in deployment.variants for component in variant.components)
    for component in (*deployment.components, *variants):
        source = component.source
        if isinstance(source, ContainerSource):
            yield from source.mounts.values()
        elif not (isinstance(source, ClassSource) and source.image):
            yield source.artefact
