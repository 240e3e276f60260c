"""``tiffin down``."""

from __future__ import annotations

import asyncio

from tiffin.cli import output
from tiffin.kits import paths
from tiffin.local import up as local


def down() -> None:
    """Stop what runs here, also what a killed `tiffin up` left behind."""
    if not asyncio.run(local.down(paths.data_directory().make(), output.say)):
        output.say("nothing runs here")
