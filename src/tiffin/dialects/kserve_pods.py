"""The pods of an InferenceService's component, as KServe composes them: the runtime's, and what the file says.

A container that somebody wrote is whole here, with its references to secrets as they were written. For a model
that Tiffin loads itself there is only what is laid over the container that a target makes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from tiffin.dialects import kubernetes, pods
from tiffin.dialects.fields import Fields
from tiffin.dialects.kserve_context import FORMAT, PREFIX, Context
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.dialects.kubernetes import Container
from tiffin.dialects.runtimes import MAIN, Runtime
from tiffin.spec import Pod

ACCOUNT = ("serviceAccount", "serviceAccountName")
POD_FIELDS = tuple(name for name in kubernetes.POD_FIELDS if name not in ACCOUNT)
OF_PROGRAMS = ("args", "command", "ports")
"""What is for a runtime's own program, and not for the one that Tiffin puts in its place."""

READ_ONLY = "storage.kserve.io/readonly"
_ACCELERATOR = PREFIX + "gke-accelerator"
_SCRAPED = PREFIX + "enable-prometheus-scraping"
_SCRAPE = {"prometheus.io/port": ("prometheus.kserve.io/port", "8080"),
           "prometheus.io/path": ("prometheus.kserve.io/path", "/metrics")}  # fmt: skip
_DEVICES = PREFIX + "gpu-resource-types"
HONOURED = frozenset((READ_ONLY, _ACCELERATOR, _DEVICES, _SCRAPED, *(name for name, _ in _SCRAPE.values())))
"""Annotations of the whole that a cluster honours, and one machine does not."""

_NOT_FOR_PODS = (
    "autoscaling.knative.dev/min-scale", "autoscaling.knative.dev/max-scale", "autoscaling.knative.dev/minScale",
    "autoscaling.knative.dev/maxScale", "internal.serving.kserve.io/storage-initializer-sourceuri",
    "kubectl.kubernetes.io/last-applied-configuration", FORMAT,
)  # fmt: skip
_LABELS_NOT_FOR_PODS = ("networking.knative.dev/visibility",)


class Overlay(msgspec.Struct, frozen=True, kw_only=True):
    """What a component says of its pods. ``spec`` is a PodSpec without the component's own container."""

    spec: dict[str, Any] = {}
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    strategy: dict[str, Any] = {}

    def alone(self) -> Overlay:
        """Without the containers that run beside."""
        spec = {name: value for name, value in self.spec.items() if name != "containers"}
        return msgspec.structs.replace(self, spec=spec)


def read(fields: Fields, beside: Iterable[Container] = ()) -> Overlay:
    """What ``fields``, those of a component, say; ``beside`` are its containers that are not its own."""
    spec = fields.for_pods(POD_FIELDS)
    spec |= {name: fields.text(name) for name in ACCOUNT if fields.has(name)}
    if containers := [container.raw for container in beside]:
        spec["containers"] = containers
    fields.ignore(("labels",), "has no effect on this machine", "local")
    return Overlay(
        spec=spec,
        labels=fields.text_map("labels"),
        annotations=fields.text_map("annotations"),
        strategy=fields.mapping_for_pods("deploymentStrategy"),
    )


def composed(own: Mapping[str, Any], overlay: Overlay, context: Context, runtime: Runtime | None = None) -> Pod:
    """The pods of a component whose own container, or what is laid over it, is ``own``."""
    spec = pods.merged(runtime.pod if runtime else {}, overlay.spec)
    beside = spec.get("containers") or []
    named = {"INFERENCE_SERVICE_NAME": context.name}
    spec["containers"] = [{"name": MAIN, **own}, *(pods.with_variables(each, named) for each in beside)]
    if accelerator := context.annotations.get(_ACCELERATOR):
        selector = {"cloud.google.com/gke-accelerator": accelerator}
        spec["nodeSelector"] = {**(spec.get("nodeSelector") or {}), **selector}
    if list(spec["containers"][0]) == ["name"] and not beside:
        del spec["containers"]
    return Pod(
        main=MAIN,
        spec=spec,
        labels=_labels(overlay, context, runtime),
        annotations=_annotations(overlay, context, runtime),
        strategy=overlay.strategy,
        is_read_only=context.annotations.get(READ_ONLY, "true").lower() != "false",
    )


def program(container: Container, context: Context) -> dict[str, Any]:
    """A container as a cluster runs it; ``$(PREDICTOR_HOST)`` in its arguments is left to the target."""
    own = {**container.raw, "name": MAIN, "image": container.image}
    if container.arguments:
        own["args"] = list(container.arguments)
    variables = {"INFERENCE_SERVICE_NAME": context.name}
    if container.environment.get("STORAGE_URI") == MOUNT:
        variables["STORAGE_URI"] = MOUNT
    return pods.with_variables(own, variables)


def usual(own: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    """The container with the resources that KServe gives those of custom components."""
    return pods.with_usual_resources(own, lambda value: kubernetes.quantity(fields.reader, value, fields.path))


def laid_over(model: Fields, runtime: Runtime, fill: Callable[[Container], Container]) -> dict[str, Any]:
    """What is laid over the container that loads a model: what the file says, above what its runtime does.

    ``fill`` fills in the texts of the runtime's container.
    """
    names = ("env", "resources", *kubernetes.CONTAINER_FIELDS)
    own = {name: pods.compact(model.value[name]) for name in names if name not in OF_PROGRAMS and model.has(name)}
    if runtime.container is None:
        return usual(own, model)
    kept = ("resources", "securityContext", "volumeDevices", "volumeMounts")
    under = {name: value for name, value in runtime.container.raw.items() if name in kept}
    return pods.merged(fill(Container(raw=under)).raw, own)


def _labels(overlay: Overlay, context: Context, runtime: Runtime | None) -> dict[str, str]:
    found = {**(runtime.labels if runtime else {}), **context.labels, **overlay.labels}
    without = (*_LABELS_NOT_FOR_PODS, *_more(context, "serviceLabelDisallowedList"))
    return {name: value for name, value in found.items() if name not in without}


def _annotations(overlay: Overlay, context: Context, runtime: Runtime | None) -> dict[str, str]:
    found = {**(runtime.pod_annotations if runtime else {}), **context.annotations, **overlay.annotations}
    without = (*_NOT_FOR_PODS, *_more(context, "serviceAnnotationDisallowedList"))
    if found.get(_SCRAPED, "").lower() == "true":
        written = {name: found.get(key, usual) for name, (key, usual) in _SCRAPE.items()}
        found = {"prometheus.io/scrape": "true", **written, **found}
    return {name: value for name, value in found.items() if name not in without}


def _more(context: Context, name: str) -> list[str]:
    """What an administrator of KServe keeps from pods as well, in its config map."""
    config = context.resources.config_map("kserve", "inferenceservice-config")
    try:
        written = json.loads(config.data.get("inferenceService", "{}")) if config else {}
    except ValueError:
        return []
    found = written.get(name) if isinstance(written, dict) else None
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []
