"""What may be deleted: what writers left behind, what no tag leads to, models and locks that nothing needs."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tiffin.bundle.store import BundleStore
from tiffin.errors import BundleError, ModelError
from tiffin.kits.paths import DataDirectory
from tiffin.signing.kept import Signatures
from tiffin.store import files
from tiffin.store.models import ModelStore
from tiffin.store.shelf import Shelf

_LOCK_SECONDS = 90 * 86_400.0


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Something that can go: ``what`` it is, its name, and its bytes."""

    what: str
    name: str
    size: int


def keeper(data: DataDirectory, tag: str) -> Callable[[str], None]:
    """What raises ModelError, with the bundles that need it, for a model that has to stay."""

    def may_go(digest: str) -> None:
        needing = users(BundleStore(data.bundles), digest)
        if needing:
            raise ModelError(
                f"the model {tag} is needed by {', '.join(needing)}",
                hint=f"delete the bundle first: `tiffin delete {needing[0]}`",
            )

    return may_go


def users(bundles: BundleStore, digest: str) -> list[str]:
    """The bundles, by tag or digest, that were built with a model.

    Raises:
        BundleError: a bundle's manifest cannot be read: what it needs is then not known.
    """
    found = []
    for each in bundles.shelf.digests():
        try:
            bundle = bundles.find(f"sha256:{each}")
        except BundleError as error:
            raise BundleError(
                f"what the bundle {each[:12]} needs cannot be read: {error.message}",
                hint="build it again, or delete it",
            ) from error
        if any(model.digest == digest for model in bundle.manifest.models or ()):
            found.append(bundle.tags[0] if bundle.tags else f"sha256:{each[:12]}")
    return found


def prune(data: DataDirectory, *, is_dry: bool = False) -> list[Item]:
    """Delete what nothing leads to and nothing needs; what was deleted, or would be.

    Bundles without a tag go first; then models without a tag that no bundle needs; locks that were not used for
    90 days; signatures of what is not there; and what killed writers left.
    """
    bundles, models = BundleStore(data.bundles), ModelStore(data.models)
    found: list[Item] = []
    for shelf in (bundles.shelf, models.shelf):
        for left in shelf.leftovers():
            found.append(Item(what="unfinished work", name=str(left), size=_bytes(left)))
            if not is_dry:
                shutil.rmtree(left, ignore_errors=True)
    gone = _untagged(bundles.shelf, "bundle", set(), found, is_dry=is_dry)
    needed = {
        model.digest
        for digest in bundles.shelf.digests()
        if digest not in gone
        for model in bundles.find(f"sha256:{digest}").manifest.models or ()
    }
    gone_models = _untagged(models.shelf, "model", needed, found, is_dry=is_dry)
    _unneeded_signatures(bundles.shelf, "bundle", gone, found, is_dry=is_dry)
    _unneeded_signatures(models.shelf, "model", gone_models, found, is_dry=is_dry)
    for lock in sorted((data.cache / "requirements").glob("*")):
        size = lock.stat().st_size
        if time.time() - lock.stat().st_mtime > _LOCK_SECONDS:
            found.append(Item(what="lock", name=str(lock), size=size))
            if not is_dry:
                lock.unlink(missing_ok=True)
    return found


def _untagged(shelf: Shelf, what: str, needed: set[str], found: list[Item], *, is_dry: bool) -> set[str]:
    tagged = {tag.digest for tag in shelf.tags()}
    gone = set()
    for digest in shelf.digests():
        if digest in tagged or digest in needed:
            continue
        item = Item(what=what, name=f"sha256:{digest}", size=_bytes(shelf.place(digest)))
        if is_dry or shelf.drop(digest):
            found.append(item)
            gone.add(digest)
    return gone


def _unneeded_signatures(shelf: Shelf, what: str, gone: set[str], found: list[Item], *, is_dry: bool) -> None:
    """Signatures of content that is not there: one that comes back is signed anew, or brings its own along."""
    kept = Signatures(shelf.root)
    held = set(shelf.digests()) - gone
    for digest in kept.digests():
        if digest in held:
            continue
        size = _bytes(kept.root / digest)
        found.append(Item(what=f"signatures of a {what}", name=f"sha256:{digest}", size=size))
        if not is_dry:
            kept.drop(digest)


def _bytes(tree: Path) -> int:
    return sum((tree / name).lstat().st_size for name in files.walk(tree))
