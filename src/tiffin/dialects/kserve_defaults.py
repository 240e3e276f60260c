"""An InferenceService as KServe keeps it: what its webhook adds to what somebody wrote."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tiffin.dialects.kserve_context import FORMAT, MODE, MODES
from tiffin.dialects.kserve_predictor import LEGACY
from tiffin.dialects.runtimes import MAIN, TRANSFORMER

_RESOURCES = {"cpu": "1", "memory": "2Gi"}
_ON_V2 = ("triton", "vLLM")
_LEGACY_ON_V2 = ("triton", "onnx", "huggingface")


def defaulted(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with KServe's defaults, for those who look at it; it was read without fault before.

    The older ``sklearn:`` becomes ``model:``, names of modes and containers become those of today, containers get
    resources and the annotation ``modelFormat`` is set.
    """
    spec = dict(document.get("spec") or {})
    spec["predictor"] = _predictor(spec.get("predictor") or {})
    for name in ("transformer", "explainer"):
        if spec.get(name):
            spec[name] = _contained(spec[name])
    metadata = dict(document.get("metadata") or {})
    annotations = _annotations(dict(metadata.get("annotations") or {}), spec["predictor"])
    if annotations:
        metadata["annotations"] = annotations
    return {**document, "metadata": metadata, "spec": spec}


def _annotations(annotations: dict[str, str], predictor: Mapping[str, Any]) -> dict[str, str]:
    if annotations.get(MODE) in MODES:
        annotations[MODE] = MODES[annotations[MODE]]
    described = (predictor.get("model") or {}).get("modelFormat") or {}
    if described.get("name"):
        annotations.setdefault(FORMAT, described["name"])
    return annotations


def _predictor(predictor: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(predictor)
    legacy = next((format for format in LEGACY if found.get(format) is not None), "")
    if legacy:
        found["model"] = {"modelFormat": {"name": legacy}, **found.pop(legacy)}
    if found.get("model"):
        model = dict(found["model"])
        format = (model.get("modelFormat") or {}).get("name", "")
        if not model.get("protocolVersion") and (legacy in _LEGACY_ON_V2 or format in _ON_V2):
            model["protocolVersion"] = "v2"
        return {**found, "model": model}
    return _contained(found)


def _contained(component: Mapping[str, Any]) -> dict[str, Any]:
    """A component of containers: the first, or the only one, is its own."""
    containers = [dict(container) for container in component.get("containers") or ()]
    if not containers:
        return dict(component)
    first = containers[0]
    if first.get("name") != TRANSFORMER and (len(containers) == 1 or not first.get("name")):
        first["name"] = MAIN
    resources = first.get("resources") or {}
    first["resources"] = {
        **resources,
        **{kind: {**_RESOURCES, **(resources.get(kind) or {})} for kind in ("limits", "requests")},
    }
    return {**component, "containers": containers}
