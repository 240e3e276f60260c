"""Where Tiffin keeps what outlives a command: one data directory, for its owner only.

<root>/cache/     downloaded artefacts, by content
<root>/bundles/   the local bundle store
<root>/images/    images and their layers, as an OCI layout
<root>/models/    the local model store
<root>/run/<id>/  what one running ``tiffin up`` owns; gone when it ends
<root>/logs/<id>/ the logs of its processes; kept for the last few runs
<root>/api.sock   where the controller's API listens
<root>/api-token  who sends this may use the API over TCP
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tiffin.errors import PlatformError

MODE = 0o700


@dataclass(frozen=True)
class DataDirectory:
    """The data directory's places. Nothing exists before ``make`` or ``make_directory`` was called."""

    root: Path

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def images(self) -> Path:
        return self.root / "images"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def api_socket(self) -> Path:
        return self.root / "api.sock"

    @property
    def api_token(self) -> Path:
        return self.root / "api-token"

    def make(self) -> DataDirectory:
        """Create all of it; raises PlatformError when the file system refuses."""
        for directory in (self.root, self.cache, self.bundles, self.run, self.logs):
            make_directory(directory)
        return self


def data_directory(environment: Mapping[str, str] | None = None) -> DataDirectory:
    """``TIFFIN_HOME``, else ``$XDG_DATA_HOME/tiffin``, else ``~/.local/share/tiffin``; always absolute."""
    environment = os.environ if environment is None else environment
    if home := environment.get("TIFFIN_HOME"):
        return DataDirectory(Path(os.path.abspath(os.path.expanduser(home))))
    shared = environment.get("XDG_DATA_HOME", "")
    # The XDG specification: a relative value is to be ignored.
    base = Path(shared) if os.path.isabs(shared) else Path.home() / ".local" / "share"
    return DataDirectory(base / "tiffin")


def make_directory(path: Path) -> Path:
    """Create a directory (and its parents) that only its owner can enter; raises PlatformError."""
    try:
        path.mkdir(mode=MODE, parents=True, exist_ok=True)
    except OSError as error:
        raise PlatformError(
            f"cannot create the directory {path}: {error.strerror or error}",
            hint="set TIFFIN_HOME to a directory you can write to",
        ) from error
    return path
