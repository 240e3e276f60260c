"""What the objects of a deployment are called, and the labels they are found by.

Names are those that users of the system a file was written for know: ``{isvc}-predictor`` (KServe's raw
deployments), ``{sdep}-{predictor}-{index}-{containers}`` (Seldon). A name that would be longer than 63 characters,
or that Kubernetes would not take for a Service, ends in a digest of the whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from tiffin.kube.placement import Slot
from tiffin.kube.settings import Settings
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
"""An annotation of a Deployment, by the autoscaler: calls go to the activator, for the last replica is to go."""
SLICE_MANAGER = "endpointslice.kubernetes.io/managed-by"
"""A label of EndpointSlices; ``tiffin`` for those that lead to the activator."""
MANAGED = "app.kubernetes.io/managed-by"
PART = "app.kubernetes.io/part-of"
APP = "app"
"""Whose value, ``isvc.{name}``, a KServe of raw deployments selects pods by."""

_SERVICE_NAME = "seldon.io/svc-name"
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def fitting(name: str) -> str:
    """A name for any object, a Service too, that is as unique as ``name``; itself where it can be."""
    if len(name) <= LONGEST and _NAME.fullmatch(name):
        return name
    plain = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return _shortened(plain if plain[:1].isalpha() else f"x-{plain}".rstrip("-"), name)


def label(value: str) -> str:
    """A label's value that is as unique as ``value``; itself where it can be."""
    if len(value) <= LONGEST and _LABEL.fullmatch(value):
        return value
    return _shortened(re.sub(r"[^A-Za-z0-9]+", "-", value).strip("-") or "x", value)


def _shortened(plain: str, whole: str) -> str:
    digest = hashlib.sha256(whole.encode()).hexdigest()[:8]
    return f"{plain[: LONGEST - 9].rstrip('-._')}-{digest}"


def workload(deployment: Deployment, slot: Slot) -> str:
    """The name of a slot's Deployment, HPA, ScaledObject and PodDisruptionBudget."""
    if deployment.dialect != "seldon" or slot.component.name != "predictor":
        return service(deployment, slot)
    pod = slot.component.pod
    containers = [one.get("name") for one in pod.spec.get("containers") or () if isinstance(one, dict)]
    named = [one for one in containers if isinstance(one, str) and one]
    base = "-".join((deployment.name, slot.variant, "0", *named, *(() if pod.main in named else (pod.main,))))
    return fitting(base + ("" if slot.role == "stable" else "-candidate"))


def service(deployment: Deployment, slot: Slot) -> str:
    """The name of a slot's Service."""
    if deployment.dialect == "seldon":
        base = f"{deployment.name}-{slot.variant}"
        if slot.component.name == "predictor":
            base = _written_service(deployment, slot) or base
        else:
            base += f"-{slot.component.name}"
    else:
        named = _named_variant(deployment, slot)
        base = (
            f"{deployment.name}-{named}-{slot.component.name}"
            if named
            else f"{deployment.name}-{slot.component.name}"
        )
    return fitting(base + ("" if slot.role == "stable" else "-candidate"))


def _written_service(deployment: Deployment, slot: Slot) -> str:
    own = slot.component.pod.annotations.get(_SERVICE_NAME, "")
    return own or (deployment.annotations.get(_SERVICE_NAME, "") if slot.variant == deployment.variant else "")


def _named_variant(deployment: Deployment, slot: Slot) -> str:
    """The variant as it stands in names; empty for the main one.

    KServe's predictors keep the name they were given, so that a canary that becomes the main predictor keeps its
    pods; the usual names of a transformer and an explainer are for whichever predictor is the main one.
    """
    if deployment.dialect == "kserve" and slot.component.name == "predictor":
        return "" if slot.variant == "main" else slot.variant
    return "" if slot.variant == deployment.variant else slot.variant


def labels(deployment: Deployment, own: Mapping[str, str] | None = None) -> dict[str, str]:
    """What every object of a deployment carries: by this the operator finds what it applied.

    ``own`` are further labels; what somebody says it is a part of stays.
    """
    own = own or {}
    part = own.get(PART, "tiffin")
    return {**own, MANAGED: "tiffin", PART: part, DEPLOYMENT: fitting(deployment.name)}


def selector(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """What pods of a slot, and no others, carry; never changed, for a Deployment's selector cannot be.

    For an InferenceService it is KServe's, so that its Deployments can be taken over as they are.
    """
    if deployment.dialect == "kserve":
        return {APP: label(f"isvc.{service(deployment, slot)}")}
    return slot_labels(deployment, slot)


def slot_labels(deployment: Deployment, slot: Slot) -> dict[str, str]:
    """What tells the pods, the Deployment and the Service of a slot from those of others."""
    variant = slot.variant if deployment.dialect != "kserve" else _named_variant(deployment, slot) or "main"
    return {
        DEPLOYMENT: fitting(deployment.name),
        COMPONENT: label(slot.component.name),
        VARIANT: label(variant),
        ROLE: slot.role,
    }


def port(deployment: Deployment) -> int:
    """Where callers of a slot's Service go."""
    return 8000 if deployment.dialect == "seldon" else 80


def host(deployment: Deployment, slot: Slot, settings: Settings | None = None) -> str:
    """Where a slot's Service is reached within the cluster; whole with ``settings``, else ``name.namespace``."""
    short = f"{service(deployment, slot)}.{deployment.namespace}"
    return f"{short}.svc.{settings.cluster_domain}" if settings else short
