"""A whole service as an ASGI application: for other servers, test clients, and the author's own middlewares."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, MutableMapping
from typing import Any

from tiffin.errors import MethodNotAllowed, TiffinError
from tiffin.kits import paths
from tiffin.protocol.coding import decoded
from tiffin.protocol.reply import TEXT, Reply
from tiffin.runtime.application import RouteTable
from tiffin.runtime.asgi import App, Receive, Send
from tiffin.runtime.asgi_exchange import AsgiExchange, begin, body_of, head_of
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.runtime.metrics import Metrics
from tiffin.runtime.service_application import ServiceApplication
from tiffin.runtime.service_mounts import ServiceMounts
from tiffin.service.definition import Service
from tiffin.spec import Artefact, Component, ReplicaSpec, ServiceSource
from tiffin.spec.tasks import store_url

log = logging.getLogger(__name__)

_PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"


class Dispatcher:
    """Finds the endpoint of an ASGI call and has it answered."""

    def __init__(self, application: ServiceApplication, endpoints: Iterable[Endpoint]) -> None:
        self._application = application
        self.table = RouteTable(endpoints)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """One HTTP call or WebSocket."""
        if scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
            return
        head = head_of(scope)
        exchange = AsgiExchange(head, b"")
        application = self._application
        endpoint = None
        try:
            endpoint = self.table.find(head.method, head.path)
            limit = application.spec.limits.max_body_bytes
            exchange.body = await body_of(receive, limit)
            if coding := head.headers.get(b"content-encoding"):
                exchange.body = decoded(exchange.body, coding, limit)
            begin(endpoint, exchange, application.render_error)
        except ConnectionResetError:
            return
        except TiffinError as error:
            reply = application.render_error(head.path, error)
            if isinstance(error, MethodNotAllowed):
                reply.headers = (*reply.headers, (b"allow", ", ".join(error.allow).encode("ascii")))
            exchange.reply(reply)
        await exchange.deliver(receive, send)

    async def _websocket(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """To the mounted application whose path is the longest."""
        root = scope.get("root_path", "")
        path = scope["path"].removeprefix(root) if root else scope["path"]
        mounts = next((f for f in self._application.facets if isinstance(f, ServiceMounts)), None)
        found = mounts.at(path) if mounts is not None else None
        if found is None:
            await receive()
            await send({"type": "websocket.close", "code": 1000})
            return
        await found.app({**scope, "root_path": root + found.mount.path}, receive, send)


class ServiceAsgi:
    """``Service.to_asgi()``: life by ASGI's lifespan, or, where there is none, from the first call on."""

    def __init__(self, service: Service[Any]) -> None:
        source = ServiceSource(artefact=Artefact(""), target=service.import_string)
        component = Component(source=source, timeout_seconds=None)
        root = paths.data_directory().root
        tasks = store_url(os.environ, root, namespace="default", deployment=service.name, directory=os.getcwd())
        spec = ReplicaSpec(
            deployment=service.name, model_name=service.name, component=component, path=".", tasks=tasks
        )
        self.application = ServiceApplication(spec, service)
        self._dispatcher: App | None = None
        self._lock = asyncio.Lock()
        self._metrics = Metrics(())

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Speak ASGI 3."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._dispatcher is None or self.application.loop is not asyncio.get_running_loop():
            async with self._lock:
                await self._begin()
        assert self._dispatcher is not None
        await self._dispatcher(scope, receive, self._naming(scope, send))

    def _naming(self, scope: MutableMapping[str, Any], send: Send) -> Send:
        """Answers bear the service's name, as they do on a socket of our own."""
        if scope["type"] != "http":
            return send
        line = (b"server", self.application.server_header)

        async def named(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], line]}
            await send(message)

        return named

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await self._begin()
        except Exception as error:
            log.exception("could not start")
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            raise  # Some servers look at the message, test clients at the exception.
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.application.stop()
        self._dispatcher = None
        await send({"type": "lifespan.shutdown.complete"})

    async def _begin(self) -> None:
        """Load and start; on another loop than before, as some test clients have one a call, start again."""
        application = self.application
        if self._dispatcher is None:
            application.use(self._metrics)
            await asyncio.to_thread(application.load)
        elif application.loop is asyncio.get_running_loop():
            return
        await application.start()
        dispatcher = Dispatcher(application, [*self._health(), *application.endpoints()])
        self._metrics.know(dispatcher.table.endpoints)
        self._dispatcher = dispatcher

    def _health(self) -> list[Endpoint]:
        application = self.application

        def ask(question: Any) -> Any:
            async def answer(exchange: Exchange) -> None:
                try:
                    good = await question()
                except Exception:
                    log.exception("a health hook failed")
                    good = False
                exchange.reply(Reply(200, b"\n", TEXT) if good else Reply(503, b"not ready\n", TEXT))

            return lambda exchange: application.spawn(answer(exchange))

        def page(exchange: Exchange) -> None:
            async def answer() -> None:
                exchange.reply(Reply(200, await self._metrics.edited_page(), _PROMETHEUS))

            application.spawn(answer())

        prefix = application.service.path_prefix
        live, ready = ask(application.is_alive), ask(application.is_ready)
        rows = (("/healthz", live), ("/livez", live), ("/readyz", ready), ("/metrics", page))
        return [Endpoint("GET", path + name, handler) for path in {"", prefix} for name, handler in rows]
