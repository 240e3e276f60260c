"""``hpaSpec`` and ``kedaSpec`` of a componentSpec: how many replicas there are, and by what.

What one machine can measure becomes measures; a cluster's autoscaler gets all of it, in its own words.
"""

from __future__ import annotations

from typing import Any

from tiffin.dialects import kubernetes, pods
from tiffin.dialects.documents import child
from tiffin.dialects.fields import Fields, describe
from tiffin.spec import Measure, Scaling, Windows


def read(component: Fields) -> Scaling | None:
    """KEDA counts before the HorizontalPodAutoscaler, as in Seldon."""
    autoscaler, keda = component.mapping("hpaSpec"), component.mapping("kedaSpec")
    scaling = None if autoscaler is None else _autoscaler(autoscaler)
    if keda is None:
        return scaling
    if autoscaler is not None:
        component.warn("hpaSpec", "has no effect beside kedaSpec, as in Seldon")
    return _keda(keda)


def _autoscaler(fields: Fields) -> Scaling:
    least = fields.integer("minReplicas", minimum=1) or 1
    fields.require("maxReplicas")
    most = fields.integer("maxReplicas", minimum=1) or 1
    if most < least:
        raise fields.error("maxReplicas", f"expected at least minReplicas ({least}), found {most}")
    measures: list[Measure] = []
    written = fields.mappings("metrics") + fields.mappings("metricsv2")
    for metric in written:
        measures += _metric(metric)
    if not written:
        measures = [Measure(metric="cpu", target=80.0)]  # Kubernetes' own default
    elif not measures:
        fields.reader.warn(fields.path, f"no metric of it can be measured here; {least} replicas run", "local")
        if fields.reader.target == "local":
            return Scaling(min_replicas=least)
    raw = [current(pods.compact(metric.value)) for metric in written]
    return Scaling(
        min_replicas=least,
        max_replicas=most,
        measures=tuple(measures),
        autoscaler="hpa",
        autoscaler_spec={"metrics": raw} if raw else {},
    )


_SOURCES = {"Resource": "resource", "ContainerResource": "containerResource", "Pods": "pods", "Object": "object",
            "External": "external"}  # fmt: skip
_TARGETS = {
    "targetAverageUtilization": ("Utilization", "averageUtilization"),
    "targetAverageValue": ("AverageValue", "averageValue"),
    "averageValue": ("AverageValue", "averageValue"),
    "targetValue": ("Value", "value"),
}
"""Fields of autoscaling/v2beta1 that are a target, by its type and field in autoscaling/v2."""


def current(metric: dict[str, Any]) -> dict[str, Any]:
    """A metric of autoscaling/v2beta1 in the shape of autoscaling/v2; one that has it stays as it is."""
    name = _SOURCES.get(str(metric.get("type")), "")
    written = metric.get(name)
    if not isinstance(written, dict) or not any(one in written for one in (*_TARGETS, "metricName")):
        return metric
    found = dict(written)
    target: dict[str, Any] = {}
    for field, (kind, amount) in _TARGETS.items():
        if field in found:
            target = {"type": kind, amount: found.pop(field)}
    if name == "object" and isinstance(found.get("target"), dict):
        found["describedObject"] = found.pop("target")
    if "metricName" in found:
        selector = found.pop("metricSelector", None) or found.pop("selector", None)
        found["metric"] = {"name": found.pop("metricName")} | ({"selector": selector} if selector else {})
    return {**metric, name: {**found, "target": target} if target else found}


def _metric(metric: Fields) -> list[Measure]:
    """One metric, in the shape of autoscaling/v2beta1 or v2; one that cannot be measured is warned of."""
    kind = metric.text("type", required=True)
    names = {"Resource": "resource", "ContainerResource": "containerResource"}
    metric.accept("pods", "object", "external", *names.values())
    if kind not in names:
        metric.reader.warn(metric.path, f"a metric of type {kind} cannot be measured on this machine", "local")
        return []
    resource = metric.section(names[kind])
    resource.accept("container")
    name = resource.text("name", required=True)
    target = resource.mapping("target")
    if target is not None:
        target.text("type", choices=("Utilization", "AverageValue", "Value"))
        share, amount = target.integer("averageUtilization", minimum=1), target.raw("averageValue")
        amount_path = target.at("averageValue")
        target.ignore(("value",), "has no effect: write averageValue", "local")
    else:
        share, amount = resource.integer("targetAverageUtilization", minimum=1), resource.raw("targetAverageValue")
        amount_path = resource.at("targetAverageValue")
    if name not in ("cpu", "memory"):
        message = f"{describe(name)} of a replica cannot be measured on this machine"
        metric.reader.warn(metric.path, message, "local")
        return []
    known = "cpu" if name == "cpu" else "memory"
    if share is not None:
        return [Measure(metric=known, target=float(share))]  # type: ignore[arg-type]  # one of Metric's words
    if amount is None:
        for section in (resource, target):
            if section is not None:
                section.finish()  # a misspelt target is better news than a missing one
        raise metric.reader.error(resource.path, "expected a target, found none")
    value = kubernetes.quantity(metric.reader, amount, amount_path)
    return [Measure(metric=known, target=value, is_value=True)]  # type: ignore[arg-type]


def _keda(fields: Fields) -> Scaling:
    """Bounds are honoured; cpu and memory triggers as measures, for any other one calls at once decide."""
    least = fields.integer("minReplicaCount", minimum=0) or 0
    most = fields.integer("maxReplicaCount", minimum=1) or 100
    if most < least:
        raise fields.error("maxReplicaCount", f"expected at least minReplicaCount ({least}), found {most}")
    cooldown = fields.integer("cooldownPeriod", minimum=0)
    raw = fields.for_pods(("pollingInterval", "advanced", "idleReplicaCount", "fallback"))
    measures: list[Measure] = []
    for trigger in fields.mappings("triggers", required=True):
        measures += _trigger(trigger)
    windows = Windows(zero_retention_seconds=float(300 if cooldown is None else cooldown))
    return Scaling(
        min_replicas=least,
        max_replicas=most,
        measures=tuple(measures) or (Measure(),),
        windows=windows,
        autoscaler="keda",
        autoscaler_spec=_object(fields, raw, cooldown),
    )


def _object(fields: Fields, raw: dict[str, Any], cooldown: int | None) -> dict[str, Any]:
    """The spec of a ScaledObject, as far as it was written and is not said by bounds."""
    found = dict(raw)
    if cooldown is not None:
        found["cooldownPeriod"] = cooldown
    return found | {"triggers": pods.compact(fields.value["triggers"])}


def _trigger(trigger: Fields) -> list[Measure]:
    kind = trigger.text("type", required=True)
    metadata = trigger.mapping("metadata")
    trigger.accept("name", "authenticationRef", "useCachedMetrics")
    how = trigger.text("metricType")
    if kind not in ("cpu", "memory"):
        message = f"the trigger {describe(kind)} is not asked here; calls at once decide between the bounds"
        trigger.reader.warn(trigger.path, message, "local")
        if metadata is not None:
            metadata.known.update(metadata.value)
        return []
    if metadata is None:
        raise trigger.error("metadata", "required, found nothing")
    how = how or metadata.text("type")
    metadata.accept("type", "containerName")
    amount = kubernetes.quantity(
        trigger.reader, metadata.text("value", required=True), child(metadata.path, "value")
    )
    known = "cpu" if kind == "cpu" else "memory"
    return [Measure(metric=known, target=amount, is_value=how == "AverageValue")]  # type: ignore[arg-type]
