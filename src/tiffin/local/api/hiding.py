"""Objects as they may be shown: without the content of credentials."""

from __future__ import annotations

import msgspec

from tiffin.plan.objects import Object
from tiffin.spec import Component, ModelSource, Variant

HIDDEN = "(hidden)"


def without_secrets(found: Object) -> Object:
    """The object with the names of its credentials only."""
    spec = found.spec
    shown = msgspec.structs.replace(
        spec,
        components=tuple(map(_component, spec.components)),
        variants=tuple(map(_variant, spec.variants)),
    )
    return msgspec.structs.replace(found, spec=shown)


def _variant(variant: Variant) -> Variant:
    return msgspec.structs.replace(variant, components=tuple(map(_component, variant.components)))


def _component(component: Component) -> Component:
    source = component.source
    if not isinstance(source, ModelSource) or not source.credentials:
        return component
    names = dict.fromkeys(source.credentials, HIDDEN)
    return msgspec.structs.replace(component, source=msgspec.structs.replace(source, credentials=names))
