"""``seldon_core.user_model``: the optional base class, and what its methods may give back."""

from __future__ import annotations

from typing import Any

# Relative, because this file is imported as seldon_core.user_model.
from .flask_utils import SeldonMicroserviceException


class SeldonNotImplementedError(SeldonMicroserviceException):
    """Raised by a ``*_raw`` method that wants the plain one to be called instead."""


class SeldonResponse:
    """A result with tags and metrics of this one call.

    Args:
        data: What the method would otherwise return.
        tags: Added to ``meta.tags``; wins over ``tags()``.
        metrics: Added to ``meta.metrics``.
    """

    def __init__(
        self, data: Any, tags: dict[str, Any] | None = None, metrics: list[dict[str, Any]] | None = None
    ) -> None:
        self.data = data
        self.tags = tags if tags is not None else {}
        self.metrics = metrics if metrics is not None else []

    @classmethod
    def create(cls, data: Any) -> SeldonResponse:
        """``data`` itself when it is a response already, else a response of it."""
        return data if isinstance(data, cls) else cls(data)


def _absent(name: str) -> Any:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise SeldonNotImplementedError(f"{name} is not implemented")

    method.__name__ = name
    method.__qualname__ = f"SeldonComponent.{name}"
    return method


class SeldonComponent:
    """A base class nobody needs: its methods count as not written."""

    def __init__(self, **kwargs: Any) -> None:
        pass


for _name in (
    *("load", "tags", "metrics", "class_names", "feature_names", "init_metadata", "custom_service"),
    *(
        "predict",
        "predict_raw",
        "transform_input",
        "transform_input_raw",
        "transform_output",
        "transform_output_raw",
    ),
    *("route", "route_raw", "aggregate", "aggregate_raw", "send_feedback", "send_feedback_raw"),
    *("health_status", "health_status_raw"),
):
    setattr(SeldonComponent, _name, _absent(_name))
