"""``tiffin.models``: the model store, as authors use it in training code and in services.

Models are saved into Tiffin's store. They are found there, else in BentoML's store on this machine, which is read
and never written.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
from builtins import list as _list
from collections.abc import Iterable, Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import AuthorError, ModelError, ServiceError
from tiffin.kits import paths
from tiffin.service.exceptions import NotFound
from tiffin.service.hub_models import HuggingFaceModel
from tiffin.service.stored_model import CUSTOM_OBJECTS, Model
from tiffin.spec.description import ModelDescription
from tiffin.store import bentoml
from tiffin.store.manifest import Lineage, ModelManifest
from tiffin.store.models import ModelStore, StoredModel
from tiffin.store.tags import Tag

__all__ = [
    "BentoModel",
    "HuggingFaceModel",
    "Lineage",
    "Model",
    "ModelNotFound",
    "Tag",
    "create",
    "delete",
    "export_model",
    "get",
    "import_model",
    "list",
    "load",
    "pull",
    "push",
    "save",
]


def _store() -> ModelStore:
    return ModelStore(paths.data_directory().models)


def _model(stored: StoredModel) -> Model:
    return Model(stored.tag, stored.path, stored.manifest, stored.digest, stored.created)


@contextlib.contextmanager
def create(
    name: str | Tag,
    *,
    module: str = "",
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    lineage: Lineage | Mapping[str, str] | None = None,
    signatures: Mapping[str, Any] | None = None,
    options: Any = None,
    custom_objects: Mapping[str, Any] | None = None,
    frameworks: Mapping[str, str] | None = None,
    context: Any = None,
    api_version: str | None = None,
) -> Iterator[Model]:
    """A model to be made: write its files below ``.path``. It is stored when the block ends without an error.

    Args:
        name: ``name``, whose version is then made up, or ``name:version``.
        module: who reads it back.
        labels: text by name.
        metadata: JSON by name.
        lineage: ``run``, ``parent``, ``data``: where it came from.
        signatures: kept for who reads it.
        options: kept for who reads it.
        custom_objects: Python objects to be pickled beside it.
        frameworks: versions it is saved with, by package.
        context: BentoML's; its ``framework_versions`` are kept.
        api_version: BentoML's; not kept.

    Raises:
        ModelError: the tag leads to another model, nothing was written, or something is not JSON.
    """
    if isinstance(lineage, Mapping):
        try:
            lineage = msgspec.convert(dict(lineage), Lineage, strict=True)
        except msgspec.ValidationError as error:
            raise ModelError(f"expected lineage of run, parent and data as text: {error}") from error
    versions = frameworks or getattr(context, "framework_versions", None) or {}
    making = _store().create(
        str(name),
        module=module,
        labels=labels,
        metadata=metadata,
        lineage=lineage,
        signatures=_json(signatures),
        options=_json(options),
        frameworks=dict(versions),
        python=platform.python_version(),
    )
    with making as draft:
        model = Model(draft.tag, draft.path, draft.manifest)
        yield model
        if custom_objects:
            _pickle(custom_objects, draft.path / CUSTOM_OBJECTS)
    assert draft.stored is not None
    model.__dict__.update(_model(draft.stored).__dict__)


def save(
    name: str | Tag,
    path: str | os.PathLike[str],
    *,
    module: str = "",
    labels: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    lineage: Lineage | None = None,
) -> Model:
    """Store a file, or the files of a directory.

    Raises:
        ModelError: there is nothing, or the tag leads to another model.
    """
    manifest = ModelManifest(
        module=module, labels=dict(labels or {}), metadata=_json(metadata), lineage=lineage or Lineage()
    )
    return _model(_store().add(Path(path), str(name), manifest=manifest))


def load(tag: str | Tag | Model, *args: Any, **options: Any) -> Any:
    """The object that a framework's ``save_model`` stored."""
    return (tag if isinstance(tag, Model) else get(tag)).load_model(*args, **options)


class ModelNotFound(ModelError, NotFound):
    """There is no such model; also what code written for BentoML catches as ``NotFound``.

    A caller of a service gets a 500 for it all the same: which models there are is the author's matter.
    """

    def __init__(self, message: str, *, hint: str | None = None, at: str | None = None) -> None:
        super().__init__(message, hint=hint, at=at)
        self.error_code = HTTPStatus.INTERNAL_SERVER_ERROR


def get(tag: str | Tag) -> Model:
    """A model by ``name``, ``name:version``, the beginning of a version, or digest; its files are verified.

    Raises:
        ModelNotFound: there is none.
        ModelError: it has been tampered with.
    """
    text = str(tag)
    try:
        return _model(_store().get(text.lower()))
    except ModelError as error:
        found = bentoml.find("models", text)
        if found is not None:
            return _of_bentoml(found)
        if error.message.startswith("there is no model"):
            error.message += f", nor in BentoML's store {bentoml.home()}"
            raise ModelNotFound(error.message, hint=error.hint, at=error.at) from None
        raise


def list(tag: str | Tag | None = None) -> _list[Model]:
    """Every model of both stores, or those of one name."""
    name = Tag.from_taglike(tag).name if tag else ""
    found = [_model(stored) for stored in _store().list(name)]
    known = {str(model.tag) for model in found}
    others = (one for one in bentoml.every("models") if one.tag not in known)
    return found + [_of_bentoml(one) for one in others if not name or one.tag.partition(":")[0] == name]


def delete(tag: str | Tag) -> None:
    """Delete a model of Tiffin's store.

    Raises:
        ModelNotFound: there is none.
        ModelError: it is BentoML's. Whether a bundle needs it is asked by ``tiffin models delete``.
    """
    try:
        _store().delete(str(tag))
    except ModelError as error:
        if error.message.startswith("there is no model"):
            raise ModelNotFound(error.message, hint=error.hint, at=error.at) from None
        raise


def export_model(tag: str | Tag, path: str | os.PathLike[str], **options: Any) -> str:
    """Write a model into a directory, or an archive by its ending; where it was written.

    Raises:
        ModelError: there is no such model, or something is in the way.
    """
    from tiffin.store import trees

    _refuse_options("export_model", options)
    return str(trees.export_model(_store(), str(tag), Path(path)))


def import_model(path: str | os.PathLike[str], **options: Any) -> Model:
    """Store the model of an archive or directory that ``export_model`` of Tiffin or BentoML wrote.

    Raises:
        ModelError: it is none, it is damaged, or its tag leads to another model.
    """
    from tiffin.store import trees

    _refuse_options("import_model", options)
    return _model(trees.import_model(_store(), Path(path)))


def push(tag: str | Tag, **options: Any) -> None:
    """Not from Python; raises ServiceError."""
    raise ServiceError("models.push is not part of the Python API", hint="run `tiffin push`")


def pull(tag: str | Tag, **options: Any) -> None:
    """Not from Python; raises ServiceError."""
    raise ServiceError("models.pull is not part of the Python API", hint="run `tiffin pull`")


# ---- models of a service


class Pin(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle was built with: the tag it was found by, another name for it, its digest, its store."""

    tag: str
    digest: str
    alias: str = ""
    source: str = ""


_pins: tuple[Pin, ...] = ()


def pin(pins: Iterable[Pin]) -> None:
    """From now on, resolve what a service names to these contents; called where a bundle is served."""
    global _pins
    _pins = tuple(pins)


def pins() -> tuple[Pin, ...]:
    """What is pinned."""
    return _pins


class BentoModel:
    """A class attribute that names a stored model; read on an instance it is the Model."""

    def __init__(self, tag: str | Tag) -> None:
        self.tag = str(tag)
        self._found: Model | None = None

    def describe(self) -> ModelDescription:
        """What a build is told of it."""
        return ModelDescription(source="store", name=self.tag)

    def resolve(self) -> Model:
        """The model: the one a bundle was built with, where one is served.

        Raises:
            ModelError: it is not there, or has changed.
        """
        if self._found is None:
            wanted = next((one for one in _pins if _is_meant(self.tag, one)), None)
            self._found = get(self.tag) if wanted is None else _pinned(wanted)
        return self._found

    def __get__(self, instance: object | None, owner: type) -> Any:
        """The reference on the class, the model on an instance."""
        return self if instance is None else self.resolve()


def _is_meant(text: str, one: Pin) -> bool:
    name, _, version = text.lower().partition(":")
    known, _, exact = one.tag.partition(":")
    return text in (one.tag, one.alias) or (
        one.source != "huggingface" and name == known and (version in ("", "latest") or exact.startswith(version))
    )


def _pinned(wanted: Pin) -> Model:
    store = _store()
    try:
        return _model(store.get(f"sha256:{wanted.digest}"))
    except ModelError as error:
        found = bentoml.find("models", wanted.tag)
        if found is not None:
            stored = bentoml.stored(found)
            if stored.digest == wanted.digest:
                return _model(stored)
            raise ModelError(
                f"the model {wanted.tag} in {bentoml.home()} is not the one the bundle was built with",
                hint="build the bundle again",
            ) from None
        if not error.message.startswith("there is no model"):
            raise
        raise ModelError(
            f"the bundle needs the model {wanted.tag} (sha256:{wanted.digest[:12]}), which is not in {store.root}",
            hint="import or pull it, or build the bundle again",
        ) from None


def _of_bentoml(found: bentoml.Found) -> Model:
    stored = bentoml.stored(found)
    return _model(stored)


def _json(value: Any) -> dict[str, Any]:
    """A mapping, or an object with ``to_dict``, as JSON."""
    if value is None:
        return {}
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    try:
        made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(value)))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ModelError(f"expected what is JSON: {error}") from error
    return made


def _pickle(value: Any, place: Path) -> None:
    import importlib
    import importlib.util
    import pickle

    # Functions and classes of a notebook are only taken by cloudpickle.
    name = "cloudpickle" if importlib.util.find_spec("cloudpickle") else "pickle"
    try:
        place.write_bytes(importlib.import_module(name).dumps(dict(value)))
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ModelError(f"expected custom_objects that can be pickled: {error}") from error


def _refuse_options(what: str, options: Mapping[str, Any]) -> None:
    for name in options:
        if not re.fullmatch("_.*", name):
            raise AuthorError(f"{what} takes no {name}", hint="the ending of the path says the format")
