"""How many replicas a component has, and what makes their number change."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Metric = Literal["concurrency", "rps", "cpu", "memory"]
Autoscaler = Literal["", "tiffin", "hpa", "keda", "knative", "external", "none"]
"""Who changes the number on a cluster. Empty: ``hpa`` where only cpu and memory are measured and there is always a
replica, else ``tiffin``. ``none`` keeps ``min_replicas``; ``external`` leaves the number to others."""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is kept near a target.

    ``target``: calls at once per replica (``concurrency``), calls a second per replica (``rps``), or a
    percentage of what a replica asks for (``cpu``, ``memory``); with ``is_value``, an average amount instead
    (cores, bytes). ``None``: the metric's usual target (100 calls at once, 200 a second, 80 %).
    """

    metric: Metric = "concurrency"
    target: float | None = None
    is_value: bool = False


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of Knative's autoscaler, with its defaults. Seconds, percentages and rates.

    ``utilization_percent`` of the target is what is aimed at. ``burst_capacity``: calls that may arrive at once
    without waiting for a replica; -1 is unlimited. ``activation_scale``: the least number when leaving zero.
    """

    stable_seconds: float = 60.0
    panic_percent: float = 10.0
    panic_threshold_percent: float = 200.0
    utilization_percent: float = 70.0
    burst_capacity: float = 211.0
    scale_down_delay_seconds: float = 0.0
    zero_grace_seconds: float = 30.0
    zero_retention_seconds: float = 0.0
    activation_scale: int = 1
    initial_scale: int = 1
    max_up_rate: float = 1000.0
    max_down_rate: float = 2.0


class Stabilization(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of Kubernetes' HorizontalPodAutoscaler, with its defaults. Seconds and a ratio."""

    up_seconds: float = 0.0
    down_seconds: float = 300.0
    tolerance: float = 0.1


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """From ``min_replicas`` (0: none while nobody calls) to ``max_replicas``.

    ``max_replicas`` of ``None`` is ``max(1, min_replicas)``, so nothing scales; 0 is no limit but the machine's.
    ``autoscaler_spec`` is laid over the spec of the object that ``autoscaler`` reads, in that object's own words
    (``metrics`` and ``behavior`` of an HPA, ``triggers`` of a ScaledObject); a target without it warns.
    """

    min_replicas: int = 1
    max_replicas: int | None = None
    measures: tuple[Measure, ...] = (Measure(),)
    windows: Windows = Windows()
    stabilization: Stabilization = Stabilization()
    autoscaler: Autoscaler = ""
    autoscaler_spec: dict[str, Any] = {}

    @property
    def is_fixed(self) -> bool:
        """Whether the number never changes by itself."""
        return self.min_replicas > 0 and (self.max_replicas is None or 0 < self.max_replicas <= self.min_replicas)
