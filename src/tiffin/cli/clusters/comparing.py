"""What applying an object would change of the one that is there. Pure.

The API server says what would become of it, with everybody else's fields and its own defaults in it, so that only
what really differs is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from tiffin.kube.manifests import Manifest

_ADDED = frozenset(
    ("resourceVersion", "generation", "creationTimestamp", "uid", "managedFields", "selfLink", "namespace")
)
_COPY = "kubectl.kubernetes.io/last-applied-configuration"
_SECRET = ("data", "stringData")


def written(manifest: Manifest) -> dict[str, Any]:
    """What people and programs desire of it; not what the server adds, its status, or values of a Secret."""
    found = {name: value for name, value in manifest.items() if name != "status"}
    metadata = {name: value for name, value in manifest["metadata"].items() if name not in _ADDED}
    if _COPY in (annotations := metadata.get("annotations") or {}):
        metadata["annotations"] = {name: value for name, value in annotations.items() if name != _COPY}
    return found | {"metadata": {name: value for name, value in metadata.items() if value}}


def shown(manifest: Manifest, other: Manifest | None) -> dict[str, Any]:
    """The same without the values of a Secret: only whether they are those of ``other``."""
    found = written(manifest)
    if manifest.get("kind") != "Secret":
        return found
    for name in _SECRET:
        values = found.get(name)
        if isinstance(values, Mapping):
            theirs = (other or {}).get(name) or {}
            # One side says that it differs, which is enough to be seen.
            found[name] = {key: "(hidden)" if theirs.get(key) == value else "(hidden, changed)"
                           for key, value in values.items()}  # fmt: skip
    return found


def action(before: Manifest | None, after: Manifest) -> Literal["created", "configured", "unchanged"]:
    """In the words of kubectl."""
    if before is None:
        return "created"
    return "unchanged" if written(before) == written(after) else "configured"
