"""What the objects of a deployment are called, and the labels they are found by.

Names are those that users of the system a file was written for know: ``{isvc}-predictor`` (KServe's raw
deployments), ``{sdep}-{predictor}-{index}-{containers}`` (Seldon). A name that would be longer than 63 characters
ends in a digest of the whole.
"""

from __future__ import annotations

import hashlib

from tiffin.kube.placement import Slot
from tiffin.spec import Deployment

LONGEST = 63
FIELD_MANAGER = "tiffin"
"""Who owns the fields that the operator applies."""

DEPLOYMENT = "tiffin.dev/deployment"
COMPONENT = "tiffin.dev/component"
VARIANT = "tiffin.dev/variant"
ROLE = "tiffin.dev/role"
REVISION = "tiffin.dev/revision"
APPLIED = "tiffin.dev/applied"
"""An annotation: the digest of what the operator applied last."""
PORT = "tiffin.dev/activator-port"
"""An annotation of a Service: where the activator takes its calls. That is for the Service's first port; those of
its second come one higher, and so on, up to ``ACTIVATOR_PORTS`` of them."""
ACTIVATOR_PORTS = 4
HOLD_SECONDS = "tiffin.dev/hold-seconds"
"""An annotation of a Service: how long the activator holds a call; none: the activator's own setting."""
ACTIVATION = "tiffin.dev/activation-scale"
"""An annotation of a Service: how many replicas the activator asks for; none: 1."""
HELD = "tiffin.dev/held"
"""An annotation of a Deployment, by the autoscaler: its calls go to the activator, for its last replica is to go."""
SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"
"""A label of EndpointSlices; ``tiffin`` for those that lead to the activator."""
MANAGED = "app.kubernetes.io/managed-by"
PART = "app.kubernetes.io/part-of"


def fitting(name: str) -> str:
    """A name of at most 63 characters that is as unique as ``name``."""
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9].rstrip('-')}-{digest}"


def workload(deployment: Deployment, slot: Slot) -> str:
    """The name of a slot's Deployment, HPA, ScaledObject and PodDisruptionBudget."""
    return fitting(service(deployment, slot))


def service(deployment: Deployment, slot: Slot) -> str:
    """The name of a slot's Service."""
    if deployment.dialect == "seldon":
        base = f"{deployment.name}-{slot.variant}"
        base += "" if slot.component.name == "predictor" else f"-{slot.component.name}"
    else:
        named = _named_variant(deployment, slot)
        base = (
            f"{deployment.name}-{named}-{slot.component.name}"
            if named
            else f"{deployment.name}-{slot.component.name}"
        )
    return fitting(base + ("" if slot.role == "stable" else "-candidate"))


def _named_variant(deployment: Deployment, slot: Slot) -> str:
    """The variant as it stands in names; empty for the main one.

    KServe's predictors keep the name they were given, so that a canary that becomes the main predictor keeps its
    pods; a transformer and an explainer belong to whichever predictor is the main one.
    """
    if deployment.dialect != "kserve":
        return "" if slot.variant == deployment.variant else slot.variant
    return "" if slot.variant == "main" or slot.component.name != "predictor" else slot.variant


def labels(deployment: Deployment) -> dict[str, str]:
    """What every object of a deployment carries: by this the operator finds what it applied."""
    return {MANAGED: "tiffin", PART: "tiffin", DEPLOYMENT: fitting(deployment.name)}


def selector(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """What pods of a slot, and no others, carry; never changed, for a Deployment's selector cannot be."""
    return {
        DEPLOYMENT: fitting(deployment.name),
        COMPONENT: slot.component.name,
        VARIANT: slot.variant if deployment.dialect != "kserve" else _named_variant(deployment, slot) or "main",
        ROLE: slot.role,
    }
