"""``kserve.storage`` and ``kserve_storage``: fetch a model by its address."""

from __future__ import annotations

import os
from pathlib import Path

from tiffin.service import kserve_compat


class Storage:
    """``Storage.download(uri)``."""

    @staticmethod
    def download(uri: str, out_dir: str | None = None) -> str:
        """The local directory (or file) of an address; ``out_dir`` gets links to what is in it."""
        path = Path(uri.removeprefix("file://")) if "://" not in uri or uri.startswith("file://") else None
        if path is None:
            path = kserve_compat.fetch(uri)
        if not path.exists():
            raise RuntimeError(f"Local path {path} does not exist.")
        if out_dir is None:
            return str(path)
        os.makedirs(out_dir, exist_ok=True)
        for item in path.iterdir() if path.is_dir() else (path,):
            place = Path(out_dir) / item.name
            if not place.exists():
                place.symlink_to(item.resolve())
        return out_dir
