"""Bundles and models between the stores of this machine and registries."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from tiffin.bundle import artefact
from tiffin.bundle.manifest import Bundle, PinnedModel
from tiffin.bundle.places import Moved, moved, tag_of
from tiffin.bundle.store import BundleStore
from tiffin.errors import AuthorError, BundleError, ModelError, RegistryError, SignatureError
from tiffin.kits.paths import DataDirectory, make_directory
from tiffin.oci import modelpack, records
from tiffin.oci.gathering import Gathered
from tiffin.oci.layout import Layout
from tiffin.oci.manifests import INDEXES, read_manifest
from tiffin.oci.moving import Progress
from tiffin.oci.records import Descriptor
from tiffin.oci.reference import Reference
from tiffin.oci.registry import Registry, Summary
from tiffin.signing.kept import Signatures
from tiffin.signing.statement import MEDIA_TYPE
from tiffin.store import artefact as model_artefact
from tiffin.store.manifest import Lineage, ModelManifest
from tiffin.store.models import ModelStore, StoredModel


class Transport:
    """Moves bundles and models between ``data``'s stores and ``registry``."""

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        self.registry = registry
        self.bundles = BundleStore(data.bundles)
        self.models = ModelStore(data.models)
        self._arrivals = data.cache / "oci"

    # ---- push

    def push_bundle(
        self, tag: str, reference: Reference, *, models: bool = True, progress: Progress | None = None
    ) -> Moved:
        """Bring a bundle and its models to a registry.

        Raises:
            BundleError: there is no such bundle, it has been tampered with, or a model it needs is not here.
            RegistryError: the registry refuses.
        """
        bundle = self.bundles.get(tag)
        stored = self._needed(bundle) if models else []
        sources = [f"{reference.repository.rpartition('/')[0]}/{_name(one.tag)}".lstrip("/") for one in stored]
        with tempfile.TemporaryDirectory(prefix="tiffin-push-") as directory:
            blobs = Gathered(Path(directory))
            top = artefact.gather(bundle, stored, blobs)
            sources = [source for source in sources if source != reference.repository]
            done = self.registry.push(blobs, top, reference, progress=progress, sources=sources)
        signed = self._send_signatures(Signatures(self.bundles.root), bundle.digest, done)
        notes = () if models or not _pinned(bundle) else ("its models were left out",)
        tags = tuple(one.tag for one in stored)
        return moved("bundle", tag, bundle.digest, done, models=tags, signatures=signed, notes=notes)

    def push_model(self, tag: str, reference: Reference, *, progress: Progress | None = None) -> Moved:
        """Bring a model to a registry, as a ModelPack.

        Raises:
            ModelError: there is no such model, or it has been tampered with.
            RegistryError: the registry refuses.
        """
        model = self.models.get(tag)
        with tempfile.TemporaryDirectory(prefix="tiffin-push-") as directory:
            blobs = Gathered(Path(directory))
            top = model_artefact.gather(model, blobs)
            done = self.registry.push(blobs, top, reference, progress=progress)
        signed = self._send_signatures(Signatures(self.models.root), model.digest, done)
        return moved("model", model.tag, model.digest, done, signatures=signed)

    def _send_signatures(self, kept: Signatures, digest: str, done: Summary) -> int:
        """How many there are."""
        from tiffin.oci import referrers

        found = kept.of(digest)
        for path in found:
            referrers.attach(
                self.registry, done.reference, done.descriptor, path.read_bytes(), MEDIA_TYPE, path.name
            )
        return len(found)

    def _keep_signatures(self, kept: Signatures, digest: str, done: Summary) -> list[str]:
        """Fetch what was signed of it; what is wrong with that, which is no reason not to have it."""
        from tiffin.oci import referrers

        try:
            for data in referrers.attached(self.registry, done.reference, done.descriptor.digest, MEDIA_TYPE):
                kept.add(digest, data)
        except (RegistryError, SignatureError) as error:
            return [f"its signatures were not kept: {error.message}"]
        return []

    def _needed(self, bundle: Bundle) -> list[StoredModel]:
        found = []
        for pinned in _pinned(bundle):
            try:
                found.append(self.models.get(f"sha256:{pinned.digest.removeprefix('sha256:')}"))
            except ModelError as error:
                raise BundleError(
                    f"the bundle needs the model {pinned.tag}, which cannot be pushed: {error.message}",
                    hint="bring it back to the store, or leave models out: --without-models",
                ) from error
        return found

    # ---- pull

    def pull(
        self,
        reference: Reference,
        *,
        tag: str = "",
        expect: Literal["bundle", "model", "any"] = "any",
        progress: Progress | None = None,
    ) -> Moved:
        """Fetch a bundle with its models, or a model, into the stores; nothing is listed before it was checked.

        Args:
            reference: where from.
            tag: what it is called here; the last part of the repository and the tag when empty.
            expect: what it must be.
            progress: called as bytes arrive.

        Raises:
            RegistryError: there is no such thing, it is something else, or its bytes are others.
            BundleError: it is not what its manifest says, or its tag leads to another bundle.
            ModelError: the same of a model.
        """
        descriptor, data = self.registry.resolve(reference)
        if descriptor.media_type in INDEXES:
            raise RegistryError(
                f"expected a bundle or model at {reference}, found an index of images",
                hint="it is an image: name it in `container:`, or run it with docker",
            )
        manifest = read_manifest(data, descriptor.media_type, str(reference))
        is_bundle = artefact.is_bundle(manifest)
        if not is_bundle:
            modelpack.check(manifest, str(reference))
        kind: Literal["bundle", "model"] = "bundle" if is_bundle else "model"
        if expect not in ("any", kind):
            other = "`tiffin pull`" if is_bundle else "`tiffin models pull`"
            raise AuthorError(f"expected a {expect} at {reference}, found a {kind}", hint=f"use {other}")
        tag = tag or tag_of(reference, descriptor)
        at = reference.at(descriptor.digest)
        with self._arriving() as layout:
            self._lend(manifest, layout)
            have = {one for one in artefact.models_of(manifest) if self.models.shelf.place(one).is_dir()}

            def want(blob: Descriptor) -> bool:
                return blob.annotations.get(model_artefact.MODEL, "").removeprefix("sha256:") not in have

            done = self.registry.pull(at, layout, progress=progress, want=want if is_bundle else None)
            done = msgspec.structs.replace(done, reference=reference)
            if is_bundle:
                return self._keep_bundle(manifest, layout, tag, have, done)
            return self._keep_model(manifest, layout, tag, done)

    def _keep_bundle(
        self, manifest: records.Manifest, layout: Layout, tag: str, have: set[str], done: Summary
    ) -> Moved:
        where = str(done.reference)
        notes: list[str] = []
        with self.bundles.workshop() as place:
            found = artefact.restore(manifest, layout, place / "tree", where=where)
            pinned = {one.digest.removeprefix("sha256:"): one for one in _models(found.models)}
            models = []
            for digest, layers in artefact.models_of(manifest).items():
                name = pinned[digest].tag if digest in pinned else ""
                if digest in have:
                    models.append(name or digest[:12])
                    continue
                models.append(self._keep_layers(layers, layout, digest, name, where, notes))
            missing = [one.tag for digest, one in pinned.items() if not self.models.shelf.place(digest).is_dir()]
            notes += [f"the model {one} is not in the registry: it was pushed without" for one in missing]
            bundle = self.bundles.import_tree(place / "tree", (tag,))
        notes += self._keep_signatures(Signatures(self.bundles.root), bundle.digest, done)
        if (said := manifest.annotations.get(artefact.BUNDLE)) and said != f"sha256:{bundle.digest}":
            notes.append(f"the registry says {said} of it")
        signed = len(Signatures(self.bundles.root).of(bundle.digest))
        return moved(
            "bundle", tag, bundle.digest, done, models=tuple(models), signatures=signed, notes=tuple(notes)
        )

    def _keep_layers(
        self, layers: list[Descriptor], layout: Layout, digest: str, tag: str, where: str, notes: list[str]
    ) -> str:
        record = model_artefact.record_of(layers)
        assert record is not None
        with self.models.shelf.workshop() as place:
            found = model_artefact.restore_layers(layers, record, layout, place / "tree", where=where)
            if found.digest != digest:
                raise ModelError(
                    f"expected the model {digest[:12]} at {where}, found {found.digest[:12]}", hint="push it again"
                )
            if tag and self._leads_elsewhere(tag, digest):
                notes.append(f"the model's tag {tag} leads to another model here: it is kept by its digest alone")
                tag = ""
            return self.models.import_tree(place / "tree", tag).tag

    def _leads_elsewhere(self, tag: str, digest: str) -> bool:
        try:
            return self.models.find(tag).digest != digest
        except ModelError:
            return False

    def _keep_model(self, manifest: records.Manifest, layout: Layout, tag: str, done: Summary) -> Moved:
        where = str(done.reference)
        with self.models.shelf.workshop() as place:
            tree = place / "tree"
            if model_artefact.restore(manifest, layout, tree, where=where) is not None:
                model = self.models.import_tree(tree, tag)
            else:
                lineage = Lineage(source=f"oci://{done.reference.at(done.descriptor.digest)}")
                model = self.models.add(tree, tag, manifest=ModelManifest(lineage=lineage), move=True)
        notes = self._keep_signatures(Signatures(self.models.root), model.digest, done)
        signed = len(Signatures(self.models.root).of(model.digest))
        return moved("model", model.tag, model.digest, done, signatures=signed, notes=tuple(notes))

    def _lend(self, manifest: records.Manifest, layout: Layout) -> None:
        """What models of the store have already need not be fetched."""
        wanted = {layer.digest: layer for layer in manifest.layers if layer.size >= 1 << 16}
        for model in self.models.list() if wanted else ():
            for file in model.files:
                layer = wanted.pop(f"sha256:{file.sha256}", None)
                if layer is not None and not layout.path(layer.digest).exists():
                    with contextlib.suppress(OSError):
                        found = layout.place(model.path / file.path, layer.media_type)
                        if found.digest != layer.digest:
                            layout.path(found.digest).unlink()  # damaged in the store: fetch it

    @contextlib.contextmanager
    def _arriving(self) -> Iterator[Layout]:
        """Where blobs arrive. They stay when it is interrupted, and go when the last pull has ended well."""
        root = make_directory(self._arrivals)
        with (root / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield Layout(root)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return  # another pull is under way; it clears up
            shutil.rmtree(root / "blobs", ignore_errors=True)


def _pinned(bundle: Bundle) -> tuple[PinnedModel, ...]:
    return _models(bundle.manifest.models)


def _models(models: tuple[PinnedModel, ...] | msgspec.UnsetType) -> tuple[PinnedModel, ...]:
    """Those of Tiffin's store; others are fetched from where they are."""
    return () if isinstance(models, msgspec.UnsetType) else tuple(one for one in models if not one.source)


def _name(tag: str) -> str:
    return os.path.basename(tag.partition(":")[0])
