"""The local model store: models by content, and tags that lead to them.

    <root>/content/<sha256>/model.json      the manifest; its sha256 is the directory's name
    <root>/content/<sha256>/files/          the model's files
    <root>/tags/<name>/<version>            one line, the sha256

How it is written so that nobody ever sees half a model is in ``tiffin.store.shelf``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from tiffin.errors import ModelError
from tiffin.store import files, reference
from tiffin.store.files import File
from tiffin.store.manifest import FILES, MANIFEST, Lineage, ModelManifest, decode
from tiffin.store.reference import Reference
from tiffin.store.shelf import Shelf
from tiffin.store.tags import Tag, new_version


class StoredModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model in a store. ``path`` is the directory with its files, ``tag`` the one it was found by.

    ``created`` is when that tag was set, ISO 8601 in UTC; empty when it was found by its digest.
    """

    tag: str
    digest: str
    manifest: ModelManifest
    path: Path
    created: str = ""

    @property
    def files(self) -> tuple[File, ...]:
        return self.manifest.files

    @property
    def labels(self) -> dict[str, str]:
        return self.manifest.labels

    @property
    def metadata(self) -> dict[str, Any]:
        return self.manifest.metadata

    @property
    def module(self) -> str:
        return self.manifest.module

    @property
    def lineage(self) -> Lineage:
        return self.manifest.lineage

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return self.manifest.size


class Draft:
    """A model that is being made: write files below ``path``. ``stored`` is the model once it is done.

    ``labels``, ``metadata`` and ``module`` may still change until then.
    """

    def __init__(self, tag: Reference, path: Path, manifest: ModelManifest) -> None:
        self.tag = str(tag)
        self.path = path
        self.manifest = manifest
        self.stored: StoredModel | None = None


class ModelStore:
    """Models below ``root``, which is created when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shelf = Shelf(
            root,
            word="model",
            error=ModelError,
            make="save it: `tiffin models save {} PATH`, or tiffin.models.create in Python",
            lists="tiffin models list",
        )

    @contextlib.contextmanager
    def create(
        self,
        name: str,
        *,
        module: str = "",
        labels: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        lineage: Lineage | None = None,
        **more: Any,
    ) -> Iterator[Draft]:
        """A directory to write a model's files into; stored and tagged when the block ends without an error.

        Args:
            name: ``name`` (the version is then made up) or ``name:version``.
            module: who reads it back, for example ``tiffin.sklearn``.
            labels: text by name.
            metadata: JSON by name.
            lineage: where it came from.
            more: further fields of the manifest.

        Raises:
            ModelError: the tag leads to another content, the block wrote nothing or what is no file, or metadata
                is not JSON.
            StorageError: the store cannot be written.
        """
        tag = _versioned(name)
        manifest = ModelManifest(
            module=module,
            labels=_labels(labels),
            metadata=_json(metadata, "metadata"),
            lineage=lineage or Lineage(),
            **more,
        )
        with self.shelf.workshop() as place:
            inside = place / "new" / FILES
            inside.mkdir(parents=True)
            draft = Draft(tag, inside, manifest)
            yield draft
            draft.stored = self._finish(place / "new", draft.manifest, (tag,))

    def add(
        self,
        directory: Path,
        tag: str,
        *,
        manifest: ModelManifest | None = None,
        move: bool = False,
        progress: Callable[[int], None] | None = None,
    ) -> StoredModel:
        """Store a file, or the files of a directory, under a tag; ``manifest`` says what they are.

        ``move`` takes the directory away when it lies on the same file system. ``progress`` gets bytes as they go.

        Raises:
            ModelError: there is nothing, the tag exists for another content, or a link leads out.
            StorageError: the store cannot be written.
        """
        parsed = _versioned(tag)
        with self.shelf.workshop() as place:
            inside = place / "new" / FILES
            inside.parent.mkdir()
            with self.shelf.writing():
                _bring(directory, inside, move=move, progress=progress)
            return self._finish(place / "new", manifest or ModelManifest(), (parsed,))

    def import_tree(self, tree: Path, tag: str = "") -> StoredModel:
        """Add the model that a directory holds as ``model.json`` and ``files/``, checked before anybody sees it.

        Raises:
            ModelError: it is not what its manifest says (the file is named), or a path or link leads out of it.
            StorageError: the store cannot be written.
        """
        with self.shelf.workshop() as place:
            staged = place / "new"
            with self.shelf.writing():
                if tree.resolve().is_relative_to(self.root.resolve()) and tree.parent.name.startswith(".work-"):
                    os.rename(tree, staged)
                else:
                    shutil.copytree(tree, staged, symlinks=True)
            if stray := {path.name for path in staged.iterdir()} - {MANIFEST, FILES}:
                raise ModelError(f"expected a model, found {min(stray)} beside it, which is no part of one")
            manifest = self._read(staged, tag or "that is imported")
            files.check_paths(manifest.files, ModelError)
            if (staged / MANIFEST).read_bytes() != manifest.encode():
                raise ModelError("expected the manifest as Tiffin writes it, found other bytes", at=str(tree))
            if (found := files.difference(staged / FILES, manifest.files)) is not None:
                raise ModelError(f"the model is not what its manifest says: {found[0]} {found[1]}", at=str(tree))
            tags = (_versioned(tag),) if tag else ()
            self.shelf.put(staged, manifest.digest, tags, self._is_whole, taken=_exists)
        return self.find(str(tags[0]) if tags else f"sha256:{manifest.digest}")

    def get(self, name: str) -> StoredModel:
        """The model of a tag, a digest or the start of either, every file compared with the manifest.

        Raises:
            ModelError: there is none, or it has been tampered with; the file is named.
        """
        model = self.find(name)
        self.verify(model)
        return model

    def find(self, name: str) -> StoredModel:
        """As ``get``, without reading every file again."""
        digest, tag = self.shelf.find(name)
        place = self.shelf.place(digest)
        if not (place / MANIFEST).is_file():
            raise ModelError(f"the model {name} has no content in {self.root}", hint="save it again")
        manifest = self._read(place, name)
        if manifest.digest != digest:
            raise ModelError(f"the manifest of the model {name} has changed", hint="save it again", at=str(place))
        if tag is None:
            known = self.shelf.tags_of(digest)
            tag = reference.parse(known[0], ModelError) if known else None
        return StoredModel(
            tag=str(tag) if tag else f"sha256:{digest}",
            digest=digest,
            manifest=manifest,
            path=place / FILES,
            created=self.shelf.created(tag) if tag else "",
        )

    def verify(self, model: StoredModel) -> None:
        """Compare a model's files with its manifest; raises ModelError naming the first that differs."""
        if (found := files.difference(model.path, model.files)) is not None:
            raise ModelError(
                f"the model {model.tag} is not what was stored: {found[0]} {found[1]}",
                hint="save it again, or delete it",
                at=str(model.path / found[0]),
            )

    def list(self, name: str = "") -> list[StoredModel]:
        """The model of every tag, sorted; ``name`` narrows it to one name. A broken one is left out."""
        found = []
        for tag in self.shelf.tags():
            if not name or tag.reference.name == name:
                with contextlib.suppress(ModelError, OSError):
                    found.append(self.find(str(tag.reference)))
        return found

    def delete(self, tag: str, *, may_go: Callable[[str], None] | None = None) -> bool:
        """Delete a tag; the content too when no other tag leads to it, which the result tells.

        ``may_go`` is asked with the digest before its content goes, and raises when something needs it.

        Raises:
            ModelError: there is no such tag. A version has to be written.
        """
        return self.shelf.delete(reference.parse(tag, ModelError), may_go=may_go)

    def _finish(self, staged: Path, manifest: ModelManifest, tags: tuple[Reference, ...]) -> StoredModel:
        inside = staged / FILES
        listed = tuple(files.record(inside, path, ModelError) for path in sorted(files.walk(inside)))
        if not listed:
            raise ModelError(f"expected files for the model {tags[0]}, found none", hint="write them below .path")
        files.check_paths(listed, ModelError)
        manifest = msgspec.structs.replace(manifest, files=listed)
        with self.shelf.writing():
            for file in listed:
                if not file.link:
                    (inside / file.path).chmod(0o755 if file.executable else 0o644)
            (staged / MANIFEST).write_bytes(manifest.encode())
        self.shelf.put(staged, manifest.digest, tags, self._is_whole, taken=_exists)
        return self.find(str(tags[0]))

    def _is_whole(self, digest: str) -> bool:
        try:
            self.get(f"sha256:{digest}")
        except ModelError:
            return False
        return True

    def _read(self, tree: Path, name: str) -> ModelManifest:
        try:
            return decode((tree / MANIFEST).read_bytes())
        except OSError as error:
            raise ModelError(f"cannot read the model {name}: {error.strerror}", at=str(tree)) from error
        except ModelError as error:
            raise ModelError(f"{error.message} ({name})", hint=error.hint, at=str(tree / MANIFEST)) from error


def _versioned(name: str) -> Reference:
    """A tag with a version: the one that is written, or a new one. Both are in lower case, as BentoML's are."""
    tag = Tag.from_taglike(name)
    return Reference(tag.name, tag.version or new_version())


def _exists(tag: Reference) -> ModelError:
    return ModelError(
        f"the model {tag} exists already, with another content",
        hint=f"save it as another version, or delete that one: `tiffin models delete {tag}`",
    )


def _labels(labels: Mapping[str, str] | None) -> dict[str, str]:
    try:
        return msgspec.convert(dict(labels or {}), dict[str, str])
    except msgspec.ValidationError as error:
        raise ModelError(f"expected labels as text: {error}") from error


def _json(value: Mapping[str, Any] | None, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(dict(value or {}), enc_hook=_plain))
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        raise ModelError(f"expected {what} that is JSON: {error}") from error
    return found


def _plain(value: Any) -> Any:
    """Numbers and arrays of numpy, as metrics often are."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is none")


def _bring(origin: Path, inside: Path, *, move: bool, progress: Callable[[int], None] | None) -> None:
    if not origin.exists():
        raise ModelError("expected a file or directory, found nothing", at=str(origin))
    if origin.is_dir() and move:
        with contextlib.suppress(OSError):
            os.rename(origin, inside)
            return
    inside.mkdir()
    if origin.is_file():
        files.copy(origin, inside / origin.name, progress)
        return
    for path in files.walk(origin):
        one = files.record(origin, path, ModelError) if (origin / path).is_symlink() else None
        place = inside / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if one is not None:
            place.symlink_to(one.link)
            continue
        full = origin / path
        if not full.is_file():
            raise ModelError("expected a file, found a socket, pipe or device", at=str(full))
        files.copy(full, place, progress)
        place.chmod(full.stat().st_mode & 0o777)
