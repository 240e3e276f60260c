"""``autoScaling`` of an InferenceService's component: what is measured, and what an HPA or KEDA is told of it."""

from __future__ import annotations

from typing import Any

import msgspec

from tiffin.dialects import kserve_triggers, kubernetes, pods
from tiffin.dialects.fields import ELSEWHERE, NO_EFFECT, Fields, describe
from tiffin.dialects.kserve_context import Context
from tiffin.spec import Measure, Stabilization

_RESOURCES = ("cpu", "memory")
_NEEDS_KEDA = "only KEDA scales by it: write the annotation serving.kserve.io/autoscalerClass: keda"


class Automatic(msgspec.Struct, frozen=True, kw_only=True):
    """``spec`` is laid over that of a HorizontalPodAutoscaler, or of a ScaledObject where the class is keda."""

    measures: tuple[Measure, ...] = ()
    stabilization: Stabilization = Stabilization()
    spec: dict[str, Any] = {}


def read(fields: Fields, context: Context) -> Automatic:
    """The field ``autoScaling`` of a component."""
    section = fields.mapping("autoScaling")
    if section is None:
        return Automatic()
    is_keda = context.scaler == "keda"
    measures: list[Measure] = []
    triggers: list[dict[str, Any]] = []
    is_plain = True
    for metric in section.mappings("metrics"):
        kind = metric.text("type", required=True)
        if kind in ("External", "PodMetric"):
            is_plain = False
            triggers += _foreign(metric, kind, context, _workload(fields, context))
            continue
        measure = _resource(metric, kind)
        measures.append(measure)
        triggers.append(kserve_triggers.of_resource(measure))
    behavior = section.mapping("behavior")
    spec: dict[str, Any] = {}
    stabilization = Stabilization()
    if behavior is not None:
        stabilization = _behavior(behavior)
        raw = pods.compact(behavior.value)
        if context.mode == "Knative":
            section.warn("behavior", ELSEWHERE, "kubernetes")
        elif is_keda:
            spec["advanced"] = {"horizontalPodAutoscalerConfig": {"behavior": raw}}
        else:
            spec["behavior"] = raw
    if is_keda and not is_plain:
        spec["triggers"] = triggers
    return Automatic(measures=tuple(measures), stabilization=stabilization, spec=spec)


def _workload(fields: Fields, context: Context) -> str:
    """The Deployment of the component: ``iris-predictor``."""
    own, part = fields.value.get("name"), fields.path.rpartition(".")[2]
    return "-".join(str(name) for name in (context.name, own, part) if name)


def _foreign(metric: Fields, kind: str, context: Context, workload: str) -> list[dict[str, Any]]:
    """A metric that another system holds, as KEDA's trigger; nothing where KEDA is not what scales."""
    name = "external" if kind == "External" else "podmetric"
    metric.accept("external", "podmetric")
    metric.warn(name, f"scaling by a metric of another system {NO_EFFECT}", "local")
    if context.scaler != "keda":
        metric.warn(name, _NEEDS_KEDA, "kubernetes")
        return []
    section = metric.mapping(name)
    if section is None:
        raise metric.error(name, f"required for a metric of type {kind}, found nothing")
    if kind == "External":
        return [kserve_triggers.of_external(section)]
    section.warn("", "needs an OpenTelemetry collector that sends the metric of these pods to KEDA", "kubernetes")
    return [kserve_triggers.of_pods(section, context.namespace, workload)]


def _resource(metric: Fields, kind: str) -> Measure:
    if kind != "Resource":
        message = f"invalid HPA metric source type with value [{kind}],valid metric source types are Resource"
        raise metric.error("type", message)
    resource = metric.mapping("resource")
    if resource is None:
        metric.miss("resource")
        message = "metricSpec.Resource is not set for resource metric source type"
        raise metric.error("resource", message)
    name = resource.text("name", required=True)
    if name not in _RESOURCES:
        raise resource.error("name", f"resource type {name} is not supported")
    target, is_value = _target(resource)
    return Measure(metric="cpu" if name == "cpu" else "memory", target=target, is_value=is_value)


def _target(resource: Fields) -> tuple[float | None, bool]:
    target = resource.mapping("target")
    if target is None:
        return None, False
    kind = target.text("type", choices=("", "Utilization", "AverageValue", "Value"))
    percent = target.integer("averageUtilization")
    average, value = target.raw("averageValue"), target.raw("value")
    target.finish()
    kind = kind or ("AverageValue" if average is not None and percent is None else "Utilization")
    if kind == "Utilization":
        if percent is None:
            raise target.error("averageUtilization", "the AverageUtilization type should be set")
        if not 1 <= percent <= 100:
            message = "the target utilization percentage should be a [1-100] integer"
            raise target.error("averageUtilization", message)
        return float(percent), False
    name, written = ("averageValue", average) if kind == "AverageValue" else ("value", value)
    if written is None:
        raise target.error(name, f"the {kind} type should be set")
    amount = kubernetes.quantity(target.reader, written, target.at(name))
    if amount <= 0:
        raise target.error(name, f"expected an amount above zero, found {describe(written)}")
    return amount, True


def _behavior(behavior: Fields) -> Stabilization:
    found: dict[str, float] = {}
    for name, field in (("scaleUp", "up_seconds"), ("scaleDown", "down_seconds")):
        section = behavior.mapping(name)
        if section is None:
            continue
        seconds = section.integer("stabilizationWindowSeconds", minimum=0, maximum=3600)
        if seconds is not None:
            found[field] = float(seconds)
        tolerance = section.raw("tolerance")
        if tolerance is not None and name == "scaleDown":
            found["tolerance"] = kubernetes.quantity(section.reader, tolerance, section.at("tolerance"))
        elif tolerance is not None:
            section.warn("tolerance", f"{NO_EFFECT}; that of scaleDown counts", "local")
        section.ignore(("policies", "selectPolicy"), NO_EFFECT, "local")
    return msgspec.convert(found, Stabilization)
