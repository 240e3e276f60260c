"""The local bundle store: bundles by content, and tags that lead to them.

    <root>/content/<sha256>/bundle.json     the manifest; its sha256 is the directory's name
    <root>/content/<sha256>/sbom.json       what it is made of (CycloneDX), from format 2 on
    <root>/content/<sha256>/src/            the author's files
    <root>/tags/<name>/<version>            one line, the sha256

How it is written so that nobody ever sees half a bundle is in ``tiffin.store.shelf``.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from tiffin.bundle.manifest import MANIFEST, SBOM, SOURCE, Bundle, Kind, Manifest, read_bundle, verify
from tiffin.bundle.plan import Plan, plan
from tiffin.errors import BundleError
from tiffin.store import files, reference
from tiffin.store.reference import Reference
from tiffin.store.shelf import Shelf

_VERSION_LENGTH = 12


class Tagged(msgspec.Struct, frozen=True, kw_only=True):
    """A tag and what it leads to, for lists.

    ``created`` is when the tag was last set, ISO 8601 in UTC; sizes are in bytes.
    """

    tag: str
    digest: str
    kind: Kind
    target: str
    size: int
    model_size: int = 0
    created: str


class BundleStore:
    """Bundles below ``root``, which is created when something is first written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.shelf = Shelf(
            root,
            word="bundle",
            error=BundleError,
            make="make it: `tiffin build -t {} DIRECTORY`",
            lists="tiffin list",
        )

    def build(
        self,
        directory: Path,
        *,
        tag: str = "",
        target: str = "",
        kind: Kind | None = None,
        bentofile: Path | None = None,
    ) -> Bundle:
        """Make a bundle of a directory from its sources alone, and tag it; nothing is imported or resolved.

        Args:
            directory: holds the sources.
            tag: ``name:version``; the version defaults to the start of the digest, the name to that of
                the bentofile, else of the class.
            target: ``module:Class``, or a class's name; found by looking when empty.
            kind: ``class`` (a plain class) or ``service``; found by looking when None.
            bentofile: a file as BentoML reads it; ``bentofile.yaml`` of the directory when it has one.

        Raises:
            BundleError: it cannot be built, with the reason.
        """
        wanted = reference.parse(tag) if tag else None
        made = plan(directory, target=target, kind=kind, bentofile=bentofile)
        return self.add(made, wanted or Reference(made.name))[1]

    def add(
        self,
        made: Plan,
        name: Reference,
        *,
        progress: Callable[[int], None] | None = None,
        is_moving: bool = True,
    ) -> tuple[str, Bundle]:
        """Write what was planned and tag it; the whole tag, with a version from the digest if ``name`` has none.

        ``progress`` is called with the bytes that were written since. ``is_moving`` lets a tag that leads to
        another bundle lead to this one.

        Raises:
            BundleError: a file changed meanwhile, or the tag may not be moved.
            StorageError: the store cannot be written.
        """
        digest = made.manifest.digest
        tag = with_version(name, digest)
        taken = None if is_moving else _taken
        if taken and self.shelf.has(tag) and self.shelf.find(str(tag))[0] != digest:
            raise taken(tag)
        if not (self._holds(digest) and self.shelf.set_tag(tag, digest)):
            with self.shelf.workshop() as place:
                with self.shelf.writing():
                    made.write(place / "new", progress)
                self.shelf.put(place / "new", digest, (tag,), self._holds, taken=taken)
        return str(tag), self.find(str(tag))

    @contextlib.contextmanager
    def workshop(self) -> Iterator[Path]:
        """A directory on the file system of the store for what is being put together; gone afterwards."""
        with self.shelf.workshop() as place:
            yield place

    def import_tree(self, tree: Path, tags: Iterable[str] = ()) -> Bundle:
        """Add the bundle that a directory holds: ``bundle.json``, ``src/``, ``sbom.json`` if the manifest has one.

        It is checked before anybody can see it. A tree in a ``workshop`` of this store is moved, any other copied.
        Without tags it is held by its digest alone.

        Raises:
            BundleError: it is not what its manifest says (the file is named), a path or link leads out of it, or
                something beside it does not belong to a bundle.
            StorageError: the store cannot be written.
        """
        parsed = tuple(reference.parse(tag) for tag in tags)
        with self.shelf.workshop() as place:
            staged = place / "new"
            with self.shelf.writing():
                if tree.resolve().is_relative_to(self.root.resolve()) and tree.parent.name.startswith(".work-"):
                    os.rename(tree, staged)
                else:
                    shutil.copytree(tree, staged, symlinks=True)
                bundle = _checked(staged)
            digest = bundle.digest
            self.shelf.put(staged, digest, tuple(with_version(tag, digest) for tag in parsed), self._holds)
        return self.find(f"sha256:{digest}")

    def export(self, name: str, directory: Path) -> Bundle:
        """Write the bundle's tree into a directory that does not exist yet, after checking it.

        Raises:
            BundleError: there is no such bundle, or it has been tampered with.
        """
        bundle = self.get(name)
        with self.shelf.writing():
            shutil.copytree(bundle.path, directory, symlinks=True)
        return bundle

    def get(self, name: str) -> Bundle:
        """The bundle of a tag, a digest or the start of one, verified against its manifest.

        A name without a version is ``latest`` when there is such a tag, else the tag that was set last.

        Raises:
            BundleError: there is none, or it has been tampered with.
        """
        bundle = self.find(name)
        verify(bundle)
        return bundle

    def find(self, name: str) -> Bundle:
        """As ``get``, without reading every file again."""
        digest, _ = self.shelf.find(name)
        path = self.shelf.place(digest)
        bundle = read_bundle(path)
        if bundle is None:
            raise BundleError(f"the bundle {name} has no content in {self.root}", hint="build it again")
        if bundle.digest != digest:
            raise BundleError(
                f"the manifest of the bundle {name} has changed", hint="build it again", at=str(path)
            )
        return msgspec.structs.replace(bundle, tags=self.shelf.tags_of(digest))

    def all(self) -> list[Bundle]:
        """Every bundle, tagged or not. A broken one is left out."""
        found = []
        for digest in self.shelf.digests():
            with contextlib.suppress(BundleError, OSError):
                bundle = read_bundle(self.shelf.place(digest))
                if bundle is not None:
                    found.append(msgspec.structs.replace(bundle, tags=self.shelf.tags_of(digest)))
        return found

    def list(self) -> list[Tagged]:
        """All tags with their bundles, by tag. A broken bundle is left out."""
        found = []
        for tag in self.shelf.tags():
            with contextlib.suppress(BundleError, OSError):
                bundle = read_bundle(self.shelf.place(tag.digest))
                if bundle is not None:
                    found.append(
                        Tagged(
                            tag=str(tag.reference),
                            digest=tag.digest,
                            kind=bundle.kind,
                            target=bundle.target,
                            size=bundle.manifest.size,
                            model_size=sum(model.size for model in bundle.manifest.models or ()),
                            created=self.shelf.created(tag.reference),
                        )
                    )
        return found

    def delete(self, tag: str) -> bool:
        """Delete a tag; the content too when no other tag leads to it, which the result tells.

        Raises:
            BundleError: there is no such tag. A version has to be written.
        """
        return self.shelf.delete(reference.parse(tag))

    def _holds(self, digest: str) -> bool:
        """Whether the content is there and whole; the same sources again are the way to mend it when it is not."""
        try:
            bundle = read_bundle(self.shelf.place(digest))
            if bundle is not None:
                verify(bundle)
        except BundleError:
            return False
        return bundle is not None and bundle.digest == digest


def with_version(name: Reference, digest: str) -> Reference:
    """The reference itself, or with the start of the digest where it has no version."""
    return name if name.version else Reference(name.name, digest[:_VERSION_LENGTH])


def _taken(tag: Reference) -> BundleError:
    return BundleError(
        f"the tag {tag} leads to another bundle already", hint="choose another version, or move it with --force"
    )


def _checked(tree: Path) -> Bundle:
    bundle = read_bundle(tree)
    if bundle is None or not bundle.source.is_dir():
        raise BundleError(f"expected a bundle ({MANIFEST} and {SOURCE}/), found none", at=str(tree))
    files.check_paths(bundle.manifest.files)
    written = (tree / MANIFEST).read_bytes()
    if written != bundle.manifest.encode():
        raise BundleError("expected the manifest as Tiffin writes it, found other bytes", at=str(tree / MANIFEST))
    stray = {path.name for path in tree.iterdir()} - {MANIFEST, SOURCE, SBOM}
    if stray or (_sbom(bundle.manifest) == "" and (tree / SBOM).exists()):
        name = min(stray or {SBOM})
        raise BundleError(f"expected a bundle, found {name} beside it, which is no part of one", at=str(tree))
    verify(bundle)
    return bundle


def _sbom(manifest: Manifest) -> str:
    return "" if manifest.sbom is msgspec.UNSET else manifest.sbom
