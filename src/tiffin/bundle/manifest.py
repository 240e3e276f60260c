"""What a bundle holds, and the digest that is its identity."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import msgspec

from tiffin.errors import BundleError
from tiffin.store import files
from tiffin.store.files import File

Kind = Literal["class", "service", "program"]
"""What ``target`` is: ``module:Class`` of a plain class or a service, or the command line of a program."""

MANIFEST = "bundle.json"
SOURCE = "src"
SBOM = "sbom.json"
FORMAT = 2
"""The format this version writes. It reads those up to it."""


class PinnedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model of the model store that the bundle needs: its tag when it was built, and the digest that counts.

    ``alias`` is another name the service knows it by. ``size`` is in bytes. ``source`` says where it came from
    when it is not the store's own: ``bentoml`` (its store on this machine) or ``huggingface`` (``tag`` is then
    ``id@commit``).
    """

    tag: str
    digest: str
    size: int = 0
    alias: str = ""
    source: str = ""


class Recipe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What stands around the sources in an image, and how it is made.

    ``locked`` is the requirements as they were resolved once, with hashes, as pip reads them; empty when they were
    not locked. ``platform`` is what they were resolved for (``x86_64-manylinux_2_36``). ``commands`` run before
    the packages are installed, ``post_commands`` after; ``build_include`` are patterns of files they need.
    """

    locked: str = ""
    platform: str = ""
    base_image: str = ""
    distro: str = ""
    system_packages: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    post_commands: tuple[str, ...] = ()
    build_include: tuple[str, ...] = ()


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a bundle came from. Nothing here differs between two builds of the same inputs.

    ``commit`` is the last one that touched the directory, ``dirty`` whether files differ from it. ``builder`` is
    ``tiffin/0.1.0``. ``data`` is the author's reference to the training data, ``inputs`` digests of what the build
    read beside the sources (build file, lock file), by name.
    """

    builder: str = ""
    repository: str = ""
    commit: str = ""
    dirty: bool = False
    data: str = ""
    inputs: dict[str, str] = {}


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes two bundles the same: nothing in it depends on when or where it was built.

    ``requirements`` is text as pip reads it; ``python`` is ``3.11``; ``environment`` are variables the author set;
    ``format`` is the version of this record. ``arguments`` are what a program gets unless it is told others (an
    image's CMD beside its ENTRYPOINT); left out of the record where there are none.

    From format 2 on: ``recipe``, ``models``, ``schema`` (what ``/schema.json`` of the service says),
    ``provenance`` and ``sbom``, the sha256 of ``sbom.json`` (CycloneDX) beside the manifest; ``description`` is
    the author's text, ``options`` the service's own arguments (``--arg``). They are left out of the record where
    they are not set, so that bundles of format 1 keep their digests.
    """

    format: int = 1
    kind: Kind
    target: str
    python: str
    requirements: str = ""
    labels: dict[str, str] = {}
    environment: dict[str, str] = {}
    files: tuple[File, ...] = ()
    arguments: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    recipe: Recipe | msgspec.UnsetType = msgspec.UNSET
    models: tuple[PinnedModel, ...] | msgspec.UnsetType = msgspec.UNSET
    schema: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    provenance: Provenance | msgspec.UnsetType = msgspec.UNSET
    sbom: str | msgspec.UnsetType = msgspec.UNSET
    description: str | msgspec.UnsetType = msgspec.UNSET
    options: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET

    def encode(self) -> bytes:
        """Canonical JSON: equal manifests are equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1) + b"\n"

    @property
    def digest(self) -> str:
        """sha256 of the canonical JSON, in hexadecimal."""
        return hashlib.sha256(self.encode()).hexdigest()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


class Bundle(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle in a store. ``path`` is its directory; ``tags`` are the names that lead to it."""

    digest: str
    manifest: Manifest
    path: Path
    tags: tuple[str, ...] = ()

    @property
    def source(self) -> Path:
        """The directory with the author's files."""
        return self.path / SOURCE

    @property
    def kind(self) -> Kind:
        return self.manifest.kind

    @property
    def target(self) -> str:
        return self.manifest.target


def read_bundle(path: Path) -> Bundle | None:
    """The bundle in a directory (or the one whose source it is); None when there is none.

    Raises:
        BundleError: there is one, and its manifest is broken.
    """
    for directory in (path, path.parent) if path.name == SOURCE else (path,):
        file = directory / MANIFEST
        if file.is_file():
            try:
                manifest = decode(file.read_bytes())
            except (msgspec.DecodeError, OSError) as error:
                raise BundleError(f"cannot read {file}: {error}") from error
            return Bundle(digest=manifest.digest, manifest=manifest, path=directory)
    return None


def decode(content: bytes) -> Manifest:
    """The manifest of ``bundle.json``.

    Raises:
        BundleError: it was written by a later version of Tiffin.
        msgspec.DecodeError: it is no manifest.
    """
    manifest = msgspec.json.decode(content, type=Manifest)
    if manifest.format > FORMAT:
        raise BundleError(
            f"expected a bundle of format {FORMAT} or less, found {manifest.format}",
            hint="a later version of Tiffin made it: upgrade this one",
        )
    return manifest


def verify(bundle: Bundle) -> None:
    """Compare what is on disk with the manifest; raises BundleError naming the first file that differs."""
    _drop_byte_code(bundle)
    if (found := files.difference(bundle.source, bundle.manifest.files)) is not None:
        raise _tampered(bundle, bundle.source, *found)
    if (recorded := bundle.manifest.sbom) is not msgspec.UNSET:
        sbom = bundle.path / SBOM
        if not sbom.is_file():
            raise _tampered(bundle, bundle.path, SBOM, "is missing")
        if files.sha256_of(sbom)[0] != recorded:
            raise _tampered(bundle, bundle.path, SBOM, "has changed")


def _drop_byte_code(bundle: Bundle) -> None:
    """Python writes it beside what it imports. A bundle holds none, and Python would run it unverified."""
    for directory, directories, _ in os.walk(bundle.source):
        cache = Path(directory) / "__pycache__"
        if "__pycache__" in directories and not cache.is_symlink():
            directories.remove("__pycache__")
            try:
                shutil.rmtree(cache)
            except OSError as error:
                name = str(cache.relative_to(bundle.source))
                raise _tampered(bundle, bundle.source, name, "is not part of it") from error


def _tampered(bundle: Bundle, root: Path, file: str, how: str) -> BundleError:
    name = bundle.tags[0] if bundle.tags else f"sha256:{bundle.digest[:12]}"
    return BundleError(
        f"the bundle {name} is not what was built: {file} {how}",
        hint="build it again, or delete it",
        at=str(root / file),
    )
