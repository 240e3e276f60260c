"""The models a bundle needs, each pinned to the content it has now."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Sequence
from urllib.parse import quote

from tiffin.bundle.manifest import PinnedModel
from tiffin.dialects.bentoml import ModelReference
from tiffin.errors import ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.spec.description import ModelDescription
from tiffin.store import bentoml
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
        one = _of_store(store, model.name, "") if model.source == "store" else _of_hub(model)
        found[one.tag, one.alias] = one
    for reference in written:
        tag = _filtered(store, reference).tag if reference.filter else reference.tag
        one = _of_store(store, tag, reference.alias)
        found[one.tag, one.alias] = one
    return tuple(found[key] for key in sorted(found))


def located(store: ModelStore, tag: str) -> tuple[StoredModel, str]:
    """A model of Tiffin's store, else of BentoML's; and which: empty, or ``bentoml``.

    Raises:
        ModelError: neither has it.
    """
    try:
        return store.get(tag), ""
    except ModelError as error:
        found = bentoml.find("models", tag)
        if found is not None:
            return bentoml.stored(found), "bentoml"
        if not error.message.startswith("there is no model"):
            raise
        raise ModelError(f"{error.message}, nor in BentoML's store {bentoml.home()}", hint=error.hint) from None


def _of_store(store: ModelStore, tag: str, alias: str) -> PinnedModel:
    model, source = located(store, tag)
    return PinnedModel(tag=model.tag, digest=model.digest, size=model.size, alias=alias, source=source)


def _of_hub(model: ModelDescription) -> PinnedModel:
    """A model of the Hugging Face hub at the commit that its revision leads to now."""
    commit = model.revision
    if not re.fullmatch("[0-9a-f]{40}", commit):
        commit = _commit(model)
    return PinnedModel(tag=f"{model.name}@{commit}", digest=commit, source="huggingface")


def _commit(model: ModelDescription) -> str:
    home = (model.endpoint or os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    address = f"{home}/api/models/{quote(model.name)}/revision/{quote(model.revision, safe='')}"
    token = os.environ.get("HF_TOKEN", "")
    request = urllib.request.Request(address, headers={"authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["sha"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the commit of {model.name} at {model.revision} cannot be had from {home}: {error}",
            hint="check the name and the network, or write the commit as revision",
        ) from error


def _filtered(store: ModelStore, reference: ModelReference) -> StoredModel:
    """The model of an entry; a ``filter``, ``label:NAME`` or ``label:NAME=VALUE``, chooses among the versions."""
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
    return max(able, key=lambda model: model.created)
