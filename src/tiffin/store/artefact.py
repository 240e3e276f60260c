"""A stored model as an artefact of a registry, and back.

Other programs see a ModelPack with a layer for each file. What only Tiffin knows of a model (its helper, metadata,
lineage, links) travels as one more file, ``.tiffin/model.json``, so that what is pulled has the digest it had.
"""

from __future__ import annotations

from pathlib import Path

from tiffin.errors import ModelError
from tiffin.oci import modelpack
from tiffin.oci.gathering import Gathered
from tiffin.oci.manifests import FILE_PATH, TITLE
from tiffin.oci.records import Descriptor, Manifest
from tiffin.oci.registry import Blobs
from tiffin.store import files, reference
from tiffin.store.manifest import FILES, MANIFEST, ModelManifest, decode
from tiffin.store.models import StoredModel

RECORD = ".tiffin/model.json"
MODEL = "dev.tiffin.model"
"""Annotation of a manifest or layer: the digest of the stored model it is (a part of)."""
MOST_RECORD = 64 << 20


def gather(model: StoredModel, blobs: Gathered) -> Descriptor:
    """The model's manifest with all it needs, among ``blobs``; nothing of it is copied."""
    layers = layers_of(model, blobs)
    name = reference.parse(model.tag) if not model.tag.startswith("sha256:") else None
    config = modelpack.config(name.name if name else "", "", layers)
    made = modelpack.manifest_of(blobs.write(config, modelpack.CONFIG), layers, {MODEL: f"sha256:{model.digest}"})
    return blobs.write_record(made)


def layers_of(model: StoredModel, blobs: Gathered) -> list[Descriptor]:
    """A layer for each file, and one for the record."""
    digest = f"sha256:{model.digest}"
    found = [
        blobs.lend(
            model.path / file.path,
            f"sha256:{file.sha256}",
            file.size,
            modelpack.media_type(file.path),
            {FILE_PATH: file.path, TITLE: file.path, MODEL: digest},
        )
        for file in model.files
        if not file.link
    ]
    record = blobs.write(
        model.manifest.encode(),
        "application/vnd.cncf.model.doc.v1.raw",
        {FILE_PATH: RECORD, TITLE: RECORD, MODEL: digest},
    )
    return [*found, record]


def record_of(layers: list[Descriptor]) -> Descriptor | None:
    """The layer with what only Tiffin knows; None in what other programs pushed."""
    return next((one for one in layers if one.annotations.get(FILE_PATH) == RECORD), None)


def restore(manifest: Manifest, blobs: Blobs, tree: Path, *, where: str) -> ModelManifest | None:
    """Write the model's files below ``tree``, as the store has them where Tiffin pushed it.

    Returns:
        The record, when ``tree`` now holds ``model.json`` and ``files/``; None when it holds the files alone.

    Raises:
        ModelError: the record is not one, or names a file that is not among the layers.
        StorageError: a layer leads out of the directory or is damaged.
    """
    tree.mkdir(parents=True, exist_ok=True)
    record = record_of(manifest.layers)
    if record is None:
        modelpack.unpack(manifest, blobs, tree, where=where)
        return None
    return restore_layers(manifest.layers, record, blobs, tree, where=where)


def restore_layers(
    layers: list[Descriptor], record: Descriptor, blobs: Blobs, tree: Path, *, where: str
) -> ModelManifest:
    """As ``restore``, of the layers that belong to one model of Tiffin's."""
    if record.size > MOST_RECORD:
        raise ModelError(f"the record of the model at {where} has {record.size:,} bytes")
    data = blobs.path(record.digest).read_bytes()
    found = decode(data)
    files.check_paths(found.files, ModelError)
    there = {layer.digest for layer in layers}
    (tree / FILES).mkdir(parents=True)
    (tree / MANIFEST).write_bytes(data)
    for file in found.files:
        target = tree / FILES / file.path
        if file.link:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.link)
            continue
        digest = f"sha256:{file.sha256}"
        if digest not in there:
            raise ModelError(f"the model at {where} has no layer for its file {file.path}", hint="push it again")
        modelpack.place(blobs.path(digest), target, executable=file.executable)
    return found
