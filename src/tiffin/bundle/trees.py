"""Bundles as trees on their own, in a directory or an archive, with their models; and back into the store."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import NamedTuple

from tiffin.bundle import bentos, pinning
from tiffin.bundle.manifest import MANIFEST, Bundle, Manifest, read_bundle
from tiffin.bundle.store import BundleStore
from tiffin.errors import BundleError, ModelError
from tiffin.spec import SpecWarning
from tiffin.store import archives, bentoml, reference, trees
from tiffin.store.manifest import FILES
from tiffin.store.manifest import MANIFEST as MODEL_MANIFEST
from tiffin.store.models import ModelStore

MODELS = "models"


class Imported(NamedTuple):
    """``models`` are the tags of models that came with the bundle."""

    tag: str
    bundle: Bundle
    models: tuple[str, ...]
    warnings: tuple[SpecWarning, ...]


def export(bundles: BundleStore, models: ModelStore, name: str, out: Path, *, with_models: bool = True) -> Path:
    """Write a bundle, and the models it needs, into ``out``: an archive by its ending, else a directory.

    Raises:
        BundleError: there is no such bundle, it was tampered with, or something is in the way.
        ModelError: a model it needs is not there.
    """
    bundle = bundles.get(name)
    tag = bundle.tags[0] if bundle.tags else f"sha256-{bundle.digest[:12]}"
    if ":" in name and name in bundle.tags:
        tag = name
    place = trees.settled(out, tag, ".tiffin", BundleError)
    with bundles.workshop() as workshop:
        tree = workshop / "tree"
        shutil.copytree(bundle.path, tree, symlinks=True)
        (tree / trees.TAG).write_text(f"{tag}\n", encoding="utf-8")
        trees.send_signatures(bundles.root, bundle.digest, tree)
        for pinned in bundle.manifest.models or () if with_models else ():
            if pinned.source != "huggingface":
                _model(models, pinned.tag, pinned.digest, tree / MODELS / pinned.digest)
        archives.pack(tree, place)
    return place


def import_bundle(bundles: BundleStore, models: ModelStore, path: Path, tag: str = "") -> Imported:
    """Store the bundle of an archive or directory, Tiffin's or BentoML's, and the models that come with it.

    It gets ``tag``, else the one it was exported with. Nothing is stored of what is not as it says.

    Raises:
        BundleError: it is none, is not what it says, or its tag leads to another bundle.
        ModelError: a model in it is not what it says.
    """
    with bundles.workshop() as workshop, trees.opened(path, workshop, BundleError) as tree:
        if (tree / bentoml.BENTO).is_file():
            found, made = bentos.import_bento(bundles, models, tree, tag)
            bundle = bundles.find(found)
            return Imported(found, bundle, _tags(bundle), made.warnings)
        if not (tree / MANIFEST).is_file():
            kind = "a model" if (tree / MODEL_MANIFEST).is_file() or (tree / bentoml.MODEL).is_file() else "none"
            raise BundleError(
                f"expected a bundle ({MANIFEST} or {bentoml.BENTO}), found {kind} in {path.name}",
                hint="`tiffin models import` takes models" if kind != "none" else "`tiffin export` writes one",
            )
        said = _said(tree)
        wanted = tag or said
        signatures = trees.take_signatures(tree)
        carried = tree / MODELS
        if carried.is_dir():
            carried = carried.rename(tree.parent / "carried")
        manifest = _manifest(tree)
        if wanted and _leads_elsewhere(bundles, wanted, manifest.digest):
            raise BundleError(
                f"the tag {wanted} leads to another bundle already", hint="import it with --tag NAME:VERSION"
            )
        names = {pinned.digest: pinned.tag for pinned in manifest.models or ()}
        # Models come first: a bundle that is listed has what it needs.
        for one in sorted(carried.glob("*")) if carried.is_dir() else ():
            if one.name not in names:
                raise BundleError(f"{path.name} holds a model that its bundle does not name: {one.name}")
            _take(models, one, names[one.name])
        bundle = bundles.import_tree(tree, [wanted] if wanted else ())
        trees.keep_signatures(bundles.root, bundle.digest, signatures)
        return Imported(wanted or f"sha256:{bundle.digest}", bundle, _tags(bundle), ())


def _manifest(tree: Path) -> Manifest:
    bundle = read_bundle(tree)
    assert bundle is not None
    return bundle.manifest


def _leads_elsewhere(bundles: BundleStore, tag: str, digest: str) -> bool:
    found = reference.parse(tag)
    return bundles.shelf.has(found) and bundles.shelf.find(tag)[0] != digest


def _take(models: ModelStore, tree: Path, tag: str) -> None:
    """Store a model that came along; when its tag is taken by another one, by its digest alone."""
    stored = models.import_tree(tree)
    if stored.digest != tree.name:
        raise ModelError(f"expected the model {tree.name}, found {stored.digest}")
    try:
        known = models.find(tag).tag == tag
    except ModelError:
        known = False
    if not known:
        models.shelf.set_tag(reference.parse(tag, ModelError), stored.digest)


def _model(models: ModelStore, tag: str, digest: str, place: Path) -> None:
    try:
        model = models.get(f"sha256:{digest}")
    except ModelError:
        model, _ = pinning.located(models, tag)
    if model.digest != digest:
        raise ModelError(
            f"the model {tag} is not the one the bundle was built with",
            hint="build the bundle again, or export it with --no-models",
        )
    place.mkdir(parents=True)
    (place / MODEL_MANIFEST).write_bytes(model.manifest.encode())
    for file in model.files:
        target = place / FILES / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if file.link:
            target.symlink_to(file.link)
        else:
            shutil.copyfile(model.path / file.path, target)
            target.chmod(0o755 if file.executable else 0o644)


def _said(tree: Path) -> str:
    file = tree / trees.TAG
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    file.unlink()
    return "" if text.startswith("sha256") else text


def _tags(bundle: Bundle) -> tuple[str, ...]:
    return tuple(model.tag for model in bundle.manifest.models or ())
