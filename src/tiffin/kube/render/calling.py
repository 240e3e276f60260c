"""Where components of a deployment find each other: the Service of the slot that belongs to whoever calls."""

from __future__ import annotations

import msgspec

from tiffin.kube import names
from tiffin.kube.placement import Placement, Slot
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment

PREDICTOR_HOST = "$(PREDICTOR_HOST)"
"""Stands in a program's arguments for where the component it calls is."""


def called(deployment: Deployment, placement: Placement, slot: Slot, component: str) -> Slot | None:
    """The slot of a component as one of ``slot`` calls it: of its own role and variant, as far as there is one.

    So a newer version that is tried is tried whole.
    """
    ranks = {(slot.variant, slot.role): 0, (slot.variant, "stable"): 1, (deployment.variant, "stable"): 2}
    found = [
        (ranks[one.variant, one.role], index, one)
        for index, one in enumerate(placement.slots)
        if one.component.name == component and (one.variant, one.role) in ranks
    ]
    return min(found)[2] if found else None


def short(deployment: Deployment, placement: Placement, slot: Slot, component: str) -> str:
    """As KServe and Seldon write it: ``name.namespace``, and the port where it is not HTTP's own."""
    found = called(deployment, placement, slot, component) or _usual(slot, component)
    port = names.port(deployment)
    return names.host(deployment, found) + ("" if port == 80 else f":{port}")


def whole(deployment: Deployment, placement: Placement, slot: Slot, component: str, settings: Settings) -> str:
    """With the cluster's domain and the port, which saves the resolver its guesses."""
    found = called(deployment, placement, slot, component) or _usual(slot, component)
    return f"{names.host(deployment, found, settings)}:{names.port(deployment)}"


def _usual(slot: Slot, component: str) -> Slot:
    """What it will be called once it is there."""
    return Slot(variant=slot.variant, component=msgspec.structs.replace(slot.component, name=component))
