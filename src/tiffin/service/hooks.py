"""Methods that run when a service starts, stops or is deployed.

The marks are attributes on the functions; those of the real bentoml are read as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

F = TypeVar("F", bound=Callable[..., Any])
Moment = Literal["startup", "shutdown", "deployment"]


def on_startup(method: F) -> F:
    """Run the method once per worker, after ``__init__`` and before the first call; may be async."""
    return _mark(method, "startup")


def on_shutdown(method: F) -> F:
    """Run the method once per worker, after the last call; may be async."""
    return _mark(method, "shutdown")


def on_deployment(function: Callable[..., Any]) -> staticmethod[..., Any]:
    """Run the function, which takes no ``self``, before any instance of the service is made."""
    inner = function.__func__ if isinstance(function, staticmethod) else function
    _mark(inner, "deployment")
    return function if isinstance(function, staticmethod) else staticmethod(function)


def _mark(function: F, moment: Moment) -> F:
    setattr(function, f"__tiffin_{moment}__", True)
    return function


def hooks_of(cls: type, moment: Moment) -> list[str]:
    """Names of the attributes marked for a moment, inherited ones included."""
    marks = (f"__tiffin_{moment}__", f"__bentoml_{moment}_hook__")
    found = []
    for name in dir(cls):
        if name.startswith("__"):
            continue
        member = getattr(cls, name, None)
        if callable(member) and any(mark in getattr(member, "__dict__", {}) for mark in marks):
            found.append(name)
    return found
