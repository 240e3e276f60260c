"""A deployment as one target sees it: what concerns the others only is left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from tiffin.spec.deployment import Component, Deployment, SpecWarning
from tiffin.spec.pod import Pod

Target = Literal["", "local", "kubernetes"]
"""Where a deployment is to run; empty: not said, so nothing is left out."""


def warnings_for(warnings: Iterable[SpecWarning], target: Target) -> tuple[SpecWarning, ...]:
    """Those that are true of a target, in their order."""
    return tuple(warning for warning in warnings if not target or warning.target in ("", target))


def for_target(deployment: Deployment, target: Target) -> Deployment:
    """The deployment with what a target honours, and the warnings that are true of it.

    One machine has no pods and no autoscaler but its own, so that a change there changes nothing on it.
    """
    warnings = warnings_for(deployment.warnings, target)
    if target != "local":
        return msgspec.structs.replace(deployment, warnings=warnings)
    variants = tuple(
        msgspec.structs.replace(variant, components=tuple(map(_bare, variant.components)))
        for variant in deployment.variants
    )
    components = tuple(map(_bare, deployment.components))
    return msgspec.structs.replace(deployment, components=components, variants=variants, warnings=warnings)


def _bare(component: Component) -> Component:
    scaling = msgspec.structs.replace(component.scaling, autoscaler="", autoscaler_spec={})
    return msgspec.structs.replace(component, pod=Pod(), scaling=scaling)
