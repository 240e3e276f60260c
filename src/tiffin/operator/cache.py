"""What the operator knows of a cluster: objects by kind, and by the deployment they belong to. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from tiffin.kube import names
from tiffin.kube.client import Kind
from tiffin.kube.manifests import Manifest


class Change(NamedTuple):
    """An object before and after; ``None`` is one that was not there, or is not any more."""

    kind: Kind
    before: Manifest | None
    after: Manifest | None

    @property
    def object(self) -> Manifest:
        """The newest there is of it."""
        found = self.after or self.before
        assert found is not None
        return found


Place = tuple[str, str]
"""Namespace and name."""


def place(manifest: Manifest) -> Place:
    """Of an object of a cluster."""
    metadata = manifest["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


class Cache:
    """Objects as they were told last. ``changed`` is called after each change."""

    def __init__(self, changed: Callable[[Change], None] = lambda change: None) -> None:
        self.changed = changed
        self._kinds: dict[Kind, dict[Place, Manifest]] = {}
        self._owned: dict[Place, dict[tuple[Kind, Place], Manifest]] = {}

    def kinds(self) -> frozenset[Kind]:
        """Those that were listed."""
        return frozenset(self._kinds)

    def get(self, kind: Kind, where: Place) -> Manifest | None:
        """One object."""
        return self._kinds.get(kind, {}).get(where)

    def all(self, kind: Kind) -> Iterator[Manifest]:
        """All objects of a kind."""
        yield from list(self._kinds.get(kind, {}).values())

    def of(self, namespace: str, deployment: str) -> Iterator[tuple[Kind, Manifest]]:
        """What carries the label of a deployment of that name."""
        for (kind, _), manifest in list(self._owned.get((namespace, names.fitting(deployment)), {}).items()):
            yield kind, manifest

    def replace(self, kind: Kind, items: Iterable[Manifest], *, namespace: str = "") -> None:
        """All there is of a kind now, or of it in one namespace: what else was known has gone meanwhile."""
        known = self._kinds.setdefault(kind, {})
        there = {place(item): item for item in items}
        for where in [where for where in known if where not in there and namespace in ("", where[0])]:
            self.remove(kind, where)
        for item in there.values():
            self.put(kind, item)

    def put(self, kind: Kind, item: Manifest) -> None:
        """An object as it is now; one that is known to be newer stays."""
        known = self._kinds.setdefault(kind, {})
        where = place(item)
        before = known.get(where)
        if before is not None and _version(before) >= _version(item) and _uid(before) == _uid(item):
            return
        item = trimmed(item)
        known[where] = item
        self._index(kind, where, before, item)
        self.changed(Change(kind, before, item))

    def remove(self, kind: Kind, where: Place) -> None:
        """An object that is there no more."""
        before = self._kinds.get(kind, {}).pop(where, None)
        if before is not None:
            self._index(kind, where, before, None)
            self.changed(Change(kind, before, None))

    def forget(self, kind: Kind) -> None:
        """A kind that is not served any more, with all its objects."""
        self.replace(kind, ())
        self._kinds.pop(kind, None)

    def _index(self, kind: Kind, where: Place, before: Manifest | None, after: Manifest | None) -> None:
        old, new = (owner(item) for item in (before, after))
        if old is not None and old != new:
            own = self._owned.get(old, {})
            own.pop((kind, where), None)
            if not own:
                self._owned.pop(old, None)
        if new is not None and after is not None:
            self._owned.setdefault(new, {})[kind, where] = after


def owner(manifest: Manifest | None) -> Place | None:
    """Namespace and (fitting) name of the deployment an object belongs to."""
    if manifest is None:
        return None
    metadata = manifest["metadata"]
    name = (metadata.get("labels") or {}).get(names.DEPLOYMENT)
    return (metadata.get("namespace", ""), name) if name else None


def trimmed(manifest: Manifest) -> Manifest:
    """The object without what nobody here reads, which can be most of its bytes.

    There may be many pods of a deployment, and of their spec only the ports are read: the rest is in their
    Deployment.
    """
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "managedFields"}
    annotations = metadata.get("annotations") or {}
    if _COPY in annotations:
        metadata["annotations"] = {key: value for key, value in annotations.items() if key != _COPY}
    found = {**manifest, "metadata": metadata}
    if manifest.get("kind") == "Pod" and manifest.get("apiVersion") == "v1":
        containers = (manifest.get("spec") or {}).get("containers") or ()
        found["spec"] = {"containers": [{key: one[key] for key in _READ if key in one} for one in containers]}
    return found


_COPY = "kubectl.kubernetes.io/last-applied-configuration"
"""The object once more, as text."""
_READ = ("name", "ports")


def _version(manifest: Manifest) -> int:
    """Versions of the server's are numbers that grow; other servers' are taken as they come."""
    text = manifest["metadata"].get("resourceVersion", "")
    return int(text) if text.isascii() and text.isdigit() else 0


def _uid(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("uid", ""))
