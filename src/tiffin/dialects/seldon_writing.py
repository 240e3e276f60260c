"""A deployment of any dialect as a SeldonDeployment, as far as Seldon has words for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from tiffin.dialects import (
    comparing,
    pods,
    remainders,
    seldon,
    seldon_annotations,
    seldon_graph,
    seldon_images,
)
from tiffin.dialects.documents import Document
from tiffin.dialects.seldon_pods import PORT
from tiffin.dialects.seldon_predictor import MODELS, explainer_flags
from tiffin.dialects.seldon_status import service_of, unit_of
from tiffin.dialects.tiffin_writing import base_of
from tiffin.errors import SpecError
from tiffin.spec import (
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    Measure,
    ModelSource,
    Pod,
    Resources,
    Scaling,
    ServiceSource,
    Variant,
)

_SERVERS = {format: server for server, format in seldon_graph.SERVERS.items()}
_FORMATS = {".joblib": "sklearn", ".pkl": "sklearn", ".pickle": "sklearn", ".skops": "sklearn", ".bst": "xgboost",
            ".ubj": "xgboost", ".json": "xgboost"}  # fmt: skip


def write(deployment: Deployment) -> tuple[dict[str, Any], list[str]]:
    """The document, and what it cannot say.

    Raises:
        SpecError: what is served has no words at all in Seldon: an authored service, or a model of a format that
            none of its servers reads.
    """
    protocol = _protocol(deployment)
    metadata: dict[str, Any] = {"name": deployment.name, "namespace": deployment.namespace}
    if labels := _labels(deployment.labels, _name(deployment.variant)):
        metadata["labels"] = labels
    annotations = {
        key: value
        for key, value in deployment.annotations.items()
        if key not in (seldon_annotations.SERVICE, seldon_annotations.TIMEOUT)
    }
    if annotations:
        metadata["annotations"] = annotations
    document = {
        "apiVersion": seldon.API_VERSIONS[0],
        "kind": seldon.KIND,
        "metadata": metadata,
        "spec": {"protocol": protocol, "predictors": _predictors(deployment, protocol)},
    }
    after = seldon.deployment(Document(value=document), base=base_of(deployment), target="")
    return document, [*comparing.differences(deployment, after), *_directories(deployment)]


def _directories(deployment: Deployment) -> list[str]:
    found = []
    for variant in deployment.all_variants:
        source = variant.components[0].source
        if isinstance(source, ClassSource) and not source.image:
            where = f"variants.{variant.name}.components.predictor.source"
            found.append(f"{where}: {source.artefact.uri} is no image; build one of it and name that instead")
    return found


def _protocol(deployment: Deployment) -> str:
    if deployment.protocol == "seldon":
        return "seldon"
    parts = [part.source for variant in deployment.all_variants for part in variant.components[:1]]
    # Seldon gives a container's port to nobody who does not speak this protocol; a class speaks both others.
    if deployment.protocol == "kserve-v1" and all(isinstance(source, ContainerSource) for source in parts):
        return "tensorflow"
    return "seldon" if deployment.protocol == "named-json" else "v2"


def _labels(labels: dict[str, str], predictor: str) -> dict[str, str]:
    """Without the one Seldon adds by itself."""
    return {key: value for key, value in labels.items() if (key, value) != ("version", predictor)}


def _name(name: str) -> str:
    lowered = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
    return lowered.strip("-")[:63].strip("-") or "main"


# ---- predictors


def _predictors(deployment: Deployment, protocol: str) -> list[dict[str, Any]]:
    variants = list(_expressible(deployment))
    weights = _whole([variant.weight for variant in variants if variant.mirror_percent is None])
    found = []
    for variant in variants:
        one = _predictor(deployment, variant, protocol)
        if variant.mirror_percent is not None:
            one["shadow"] = True
            if variant.mirror_percent < 100:
                one["traffic"] = max(1, round(variant.mirror_percent))
        else:
            weight = weights.pop(0)
            if sum(other.mirror_percent is None for other in variants) > 1:
                one["traffic"] = weight
        found.append(one)
    return found


def _expressible(deployment: Deployment) -> list[Variant]:
    """Seldon knows one shadow, and names that are unlike each other."""
    found: list[Variant] = []
    for variant in deployment.all_variants:
        is_second_shadow = variant.mirror_percent is not None and any(
            other.mirror_percent is not None for other in found
        )
        if not is_second_shadow and _name(variant.name) not in [_name(other.name) for other in found]:
            found.append(variant)
    return found


def _whole(weights: Sequence[float]) -> list[int]:
    """Whole percentages that sum to 100, each as near as can be."""
    total = sum(weights) or 1.0
    exact = [100 * weight / total for weight in weights]
    found = [int(weight) for weight in exact]
    by_rest = sorted(range(len(exact)), key=lambda index: found[index] - exact[index])
    for index in by_rest[: 100 - sum(found)] if sum(weights) else [0] * 100:
        found[index] += 1
    return found


def _predictor(deployment: Deployment, variant: Variant, protocol: str) -> dict[str, Any]:
    name = _name(variant.name)
    model, *others = variant.components
    found: dict[str, Any] = {"name": name}
    if labels := _labels(variant.labels, name):
        found["labels"] = labels
    annotations = {}
    service = service_of(deployment, variant.name)
    if service != f"{deployment.name}-{variant.name}":
        annotations[seldon_annotations.SERVICE] = service
    if model.timeout_seconds is not None:
        annotations[seldon_annotations.TIMEOUT] = str(max(1, round(model.timeout_seconds * 1000)))
    if annotations:
        found["annotations"] = annotations
    unit = _unit(deployment, variant)
    found["graph"] = _graph(model, unit, protocol)
    component = _pod(model, unit)
    scaling = _autoscaler(model.scaling)
    if scaling:
        component = {**scaling, "spec": component.get("spec", {})}
    pod = remainders.of(model)
    component |= _level(component, pod, found, name)
    if pod.progress_deadline_seconds is not None:
        found["progressDeadlineSeconds"] = pod.progress_deadline_seconds
    if component:
        found["componentSpecs"] = [component]
    if deployment.stopped:
        found["replicas"] = 0
        component.pop("hpaSpec", None)
        component.pop("kedaSpec", None)
    elif not scaling and model.scaling.min_replicas != 1:
        found["replicas"] = max(1, model.scaling.min_replicas)
    for other in others:
        if other.name == "explainer" and isinstance(other.source, ContainerSource):
            found["explainer"] = _explainer(deployment.name, other, other.source)
    return found


def _unit(deployment: Deployment, variant: Variant) -> str:
    source = variant.components[0].source
    if isinstance(source, ClassSource) and source.unit:
        return source.unit
    return unit_of(deployment)


# ---- the graph's node


def _graph(component: Component, unit: str, protocol: str) -> dict[str, Any]:
    found: dict[str, Any] = {"name": unit}
    source = component.source
    if isinstance(source, ModelSource):
        found |= _server(source, protocol)
    else:
        found["type"] = "MODEL"
    if isinstance(source, ClassSource) and source.parameters:
        found["parameters"] = [seldon_images.parameter(one) for one in source.parameters]
    if component.logger is not None:
        found["logger"] = {"mode": component.logger.mode, "url": component.logger.url}
    return found


def _server(source: ModelSource, protocol: str) -> dict[str, Any]:
    format = source.format or _FORMATS.get(PurePosixPath(source.artefact.uri).suffix, "")
    if format not in _SERVERS:
        hint = "Seldon's servers read sklearn and xgboost models; write a class that loads this one"
        what = f"a model of the format {format}" if format else "a model whose format nobody wrote"
        raise SpecError(f"{what} has no server in Seldon", hint=hint)
    found: dict[str, Any] = {"implementation": _SERVERS[format], "modelUri": source.artefact.uri}
    default = "predict_proba" if protocol == "seldon" else "predict"
    if format == "sklearn" and source.method != default:
        found["parameters"] = [{"name": "method", "value": source.method, "type": "STRING"}]
    return found


def _pod(component: Component, unit: str) -> dict[str, Any]:
    """The componentSpec of a node; a prepackaged server needs none unless it is told more."""
    container: dict[str, Any] = {"name": unit}
    source = component.source
    environment = dict(component.environment)
    match source:
        case ServiceSource():
            hint = "build an image of it and serve that as a container"
            raise SpecError("an authored service has no words in a SeldonDeployment", hint=hint)
        case ClassSource():
            container["image"] = source.image or source.artefact.uri
            module, _, name = source.target.partition(":")
            if name:
                environment["MODEL_NAME"] = name if module == name else f"{module}.{name}"
        case ContainerSource():
            container |= _program(source)
        case ModelSource():
            pass
    if environment:
        container["env"] = [{"name": name, "value": value} for name, value in environment.items()]
    if resources := _resources(component.resources):
        container["resources"] = resources
    container = pods.merged(container, remainders.own(remainders.of(component)))
    return {} if len(container) == 1 else {"spec": {"containers": [container]}}


def _level(component: dict[str, Any], pod: Pod, predictor: dict[str, Any], name: str) -> dict[str, Any]:
    """What a componentSpec says of pods beside their containers."""
    found: dict[str, Any] = {}
    spec = {key: value for key, value in pod.spec.items() if key != "containers"}
    own = (component.get("spec") or {}).get("containers", [])
    if containers := [*own, *remainders.beside(pod)]:
        spec["containers"] = containers
    if spec:
        found["spec"] = spec
    metadata = {}
    whole = {
        "labels": {"version": name, **predictor.get("labels", {})},
        "annotations": predictor.get("annotations", {}),
    }
    for field, written in (("labels", pod.labels), ("annotations", pod.annotations)):
        if rest := {key: value for key, value in written.items() if whole[field].get(key) != value}:
            metadata[field] = rest
    if metadata:
        found["metadata"] = metadata
    if pod.disruption:
        found["pdbSpec"] = dict(pod.disruption)
    return found


def _program(source: ContainerSource) -> dict[str, Any]:
    found: dict[str, Any] = {"image": source.image}
    if source.command:
        found["command"] = list(source.command)
    if source.arguments:
        found["args"] = list(source.arguments)
    if source.port != PORT:
        found["ports"] = [{"name": "http", "containerPort": source.port}]
    if source.ready_path:
        found["readinessProbe"] = {"httpGet": {"path": source.ready_path, "port": source.port}}
    return found


def _split(arguments: Sequence[str], flags: Sequence[str]) -> tuple[list[str], str, dict[str, str]]:
    """Arguments of one's own, and the type and options that follow what Seldon appends; ``flags`` are that."""
    count = len(flags)
    for start in range(len(arguments) - count + 1):
        if tuple(arguments[start : start + count]) == tuple(flags):
            own, rest = list(arguments[:start]), list(arguments[start + count :])
            kind = rest.pop(0) if rest and not rest[0].startswith("--") else ""
            if all(argument.startswith("--") and "=" in argument for argument in rest):
                return own, kind, dict(argument[2:].split("=", 1) for argument in rest)
    return list(arguments), "", {}


def _explainer(deployment: str, component: Component, source: ContainerSource) -> dict[str, Any]:
    container: dict[str, Any] = {"name": "explainer"} | _program(source)
    if component.environment:
        container["env"] = [{"name": name, "value": value} for name, value in component.environment.items()]
    if resources := _resources(component.resources):
        container["resources"] = resources
    pod = remainders.of(component)
    container = pods.merged(container, remainders.own(pod))
    found: dict[str, Any] = {"containerSpec": container}
    if account := pod.spec.get("serviceAccountName"):
        found["serviceAccountName"] = account
    uri = source.mounts[MODELS].uri if MODELS in source.mounts else ""
    if uri:
        found["modelUri"] = uri
    # What Seldon appends by itself is not written, or it would be there twice.
    own, kind, options = _split(source.arguments, explainer_flags("", uri, {}, deployment, source.port))
    container.pop("args", None)
    if own:
        container["args"] = own
    if kind:
        found["type"] = kind
    if options:
        found["config"] = options
    if component.scaling.min_replicas != 1:
        found["replicas"] = max(1, component.scaling.min_replicas)
    return found


def _resources(resources: Resources) -> dict[str, Any]:
    requests: dict[str, str] = {}
    if resources.cpu is not None:
        requests["cpu"] = _amount(resources.cpu)
    if resources.memory_bytes is not None:
        requests["memory"] = _amount(resources.memory_bytes)
    if resources.gpu is not None:
        requests["nvidia.com/gpu"] = _amount(resources.gpu)
    found: dict[str, Any] = {"requests": requests} if requests else {}
    if resources.memory_limit_bytes is not None:
        found["limits"] = {"memory": _amount(resources.memory_limit_bytes)}
    return found


def _amount(value: float) -> str:
    """A quantity: ``1Gi``, ``500m``, ``2``."""
    if float(value).is_integer():
        for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
            if value and value % size == 0:
                return f"{int(value) // size}{suffix}"
        return str(int(value))
    return f"{value * 1000:g}m" if (value * 1000).is_integer() else f"{value:f}".rstrip("0")


# ---- how many


def _autoscaler(scaling: Scaling) -> dict[str, Any]:
    """``hpaSpec`` or ``kedaSpec``; empty where neither can say what decides."""
    if scaling.is_fixed:
        return {}
    spec, most = dict(scaling.autoscaler_spec), scaling.max_replicas
    if scaling.autoscaler == "keda" and most and spec.get("triggers"):
        return {"kedaSpec": {"minReplicaCount": scaling.min_replicas, "maxReplicaCount": most, **spec}}
    if scaling.autoscaler == "hpa" and most and scaling.min_replicas and spec.get("metrics"):
        bounds = {"minReplicas": scaling.min_replicas, "maxReplicas": most}
        return {"hpaSpec": {**bounds, "metricsv2": spec["metrics"]}}
    if not scaling.measures or any(measure.metric not in ("cpu", "memory") for measure in scaling.measures):
        return {}
    if not scaling.max_replicas:
        return {}
    if scaling.min_replicas == 0:
        cooldown = {"cooldownPeriod": round(scaling.windows.zero_retention_seconds)}
        triggers = [_trigger(measure) for measure in scaling.measures]
        bounds = {"minReplicaCount": 0, "maxReplicaCount": scaling.max_replicas}
        return {"kedaSpec": bounds | cooldown | {"triggers": triggers}}
    metrics = [{"type": "Resource", "resource": _resource(measure)} for measure in scaling.measures]
    return {
        "hpaSpec": {"minReplicas": scaling.min_replicas, "maxReplicas": scaling.max_replicas, "metricsv2": metrics}
    }


def _target(measure: Measure) -> float:
    return 80.0 if measure.target is None else measure.target


def _resource(measure: Measure) -> dict[str, Any]:
    target: dict[str, Any] = {"type": "Utilization", "averageUtilization": max(1, round(_target(measure)))}
    if measure.is_value:
        target = {"type": "AverageValue", "averageValue": _amount(_target(measure))}
    return {"name": measure.metric, "target": target}


def _trigger(measure: Measure) -> dict[str, Any]:
    how = "AverageValue" if measure.is_value else "Utilization"
    value = _amount(_target(measure)) if measure.is_value else f"{_target(measure):g}"
    return {"type": measure.metric, "metricType": how, "metadata": {"value": value}}
