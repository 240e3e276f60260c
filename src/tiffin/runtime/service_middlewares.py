"""The author's ASGI middlewares around every endpoint of a service.

A call goes from its exchange into the middlewares as ASGI, and out of them, as an exchange again, to its endpoint.
Health and metrics are the replica's, not the service's: no middleware sees them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from tiffin.errors import ServiceError
from tiffin.protocol import named_json
from tiffin.runtime import websocket
from tiffin.runtime.asgi import App, AsgiCall, http_scope
from tiffin.runtime.exchange import Endpoint, Exchange, Handler, Wired

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)


class Middlewares:
    """The chain of a service, the first one added being the outermost."""

    def __init__(self, application: ServiceApplication, endpoints: Sequence[Endpoint]) -> None:
        from tiffin.runtime.service_asgi import Dispatcher

        self._application = application
        app: App = Dispatcher(application, endpoints)
        for middleware in reversed(application.service.middlewares):
            try:
                app = middleware.cls(app, **middleware.options)
            except TypeError as error:
                raise ServiceError(
                    f"the middleware {middleware.cls!r} cannot be made: {error}",
                    hint="it is called with the application and the options of add_asgi_middleware",
                ) from error
        self._app = app

    def layer(self, endpoint: Endpoint) -> Handler:
        """Every call takes the same way in; which endpoint it is for is found again behind the chain."""
        return self._handle

    def _handle(self, exchange: Exchange) -> None:
        application = self._application
        if websocket.is_asked_for(exchange.head) and hasattr(exchange, "take_over"):
            websocket.check_library()
            key = websocket.accept_key(exchange.head)
            scope = websocket.websocket_scope(exchange.head, root_path="", state={})
            limit = application.spec.limits.max_body_bytes
            application.spawn(websocket.run(self._app, cast(Wired, exchange), scope, key, limit))
            return
        application.spawn(self._call(exchange))

    async def _call(self, exchange: Exchange) -> None:
        call = AsgiCall(exchange)
        scope = http_scope(exchange.head, body_bytes=len(exchange.body), state={})
        try:
            await self._app(scope, call.receive, call.send)
            if not call.is_complete:
                raise ServiceError("a middleware ended without an answer", at=exchange.head.path)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if not isinstance(error, OSError):
                log.error("a middleware failed", exc_info=error)
            call.fail(named_json.error_reply(error))
