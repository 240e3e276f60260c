"""Tiffin: one system that serves machine-learning models from a laptop to Kubernetes.

What authors write is imported from here and loaded on first use, so that ``import tiffin`` stays cheap::

    import tiffin

    @tiffin.service
    class Iris: ...
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "TiffinError": "tiffin.errors",
}

__all__ = ["TiffinError", "__version__"]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'tiffin' has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
