"""The webhook over HTTPS: ``POST /validate``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aiohttp import web

from tiffin.errors import SpecError
from tiffin.kube.client import Api
from tiffin.operator.webhook import reviewing
from tiffin.operator.webhook.keeping import Keeper
from tiffin.operator.webhook.reviewing import Read

LARGEST = 8 << 20
"""Bytes of a review: an object of at most 3 MiB, and the one before it."""


def application(read: Read) -> web.Application:
    """Answers reviews by what ``read`` makes of their objects."""

    async def validate(request: web.Request) -> web.Response:
        try:
            return web.json_response(await reviewing.answer(await request.read(), read))
        except SpecError as error:
            return web.json_response({"error": str(error)}, status=400)

    found = web.Application(client_max_size=LARGEST)
    found.add_routes([web.post("/validate", validate)])
    return found


@contextlib.asynccontextmanager
async def running(
    api: Api, namespace: str, read: Read, host: str, port: int, *, name: str = ""
) -> AsyncIterator[int]:
    """Serve it, and keep its certificate; gives the port. Raises OSError when it is taken.

    ``name`` is as for ``Keeper``.

    The certificate may come later than the server: who connects before that is turned away, and the API server
    takes the object.
    """
    keeper = Keeper(api, namespace, name=name)
    runner = web.AppRunner(application(read), access_log=None)
    await runner.setup()
    keeping = asyncio.create_task(keeper.run())
    try:
        site = web.TCPSite(runner, host, port, ssl_context=keeper.context)
        await site.start()
        yield runner.addresses[0][1]
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        await runner.cleanup()
