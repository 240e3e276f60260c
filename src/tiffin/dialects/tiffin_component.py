"""One component of Tiffin's own file: what it serves and how it runs, from fields that were read already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects.dependencies import ALL, component_name
from tiffin.dialects.documents import child
from tiffin.dialects.fields import NO_BURST, NO_EFFECT, NO_GRACE, Reader
from tiffin.dialects.kubernetes import quantity
from tiffin.spec import (
    Artefact,
    Batching,
    ClassSource,
    Component,
    ContainerSource,
    Logger,
    Measure,
    ModelSource,
    Parameter,
    Pod,
    Resources,
    Scaling,
    ServiceSource,
    Stabilization,
    Windows,
)

MAIN = "main"
"""The name of a component's own container where the file does not say another."""
KINDS = ("model", "service", "class", "container")

WINDOWS = {
    "utilization": "utilization_percent",
    "window": "stable_seconds",
    "panicWindow": "panic_percent",
    "panicThreshold": "panic_threshold_percent",
    "burst": "burst_capacity",
    "downDelay": "scale_down_delay_seconds",
    "zeroGrace": "zero_grace_seconds",
    "zeroAfter": "zero_retention_seconds",
    "first": "initial_scale",
    "wake": "activation_scale",
    "maxUpRate": "max_up_rate",
    "maxDownRate": "max_down_rate",
}
"""Fields of ``scale`` by those of ``spec.Windows``."""
STABILIZATION = {"upWindow": "up_seconds", "downWindow": "down_seconds", "tolerance": "tolerance"}
"""Fields of ``scale`` by those of ``spec.Stabilization``."""


def kind_of(written: Mapping[str, Any]) -> str:
    """Which of the four things is served."""
    return next(kind for kind in KINDS if kind in written)


def component(
    reader: Reader, written: Mapping[str, Any], base: str, at: str, *, name: str = "predictor"
) -> Component:
    """A component from its fields, whose path is ``at``; any but the predictor calls the predictor.

    Raises:
        SpecError: two fields contradict each other.
    """
    return Component(
        name=name,
        source=_source(written, base),
        model_name=written.get("modelName", ""),
        dependencies=_dependencies(_wish(written)),
        calls="" if name == "predictor" else "predictor",
        scaling=_scaling(reader, written, at),
        workers=written.get("workers", 1),
        threads=written.get("threads"),
        timeout_seconds=written.get("timeout"),
        max_concurrency=written.get("maxConcurrency"),
        retry_reset=written.get("retries"),
        grpc=written.get("grpc", False),
        resources=_resources(written.get("resources", {})),
        batching=_batching(written["batching"]) if "batching" in written else Batching(),
        environment=written.get("env", {}),
        logger=_logger(written["logger"]) if "logger" in written else None,
        pod=_pod(reader, written.get("pod", {}), child(at, "pod")),
    )


def _pod(reader: Reader, written: Mapping[str, Any], at: str) -> Pod:
    if written:
        reader.warn(at, NO_EFFECT, "local")
    seconds = written.get("progressDeadline")
    return Pod(
        main=written.get("container", MAIN),
        spec=written.get("spec", {}),
        labels=written.get("labels", {}),
        annotations=written.get("annotations", {}),
        strategy=written.get("strategy", {}),
        disruption=written.get("disruption", {}),
        progress_deadline_seconds=None if seconds is None else max(1, round(seconds)),
        is_read_only=written.get("readOnly", True),
    )


def dependencies(reader: Reader, written: Mapping[str, Any], base: str, at: str) -> tuple[Component, ...]:
    """The components of the services a service depends on that have settings of their own.

    What they are is known once the service was described; until then they have its source.
    """
    found, wish = [], _wish(written)
    if isinstance(wish, Mapping):
        names = _dependencies(wish)
        for service, settings in wish.items():
            path = child(child(child(at, "service"), "dependencies"), service)
            part = component(reader, {"service": written["service"], **settings}, base, path, name=names[service])
            found.append(msgspec.structs.replace(part, calls="", dependencies={}, is_dependency=True))
    return tuple(found)


def _wish(written: Mapping[str, Any]) -> Any:
    service = written.get("service")
    return service.get("dependencies", {}) if isinstance(service, Mapping) else {}


def _dependencies(wish: Any) -> dict[str, str]:
    if isinstance(wish, Mapping):
        names: dict[str, str] = {}
        for service in wish:
            name = component_name(service)
            while name in names.values():
                name = f"{name}-2"
            names[service] = name
        return names
    return {ALL: ""} if wish == "separate" else {}


def _source(written: Mapping[str, Any], base: str) -> ModelSource | ServiceSource | ClassSource | ContainerSource:
    kind = kind_of(written)
    found = written[kind]
    if kind == "model":
        found = {"uri": found} if isinstance(found, str) else found
        return ModelSource(
            artefact=Artefact(uri=found["uri"], base=base),
            format=found.get("format", ""),
            method=found.get("method", "predict"),
        )
    if kind == "container":
        found = {"image": found} if isinstance(found, str) else found
        return ContainerSource(
            image=found["image"],
            command=found.get("command", ()),
            arguments=found.get("args", ()),
            port=found.get("port", 8080),
            ready_path=found.get("readyPath", ""),
            mounts={path: Artefact(uri=uri, base=base) for path, uri in found.get("mounts", {}).items()},
        )
    found = {"target": found} if isinstance(found, str) else found
    artefact = Artefact(uri=found.get("bundle") or found.get("directory", "."), base=base)
    target = found.get("target", "")  # a bundle knows what it serves; a directory does not
    if kind == "service":
        return ServiceSource(artefact=artefact, target=target)
    parameters = tuple(Parameter(name, value) for name, value in found.get("parameters", {}).items())
    return ClassSource(artefact=artefact, target=target, parameters=parameters, unit=target.rpartition(":")[2])


# ---- how many


def _scaling(reader: Reader, written: Mapping[str, Any], at: str) -> Scaling:
    replicas = written.get("replicas", 1)
    if isinstance(replicas, int):
        replicas = {"min": replicas}
    least, most = replicas.get("min", 1), replicas.get("max")
    if most not in (None, 0) and most < least:
        path = child(child(at, "replicas"), "max")
        raise reader.error(path, f"expected at least min ({least}), found {most}", "0 is no limit")
    scale = written.get("scale", {})
    if isinstance(scale, Measure):
        return Scaling(min_replicas=least, max_replicas=most, measures=(scale,))
    for name, why in (("burst", NO_BURST), ("zeroGrace", NO_GRACE)):
        if name in scale:
            reader.warn(child(child(at, "scale"), name), why, "local")
    for name in ("autoscaler", "autoscalerSpec"):
        if name in scale:
            reader.warn(child(child(at, "scale"), name), NO_EFFECT, "local")
    measures = tuple(
        _measure(name, scale[name]) for name in ("concurrency", "rps", "cpu", "memory") if name in scale
    )
    windows = {WINDOWS[name]: value for name, value in scale.items() if name in WINDOWS}
    settling = {STABILIZATION[name]: value for name, value in scale.items() if name in STABILIZATION}
    return Scaling(
        min_replicas=least,
        max_replicas=most,
        measures=measures or (Measure(),),
        windows=Windows(**windows),
        stabilization=Stabilization(**settling),
        autoscaler=scale.get("autoscaler", ""),
        autoscaler_spec=scale.get("autoscalerSpec", {}),
    )


def _measure(name: str, written: float | str) -> Measure:
    found = Measure(metric=name)  # type: ignore[arg-type]  # one of Metric's words
    if isinstance(written, str):
        if written.endswith("%"):
            return msgspec.structs.replace(found, target=float(written[:-1]))
        amount = quantity(None, written, "")  # type: ignore[arg-type]  # it was read already
        return msgspec.structs.replace(found, target=amount, is_value=True)
    return msgspec.structs.replace(found, target=written)


def _resources(written: Mapping[str, Any]) -> Resources:
    memory = written.get("memory")
    return Resources(
        cpu=written.get("cpu"),
        memory_bytes=None if memory is None else int(memory),
        memory_limit_bytes=written.get("memoryLimit"),
        gpu=written.get("gpu"),
    )


def _batching(written: bool | Mapping[str, Any]) -> Batching:
    if isinstance(written, bool):
        return Batching(enabled=written)
    plain = Batching()
    return Batching(
        enabled=True,
        max_rows=written.get("maxRows", plain.max_rows),
        max_bytes=written.get("maxBytes", plain.max_bytes),
    )


def _logger(written: str | Mapping[str, Any]) -> Logger:
    if isinstance(written, str):
        return Logger(url=written)
    return Logger(
        url=written["url"],
        mode=written.get("mode", "all"),
        metadata_headers=written.get("headers", ()),
        style=written.get("style", "kserve"),
    )
