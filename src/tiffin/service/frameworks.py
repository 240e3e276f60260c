"""``tiffin.sklearn`` and the like: save a framework's model into the store, and read it back.

Each row of the table says which file a model is, who writes and who reads it; the files are those that BentoML
writes, so models of either store are read. No framework is imported before it is used.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tiffin.errors import MissingExtra, ModelError
from tiffin.service import models
from tiffin.service.models import Model
from tiffin.store.tags import Tag

Save = Callable[[Any, Path], Mapping[str, Any] | None]
"""Writes a model into a directory; what it gives back is kept as the model's ``options``."""
Load = Callable[[Model, dict[str, Any]], Any]


class Row(NamedTuple):
    """``packages`` are the distributions whose versions are noted, ``module`` what has to be importable."""

    module: str
    packages: tuple[str, ...]
    save: Save
    load: Load


class Framework:
    """``get``, ``save_model`` and ``load_model`` of one framework."""

    def __init__(self, name: str, row: Row) -> None:
        self.name = name
        self._row = row

    def get(self, tag: str | Tag) -> Model:
        """The stored model, without opening it.

        Raises:
            ModelError: there is none, or another framework saved it.
        """
        model = models.get(tag)
        self._check(model)
        return model

    def save_model(self, name: str | Tag, model: Any, **options: Any) -> Model:
        """Store a model, with the options of ``tiffin.models.create``.

        Raises:
            ModelError: the framework cannot save it, or the tag leads to another model.
            MissingExtra: the framework is not installed.
        """
        self._need()
        if "signatures" in options and options["signatures"] is None:
            del options["signatures"]
        versions = {package: _version(package) for package in self._row.packages}
        making = models.create(
            name, module=f"tiffin.{self.name}", frameworks={k: v for k, v in versions.items() if v}, **options
        )
        with making as made:
            try:
                kept = self._row.save(model, Path(made.path))
            except (AttributeError, TypeError, ValueError) as error:
                raise ModelError(
                    f"tiffin.{self.name} cannot save {type(model).__name__}: {error}",
                    hint=f"expected a model of {self._row.module}; tiffin.picklable_model takes any Python object",
                ) from error
            if kept:
                made._manifest.options.update(kept)
        return made

    def load_model(self, tag: str | Tag | Model, *args: Any, **options: Any) -> Any:
        """The object that was saved; ``options`` go to the framework's own loader.

        A pickle is opened as it is: this is for the author's own code. A deployment of a saved model checks it.

        Raises:
            ModelError: there is none, another framework saved it, or it cannot be opened.
            MissingExtra: the framework is not installed.
        """
        model = tag if isinstance(tag, Model) else models.get(tag)
        self._check(model)
        self._need()
        if args:
            options.setdefault("device_id", args[0])
        return self._row.load(model, options)

    def _check(self, model: Model) -> None:
        known = (f"tiffin.{self.name}", f"bentoml.{self.name}", f"bentoml._internal.frameworks.{self.name}")
        if model.info.module not in known:
            raise ModelError(
                f"expected a model of {self.name}, found {model.tag} of {model.info.module or 'plain files'}",
                hint="load it with the framework that saved it, or read the files below its path",
            )

    def _need(self) -> None:
        try:
            importlib.import_module(self._row.module)
        except ImportError as error:
            package = self._row.packages[0] if self._row.packages else self._row.module
            raise MissingExtra(f"{package} is not installed: {error}", hint=f"pip install {package}") from error

    def __repr__(self) -> str:
        return f"<tiffin.{self.name}>"


def of(model: Model) -> Framework:
    """The framework that saved a model.

    Raises:
        ModelError: none did: it is plain files.
    """
    name = model.info.module.rpartition(".")[2]
    if name not in FRAMEWORKS:
        raise ModelError(
            f"the model {model.tag} was stored as files, without a framework that opens it",
            hint="read them below its .path",
        )
    return FRAMEWORKS[name]


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _file(model: Model, *names: str) -> str:
    """The first of these files that the model has."""
    for name in names:
        if Path(model.path_of(name)).exists():
            return model.path_of(name)
    raise ModelError(f"the model {model.tag} has no {' or '.join(names)}", at=model.path)


def _class(module: str, name: str) -> Any:
    """A class of a framework by the name a model's record has."""
    found = getattr(importlib.import_module(module), name, None)
    if not isinstance(found, type):
        raise ModelError(f"{module} has no class {name!r}, which the model's record names")
    return found


# ---- scikit-learn and boosters


def _save_sklearn(model: Any, place: Path) -> None:
    import joblib

    if not hasattr(model, "get_params"):
        raise TypeError("it is no estimator")
    joblib.dump(model, place / "saved_model.pkl")


def _load_sklearn(model: Model, options: dict[str, Any]) -> Any:
    import joblib

    return joblib.load(_file(model, "saved_model.pkl"), **options)


def _save_booster(model: Any, place: Path) -> Mapping[str, Any]:
    model.save_model(str(place / "saved_model.ubj"))
    return {"model_class": type(model).__name__}


def _load_xgboost(model: Model, options: dict[str, Any]) -> Any:
    made = _class("xgboost", model.info.options.model_class or "Booster")(**options)
    made.load_model(_file(model, "saved_model.ubj", "saved_model.json"))
    return made


def _save_lightgbm(model: Any, place: Path) -> None:
    getattr(model, "booster_", model).save_model(str(place / "saved_model.ubj"))


def _load_lightgbm(model: Model, options: dict[str, Any]) -> Any:
    import lightgbm

    return lightgbm.Booster(model_file=_file(model, "saved_model.ubj", "saved_model.txt"), **options)


def _save_catboost(model: Any, place: Path) -> Mapping[str, Any]:
    model.save_model(str(place / "saved_model.cbm"))
    return {"training_class_name": type(model).__name__}


def _load_catboost(model: Model, options: dict[str, Any]) -> Any:
    made = _class("catboost", model.info.options.training_class_name or "CatBoost")(**options)
    return made.load_model(_file(model, "saved_model.cbm"))


# ---- networks


def _save_onnx(model: Any, place: Path) -> None:
    import onnx

    onnx.save(onnx.load(model) if isinstance(model, str | Path) else model, str(place / "saved_model.onnx"))


def _load_onnx(model: Model, options: dict[str, Any]) -> Any:
    import onnxruntime

    options.setdefault("providers", ["CPUExecutionProvider"])
    return onnxruntime.InferenceSession(_file(model, "saved_model.onnx"), **options)


def _save_torch(model: Any, place: Path) -> None:
    import cloudpickle
    import torch

    torch.save(model, place / "saved_model.pt", pickle_module=cloudpickle)


def _load_torch(model: Model, options: dict[str, Any]) -> Any:
    import torch

    where = options.pop("device_id", "cpu")
    # The author asked for the object; weights alone are what torch.load gives by itself.
    return torch.load(_file(model, "saved_model.pt"), map_location=where, weights_only=False, **options)


def _save_torchscript(model: Any, place: Path) -> None:
    import torch

    torch.jit.save(model, str(place / "saved_model.pt"))


def _load_torchscript(model: Model, options: dict[str, Any]) -> Any:
    import torch

    return torch.jit.load(_file(model, "saved_model.pt"), map_location=options.pop("device_id", "cpu"), **options)


def _save_keras(model: Any, place: Path) -> None:
    model.save(str(place / "saved_model.keras"))


def _load_keras(model: Model, options: dict[str, Any]) -> Any:
    import keras

    # Older models of BentoML's are a SavedModel: the directory itself.
    own = Path(model.path_of("saved_model.keras"))
    options.setdefault("custom_objects", model.custom_objects or None)
    return keras.models.load_model(str(own if own.exists() else model.path), **options)


def _save_tensorflow(model: Any, place: Path) -> None:
    import tensorflow

    tensorflow.saved_model.save(model, str(place))


def _load_tensorflow(model: Model, options: dict[str, Any]) -> Any:
    import tensorflow

    return tensorflow.saved_model.load(_file(model, "saved_model.pb") and model.path, **options)


def _save_transformers(model: Any, place: Path) -> Mapping[str, Any]:
    model.save_pretrained(str(place))
    return {"task": getattr(model, "task", ""), "class": type(model).__name__}


def _load_transformers(model: Model, options: dict[str, Any]) -> Any:
    import transformers

    task = model.info.options.task
    if task:
        return transformers.pipeline(task, model=model.path, **options)
    kind = getattr(transformers, str(model.info.options.get("class") or "AutoModel"))
    return kind.from_pretrained(model.path, **options)


# ---- anything


def _save_pickle(model: Any, place: Path) -> None:
    import cloudpickle

    (place / "saved_model.pkl").write_bytes(cloudpickle.dumps(model))


def _load_pickle(model: Model, options: dict[str, Any]) -> Any:
    import cloudpickle

    with open(_file(model, "saved_model.pkl"), "rb") as file:
        return cloudpickle.load(file)


def _save_mlflow(model: Any, place: Path) -> None:
    """A model's directory or address as MLflow knows it; objects are for MLflow's own flavours to save."""
    import mlflow

    mlflow.artifacts.download_artifacts(artifact_uri=str(model), dst_path=str(place / "mlflow_model"))


def _load_mlflow(model: Model, options: dict[str, Any]) -> Any:
    import mlflow

    found = Path(_file(model, "mlflow_model"))
    # What was downloaded keeps the name of its directory.
    inside = [found, *sorted(found.iterdir())]
    root = next((path for path in inside if (path / "MLmodel").is_file()), found)
    return mlflow.pyfunc.load_model(str(root), **options)


FRAMEWORKS: dict[str, Framework] = {
    name: Framework(name, row)
    for name, row in {
        "sklearn": Row("sklearn", ("scikit-learn",), _save_sklearn, _load_sklearn),
        "xgboost": Row("xgboost", ("xgboost", "xgboost-cpu"), _save_booster, _load_xgboost),
        "lightgbm": Row("lightgbm", ("lightgbm",), _save_lightgbm, _load_lightgbm),
        "catboost": Row("catboost", ("catboost",), _save_catboost, _load_catboost),
        "onnx": Row("onnx", ("onnx", "onnxruntime"), _save_onnx, _load_onnx),
        "pytorch": Row("torch", ("torch",), _save_torch, _load_torch),
        "torchscript": Row("torch", ("torch",), _save_torchscript, _load_torchscript),
        "keras": Row("keras", ("keras", "tensorflow"), _save_keras, _load_keras),
        "tensorflow": Row("tensorflow", ("tensorflow",), _save_tensorflow, _load_tensorflow),
        "transformers": Row("transformers", ("transformers",), _save_transformers, _load_transformers),
        "picklable_model": Row("cloudpickle", ("cloudpickle",), _save_pickle, _load_pickle),
        "mlflow": Row("mlflow", ("mlflow",), _save_mlflow, _load_mlflow),
    }.items()
}
"""Every framework by the name it has below ``tiffin``."""


def __getattr__(name: str) -> Framework:
    if name in FRAMEWORKS:
        return FRAMEWORKS[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
