"""The controller's HTTP API: requests in, calls of a ``Platform``, JSON out. Decides nothing itself.

``platform``: what it needs of the controller. ``operations``: every path, with what goes in and comes out, from
which ``openapi`` makes the description and ``server`` the routes. ``failures``: errors to answers. ``streams``:
answers that go on. aiohttp is imported by ``serve`` only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiffin.errors import MissingExtra
from tiffin.kits.paths import DataDirectory
from tiffin.local.api.platform import Platform

if TYPE_CHECKING:
    from tiffin.local.api.server import Serving

__all__ = ["Platform", "serve"]


async def serve(platform: Platform, data: DataDirectory, *, tcp: str = "") -> Serving:
    """Serve the API on ``<home>/api.sock``, and on ``tcp`` (``host:port``) to those who have the token.

    Returns once it listens; end it with ``await serving.stop()``.

    Raises:
        MissingExtra: aiohttp is not installed.
        PortInUse: another process listens on ``tcp``.
    """
    try:
        from tiffin.local.api import server
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "the controller needs aiohttp, which is not installed", hint="pip install 'tiffin[gateway]'"
        ) from error
    serving = server.Serving(platform, data)
    await serving.start(tcp)
    return serving
