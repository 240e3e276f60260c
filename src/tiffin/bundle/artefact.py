"""A bundle as an artefact of a registry, and back.

    manifest      artifactType application/vnd.tiffin.bundle.v1
    ├── config    bundle.json
    └── layers    the sources as one tar, sbom.json, and for each model its record and a layer for each file

A model's layers are those it has as an artefact of its own: a registry keeps them once, and a change of the
sources sends the sources alone.
"""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
from collections.abc import Iterable
from pathlib import Path

import msgspec

from tiffin.bundle.manifest import MANIFEST, SBOM, SOURCE, Bundle, Manifest
from tiffin.errors import BundleError
from tiffin.oci import records, unpacking
from tiffin.oci.gathering import Gathered
from tiffin.oci.manifests import TITLE
from tiffin.oci.records import Descriptor
from tiffin.oci.registry import Blobs
from tiffin.store.artefact import MODEL, layers_of, record_of
from tiffin.store.models import StoredModel

ARTEFACT = "application/vnd.tiffin.bundle.v1"
CONFIG = "application/vnd.tiffin.bundle.config.v1+json"
SOURCES = "application/vnd.tiffin.bundle.source.v1.tar+gzip"
SBOM_TYPE = "application/vnd.cyclonedx+json"
BUNDLE = "dev.tiffin.bundle"
"""Annotation of the manifest: the bundle's digest."""


def gather(bundle: Bundle, models: Iterable[StoredModel], blobs: Gathered) -> Descriptor:
    """The bundle's manifest with all it needs, among ``blobs``; models are not copied."""
    config = blobs.write(bundle.manifest.encode(), CONFIG, {TITLE: MANIFEST})
    layers = [blobs.write(_packed(bundle), SOURCES, {TITLE: SOURCE})]
    sbom = bundle.path / SBOM
    if bundle.manifest.sbom is not msgspec.UNSET and sbom.is_file():
        layers.append(blobs.write(sbom.read_bytes(), SBOM_TYPE, {TITLE: SBOM}))
    for model in models:
        layers += layers_of(model, blobs)
    return blobs.write_record(
        records.Manifest(
            schema_version=2,
            media_type=records.MANIFEST,
            artifact_type=ARTEFACT,
            config=config,
            layers=layers,
            annotations={BUNDLE: f"sha256:{bundle.digest}"},
        )
    )


def is_bundle(manifest: records.Manifest) -> bool:
    """Whether it is a bundle of Tiffin's."""
    return ARTEFACT in (manifest.artifact_type,) or manifest.config.media_type == CONFIG


def models_of(manifest: records.Manifest) -> dict[str, list[Descriptor]]:
    """The layers of each model, by the model's digest in hexadecimal."""
    found: dict[str, list[Descriptor]] = {}
    for layer in manifest.layers:
        if digest := layer.annotations.get(MODEL, "").removeprefix("sha256:"):
            found.setdefault(digest, []).append(layer)
    return {digest: layers for digest, layers in found.items() if record_of(layers) is not None}


def restore(manifest: records.Manifest, blobs: Blobs, tree: Path, *, where: str) -> Manifest:
    """Write the bundle's tree, without its models; who adds it to a store checks it there.

    Raises:
        BundleError: it is not a bundle as this version knows them.
        StorageError: its sources lead out of the directory or are damaged.
    """
    data = blobs.path(manifest.config.digest).read_bytes()
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as error:
        raise BundleError(f"expected the manifest of a bundle at {where}: {error}") from error
    sources = [layer for layer in manifest.layers if layer.media_type == SOURCES]
    if len(sources) != 1:
        raise BundleError(f"expected one layer of sources at {where}, found {len(sources)}")
    source = tree / SOURCE
    source.mkdir(parents=True)
    (tree / MANIFEST).write_bytes(data)
    layer = (f"the sources of {where}", blobs.path(sources[0].digest))
    # It is compared with the manifest afterwards; a bomb must not fill the disk first.
    room = min(shutil.disk_usage(tree).free, 2 * found.size + (1 << 20))
    unpacking.unpack([layer], source, most_bytes=room)
    for file in found.files:
        if file.link:
            target = source / file.path
            if ".." in Path(file.path).parts or Path(file.path).is_absolute():
                raise BundleError(f"expected a path inside the bundle, found {file.path!r}")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file.link)
    for one in manifest.layers:
        if one.media_type == SBOM_TYPE and found.sbom is not msgspec.UNSET:
            shutil.copyfile(blobs.path(one.digest), tree / SBOM)
    return found


def _packed(bundle: Bundle) -> bytes:
    """The sources as a tar, equal for equal sources; links are not in it, the manifest has them."""
    out = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=out, mode="wb", mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for file in sorted(bundle.manifest.files, key=lambda one: one.path):
            if file.link:
                continue
            header = tarfile.TarInfo(file.path)
            header.size, header.mode = file.size, 0o755 if file.executable else 0o644
            with (bundle.source / file.path).open("rb") as source:
                archive.addfile(header, source)
    return out.getvalue()
