"""An entry point: what of a bundle is served, and how that is known."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tiffin.bundle.manifest import Kind

Sources = Mapping[str, Path]
"""Where each file of a bundle is before it is built, by its path in the bundle."""


class EntryPoint(NamedTuple):
    """``target`` is ``module:Class`` or a command line; ``said_by`` is where it was found, for messages.

    ``arguments`` are what a program gets unless it is told others.
    """

    kind: Kind
    target: str
    said_by: str
    arguments: tuple[str, ...] = ()
