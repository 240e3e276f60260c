"""``tiffin down``."""

from __future__ import annotations

import asyncio
import time

from tiffin.cli import output
from tiffin.client import Client, Place
from tiffin.errors import ProcessError
from tiffin.kits import paths, waiting
from tiffin.local import home
from tiffin.local import up as local


def down() -> None:
    """Stop what runs here, also what a killed `tiffin up` left behind."""
    data = paths.data_directory().make()
    try:
        count = asyncio.run(local.down(data, output.say))
    except ProcessError:
        # One runs that cannot be known by its process: it may still listen.
        client = Client(Place(unix=data.api_socket))
        if not client.is_running():
            raise
        output.say("stopping the controller")
        client.shutdown()
        asyncio.run(_until_gone(data))
        count = 1
    if not count:
        output.say("nothing runs here")


async def _until_gone(data: paths.DataDirectory) -> None:
    async def gone() -> bool | None:
        return None if home.is_locked(data) else True

    began = time.monotonic()
    if not await waiting.until(gone, seconds=local.LONGEST_DOWN_SECONDS):
        raise ProcessError(f"the controller still runs after {time.monotonic() - began:.0f} s")
