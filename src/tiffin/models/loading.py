"""From a model source and a local path to a loaded model, with only the framework it needs imported."""

from __future__ import annotations

import contextlib
import importlib
from pathlib import Path
from typing import TYPE_CHECKING

from tiffin.errors import MissingExtra
from tiffin.models import formats

if TYPE_CHECKING:
    from tiffin.models.model import SavedModel
    from tiffin.spec import ModelSource

_PACKAGES = {
    "numpy": "numpy",
    "sklearn": "sklearn",
    "joblib": "sklearn",
    "scipy": "sklearn",
    "skops": "skops",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnxruntime": "onnx",
}
"""Top-level packages and the extra of Tiffin's that installs each."""


def load(source: ModelSource, path: Path, *, threads: int = 1) -> SavedModel:
    """Find, check and load the model at ``path`` (a local file or directory).

    ``threads`` is how many cores one predict may use, for frameworks with threads of their own.

    Raises:
        ModelError: it cannot be found, read or loaded, or lacks the method asked for.
        UntrustedArtefact: it would import what is not allowed.
        MissingExtra: its framework is not installed.
    """
    found = formats.find(path, source.format)
    return load_file(found, method=source.method, trust=source.trust, threads=threads)


def framework(format: str) -> None:
    """Import what reads this format; what is missing is told when a model of it is loaded."""
    with contextlib.suppress(ImportError):
        importlib.import_module(f"tiffin.models.{format}")


def load_file(
    found: formats.Found, *, method: str = "predict", trust: bool = False, threads: int = 1
) -> SavedModel:
    """``load`` once the file is known."""
    try:
        loader = importlib.import_module(f"tiffin.models.{found.format}")
        model: SavedModel = loader.load(found.file, method=method, trust=trust, threads=threads)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _PACKAGES:
            raise
        raise missing_extra(missing, f"to load {found.file.name}") from error
    return model


def missing_extra(package: str, why: str) -> MissingExtra:
    """The error for a package that one of Tiffin's extras installs."""
    extra = _PACKAGES.get(package, package)
    return MissingExtra(
        f"the package {package} is needed {why}, and is not installed", hint=f"pip install 'tiffin[{extra}]'"
    )
