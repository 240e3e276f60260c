"""Models as trees on their own, in a directory or an archive, and back into the store; BentoML's too."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tiffin.errors import AuthorError, ModelError
from tiffin.store import archives, bentoml
from tiffin.store.manifest import FILES, MANIFEST
from tiffin.store.models import ModelStore, StoredModel
from tiffin.store.tags import Tag

TAG = "tag"
"""The file in an archive that says what was exported under which name."""


def export_model(store: ModelStore, name: str, out: Path) -> Path:
    """Write a model into ``out``: an archive by its ending, else a directory; inside of it when it is one.

    Raises:
        ModelError: there is no such model, it was tampered with, or something is in the way.
    """
    model = store.get(name)
    place = settled(out, model.tag, ".tiffinmodel", ModelError)
    with store.shelf.workshop() as workshop:
        tree = workshop / "tree"
        tree.mkdir()
        (tree / MANIFEST).write_bytes(model.manifest.encode())
        (tree / TAG).write_text(f"{model.tag}\n", encoding="utf-8")
        shutil.copytree(model.path, tree / FILES, symlinks=True)
        archives.pack(tree, place)
    return place


def import_model(store: ModelStore, path: Path, tag: str = "") -> StoredModel:
    """Store the model of an archive or directory, under ``tag`` or the one it was exported with.

    Raises:
        ModelError: it is none, is not what it says, or its tag leads to another model.
    """
    with store.shelf.workshop() as workshop, opened(path, workshop, ModelError) as tree:
        if (tree / bentoml.MODEL).is_file():
            return of_bentoml(store, tree, tag)
        if not (tree / MANIFEST).is_file():
            raise ModelError(
                f"expected a model ({MANIFEST} or {bentoml.MODEL}), found none in {path.name}",
                hint="`tiffin import` takes bundles, `tiffin models save TAG PATH` takes plain files",
            )
        return store.import_tree(tree, tag or _said(tree))


def of_bentoml(store: ModelStore, directory: Path, tag: str = "") -> StoredModel:
    """Store a model directory of BentoML's, under the tag it has there."""
    record = bentoml.read_record(directory / bentoml.MODEL)
    manifest = bentoml.manifest_of(directory, record)
    with store.shelf.workshop() as workshop:
        tree = workshop / "tree"
        tree.mkdir()
        (tree / MANIFEST).write_bytes(manifest.encode())
        shutil.copytree(directory, tree / FILES, symlinks=True)
        (tree / FILES / bentoml.MODEL).unlink()
        for file in manifest.files:
            if not file.link:
                (tree / FILES / file.path).chmod(0o755 if file.executable else 0o644)
        return store.import_tree(tree, tag or str(bentoml.tag_of(record)))


@contextlib.contextmanager
def opened(path: Path, workshop: Path, error: type[AuthorError]) -> Iterator[Path]:
    """The tree of an archive, unpacked in the workshop, or a copy of a directory that may be taken."""
    if not path.exists():
        raise error("expected an archive or directory, found nothing", at=str(path))
    place = Path(tempfile.mkdtemp(dir=workshop, prefix=".work-")) / "tree"
    if path.is_dir():
        shutil.copytree(path, place, symlinks=True)
    else:
        archives.unpack(path, place, error)
    yield place


def settled(out: Path, tag: str, ending: str, error: type[AuthorError]) -> Path:
    """Where an export goes: into a directory that exists it goes under the tag's own name.

    Raises:
        AuthorError: something is there already, or the directory above is missing.
    """
    place = out.absolute()
    if place.is_dir():
        place /= f"{tag.replace('/', '-').replace(':', '-')}{ending}"
    if place.exists():
        raise error("something is there already", hint="choose another name, or delete it", at=str(place))
    if not place.parent.is_dir():
        raise error("expected a directory to write to, found none", at=str(place.parent))
    return place


def _said(tree: Path) -> str:
    """The tag in an archive, taken out of it: it is no part of the model."""
    file = tree / TAG
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    file.unlink()
    return "" if text.startswith("sha256:") else str(Tag.from_str(text))
