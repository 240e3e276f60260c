"""Objects of a cluster as plain JSON values, and how they are told apart."""

from __future__ import annotations

from typing import Any, NamedTuple

Manifest = dict[str, Any]
"""An object as the API server takes it: ``apiVersion``, ``kind``, ``metadata`` and the rest."""


class Id(NamedTuple):
    """Which object a manifest is of. ``namespace`` is empty for one that is of the whole cluster."""

    api_version: str
    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def identify(manifest: Manifest) -> Id:
    """The identity of an object that has one."""
    metadata = manifest["metadata"]
    return Id(manifest["apiVersion"], manifest["kind"], metadata.get("namespace", ""), metadata["name"])
