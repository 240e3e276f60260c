"""Several files read together: what one of them refers to may be in another, whatever their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tiffin.dialects import documents, routes, sources
from tiffin.dialects.resources import Resources
from tiffin.errors import SpecError
from tiffin.plan.objects import Source
from tiffin.spec import Deployment, Target

_MANIFESTS = frozenset((".yaml", ".yml", ".json"))

Written = tuple[Deployment, dict[str, Any]]
"""A deployment and the document its author wrote, where there was one."""


def read_all(
    given: Sequence[Source],
    *,
    domain: str = routes.DOMAIN,
    known: Resources | None = None,
    target: Target = "local",
) -> tuple[list[Written], Resources]:
    """The deployments of several sources, and the resources in them; ``known`` ones are there beside those.

    ``target`` is where they are to run.

    Raises:
        SpecError: one of the sources cannot be read, or does not say what it must.
    """
    gathered = Resources()
    for source in given:
        for text, file in _texts(source):
            gathered |= sources.gather(text, file=file)
    resources = (known or Resources()) | gathered
    found = [
        (deployment, _document(deployment, source))
        for source in given
        for deployment in _deployments(source, domain, resources, target)
    ]
    return found, gathered


def _deployments(source: Source, domain: str, resources: Resources, target: Target) -> list[Deployment]:
    if source.path:
        return sources.read(Path(source.path), domain, resources, target)
    base = source.base or "."
    return sources.parse(
        source.text, file=source.file, base=base, domain=domain, resources=resources, target=target
    )


def _texts(source: Source) -> list[tuple[str, str]]:
    """The texts of a source that can hold resources, with their files' names."""
    if not source.path:
        return [(source.text, source.file)] if _has_kinds(source.text, source.file) else []
    path = Path(source.path)
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = []
    for file in files:
        if file.suffix in _MANIFESTS and file.is_file() and file.stat().st_size <= documents.MAX_BYTES:
            try:
                text = file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError):
                continue
            if _has_kinds(text, str(file)):
                found.append((text, str(file)))
    return found


def _has_kinds(text: str, file: str) -> bool:
    """Whether every document of a text says its kind; whatever else is wrong is told when it is read."""
    try:
        found = documents.parse(text, file)
    except SpecError:
        return False
    return bool(found) and all(isinstance(one.value, dict) and "kind" in one.value for one in found)


def _document(deployment: Deployment, source: Source) -> dict[str, Any]:
    """What its author wrote."""
    texts = {file: text for text, file in _texts(source)}
    text = texts.get(deployment.file)
    if text is None:
        return {}
    for one in documents.parse(text, deployment.file):
        value = one.value
        if not isinstance(value, dict):
            continue
        items = value.get("items") if value.get("kind") == "List" else [value]
        for item in items if isinstance(items, list) else ():
            if one.index == deployment.document and isinstance(item, dict) and _names(item, deployment):
                return item
    return {}


def _names(item: dict[str, Any], deployment: Deployment) -> bool:
    metadata = item.get("metadata")
    return isinstance(metadata, dict) and metadata.get("name") == deployment.name
