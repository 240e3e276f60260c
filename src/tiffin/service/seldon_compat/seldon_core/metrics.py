"""``seldon_core.metrics``: the records a class returns from ``metrics()``."""

from __future__ import annotations

from typing import Any

COUNTER = "COUNTER"
GAUGE = "GAUGE"
TIMER = "TIMER"


def create_counter(key: str, value: float, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """Something that adds up; ``value`` is what to add."""
    return _record(COUNTER, key, value, tags)


def create_gauge(key: str, value: float, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """Something that goes up and down; ``value`` is how much it is now."""
    return _record(GAUGE, key, value, tags)


def create_timer(key: str, value: float, tags: dict[str, str] | None = None) -> dict[str, Any]:
    """How long something took; ``value`` is in milliseconds."""
    return _record(TIMER, key, value, tags)


def _record(kind: str, key: str, value: float, tags: dict[str, str] | None) -> dict[str, Any]:
    record: dict[str, Any] = {"key": key, "type": kind, "value": value}
    return record if tags is None else record | {"tags": tags}
