"""How many replicas a component of an InferenceService has: its fields, and Knative's annotations."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from tiffin.dialects import kserve_automatic
from tiffin.dialects.documents import child
from tiffin.dialects.fields import ELSEWHERE, NO_BURST, NO_EFFECT, Fields, describe, one_of
from tiffin.dialects.kserve_context import Context
from tiffin.spec import Measure, Scaling, Windows
from tiffin.spec.scaling import Autoscaler, Metric

PREFIX = "autoscaling.knative.dev/"
METRICS: tuple[Metric, ...] = ("cpu", "memory", "concurrency", "rps")
_HPA: tuple[Metric, ...] = ("cpu", "memory")
_KPA: tuple[Metric, ...] = ("concurrency", "rps")

_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:ms|us|µs|ns|h|m|s))+")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}

# What an annotation sets of Windows, its bounds, and whether it is a duration.
WINDOWS: dict[str, tuple[str, float, float, bool]] = {
    "window": ("stable_seconds", 6, 3600, True),
    "panic-window-percentage": ("panic_percent", 1, 100, False),
    "panic-threshold-percentage": ("panic_threshold_percent", 110, 1000, False),
    "target-utilization-percentage": ("utilization_percent", 1, 100, False),
    "target-burst-capacity": ("burst_capacity", -1, 1e9, False),
    "scale-down-delay": ("scale_down_delay_seconds", 0, 3600, True),
    "scale-to-zero-pod-retention-period": ("zero_retention_seconds", 0, 3600, True),
    "initial-scale": ("initial_scale", 0, 1e6, False),
    "activation-scale": ("activation_scale", 1, 1e6, False),
}
_COUNTS = ("initial-scale", "activation-scale", "min-scale", "max-scale")
_OTHERS = ("class", "metric", "target", "min-scale", "max-scale")


class Annotation(msgspec.Struct, frozen=True):
    """A text and the path it was written at."""

    text: str
    path: str


def notes_of(fields: Fields, context: Context) -> dict[str, Annotation]:
    """Knative's annotations of a component by their names in dashes; its own count before those of the whole.

    The component's other annotations are for its pods, and listed as having no effect on one machine.
    """
    document = fields.reader.document.path
    root = child(child(document, "metadata"), "annotations")
    is_first = fields.path == child(child(document, "spec"), "predictor")  # which lists what concerns the whole
    own = fields.text_map("annotations")
    found: dict[str, Annotation] = {}
    for place, written in ((root, context.annotations), (fields.at("annotations"), own)):
        for key, text in written.items():
            path = child(place, key)
            if not key.startswith(PREFIX):
                if written is own:
                    fields.reader.warn(path, NO_EFFECT, "local")
                continue
            name = dashed(key)
            if name in WINDOWS or name in _OTHERS:
                found[name] = Annotation(text, path)
            elif written is own or is_first:
                fields.reader.warn(path, NO_EFFECT, "local")
                if context.mode != "Knative":
                    fields.reader.warn(path, ELSEWHERE, "kubernetes")
    return found


def dashed(key: str) -> str:
    """``min-scale`` of ``autoscaling.knative.dev/minScale``."""
    return re.sub(r"([A-Z])", r"-\1", key.removeprefix(PREFIX)).lower()


def read(fields: Fields, context: Context) -> Scaling:
    """``minReplicas``, ``maxReplicas``, ``scaleTarget``, ``scaleMetric``, ``autoScaling``, and the annotations."""
    notes = notes_of(fields, context)
    least, most = _bounds(fields, notes)
    metric, target = fields.text("scaleMetric", choices=("", *METRICS)), fields.integer("scaleTarget")
    fields.accept("scaleMetricType")  # KServe takes it and never reads it
    automatic = kserve_automatic.read(fields, context)
    measures = automatic.measures
    uses_pods = _is_hpa(context, notes)
    _check(fields, context, notes, metric, target, bool(measures))
    if metric or not measures:
        measures = (_measure(fields, notes, metric, target, uses_pods),)
    if context.scaler in ("none", "external"):
        most = None
    elif most is None and not uses_pods:
        most = 0  # Knative has no bound unless one is set; the HorizontalPodAutoscaler's is the least number
    return Scaling(
        min_replicas=least,
        max_replicas=most,
        measures=measures,
        windows=_windows(fields, notes),
        stabilization=automatic.stabilization,
        autoscaler=_autoscaler(fields, context, least, measures),
        autoscaler_spec=automatic.spec,
    )


def _autoscaler(fields: Fields, context: Context, least: int, measures: tuple[Measure, ...]) -> Autoscaler:
    """Who changes the number on a cluster, by the mode and by the class that is named."""
    if context.mode == "Knative":
        return "knative"
    if context.scaler == "hpa":
        if least > 0 and all(measure.metric in _HPA for measure in measures):
            return "hpa"
        why = "never goes to zero" if least == 0 else "does not know calls at once or a second"
        message = f"a HorizontalPodAutoscaler {why}; Tiffin's own autoscaler takes its place"
        fields.reader.warn(fields.path, message, "kubernetes")
        return ""
    known: tuple[Autoscaler, ...] = ("keda", "external", "none")
    return next((one for one in known if one == context.scaler), "")


def _is_hpa(context: Context, notes: Mapping[str, Annotation]) -> bool:
    """Whether cpu is what counts when the file does not say."""
    if "class" in notes:
        return notes["class"].text.startswith("hpa.")
    return context.mode == "Standard" or context.scaler in ("hpa", "keda")


def _bounds(fields: Fields, notes: Mapping[str, Annotation]) -> tuple[int, int | None]:
    least, most = fields.integer("minReplicas"), fields.integer("maxReplicas")
    if least is not None and least < 0:
        raise fields.error("minReplicas", "'MinReplicas' cannot be less than 0")
    if most is not None and most < 0:
        raise fields.error("maxReplicas", "'MaxReplicas' cannot be less than 0")
    if most and (1 if least is None else least) > most:
        raise fields.error("minReplicas", "'MinReplicas' cannot be greater than MaxReplicas")
    if least is None and "min-scale" in notes:
        least = int(_number(fields, notes["min-scale"], 0, 1e6, is_count=True))
    if most is None and "max-scale" in notes:
        most = int(_number(fields, notes["max-scale"], 0, 1e6, is_count=True))
    least = 1 if least is None else least
    if most and least > most:
        note = notes.get("min-scale") or notes["max-scale"]
        raise fields.reader.error(note.path, "'MinReplicas' cannot be greater than MaxReplicas")
    return least, most


def _check(
    fields: Fields,
    context: Context,
    notes: Mapping[str, Annotation],
    metric: str,
    target: int | None,
    has_measures: bool,
) -> None:
    """What KServe refuses, by the mode that was asked for; where none was, whatever one of them takes."""
    if context.mode == "Standard":
        if context.scaler == "hpa":
            _check_hpa(fields, metric, target)
        elif context.scaler == "keda" and metric:
            raise fields.error("scaleMetric", "ScaleMetric is not supported for KEDA")
    elif "class" in notes and notes["class"].text.startswith("hpa."):
        _check_hpa(fields, metric, target)
    elif context.mode == "Knative":
        if fields.has("deploymentStrategy"):
            message = "customizing deploymentStrategy is only supported for raw deployment mode"
            raise fields.error("deploymentStrategy", message)
        if metric in _HPA:
            raise fields.error("scaleMetric", f"[{metric}] is not a supported metric", f"write {one_of(_KPA)}")
    if metric == "rps" and target is not None and target < 1:
        raise fields.error("scaleTarget", "the target for rps should be greater than 1")
    if target is not None and target < 1:
        raise fields.error("scaleTarget", f"expected at least 1, found {target}")
    if metric and has_measures:
        fields.warn("autoScaling", "its metrics have no effect beside scaleMetric")


def _check_hpa(fields: Fields, metric: str, target: int | None) -> None:
    if metric in _KPA:
        raise fields.error("scaleMetric", f"[{metric}] is not a supported metric", f"write {one_of(_HPA)}")
    if target is not None and (target > 100 or (metric != "memory" and target < 1)):
        raise fields.error("scaleTarget", "the target utilization percentage should be a [1-100] integer")
    if target is not None and target < 1:
        raise fields.error("scaleTarget", "the target memory should be greater than 1 MiB")


def _measure(
    fields: Fields, notes: Mapping[str, Annotation], metric: str, target: int | None, uses_pods: bool
) -> Measure:
    if not metric and "metric" in notes:
        metric = notes["metric"].text
        if metric not in METRICS:
            raise fields.reader.error(
                notes["metric"].path, f"expected {one_of(METRICS)}, found {describe(metric)}"
            )
    wanted: float | None = target
    if wanted is None and "target" in notes:
        wanted = _number(fields, notes["target"], 0.01, 1e9)
    usual: Metric = "cpu" if uses_pods else "concurrency"
    return Measure(metric=next((known for known in METRICS if known == metric), usual), target=wanted)


def _windows(fields: Fields, notes: Mapping[str, Annotation]) -> Windows:
    found: dict[str, float] = {}
    for name, (field, least, most, is_duration) in WINDOWS.items():
        if name not in notes:
            continue
        note = notes[name]
        if field == "burst_capacity":
            fields.reader.warn(note.path, NO_BURST, "local")
        if is_duration:
            found[field] = _seconds(fields, note, least, most)
        else:
            is_count = name in _COUNTS
            number = _number(fields, note, least, most, is_count=is_count)
            found[field] = int(number) if is_count else number
    return msgspec.convert(found, Windows)


def _number(fields: Fields, note: Annotation, least: float, most: float, *, is_count: bool = False) -> float:
    pattern = r"-?[0-9]{1,9}" if is_count else r"-?[0-9]{1,9}(\.[0-9]{1,9})?"
    if not re.fullmatch(pattern, note.text) or not least <= float(note.text) <= most:
        kind = "a whole number" if is_count else "a number"
        bound = f"from {least:g} to {most:g}" if most < 1e6 else f"of at least {least:g}"
        raise fields.reader.error(note.path, f"expected {kind} {bound}, found {describe(note.text)}")
    return float(note.text)


def _seconds(fields: Fields, note: Annotation, least: float, most: float) -> float:
    if note.text == "0":
        found = 0.0
    elif len(note.text) <= 40 and _DURATION.fullmatch(note.text):
        parts = re.findall(r"([0-9]+(?:\.[0-9]+)?)(ms|us|µs|ns|h|m|s)", note.text)
        found = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    else:
        found = -1.0
    if not least <= found <= most:
        message = f'expected a duration such as "30s" from {least:g}s to {most:g}s, found {describe(note.text)}'
        raise fields.reader.error(note.path, message)
    return found
