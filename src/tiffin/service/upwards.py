"""What an author calls on a Service and the serving side does: found by name, at the call.

The serving side is built on this package, so nothing here imports it; without such a call it is never loaded.
"""

from __future__ import annotations

import importlib
from types import ModuleType


def import_module(name: str) -> ModuleType:
    """A module of the serving side."""
    return importlib.import_module(name)
