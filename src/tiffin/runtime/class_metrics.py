"""The metrics a class returns from ``metrics()``, for Prometheus, under the names and labels Seldon gives them.

A COUNTER ``key`` is ``key_total``, a GAUGE ``key``; a TIMER, in milliseconds, is a histogram ``key`` in seconds.
Feedback counts as ``seldon_api_model_feedback_total`` and ``seldon_api_model_feedback_reward_total``.
"""

from __future__ import annotations

import logging
import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

MOST_SERIES = 1000
"""Per worker: labels come from the author, and an author may put a caller's words into them."""

# Seldon's: 0, then 50 from a millisecond to 30 seconds in equal ratios.
SECONDS = (0.0, *(0.001 * 30_000 ** (i / 49) for i in range(50)))
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")

Labels = tuple[tuple[str, str], ...]


class ClassMetrics:
    """Takes metrics from any thread, and is a collector for prometheus_client.

    Args:
        labels: on every series, for example ``{"model_name": "clf"}``.
    """

    def __init__(self, labels: Mapping[str, str]) -> None:
        self._labels = dict(labels)
        self._lock = threading.Lock()
        self._values: dict[tuple[str, str], dict[Labels, float]] = {}
        self._timers: dict[str, dict[Labels, list[float]]] = {}
        self._series = 0
        self._warned: set[str] = set()

    def record(self, metrics: Iterable[Mapping[str, Any]], method: str) -> None:
        """Count what one call reported; records are those ``plain_class`` has checked."""
        for metric in metrics:
            kind, key, value = metric["type"], metric["key"], float(metric["value"])
            tags = metric.get("tags") or {}
            if not _NAME.fullmatch(key) or not all(isinstance(t, str) and _LABEL.fullmatch(t) for t in tags):
                self._warn(key, "expected letters, digits and _ in its key and tags")
                continue
            labels = self._labels | {name: str(tag) for name, tag in tags.items()} | {"method": method}
            self._add(kind, key, value, tuple(sorted(labels.items())))

    def feedback(self, reward: float) -> None:
        """Count one reward, zeros as well."""
        labels = tuple(sorted((self._labels | {"method": "feedback"}).items()))
        self._add("COUNTER", "seldon_api_model_feedback", 1.0, labels)
        self._add("COUNTER", "seldon_api_model_feedback_reward", reward, labels)

    def _add(self, kind: str, key: str, value: float, labels: Labels) -> None:
        with self._lock:
            if kind == "TIMER":
                timers = self._timers.setdefault(key, {})
                if (counts := timers.get(labels)) is None:
                    if not self._has_room(key):
                        return
                    counts = timers[labels] = [0.0] * (len(SECONDS) + 2)
                seconds = value / 1000
                counts[bisect_left(SECONDS, seconds)] += 1
                counts[-1] += seconds
                return
            values = self._values.setdefault((kind, key), {})
            if labels not in values and not self._has_room(key):
                return
            values[labels] = value if kind == "GAUGE" else values.get(labels, 0.0) + value

    def _has_room(self, key: str) -> bool:
        if self._series >= MOST_SERIES:
            self._warn(key, f"there are {MOST_SERIES} series already")
            return False
        self._series += 1
        return True

    def _warn(self, key: str, why: str) -> None:
        if key not in self._warned and len(self._warned) < MOST_SERIES:
            self._warned.add(key)
            log.warning("the metric %.80r is not counted: %s", key, why)

    def collect(self) -> Iterator[Metric]:
        """Every series, for prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        with self._lock:
            values = {name: dict(series) for name, series in self._values.items()}
            timers = {
                key: {labels: list(c) for labels, c in series.items()} for key, series in self._timers.items()
            }
        for (kind, key), series in values.items():
            family = CounterMetricFamily if kind == "COUNTER" else GaugeMetricFamily
            found = family(key, f"{key}, as the class reports it.")
            for labels, value in series.items():
                # Sample by sample: the labels of two reports of one key need not be the same.
                name = f"{found.name}_total" if kind == "COUNTER" else found.name
                found.add_sample(name, dict(labels), value)
            yield found
        for key, timed in timers.items():
            histogram = HistogramMetricFamily(key, f"{key} in seconds, as the class reports it.")
            for labels, counts in timed.items():
                below = 0.0
                for bound, count in zip((*SECONDS, float("inf")), counts[:-1], strict=True):
                    below += count
                    text = "+Inf" if bound == float("inf") else repr(bound)
                    histogram.add_sample(f"{key}_bucket", {**dict(labels), "le": text}, below)
                histogram.add_sample(f"{key}_count", dict(labels), below)
                histogram.add_sample(f"{key}_sum", dict(labels), counts[-1])
            yield histogram
