"""The models a bundle needs, each pinned to the content it has now."""

from __future__ import annotations

from collections.abc import Sequence

from tiffin.bundle.manifest import PinnedModel
from tiffin.dialects.bentoml import ModelReference
from tiffin.errors import ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.spec.description import ModelDescription
from tiffin.store.models import ModelStore, StoredModel


def pinned(
    written: Sequence[ModelReference], described: Sequence[ModelDescription], data: DataDirectory
) -> tuple[PinnedModel, ...]:
    """The models of a build file and of a service's class, sorted by tag.

    Raises:
        ModelError: one is not there; the text says where it was looked for.
    """
    store = ModelStore(data.models)
    found: dict[tuple[str, str], PinnedModel] = {}
    for model in described:
        if model.source == "store":
            one = _of_store(store.get(model.name), "")
            found[one.tag, one.alias] = one
    for reference in written:
        one = _of_store(_filtered(store, reference), reference.alias)
        found[one.tag, one.alias] = one
    return tuple(found[key] for key in sorted(found))


def _of_store(model: StoredModel, alias: str) -> PinnedModel:
    return PinnedModel(tag=model.tag, digest=model.digest, size=model.size, alias=alias)


def _filtered(store: ModelStore, reference: ModelReference) -> StoredModel:
    """The model of an entry; a ``filter``, ``label:NAME`` or ``label:NAME=VALUE``, chooses among the versions."""
    if not reference.filter:
        return store.get(reference.tag)
    word, colon, wanted = reference.filter.partition(":")
    if word.strip() != "label" or not colon or not wanted.strip():
        raise ModelError(
            f"expected label:NAME or label:NAME=VALUE, found {reference.filter!r}", at=f"models.{reference.tag}"
        )
    name, equals, value = wanted.strip().partition("=")
    able = [
        model
        for model in store.list(reference.tag.partition(":")[0])
        if name in model.labels and (not equals or model.labels[name] == value)
    ]
    if not able:
        raise ModelError(f"there is no model {reference.tag} with {reference.filter}")
    newest = max(able, key=lambda model: model.created)
    return store.get(newest.tag)
