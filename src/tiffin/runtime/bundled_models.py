"""The models a bundle was built with: what its service names leads to these contents, whatever was saved since."""

from __future__ import annotations

from pathlib import Path

from tiffin.bundle import read_bundle
from tiffin.service import models


def pin(path: Path) -> None:
    """Pin the models of the bundle whose sources are at ``path``; of a plain directory, none.

    Raises:
        BundleError: the bundle's manifest is broken.
    """
    bundle = read_bundle(path)
    found = (bundle.manifest.models or ()) if bundle is not None else ()
    models.pin(models.Pin(tag=one.tag, digest=one.digest, alias=one.alias, source=one.source) for one in found)
