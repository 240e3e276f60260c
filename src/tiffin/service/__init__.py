"""What authors write: services, endpoints, dependencies, hooks.

Lives here: the decorators and what they make (``definition``, ``endpoint``), reading a target from a
directory (``loading``), and the ``bentoml`` module Tiffin provides where the real one is not installed
(``compat``). Next door: ``codec`` says what annotations mean on the wire, ``runtime`` serves.
User code is only ever imported by ``loading``. The package can be called: ``tiffin.service`` is the decorator
and the package at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

_HOMES = {
    "Service": "definition",
    "service": "decorating",
    "Endpoint": "endpoint",
    "api": "endpoint",
    "task": "task_endpoint",
    "current_task": "task_run",
    "depends": "dependency",
    "Dependency": "dependency",
    "Context": "context",
    "Cookie": "context",
    "server_context": "context",
    "get_current_service": "context",
    "importing": "context",
    "on_startup": "hooks",
    "on_shutdown": "hooks",
    "on_deployment": "hooks",
    "load": "loading",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)


class _CallableModule(ModuleType):
    """Importing a submodule binds ``tiffin.service`` to this package; ``@tiffin.service`` works all the same."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        from tiffin.service.decorating import service

        return service(*args, **kwargs)


sys.modules[__name__].__class__ = _CallableModule
