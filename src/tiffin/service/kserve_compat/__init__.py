"""Models written with KServe's SDK, unchanged: the ``kserve`` they import, where it is not installed.

``kserve/`` is that package: the names user code imports, and no server. The finder stands last on
``sys.meta_path``, so that an installed kserve, or one in the author's directory, is found first. Next door:
``server``, which takes the models from ``ModelServer().start([...])``, of ours or of the real package, and
``upstream``, with which a transformer calls its predictor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "kserve"


def _nowhere(uri: str) -> Path:
    raise RuntimeError(f"cannot fetch {uri}: no replica runs this program")


fetch: Callable[[str], Path] = _nowhere
"""How ``Storage.download`` makes a local path of an address; the replica puts its own in place."""

_HOME = Path(__file__).parent / NAME


class _Finder:
    """Finds ``kserve`` when nobody before did; its submodules are then found by their files."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name == NAME:
            return spec_from_file_location(name, _HOME / "__init__.py", submodule_search_locations=[str(_HOME)])
        if name == "kserve_storage":
            return spec_from_file_location(name, _HOME / "storage.py")
        return None


_finder = _Finder()


def provide() -> None:
    """Let ``import kserve`` work from here on; it stays, as methods may import it at any time."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
