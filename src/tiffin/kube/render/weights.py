"""Shares of calls in the whole numbers that the Gateway API takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def fraction(percent: float) -> dict[str, Any]:
    """A percentage of copies as a RequestMirror says it."""
    if float(percent).is_integer():
        return {"percent": int(percent)}
    return {"fraction": {"numerator": max(1, round(percent * 100)), "denominator": 10_000}}


def whole(weights: Sequence[float]) -> list[int]:
    """The same proportions in whole numbers: as they are where they are whole, else hundredths of a percent."""
    rounded = [round(weight, 6) for weight in weights]
    if all(weight.is_integer() and weight > 0 for weight in rounded):
        return [int(weight) for weight in rounded]
    total = sum(weights)
    return [max(1, round(weight / total * 10_000)) for weight in weights]
