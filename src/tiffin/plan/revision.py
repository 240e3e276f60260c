"""A revision: an immutable version of one variant of a deployment."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tiffin.spec import Artefact, Component, Pod, Scaling, Variant, fields
from tiffin.spec.deployment import Protocol


class Revision(msgspec.Struct, frozen=True, kw_only=True):
    """What replicas are started from; never changed after it was made.

    ``number`` counts the revisions of a deployment from 1, whatever their variant. ``created`` is in seconds
    since 1970. How many replicas run is no part of a revision: ``components`` here have no scaling of their own.
    """

    namespace: str
    deployment: str
    number: int
    variant: str
    protocol: Protocol
    components: tuple[Component, ...]
    digest: str
    created: float = 0.0

    @property
    def name(self) -> str:
        """``iris-00003``."""
        return f"{self.deployment}-{self.number:05d}"

    @property
    def key(self) -> str:
        """``namespace/name`` of its deployment."""
        return f"{self.namespace}/{self.deployment}"

    def pool(self, component: str) -> str:
        """``namespace/iris-00003/predictor``: the replicas of one component, and the gateway's name for them."""
        return f"{self.namespace}/{self.name}/{component}"

    def is_of(self, variant: Variant, protocol: Protocol) -> bool:
        """Whether it is what this variant says now.

        Both are read alike, whatever made ``digest``: a controller that starts anew makes no revision, also when
        it counts in other ways than the one before.
        """
        if self.variant != variant.name:
            return False
        wanted = digest(variant, protocol)
        own = Variant(name=self.variant, components=self.components)
        return wanted == self.digest or wanted == digest(own, self.protocol)


def unscaled(component: Component) -> Component:
    """The component without what may change while its replicas live, or what they do not know of."""
    return msgspec.structs.replace(component, scaling=Scaling(), pod=Pod())


def digest(variant: Variant, protocol: Protocol, *, with_pods: bool = False) -> str:
    """What makes two versions of a variant the same revision: equal protocol and unscaled components.

    Only what differs from a default counts, so that a field that Tiffin gains later replaces nobody's replicas.
    ``with_pods``: what the pods say counts too, which is so on a cluster.
    """
    components = [
        msgspec.structs.replace(component, scaling=Scaling()) if with_pods else unscaled(component)
        for component in variant.components
    ]
    parts = (protocol, _said(tuple(components)))
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


def _said(value: Any) -> Any:
    """The value without the fields that have their defaults, and with the names of its types."""
    if isinstance(value, msgspec.Struct):
        found = {
            field.name: _said(own)
            for field in fields.of(type(value))
            if (own := getattr(value, field.name)) != field.usual
        }
        if isinstance(value, Artefact) and (value.uri.startswith("/") or "://" in value.uri):
            found.pop("base", None)  # It is the same file from everywhere.
        return [type(value).__name__, found]
    if isinstance(value, tuple | list):
        return [_said(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)  # A whole number is read back from the store as what its field says.
    return value
