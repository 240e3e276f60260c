"""Models of the store to and from other systems: MLflow's registry, and directories of Hugging Face."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tiffin.errors import AuthorError, ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.models import huggingface, mlflow
from tiffin.store.manifest import Lineage, ModelManifest
from tiffin.store.models import ModelStore, StoredModel

DIGEST = "tiffin.digest"
"""The tag of a version at MLflow that says which stored model it is."""


def handles(address: str) -> bool:
    """Whether an address is one of another system."""
    return mlflow.handles(address) or huggingface.handles(address)


def import_model(
    address: str, tag: str, data: DataDirectory, environment: Mapping[str, str] | None = None
) -> StoredModel:
    """Store the model of an address; the tag is its name, and its version at MLflow, when empty.

    What it is made of is not opened here: pickles are looked at when the model is loaded, as any others.

    Raises:
        AuthorError: the address is none.
        ModelError: the model is not whole, or the tag leads to another.
        StorageError: the server refuses or does not answer.
    """
    environment = os.environ if environment is None else environment
    store = ModelStore(data.models)
    with store.shelf.workshop() as place:
        files = place / "files"
        files.mkdir()
        if huggingface.handles(address):
            found = huggingface.read(address)
            huggingface.copy(found.directory, files)
            manifest = ModelManifest(lineage=Lineage(source=found.source))
            return store.add(files, tag or _tag(found.name, ""), manifest=manifest, move=True)
        wanted = mlflow.parse(address, environment)
        server = mlflow.Server(wanted.server, environment)
        version = server.version(wanted)
        server.download(version, files, cache=data.cache)
        source = f"mlflow://{wanted.server.partition('://')[2]}/{wanted.name}/{version.version}"
        manifest = ModelManifest(
            labels={key: value for key, value in version.tags.items() if key != DIGEST},
            metadata={"description": version.description} if version.description else {},
            lineage=Lineage(source=source, run=f"mlflow:/runs/{version.run}" if version.run else ""),
        )
        return store.add(files, tag or _tag(wanted.name, version.version), manifest=manifest, move=True)


def export_model(
    tag: str,
    address: str,
    data: DataDirectory,
    environment: Mapping[str, str] | None = None,
    *,
    progress: Callable[[str], None] = lambda path: None,
) -> str:
    """Bring a stored model to another system; says where it is there.

    Raises:
        AuthorError: the address is none.
        ModelError: there is no such model, or it cannot be laid out so.
        StorageError: the server refuses or does not answer.
    """
    environment = os.environ if environment is None else environment
    model = ModelStore(data.models).get(tag)
    if huggingface.handles(address):
        huggingface.check(model.path)
        target = Path(address.removeprefix(huggingface.SCHEME)).expanduser()
        if target.exists() and any(target.iterdir()):
            raise ModelError(f"expected a directory that is empty or new, found files in {target}")
        huggingface.copy(model.path, target)
        return str(target)
    wanted = mlflow.parse(address, environment)
    if wanted.version or wanted.alias:
        raise AuthorError(
            f"expected the name of a model at MLflow, found a version of it: {address}",
            hint="the server numbers versions itself: leave it out",
        )
    tags = {**model.labels, DIGEST: f"sha256:{model.digest}", "tiffin.tag": model.tag}
    made = mlflow.Server(wanted.server, environment).register(wanted, model.path, tags=tags, progress=progress)
    return f"mlflow://{wanted.server.partition('://')[2]}/{wanted.name}/{made.version}"


def _tag(name: str, version: str) -> str:
    """A tag as the store has them, of a name that may have other letters."""
    plain = re.sub(r"[^-._a-z0-9]+", "-", name.lower()).strip("-._")[:63].strip("-._") or "model"
    return f"{plain}:{version}" if version else plain
