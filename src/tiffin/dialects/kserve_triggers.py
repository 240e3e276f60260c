"""KEDA's triggers of the metrics that an InferenceService names, in KEDA's own words."""

from __future__ import annotations

from typing import Any

from tiffin.dialects import kubernetes
from tiffin.dialects.fields import Fields
from tiffin.spec import Measure

BACKENDS = ("prometheus", "graphite")
_RECEIVER = "keda-otel-scaler.keda.svc:4318"
"""Where KEDA's scaler for OpenTelemetry is installed by its own documents."""


def of_resource(measure: Measure) -> dict[str, Any]:
    """A trigger for cpu or memory."""
    target = 80.0 if measure.target is None else measure.target
    kind = "AverageValue" if measure.is_value else "Utilization"
    return {"type": measure.metric, "metricType": kind, "metadata": {"value": amount(target)}}


def amount(value: float) -> str:
    """A quantity that says the same number: whole, or in thousandths."""
    return str(int(value)) if float(value).is_integer() else f"{round(value * 1000)}m"


def of_external(external: Fields) -> dict[str, Any]:
    """A trigger for a query to Prometheus or Graphite.

    Raises:
        SpecError: KServe would refuse it.
    """
    metric = external.section("metric")
    backend = metric.text("backend", required=True, choices=BACKENDS)
    metadata = {"serverAddress": metric.text("serverAddress"), "query": _query(metric)}
    metadata["threshold"] = f"{_value(external):g}"
    namespace = metric.text("namespace")
    if namespace and backend == "prometheus":
        metadata["namespace"] = namespace
    metric.finish()
    found: dict[str, Any] = {"type": backend, "metadata": metadata}
    written = external.mapping("authenticationRef")
    if written is not None:
        if modes := written.text("authModes"):
            metadata["authModes"] = modes
        reference = written.section("authenticationRef")
        name, kind = reference.text("name", required=True), reference.text("kind")
        found["authenticationRef"] = {"name": name} | ({"kind": kind} if kind else {})
    return found


def of_pods(podmetric: Fields, namespace: str, workload: str) -> dict[str, Any]:
    """A trigger for a metric of the pods themselves, which KEDA's scaler for OpenTelemetry sums up.

    Raises:
        SpecError: KServe would refuse it.
    """
    metric = podmetric.section("metric")
    metric.text("backend", choices=("", "opentelemetry"))
    metric.texts("metricNames")
    query, operation = _query(metric), metric.text("operationOverTime")
    address = metric.text("serverAddress") or _RECEIVER
    metadata = {
        "scalerAddress": address,
        "metricQuery": f'sum({query}{{namespace="{namespace}", deployment="{workload}"}})',
        "targetValue": f"{_value(podmetric):g}",
    }
    if operation:
        metadata["operationOverTime"] = operation
    return {"type": "external", "metadata": metadata}


def _query(metric: Fields) -> str:
    query = metric.text("query")
    if not query:
        metric.miss("query")
        raise metric.error("query", "the query should not be empty")
    return query


def _value(section: Fields) -> float:
    target = section.section("target")
    target.text("type")
    if not target.has("value"):
        target.accept("averageValue", "averageUtilization")
        target.miss("value")
        raise target.error("value", "the target metric value should be set")
    target.accept("averageValue", "averageUtilization")
    return kubernetes.quantity(target.reader, target.raw("value"), target.at("value"))


def metric(trigger: dict[str, Any]) -> dict[str, Any]:
    """A metric of ``autoScaling`` that becomes this trigger; empty where none does."""
    kind, metadata = trigger.get("type"), trigger.get("metadata")
    if not isinstance(metadata, dict):
        return {}
    if kind in ("cpu", "memory"):
        value, how = metadata.get("value"), trigger.get("metricType", "Utilization")
        share = kubernetes.number(value)
        if share is None:
            return {}
        field = {"averageUtilization": int(share)} if how == "Utilization" else {"averageValue": value}
        return {"type": "Resource", "resource": {"name": kind, "target": {"type": how, **field}}}
    if kind in BACKENDS:
        asked = {name: metadata[name] for name in ("serverAddress", "query", "namespace") if metadata.get(name)}
        found: dict[str, Any] = {
            "metric": {"backend": kind, **asked},
            "target": {"type": "Value", "value": metadata.get("threshold")},
        }
        if trigger.get("authenticationRef"):
            modes = {"authModes": metadata["authModes"]} if metadata.get("authModes") else {}
            found["authenticationRef"] = {**modes, "authenticationRef": trigger["authenticationRef"]}
        return {"type": "External", "external": found}
    return {}
