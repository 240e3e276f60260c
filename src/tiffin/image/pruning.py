"""What may be deleted of ``images/``: blobs that no named image needs, and what killed writers left."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from tiffin.errors import ImageError
from tiffin.oci.layout import Layout

GRACE_SECONDS = 3600.0
"""What was made or used within this time stays: an image being made names its layers only at the end."""


def spare(root: Path) -> list[tuple[str, Path]]:
    """The files below ``root`` that can go, with what they are.

    Raises:
        ImageError: what a named image needs cannot be read; nothing may go then.
    """
    layout = Layout(root)
    if not layout.exists:
        return []
    needed = set()
    for descriptor in layout.index().manifests:
        try:
            needed |= {one.digest for one in layout.closure(descriptor)}
        except ImageError as error:
            raise ImageError(
                f"what an image needs cannot be read: {error.message}",
                hint="delete the directory: images can be made again",
                at=str(root),
            ) from error
    found = [("layer", path) for path in layout.blobs() if f"sha256:{path.name}" not in needed]
    found += [("unfinished work", path) for path in sorted((root / "blobs").glob(".new-*"))]
    return [(what, path) for what, path in found if _is_idle(path)]


def _is_idle(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return time.time() - path.stat().st_mtime > GRACE_SECONDS
    return False
