"""The ``bentoml`` module for environments without bentoml, put together from ours on import.

The finder stands last on ``sys.meta_path``: an installed bentoml, or one of the author's, is found first.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import ModuleSpec
from operator import attrgetter
from types import ModuleType
from typing import Any

from tiffin.service import absent

NAME = "bentoml"

# Name -> module and attribute; "" is the module itself.
_NAMES: dict[str, dict[str, tuple[str, str]]] = {
    "bentoml": {
        "api": ("tiffin.service.endpoint", "api"),
        "task": ("tiffin.service.task_endpoint", "task"),
        "Service": ("tiffin.service.definition", "Service"),
        "depends": ("tiffin.service.dependency", "depends"),
        "Dependency": ("tiffin.service.dependency", "Dependency"),
        "on_startup": ("tiffin.service.hooks", "on_startup"),
        "on_shutdown": ("tiffin.service.hooks", "on_shutdown"),
        "on_deployment": ("tiffin.service.hooks", "on_deployment"),
        "Context": ("tiffin.service.context", "Context"),
        "Cookie": ("tiffin.service.context", "Cookie"),
        "server_context": ("tiffin.service.context", "server_context"),
        "get_current_service": ("tiffin.service.context", "get_current_service"),
        "importing": ("tiffin.service.context", "importing"),
        "IODescriptor": ("tiffin.codec.io_model", "IODescriptor"),
        "Field": ("pydantic", "Field"),
        "load": ("tiffin.service.loading", "load"),
        "SyncHTTPClient": ("tiffin.client.service_blocking", "SyncHTTPClient"),
        "AsyncHTTPClient": ("tiffin.client.service_async", "AsyncHTTPClient"),
        "asgi_app": ("tiffin.service.mounts", "asgi_app"),
        "mount_asgi_app": ("tiffin.service.mounts", "asgi_app"),
        "use_arguments": ("tiffin.service.arguments", "use_arguments"),
        "monitor": ("tiffin.service.monitoring", "monitor"),
        "serve": ("tiffin.service.serving", "serve"),
        "load_config": ("tiffin.service.configuration", "load_config"),
        "save_config": ("tiffin.service.configuration", "save_config"),
        "Model": ("tiffin.service.models", "Model"),
        **{
            name: ("tiffin.bundle.api", name)
            for name in ("Bento", "build", "delete", "export_bento", "get", "import_bento", "list")
        },
        "Tag": ("tiffin.store.tags", "Tag"),
    },
    "bentoml.validators": {
        name: ("tiffin.service.validators", name)
        for name in (
            "ContentType",
            "DType",
            "DataframeSchema",
            "FileSchema",
            "PILImageEncoder",
            "Shape",
            "TensorSchema",
        )
    },
    "bentoml.metrics": {"*": ("tiffin.service.metrics", "")},
    "bentoml.monitoring": {
        "monitor": ("tiffin.service.monitoring", "monitor"),
        "MonitorBase": ("tiffin.service.monitoring", "Monitor"),
    },
    "bentoml.gradio": {"mount_gradio_app": ("tiffin.service.gradio", "mount_gradio_app")},
    "bentoml.exceptions": {"*": ("tiffin.service.exceptions", "")},
    "bentoml.images": {"Image": ("tiffin.service.images", "Image")},
    "bentoml.models": {
        "ModelContext": ("tiffin.service.absent", "ModelContext"),
        "ModelOptions": ("tiffin.service.absent", "ModelOptions"),
        "*": ("tiffin.service.models", ""),
    },
    **{
        f"bentoml.{framework}": {
            name: ("tiffin.service.frameworks", f"{framework}.{name}")
            for name in ("get", "load_model", "save_model")
        }
        for framework in (
            *("catboost", "keras", "lightgbm", "mlflow", "onnx", "picklable_model", "pytorch", "sklearn"),
            *("tensorflow", "torchscript", "transformers", "xgboost"),
        )
    },
    "bentoml.bentos": {"*": ("tiffin.bundle.api", "")},
    "bentoml.client": {
        "SyncHTTPClient": ("tiffin.client.service_blocking", "SyncHTTPClient"),
        "AsyncHTTPClient": ("tiffin.client.service_async", "AsyncHTTPClient"),
    },
}


class _Provided(ModuleType):
    """A module whose attributes come from ours when they are first asked for."""

    def __getattr__(self, name: str) -> Any:
        value = self._find(name)
        setattr(self, name, value)
        return value

    def _find(self, name: str) -> Any:
        whole = self.__name__
        if whole not in _NAMES:
            if name.startswith("__"):
                raise AttributeError(f"Tiffin's {whole} has no attribute {name!r}")
            return absent.Absent(f"{whole}.{name}", _instead_of(whole) or "")
        table = _NAMES[whole]
        if name in table:
            home, attribute = table[name]
            return attrgetter(attribute)(import_module(home))
        if "*" in table and not name.startswith("_"):
            module = import_module(table["*"][0])
            if hasattr(module, name):
                return getattr(module, name)
        if whole == NAME:
            if name == "service":
                return _service
            if f"{NAME}.{name}" in _NAMES:
                return import_module(f"{NAME}.{name}")
            if instead := _instead_of(f"{NAME}.{name}"):
                return absent.Absent(f"{NAME}.{name}", instead)
        raise AttributeError(f"Tiffin's {whole} has no attribute {name!r}")


def _instead_of(whole: str) -> str | None:
    """What to do without a name of BentoML, or one in a module of it, that Tiffin does not have."""
    package, _, name = whole.partition(".")
    name = name.partition(".")[0]
    return getattr(absent, name)._instead if package == NAME and name in absent.NAMES else None


def _service(inner: type[Any] | None = None, /, **options: Any) -> Any:
    """``bentoml.service``: unknown options are warnings here, as BentoML ignores them."""
    from tiffin.service.decorating import decorate

    return decorate(inner, options, is_strict=False)


class _Finder:
    """Finds ``bentoml`` and its submodules when nobody before did."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _NAMES and _instead_of(name) is None:
            return None
        if name != NAME and not isinstance(sys.modules.get(NAME), _Provided):
            return None
        # Modules that we do not have are packages, for what is in them to be refused by name, too.
        return ModuleSpec(name, self, is_package=name == NAME or name not in _NAMES)  # type: ignore[arg-type]

    def create_module(self, specification: ModuleSpec) -> ModuleType:
        return _Provided(specification.name)

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == NAME:
            from tiffin import __version__

            module.__version__ = f"1.4+tiffin.{__version__}"  # type: ignore[attr-defined]


_finder = _Finder()


def install() -> Callable[[], None]:
    """Put the finder in place, once; the result takes it out again."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
    return partial(_remove)


def _remove() -> None:
    if _finder in sys.meta_path:
        sys.meta_path.remove(_finder)
    for name in [n for n, module in sys.modules.items() if isinstance(module, _Provided)]:
        del sys.modules[name]
