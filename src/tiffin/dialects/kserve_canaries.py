"""``spec.canary[]``: predictors beside the stable one, each written as what differs from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from tiffin.dialects import kserve_predictor
from tiffin.dialects.documents import child
from tiffin.dialects.fields import Fields, Reader
from tiffin.dialects.kserve_context import Context
from tiffin.dialects.kserve_predictor import LEGACY, Predictor
from tiffin.errors import SpecError
from tiffin.spec import ContainerSource, Scaling, Variant

_FIXED = ("maxReplicas", "scaleTarget", "scaleMetric", "autoScaling")
_NOT_INHERITED = (*_FIXED, "minReplicas", "canaryTrafficPercent")


def read(spec: Fields, predictor: Fields, stable: Predictor, context: Context) -> tuple[Variant, ...]:
    """The canaries as variants with their percentages.

    Raises:
        SpecError: KServe would refuse them.
    """
    entries = spec.mappings("canary")
    if not entries:
        return ()
    if context.mode not in ("", "Standard"):
        raise spec.error("canary", "canary is only supported in Standard deployment mode")
    if isinstance(stable.component.source, ContainerSource) and not stable.format:
        message = "canary requires a stable predictor with a model "
        raise spec.error("canary", message + "(multi-model serving is not supported with canary)")
    found: list[Variant] = []
    names = {stable.name}
    for index, entry in enumerate(entries):
        variant = _canary(entry, index, predictor, stable, context)
        if variant.name in names:
            conflict = "conflicts with stable predictor name" if variant.name == stable.name else "is duplicated"
            at = child(entry.at("predictor"), "name")
            raise entry.reader.error(at, f'canary predictor.name "{variant.name}" {conflict}')
        names.add(variant.name)
        found.append(variant)
    total = int(sum(variant.weight for variant in found))
    if total > 100:
        raise spec.error("canary", f"sum of canary trafficPercent values ({total}) must be <= 100")
    return tuple(found)


def _canary(entry: Fields, index: int, predictor: Fields, stable: Predictor, context: Context) -> Variant:
    overlay = entry.section("predictor")
    name = overlay.text("name")
    if not name:
        overlay.miss("name")
        raise overlay.error("name", f"canary[{index}] predictor.name is required")
    percent = entry.integer("trafficPercent")
    if percent is None:
        entry.require("trafficPercent")
        percent = 0
    if not 0 <= percent <= 100:
        message = f'canary "{name}" trafficPercent must be between 0 and 100, got {percent}'
        raise entry.error("trafficPercent", message)
    for field in ("workerSpec", *_FIXED):
        if overlay.value.get(field) not in (None, 0):
            reason = (
                "multi-node is not yet supported for canary"
                if field == "workerSpec"
                else "canary uses fixed replicas"
            )
            raise overlay.error(field, f'canary "{name}" must not set {field} ({reason})')
    least = overlay.integer("minReplicas")
    most = stable.component.scaling.min_replicas
    if least is not None and least > most:
        message = f'canary "{name}" minReplicas ({least}) must not exceed stable predictor minReplicas ({most})'
        raise overlay.error("minReplicas", message)
    if not any(overlay.value.get(field) is not None for field in ("model", *LEGACY)):
        for field in ("model", *LEGACY):
            overlay.miss(field)
        message = f'canary "{name}" predictor: exactly one of [model, {", ".join(LEGACY)}] must be specified'
        raise overlay.error("", message + " in PredictorSpec")
    read = _merged(overlay, predictor, context)
    replicas = math.ceil(most * percent / 100) if least is None else least
    component = msgspec.structs.replace(read.component, scaling=Scaling(min_replicas=replicas))
    return Variant(name=name, components=(component,), weight=float(percent))


def _merged(overlay: Fields, predictor: Fields, context: Context) -> Predictor:
    """The stable predictor with the overlay over it, read with warnings for what the overlay says only."""
    overlay.known.update(overlay.value)
    inherited = {key: value for key, value in _as_model(predictor.value).items() if key not in _NOT_INHERITED}
    value = _over(inherited, _as_model(overlay.value))
    document = msgspec.structs.replace(overlay.reader.document, value=value)
    reader = Reader(document, overlay.reader.target)

    def written(path: str) -> str:
        """The path of what is read as the model's, where the overlay has the older form."""
        model, legacy = overlay.at("model"), next((name for name in LEGACY if name in overlay.value), "model")
        return overlay.at(legacy) + path[len(model) :] if path.startswith(model) else path

    try:
        found = kserve_predictor.read(reader.open(value, overlay.path), context)
        warnings = reader.finish()
    except SpecError as error:
        raise overlay.reader.error(written(error.at or ""), error.message, error.hint) from None
    own = _paths(_as_model(overlay.value), overlay.path)
    overlay.reader.warnings += [
        msgspec.structs.replace(warning, path=written(warning.path)) for warning in warnings if warning.path in own
    ]
    return found


def _as_model(predictor: Mapping[str, Any]) -> dict[str, Any]:
    """The predictor as KServe keeps it: the older ``sklearn:`` written as ``model:``."""
    for format in LEGACY:
        legacy = predictor.get(format)
        if isinstance(legacy, dict):
            rest = {key: value for key, value in predictor.items() if key != format}
            protocol = {"protocolVersion": "v2"} if format in ("triton", "onnx", "huggingface") else {}
            return {**rest, "model": {"modelFormat": {"name": format}, **protocol, **legacy}}
    return dict(predictor)


def _over(under: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Mappings are merged; anything else that says something takes the place of what was there."""
    result = dict(under)
    for key, value in over.items():
        held = result.get(key)
        if isinstance(value, dict) and isinstance(held, dict):
            result[key] = _over(held, value)
        elif value is not None:
            result[key] = value
    return result


def _paths(value: Any, path: str) -> set[str]:
    """The paths of all fields and items of a value."""
    found = {path}
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= _paths(inner, child(path, key))
    return found
