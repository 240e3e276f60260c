"""Where a deployment stands: which of its versions run, how many replicas, and who gets how many calls.

The operator decides it from what it observes; ``render`` turns it into objects. A component of a variant has a
*stable* slot, whose objects have the names people expect (``iris-predictor``), and while a newer revision is tried
beside it a *candidate* slot (``iris-predictor-candidate``). Promotion gives the stable slot the newer revision,
which Kubernetes rolls, and drops the candidate.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import msgspec

from tiffin.spec import Component, Deployment
from tiffin.spec.deployment import entry_of

Role = Literal["stable", "candidate"]


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """A Service of Knative's gives ``percent`` of its calls to its newest revision, and the others to ``rest``."""

    percent: int
    rest: str


class Slot(msgspec.Struct, frozen=True, kw_only=True):
    """A set of equal pods: one component of one revision of one variant.

    ``revision`` is its name, as in ``iris-00003``. ``replicas`` is what the operator wants; ``None``: the
    number is someone else's (an HPA, KEDA, a person). ``held``: nobody can serve now, so calls go to the
    activator, which knows them by ``activator_port`` (``None``: it never goes to zero). ``split`` is for a slot
    that Knative runs; ``None``: all calls are for its newest revision. ``stands_in``: it gets the calls that are
    for the entry, which this version of the variant has not, or cannot be called at yet. ``borrows``: it is on its
    way out, and what calls came by is the main version's already.
    """

    variant: str
    component: Component
    role: Role = "stable"
    revision: str = ""
    replicas: int | None = None
    held: bool = False
    activator_port: int | None = None
    split: Split | None = None
    stands_in: bool = False
    borrows: bool = False


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """The percentage of the calls that a version of a variant gets, and of copies where it is mirrored to."""

    variant: str
    role: Role = "stable"
    weight: float = 0.0
    mirror_percent: float | None = None


class Placement(msgspec.Struct, frozen=True, kw_only=True):
    """All of a deployment's slots and shares. ``activators`` are the addresses (IPs) of the activator's pods.

    ``uid`` and ``owner`` (apiVersion, kind) are of the object that the deployment was written as; it owns all
    others.
    """

    uid: str = ""
    owner: tuple[str, str] = ("", "")
    slots: tuple[Slot, ...] = ()
    shares: tuple[Share, ...] = ()
    activators: tuple[str, ...] = ()

    def version(self, variant: str, role: Role) -> list[Slot]:
        """The slots of one version of a variant."""
        return [slot for slot in self.slots if (slot.variant, slot.role) == (variant, role)]


def front(deployment: Deployment, slots: Iterable[Slot]) -> Slot | None:
    """Which of the slots of one version of the main variant callers talk to; ``None``: none of them."""
    named = None
    for slot in slots:
        if slot.stands_in:
            return slot
        if slot.component.name == deployment.entry:
            named = slot
    return named


def places(deployment: Deployment, share: Share) -> tuple[tuple[str, Role], ...]:
    """Whose parts answer for a share: the first that has the part. What only the main version has is for all."""
    return (share.variant, share.role), (share.variant, "stable"), (deployment.variant, "stable")


def called(deployment: Deployment, slots: Collection[Slot], share: Share) -> Slot | None:
    """The slot that callers of the deployment talk to for a share; ``None``: nobody answers for it."""
    own = [slot for slot in slots if (slot.variant, slot.role) == (share.variant, share.role)]
    if not own or share.variant == deployment.variant:
        return front(deployment, own)
    if standing := [slot for slot in own if slot.stands_in]:
        return standing[0]
    if any(slot.borrows for slot in own):
        return front(
            deployment, [one for one in slots if (one.variant, one.role) == (deployment.variant, "stable")]
        )
    entry = entry_of([slot.component.name for slot in own])
    return next(slot for slot in own if slot.component.name == entry)


def fresh(deployment_components: tuple[Component, ...], variant: str = "main") -> Placement:
    """Where a deployment stands at first: everything in its stable slot, and all calls for it."""
    slots = tuple(Slot(variant=variant, component=component) for component in deployment_components)
    return Placement(slots=slots, shares=(Share(variant=variant, weight=100.0),))
