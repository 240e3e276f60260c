"""A deployment of any dialect as an InferenceService.

What it cannot say is found by reading the document again and comparing, so that nothing is forgotten. Only what is
served is dealt with by hand: an authored service becomes the container of its bundle.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects import (
    comparing,
    kserve,
    kserve_containers,
    kserve_context,
    kserve_pods_writing,
    kserve_scaling,
    runtimes,
)
from tiffin.dialects.documents import Document
from tiffin.dialects.kserve_containers import PREDICTOR_HOST
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.errors import SpecError
from tiffin.spec import (
    Batching,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    Measure,
    ModelSource,
    Resources,
    Scaling,
    ServiceSource,
    Stabilization,
    Variant,
)
from tiffin.spec.deployment import Protocol

_FORMATS = {".joblib": "sklearn", ".pkl": "sklearn", ".pickle": "sklearn", ".skops": "sklearn", ".bst": "xgboost",
            ".ubj": "xgboost", ".onnx": "onnx", ".lgb": "lightgbm", ".model": "xgboost"}  # fmt: skip
_OWN = (kserve.RUNTIME, kserve.CLUSTER_RUNTIME)


def write(deployment: Deployment) -> tuple[dict[str, Any], list[str]]:
    """The document, and what it cannot say."""
    said = _sayable(deployment)
    document = _document(said)
    base = next((_base(component) for component in deployment.components), "")
    try:
        after = kserve.deployment(Document(value=document), base=base, target="")
    except SpecError as error:
        return document, [f"KServe does not take it as it is: {error}"]
    return document, [*_replaced(deployment, said), *comparing.differences(said, _unmarked(after, said))]


def _base(component: Component) -> str:
    source = component.source
    if isinstance(source, ContainerSource):
        return next((artefact.base for artefact in source.mounts.values()), "")
    return source.artefact.base


def _unmarked(after: Deployment, before: Deployment) -> Deployment:
    """Without what reading adds by itself to say what was chosen."""
    kept = {key: value for key, value in after.annotations.items() if key in before.annotations or key not in _OWN}
    return msgspec.structs.replace(after, annotations=kept)


# ---- what is served


def _sayable(deployment: Deployment) -> Deployment:
    """The deployment with sources that KServe has words for."""
    components = tuple(_with_program(component) for component in deployment.components)
    variants = tuple(
        msgspec.structs.replace(variant, components=tuple(_with_program(each) for each in variant.components))
        for variant in deployment.variants
    )
    annotations = deployment.annotations
    if deployment.dialect != "kserve":
        annotations = {key: value for key, value in annotations.items() if key not in _OWN}
    return msgspec.structs.replace(deployment, components=components, variants=variants, annotations=annotations)


def _with_program(component: Component) -> Component:
    source = component.source
    if isinstance(source, ModelSource) and not source.format:
        suffix = re.search(r"\.[a-z]+$", source.artefact.uri)
        found = _FORMATS.get(suffix[0] if suffix else "", "sklearn")
        return msgspec.structs.replace(component, source=msgspec.structs.replace(source, format=found))
    if not isinstance(source, ServiceSource | ClassSource):
        return component
    program = ContainerSource(image=_image(source), port=kserve_pods_writing.port(component))
    return msgspec.structs.replace(component, source=program)


def _image(source: ServiceSource | ClassSource) -> str:
    if isinstance(source, ClassSource) and source.image:
        return source.image
    uri = source.artefact.uri
    if uri not in ("", ".") and not uri.startswith((".", "/")) and "://" not in uri:
        return uri
    target = source.target.rpartition(":")[2] or "service"
    return re.sub(r"[^a-z0-9]+", "-", target.lower()).strip("-") + ":latest"


def _replaced(before: Deployment, after: Deployment) -> list[str]:
    found = []
    for old, new in zip(before.components, after.components, strict=True):
        path = f"components.{old.name}.source"
        if isinstance(old.source, ServiceSource | ClassSource) and isinstance(new.source, ContainerSource):
            what = "class" if isinstance(old.source, ClassSource) else "service"
            target = f" {old.source.target}" if old.source.target else ""
            found.append(
                f"{path}: the {what}{target} becomes the image {new.source.image}, which has to be built of it"
            )
            if isinstance(old.source, ClassSource) and old.source.parameters:
                names = ", ".join(parameter.name for parameter in old.source.parameters)
                found.append(f"{path}.parameters: {names} cannot be said")
        elif isinstance(old.source, ModelSource) and not old.source.format and isinstance(new.source, ModelSource):
            found.append(f"{path}.format: is found by looking, and becomes {new.source.format}")
    return found


# ---- the document


def _document(deployment: Deployment) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": deployment.name}
    if deployment.namespace != "default":
        metadata["namespace"] = deployment.namespace
    annotations = _annotations(deployment)
    if deployment.labels:
        metadata["labels"] = dict(deployment.labels)
    if annotations:
        metadata["annotations"] = annotations
    predictor = deployment.components[0]
    spec: dict[str, Any] = {"predictor": _predictor(predictor, deployment, annotations)}
    for component in deployment.components[1:]:
        if component.name in ("transformer", "explainer"):
            spec[component.name] = _program(component, deployment, annotations)
    canaries = [variant for variant in deployment.variants if variant.mirror_percent is None]
    if canaries:
        spec["canary"] = [_canary(variant, deployment, annotations) for variant in canaries]
    return {"apiVersion": kserve.API_VERSIONS[0], "kind": kserve.KIND, "metadata": metadata, "spec": spec}


def _annotations(deployment: Deployment) -> dict[str, str]:
    found = {key: value for key, value in deployment.annotations.items() if key not in _OWN}
    predictor = deployment.components[0]
    if isinstance(predictor.source, ModelSource) and found.get(kserve_context.FORMAT) == predictor.source.format:
        del found[kserve_context.FORMAT]
    if deployment.stopped:
        found.setdefault(kserve_context.STOP, "true")
    for name, value in kserve_pods_writing.notes(deployment).items():
        found.setdefault(name, value)
    if deployment.variants or any(_uses_pods(component.scaling) for component in deployment.components):
        found.setdefault(kserve_context.MODE, "Standard")
    return found


def _uses_pods(scaling: Scaling) -> bool:
    return any(measure.metric in ("cpu", "memory") for measure in scaling.measures) and not scaling.is_fixed


def _predictor(component: Component, deployment: Deployment, annotations: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if deployment.variant != "main":
        found["name"] = deployment.variant
    if deployment.canary_percent is not None:
        found["canaryTrafficPercent"] = math.floor(deployment.canary_percent)
    if isinstance(component.source, ModelSource):
        _lay(found, _extension(component, annotations), kserve_pods_writing.level(component, deployment))
        model = _model(component, component.source, deployment)
        found["model"] = kserve_pods_writing.container(model, component, has_usual=True)
        return found
    return found | _program(component, deployment, annotations)


def _canary(variant: Variant, deployment: Deployment, annotations: Mapping[str, str]) -> dict[str, Any]:
    component = variant.components[0]
    fixed = msgspec.structs.replace(
        component, scaling=Scaling(min_replicas=component.scaling.min_replicas, measures=())
    )
    as_main = msgspec.structs.replace(deployment, variant=variant.name, canary_percent=None)
    predictor = _predictor(fixed, as_main, annotations)
    predictor.pop("maxReplicas", None)
    predictor["minReplicas"] = component.scaling.min_replicas
    return {"trafficPercent": math.floor(variant.weight), "predictor": predictor}


def _model(component: Component, source: ModelSource, deployment: Deployment) -> dict[str, Any]:
    described = {"name": source.format} | ({"version": source.format_version} if source.format_version else {})
    found: dict[str, Any] = {"modelFormat": described, "protocolVersion": _version(deployment.protocol)}
    runtime = deployment.annotations.get(kserve.CLUSTER_RUNTIME, "")
    if runtime in runtimes.RUNTIMES and _would_choose_another(runtime, found, source):
        found["runtime"] = runtime
    found["storageUri"] = source.artefact.uri
    if isinstance(component.workers, int) and component.workers > 1:
        found["args"] = [f"--workers={component.workers}"]
    if component.grpc:
        found["ports"] = [{"name": "h2c", "containerPort": 9000, "protocol": "TCP"}]
    environment = dict(component.environment)
    if source.method == "predict_proba":
        environment.setdefault("PREDICT_PROBA", "true")
    return found | _container(environment, component.resources)


def _would_choose_another(runtime: str, model: Mapping[str, Any], source: ModelSource) -> bool:
    known = tuple(runtimes.RUNTIMES.values())
    try:
        chosen = runtimes.choose(
            known,
            namespace="",
            format=source.format,
            version=source.format_version,
            protocol=model["protocolVersion"],
        )
    except runtimes.NotFound:
        return True
    return chosen.name != runtime


def _version(protocol: Protocol) -> str:
    return "v1" if protocol == "kserve-v1" else "v2"


def _program(component: Component, deployment: Deployment, annotations: Mapping[str, str]) -> dict[str, Any]:
    """A component that is a container."""
    source = component.source
    assert isinstance(source, ContainerSource)
    container: dict[str, Any] = {"name": runtimes.MAIN, "image": source.image}
    if source.command:
        container["command"] = [_plain(word) for word in source.command]
    if source.arguments:
        host = f"{deployment.name}-predictor.{deployment.namespace}"
        container["args"] = [_plain(word.replace(PREDICTOR_HOST, host)) for word in source.arguments]
    environment = dict(component.environment)
    environment.pop("INFERENCE_SERVICE_NAME", None)
    found = _extension(component, annotations)
    mounts = dict(source.mounts)
    if MOUNT in mounts and environment.get("STORAGE_URI") == MOUNT:
        environment["STORAGE_URI"] = mounts.pop(MOUNT).uri
    if mounts:
        found["storageUris"] = [{"uri": artefact.uri, "mountPath": path} for path, artefact in mounts.items()]
    if component.name == "predictor" and deployment.protocol == "open-inference":
        environment.setdefault("PROTOCOL", "v2")
    if source.port != int(kserve_containers.value_of(source.arguments, "--http_port") or 8080):
        container["ports"] = [{"containerPort": source.port, "protocol": "TCP"}]
    if source.ready_path:
        container["readinessProbe"] = {"httpGet": {"path": source.ready_path, "port": source.port}}
    level = kserve_pods_writing.level(component, deployment)
    container |= _container(environment, component.resources)
    own = kserve_pods_writing.container(container, component, has_usual=True)
    _lay(found, level)
    found["containers"] = [own, *level.get("containers", ())]
    return found


def _lay(found: dict[str, Any], *more: Mapping[str, Any]) -> None:
    """Add fields; annotations of several are all of them."""
    for each in more:
        notes = {**(found.get("annotations") or {}), **(each.get("annotations") or {})}
        found |= each
        if notes:
            found["annotations"] = notes


def _plain(text: str) -> str:
    """Text that reads back as it is: ``$(`` would stand for a variable, and ``$$`` for one dollar."""
    return text.replace("$", "$$") if "$(" in text or "$$" in text else text


def _container(environment: Mapping[str, str], resources: Resources) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if environment:
        found["env"] = [{"name": name, "value": _plain(value)} for name, value in environment.items()]
    requests: dict[str, str] = {}
    if resources.cpu is not None:
        requests["cpu"] = _cores(resources.cpu)
    if resources.memory_bytes is not None:
        requests["memory"] = _bytes(resources.memory_bytes)
    limits: dict[str, str] = {}
    if resources.memory_limit_bytes is not None:
        limits["memory"] = _bytes(resources.memory_limit_bytes)
    if resources.gpu is not None:
        limits["nvidia.com/gpu"] = _cores(resources.gpu)
    written = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return found | ({"resources": written} if written else {})


def _cores(amount: float) -> str:
    return str(int(amount)) if float(amount).is_integer() else f"{round(amount * 1000)}m"


def _bytes(amount: int) -> str:
    for suffix, size in (("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if amount and amount % size == 0:
            return f"{amount // size}{suffix}"
    return str(amount)


# ---- what every component has


def _extension(component: Component, annotations: Mapping[str, str]) -> dict[str, Any]:
    found = _scaling(component.scaling, annotations)
    if component.max_concurrency:
        found["containerConcurrency"] = component.max_concurrency
    if component.timeout_seconds is not None:
        found["timeout"] = math.ceil(component.timeout_seconds)
    if component.batching != Batching() and component.batching.enabled:
        found["batcher"] = {"maxBatchSize": component.batching.max_rows}
    if component.logger is not None:
        found["logger"] = {"url": component.logger.url, "mode": component.logger.mode}
        if component.logger.metadata_headers:
            found["logger"]["metadataHeaders"] = list(component.logger.metadata_headers)
    return found


def _scaling(scaling: Scaling, annotations: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"minReplicas": scaling.min_replicas}
    most = scaling.max_replicas
    found["maxReplicas"] = max(1, scaling.min_replicas) if most is None else most
    notes = _windows(scaling, annotations)
    if not scaling.is_fixed:
        first = scaling.measures[0] if len(scaling.measures) == 1 and scaling.autoscaler != "keda" else None
        if first is not None and not first.is_value:
            found["scaleMetric"] = first.metric
            if first.target is not None and float(first.target).is_integer():
                found["scaleTarget"] = int(first.target)
            elif first.target is not None:
                notes[f"{kserve_scaling.PREFIX}target"] = f"{first.target:g}"
        metrics = [_metric(each) for each in scaling.measures if first is None or first.is_value]
        automatic = {"metrics": [metric for metric in metrics if metric]} | _behavior(scaling.stabilization)
        automatic |= kserve_pods_writing.automatic(scaling)
        automatic = {key: value for key, value in automatic.items() if value}
        if automatic:
            found["autoScaling"] = automatic
    if notes:
        found["annotations"] = notes
    return found


def _metric(measure: Measure) -> dict[str, Any]:
    if measure.metric not in ("cpu", "memory"):
        return {}
    if measure.is_value and measure.target is not None:
        amount = _cores(measure.target) if measure.metric == "cpu" else _bytes(int(measure.target))
        target: dict[str, Any] = {"type": "AverageValue", "averageValue": amount}
    else:
        target = {"type": "Utilization", "averageUtilization": int(measure.target or 80)}
    return {"type": "Resource", "resource": {"name": measure.metric, "target": target}}


def _behavior(stabilization: Stabilization) -> dict[str, Any]:
    usual = Stabilization()
    behavior: dict[str, Any] = {}
    if stabilization.up_seconds != usual.up_seconds:
        behavior["scaleUp"] = {"stabilizationWindowSeconds": int(stabilization.up_seconds)}
    down: dict[str, Any] = {}
    if stabilization.down_seconds != usual.down_seconds:
        down["stabilizationWindowSeconds"] = int(stabilization.down_seconds)
    if stabilization.tolerance != usual.tolerance:
        down["tolerance"] = _cores(stabilization.tolerance)
    if down:
        behavior["scaleDown"] = down
    return {"behavior": behavior} if behavior else {}


def _windows(scaling: Scaling, annotations: Mapping[str, str]) -> dict[str, str]:
    """Knative's annotations, where the values are not the usual ones, or others are written for the whole."""
    usual = type(scaling.windows)()
    whole = {kserve_scaling.dashed(key) for key in annotations if key.startswith(kserve_scaling.PREFIX)}
    found = {}
    for name, (field, _, _, is_duration) in kserve_scaling.WINDOWS.items():
        value = getattr(scaling.windows, field)
        if value != getattr(usual, field) or name in whole:
            found[kserve_scaling.PREFIX + name] = f"{value:g}s" if is_duration else f"{value:g}"
    return found
