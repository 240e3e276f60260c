"""Models in the BentoML store on this machine: ``$BENTOML_HOME/models/<name>/<version>/``; read, never written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tiffin.errors import MissingExtra, ServiceError
from tiffin.spec.description import ModelDescription


def _home() -> Path:
    return Path(os.environ.get("BENTOML_HOME") or Path.home() / "bentoml")


class StoredModel:
    """A directory of the store.

    Attributes:
        tag: ``name:version``.
        path: The directory.
    """

    def __init__(self, tag: str, path: Path) -> None:
        self.tag = tag
        self.path = str(path)

    def path_of(self, item: str) -> str:
        """The path of a file in the model."""
        return str(Path(self.path) / item.lstrip("/"))

    def __repr__(self) -> str:
        return f"<StoredModel {self.tag} at {self.path}>"


def get(tag: str) -> StoredModel:
    """A model by ``name``, ``name:latest`` or ``name:version``.

    Raises:
        ServiceError: the store does not have it, or cannot have such a name.
    """
    name, _, version = str(tag).lower().partition(":")
    root = _home() / "models"
    directory = root / name
    if not name or {name, version} & {".", ".."} or "/" in name + version or "\\" in name + version:
        raise ServiceError(f"expected a model as name or name:version, found {tag!r}")
    if version in ("", "latest"):
        latest = directory / "latest"
        version = latest.read_text().strip() if latest.is_file() else ""
    path = directory / version
    if not version or not (path / "model.yaml").is_file():
        raise ServiceError(
            f"expected the model {tag!r} in the BentoML store {root}, found none",
            hint="save it there with bentoml, set BENTOML_HOME, or load the file itself in __init__",
        )
    return StoredModel(f"{name}:{version}", path)


class BentoModel:
    """A class attribute that names a stored model; read on an instance it is the StoredModel."""

    def __init__(self, tag: str) -> None:
        self.tag = str(tag)
        self._found: StoredModel | None = None

    def describe(self) -> ModelDescription:
        """What a build is told of it."""
        return ModelDescription(source="store", name=self.tag)

    def resolve(self) -> StoredModel:
        """The stored model."""
        if self._found is None:
            self._found = get(self.tag)
        return self._found

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The reference on the class, the stored model on an instance."""
        return self if instance is None else self.resolve()


class HuggingFaceModel:
    """A class attribute that names a model of the Hugging Face hub; this version cannot fetch it."""

    def __init__(self, model_id: str, **options: Any) -> None:
        self.model_id = model_id
        self.options = options

    def resolve(self) -> str:
        """Always raises ServiceError."""
        raise ServiceError(
            f"HuggingFaceModel({self.model_id!r}) is not part of this version of Tiffin",
            hint="download it with huggingface_hub.snapshot_download in __init__",
        )

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The reference on the class; on an instance it raises."""
        return self if instance is None else self.resolve()


def _refuse(name: str) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        raise ServiceError(
            f"bentoml.{name} is not part of this version of Tiffin: it reads the BentoML store only",
            hint="save the model as a file, or install bentoml",
        )

    return call


create, delete, export_model, import_model, push, pull = (
    _refuse(f"models.{name}") for name in ("create", "delete", "export_model", "import_model", "push", "pull")
)


def list() -> list[StoredModel]:  # type: ignore[valid-type]  # the name in bentoml.models
    """Every model of the store."""
    root = _home() / "models"
    return [get(f"{p.parent.parent.name}:{p.parent.name}") for p in sorted(root.glob("*/*/model.yaml"))]


def load_sklearn(tag: str | StoredModel) -> Any:
    """The estimator that ``bentoml.sklearn.save_model`` stored."""
    try:
        import joblib
    except ImportError as error:
        raise MissingExtra("joblib is not installed", hint="pip install 'tiffin[sklearn]'") from error
    model = tag if isinstance(tag, StoredModel) else get(tag)
    return joblib.load(model.path_of("saved_model.pkl"))
