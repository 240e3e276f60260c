"""Models as trees on their own, in a directory or an archive, and back into the store; BentoML's too."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from tiffin.errors import AuthorError, ModelError
from tiffin.kits.files import write_atomic
from tiffin.kits.paths import make_directory
from tiffin.store import archives, bentoml
from tiffin.store.manifest import FILES, MANIFEST
from tiffin.store.models import ModelStore, StoredModel
from tiffin.store.tags import Tag

TAG = "tag"
"""The file in an archive that says what was exported under which name."""
SIGNATURES = "signatures"
"""The directory of signatures, in an archive and in a store: no part of what they are of."""
_SIGNATURE = re.compile(r"[0-9a-z]{1,64}\.sig")
_MOST_BYTES = 64 << 20


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
        send_signatures(store.root, model.digest, tree)
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
        signatures = take_signatures(tree)
        said = _said(tree)
        model = store.import_tree(tree, tag or said)
        keep_signatures(store.root, model.digest, signatures)
        return model


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


def send_signatures(root: Path, digest: str, tree: Path) -> None:
    """Put the signatures that a store keeps of a digest into a tree that is exported."""
    found = sorted((root / SIGNATURES / digest).glob("*.sig"))
    if found:
        (tree / SIGNATURES).mkdir()
    for one in found:
        shutil.copyfile(one, tree / SIGNATURES / one.name)


def take_signatures(tree: Path) -> dict[str, bytes]:
    """Take the signatures out of a tree; who checks one finds out whether it is one."""
    directory = tree / SIGNATURES
    if not directory.is_dir() or directory.is_symlink():
        return {}
    found = {
        one.name: one.read_bytes()
        for one in sorted(directory.iterdir())
        if _SIGNATURE.fullmatch(one.name) and one.is_file() and one.lstat().st_size <= _MOST_BYTES
    }
    shutil.rmtree(directory)
    return found


def keep_signatures(root: Path, digest: str, signatures: Mapping[str, bytes]) -> None:
    """Keep signatures beside what they are of; those that are there stay."""
    for name, data in signatures.items():
        place = make_directory(root / SIGNATURES / digest) / name
        if not place.exists():
            write_atomic(place, data, mode=0o644)


def _said(tree: Path) -> str:
    """The tag in an archive, taken out of it: it is no part of the model."""
    file = tree / TAG
    if not file.is_file():
        return ""
    text = file.read_text(encoding="utf-8", errors="replace").strip()
    file.unlink()
    return "" if text.startswith("sha256:") else str(Tag.from_str(text))
