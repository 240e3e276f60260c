"""Tiffin: one system that serves machine-learning models from a laptop to Kubernetes.

What authors write is imported from here and loaded on first use, so that ``import tiffin`` stays cheap::

    import tiffin

    @tiffin.service
    class Iris: ...
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field

    from tiffin.client.service_async import AsyncHTTPClient
    from tiffin.client.service_blocking import SyncHTTPClient
    from tiffin.codec.io_model import IODescriptor
    from tiffin.errors import TiffinError
    from tiffin.service import exceptions, images, metrics, validators
    from tiffin.service.arguments import use_arguments
    from tiffin.service.context import Context, Cookie, get_current_service, importing, server_context
    from tiffin.service.decorating import service
    from tiffin.service.definition import Service
    from tiffin.service.dependency import depends
    from tiffin.service.endpoint import api
    from tiffin.service.hooks import on_deployment, on_shutdown, on_startup
    from tiffin.service.loading import load
    from tiffin.service.monitoring import monitor
    from tiffin.service.mounts import asgi_app
    from tiffin.service.serving import serve
    from tiffin.service.task_endpoint import task
    from tiffin.service.task_run import current_task

__version__ = "0.1.0"

# Where each public name lives; ``module:`` is the module itself.
_HOMES = {
    "TiffinError": "tiffin.errors",
    "service": "tiffin.service:",
    "Service": "tiffin.service.definition",
    "api": "tiffin.service.endpoint",
    "task": "tiffin.service.task_endpoint",
    "current_task": "tiffin.service.task_run",
    "depends": "tiffin.service.dependency",
    "Dependency": "tiffin.service.dependency",
    "on_startup": "tiffin.service.hooks",
    "on_shutdown": "tiffin.service.hooks",
    "on_deployment": "tiffin.service.hooks",
    "Context": "tiffin.service.context",
    "Cookie": "tiffin.service.context",
    "server_context": "tiffin.service.context",
    "get_current_service": "tiffin.service.context",
    "importing": "tiffin.service.context",
    "load": "tiffin.service.loading",
    "asgi_app": "tiffin.service.mounts",
    "mount_asgi_app": "tiffin.service.mounts",
    "use_arguments": "tiffin.service.arguments",
    "monitor": "tiffin.service.monitoring",
    "serve": "tiffin.service.serving",
    "load_config": "tiffin.service.configuration",
    "save_config": "tiffin.service.configuration",
    "metrics": "tiffin.service.metrics:",
    "monitoring": "tiffin.service.monitoring:",
    "gradio": "tiffin.service.gradio:",
    "SyncHTTPClient": "tiffin.client.service_blocking",
    "AsyncHTTPClient": "tiffin.client.service_async",
    "IODescriptor": "tiffin.codec.io_model",
    "Field": "pydantic",
    "validators": "tiffin.validators:",
    "exceptions": "tiffin.exceptions:",
    "images": "tiffin.images:",
    "testing": "tiffin.testing:",
    "models": "tiffin.models:",
    "Model": "tiffin.service.models",
    "Tag": "tiffin.store.tags",
    "Bento": "tiffin.bundle.api",
    "bentos": "tiffin.bundle.api:",
    "build": "tiffin.bundle.api",
    "delete": "tiffin.bundle.api",
    "export_bento": "tiffin.bundle.api",
    "get": "tiffin.bundle.api",
    "import_bento": "tiffin.bundle.api",
    "list": "tiffin.bundle.api",
    **dict.fromkeys(
        ("catboost", "keras", "lightgbm", "mlflow", "onnx", "picklable_model", "pytorch", "sklearn", "tensorflow",
         "torchscript", "transformers", "xgboost"), "tiffin.service.frameworks",
    ),
}  # fmt: skip

__all__ = [
    "AsyncHTTPClient",
    "Context",
    "Cookie",
    "Field",
    "IODescriptor",
    "Service",
    "SyncHTTPClient",
    "TiffinError",
    "__version__",
    "api",
    "asgi_app",
    "current_task",
    "depends",
    "exceptions",
    "get_current_service",
    "images",
    "importing",
    "load",
    "metrics",
    "monitor",
    "on_deployment",
    "on_shutdown",
    "on_startup",
    "serve",
    "server_context",
    "service",
    "task",
    "use_arguments",
    "validators",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        value = _absent(name)
    elif home.endswith(":"):
        value = import_module(home[:-1])
    else:
        value = getattr(import_module(home), name)
    globals()[name] = value
    return value


def _absent(name: str) -> Any:
    """Names of BentoML that this version does not have import, and refuse when used."""
    if not name.startswith("_"):
        from tiffin.service import absent

        if name in absent.NAMES:
            return getattr(absent, name)
    raise AttributeError(f"module 'tiffin' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
