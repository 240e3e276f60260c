"""What a stored model is: the record whose sha256 is the model's digest."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from tiffin.errors import ModelError
from tiffin.store.files import File

MANIFEST = "model.json"
FILES = "files"
FORMAT = 1


class Lineage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a model came from, as far as its author says.

    ``run`` is the training run (``mlflow:/runs/6f3c``), ``parent`` the digest or tag of the model it was made
    from, ``data`` the digest of (or reference to) the training data, ``source`` what it was imported from.
    """

    run: str = ""
    parent: str = ""
    data: str = ""
    source: str = ""


class ModelManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that makes two models the same: files and what is said of them, not when they were stored.

    ``module`` is the helper that reads it back (``tiffin.sklearn``; ``bentoml.sklearn`` of an imported one), empty
    for plain files. ``metadata`` is any JSON. ``frameworks`` are versions it was saved with, by package.
    ``signatures`` and ``options`` are kept as BentoML's records have them.
    """

    format: int = FORMAT
    module: str = ""
    labels: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    lineage: Lineage = Lineage()
    frameworks: dict[str, str] = {}
    python: str = ""
    signatures: dict[str, Any] = {}
    options: dict[str, Any] = {}
    files: tuple[File, ...] = ()

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


def decode(content: bytes) -> ModelManifest:
    """The manifest of ``model.json``.

    Raises:
        ModelError: it is none, or was written by a later version of Tiffin.
    """
    try:
        # Defaults are left out, the format among them; a later one is written.
        found = msgspec.json.decode(content, type=ModelManifest)
    except msgspec.DecodeError as error:
        raise ModelError(f"expected the manifest of a model: {error}") from error
    if found.format > FORMAT:
        raise ModelError(
            f"expected a model of format {FORMAT}, found {found.format}",
            hint="a later version of Tiffin made it: upgrade this one",
        )
    return found
