"""Metrics of a service's own: prometheus_client's, which appear on its ``/metrics``, summed over its workers."""

from __future__ import annotations

from typing import Any

from tiffin.errors import ServiceError

_ABSENT = {"Info": "a Gauge with labels, set to 1", "Enum": "a Gauge with a label for the state"}


def __getattr__(name: str) -> Any:
    if name in _ABSENT:
        raise ServiceError(
            f"metrics.{name} cannot be put together from several workers", hint=f"use {_ABSENT[name]}"
        )
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import prometheus_client

    return getattr(prometheus_client, name)
