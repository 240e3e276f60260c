"""Classes written for Seldon, unchanged: the ``seldon_core`` they import, where it is not installed.

``seldon_core/`` is that package: the names user code imports, and no server. The finder stands last on
``sys.meta_path``, so that an installed seldon_core, or one in the author's directory, is found first.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType

NAME = "seldon_core"
_HOME = Path(__file__).parent / NAME


class _Finder:
    """Finds ``seldon_core`` when nobody before did; its submodules are then found by their files."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != NAME:
            return None
        return spec_from_file_location(name, _HOME / "__init__.py", submodule_search_locations=[str(_HOME)])


_finder = _Finder()


def provide() -> None:
    """Let ``import seldon_core`` work from here on; it stays, as methods may import it at any time."""
    if _finder not in sys.meta_path:
        sys.meta_path.append(_finder)
