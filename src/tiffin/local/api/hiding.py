"""Objects as they may be shown: without the content of credentials."""

from __future__ import annotations

import msgspec

from tiffin.plan.objects import Object
from tiffin.spec import Component, ContainerSource, Deployment, ModelSource, Variant

HIDDEN = "(hidden)"


def without_secrets(found: Object) -> Object:
    """The object with the names of its credentials only."""
    return msgspec.structs.replace(found, spec=hidden(found.spec))


def hidden(deployment: Deployment) -> Deployment:
    """The deployment with the names of its credentials, and of variables from secrets, only."""
    return msgspec.structs.replace(
        deployment,
        components=tuple(map(_component, deployment.components)),
        variants=tuple(map(_variant, deployment.variants)),
    )


def _variant(variant: Variant) -> Variant:
    return msgspec.structs.replace(variant, components=tuple(map(_component, variant.components)))


def _component(component: Component) -> Component:
    if component.secret_variables:
        secret = dict.fromkeys(component.secret_variables, HIDDEN)
        component = msgspec.structs.replace(component, environment=component.environment | secret)
    source = component.source
    if not isinstance(source, ModelSource | ContainerSource) or not source.credentials:
        return component
    names = dict.fromkeys(source.credentials, HIDDEN)
    return msgspec.structs.replace(component, source=msgspec.structs.replace(source, credentials=names))
