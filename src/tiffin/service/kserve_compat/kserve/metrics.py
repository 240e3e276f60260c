"""``kserve.metrics``: how long each part of a call takes."""

from __future__ import annotations

from prometheus_client import Histogram

PROM_LABELS = ["model_name"]


def _histogram(part: str) -> Histogram:
    return Histogram(f"request_{part}_seconds", f"time of {part}, in seconds", PROM_LABELS)


PRE_HIST_TIME = _histogram("preprocess")
POST_HIST_TIME = _histogram("postprocess")
PREDICT_HIST_TIME = _histogram("predict")
EXPLAIN_HIST_TIME = _histogram("explain")


def get_labels(model_name: str) -> dict[str, str]:
    """The labels of a model."""
    return {"model_name": model_name}
