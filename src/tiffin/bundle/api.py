"""``tiffin.build``, ``list``, ``get`` and so on: the bundle store from Python, under BentoML's names."""

from __future__ import annotations

import contextlib
import os
from builtins import list as _list
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tiffin.bundle import Bundle, BundleStore, building, trees
from tiffin.errors import BundleError
from tiffin.kits import paths
from tiffin.service.exceptions import NotFound
from tiffin.store import reference
from tiffin.store.models import ModelStore
from tiffin.store.reference import Reference
from tiffin.store.tags import Tag

__all__ = ["Bento", "BundleNotFound", "build", "delete", "export_bento", "get", "import_bento", "list"]


class Bento:
    """A bundle of the store.

    Attributes:
        tag: ``name:version`` as it was asked for or built.
        digest: sha256 of its manifest.
        path: The directory with the manifest and ``src/``.
        info: The manifest: labels, schema, models, provenance and more.
    """

    def __init__(self, tag: str, bundle: Bundle) -> None:
        self.tag = tag
        self.digest = bundle.digest
        self.path = str(bundle.path)
        self.info = bundle.manifest

    def path_of(self, item: str) -> str:
        """The path of a file in it."""
        return str(Path(self.path) / item.lstrip("/"))

    def export(self, path: str) -> str:
        """Write it into an archive or directory; where it was written."""
        return export_bento(self.tag, path)

    def __repr__(self) -> str:
        return f'Bento(tag="{self.tag}")'


def _store() -> BundleStore:
    return BundleStore(paths.data_directory().bundles)


def build(
    service: str = "",
    *,
    name: str | None = None,
    version: str | None = None,
    labels: Mapping[str, str] | None = None,
    build_ctx: str | os.PathLike[str] | None = None,
    bentofile: str | os.PathLike[str] | None = None,
    platform: str | None = None,
    args: Mapping[str, Any] | None = None,
    is_locking: bool = True,
) -> Bento:
    """Make a bundle, as ``tiffin build`` does.

    Args:
        service: ``module:Class``; that of the build file when empty.
        name: else that of the build file or class.
        version: else the start of the digest.
        labels: text by name, above those of the build file.
        build_ctx: the directory with the sources; this one when None.
        bentofile: a build file of another name.
        platform: what to resolve the requirements for.
        args: the service's own arguments.
        is_locking: whether to resolve the requirements.

    Raises:
        TiffinError: it cannot be built, with the reason.
    """
    wish = building.Wish(
        target=service,
        bentofile=Path(bentofile) if bentofile else None,
        labels=dict(labels or {}),
        platform=platform or "",
        arguments=dict(args or {}),
        is_locking=is_locking,
    )
    made = building.prepare(Path(build_ctx or "."), wish, paths.data_directory().make())
    wanted = reference.parse(f"{name or made.name}:{version}" if version else name or made.name)
    return Bento(*_store().add(made, wanted, is_moving=False))


def list(tag: str | Tag | None = None) -> _list[Bento]:
    """Every tagged bundle, or those of one name."""
    store = _store()
    found = [tagged.tag for tagged in store.list()]
    return [Bento(one, store.find(one)) for one in found if not tag or one.rpartition(":")[0] == str(tag)]


class BundleNotFound(BundleError, NotFound):
    """There is no such bundle; also what code written for BentoML catches as ``NotFound``."""

    def __init__(self, message: str, *, hint: str | None = None, at: str | None = None) -> None:
        super().__init__(message, hint=hint, at=at)
        self.error_code = HTTPStatus.INTERNAL_SERVER_ERROR  # Callers of a service are not told.


@contextlib.contextmanager
def _missing_is_not_found() -> Iterator[None]:
    try:
        yield
    except BundleError as error:
        if error.message.startswith("there is no bundle"):
            raise BundleNotFound(error.message, hint=error.hint, at=error.at) from None
        raise


def get(tag: str | Tag) -> Bento:
    """A bundle by tag, name or digest; its files are verified.

    Raises:
        BundleNotFound: there is none.
        BundleError: it was tampered with.
    """
    with _missing_is_not_found():
        bundle = _store().get(str(tag))
    return Bento(_known(str(tag), bundle), bundle)


def delete(tag: str | Tag) -> None:
    """Delete a tag, and its content when no other tag leads to it.

    Raises:
        BundleNotFound: there is no such tag.
        BundleError: there is no version in it, which has to be written.
    """
    with _missing_is_not_found():
        _store().delete(str(tag))


def export_bento(tag: str | Tag, path: str | os.PathLike[str]) -> str:
    """Write a bundle with its models into an archive, by its ending, or a directory; where it was written.

    Raises:
        BundleError: there is no such bundle, or something is in the way.
    """
    models = ModelStore(paths.data_directory().models)
    return str(trees.export(_store(), models, str(tag), Path(path)))


def import_bento(path: str | os.PathLike[str]) -> Bento:
    """Store the bundle of an archive or directory: Tiffin's, or a ``.bento``.

    Raises:
        BundleError: it is none, is not what it says, or its tag leads to another bundle.
    """
    found = trees.import_bundle(_store(), ModelStore(paths.data_directory().models), Path(path))
    return Bento(found.tag, found.bundle)


def _known(text: str, bundle: Bundle) -> str:
    if text in bundle.tags:
        return text
    wanted: Reference | None
    try:
        wanted = reference.parse(text)
    except BundleError:
        wanted = None
    named = [tag for tag in bundle.tags if wanted and tag.startswith(f"{wanted.name}:")]
    return next(iter(named or bundle.tags), f"sha256:{bundle.digest}")
