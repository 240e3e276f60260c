"""How many replicas a slot is to have, as far as that is the operator's business. Pure."""

from __future__ import annotations

from tiffin.kube.render.scalers import Owner, owner_of
from tiffin.operator.observing import Part
from tiffin.spec import Component

__all__ = ["Owner", "is_idle", "owner_of", "replicas_of"]


def replicas_of(
    component: Component, owner: Owner, part: Part | None, *, is_proven: bool, asked: int | None
) -> int | None:
    """The number the operator wants; ``None``: it is someone else's.

    Args:
        component: With the bounds there are now.
        owner: Whose the number is.
        part: What is there of it.
        is_proven: Whether its revision was ever ready there: one that was not is never scaled to nothing.
        asked: What the autoscaler wants, where there is nothing yet.
    """
    scaling = component.scaling
    if owner in ("hpa", "keda", "knative", "external"):
        return None
    if owner == "none":
        return scaling.min_replicas
    # What stands there is the last word of whoever wrote it: the autoscaler, or the activator after it.
    now = asked if part is None else part.wanted
    if now is None:
        now = max(scaling.windows.initial_scale, scaling.min_replicas)
    least = scaling.min_replicas if is_proven else max(1, scaling.min_replicas)
    most = max(1, scaling.min_replicas) if scaling.max_replicas is None else scaling.max_replicas
    return max(least, min(now, most) if most else now)


def is_idle(owner: Owner, part: Part | None, *, is_proven: bool) -> bool:
    """Whether it has no pods because nobody calls, and a call brings one; also while that one starts."""
    if not is_proven or part is None or owner == "knative":
        return False
    return (owner == "tiffin" and part.wanted == 0) or (part.is_held and part.ready == 0)
