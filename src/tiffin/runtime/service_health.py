"""Health and metrics at a service's own paths: below its ``path_prefix``, and where ``endpoints`` says."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Iterable
from typing import TYPE_CHECKING, Any

from tiffin.protocol.reply import TEXT, Reply
from tiffin.runtime.exchange import Endpoint, Exchange

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

log = logging.getLogger(__name__)

PROMETHEUS = b"text/plain; version=0.0.4; charset=utf-8"


class ServiceHealth:
    """The facet of further paths for what every replica has at its root."""

    def __init__(self, application: ServiceApplication) -> None:
        self._application = application
        settings, prefix = application.service.settings, application.service.path_prefix
        self._prefix = prefix
        live = {settings.live_path, f"{prefix}/livez", f"{prefix}/healthz"}
        ready = {settings.ready_path, f"{prefix}/readyz"}
        at_root = {"", "/livez", "/healthz", "/readyz"}
        self._paths = [
            *((path, application.is_alive) for path in sorted(live - at_root)),
            *((path, application.is_ready) for path in sorted(ready - at_root)),
        ]

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    def endpoints(self) -> Iterable[Endpoint]:
        """One for each path."""
        found = [Endpoint("GET", path, self._asking(ask), exempt=True) for path, ask in self._paths]
        if self._prefix:
            found.append(Endpoint("GET", f"{self._prefix}/metrics", self._count, exempt=True))
        return found

    def _count(self, exchange: Exchange) -> None:
        async def answer() -> None:
            exchange.reply(Reply(200, await self._application.metrics_page(), PROMETHEUS))

        self._application.spawn(answer())

    def _asking(self, ask: Callable[[], Coroutine[Any, Any, bool]]) -> Callable[[Exchange], None]:
        async def answer(exchange: Exchange) -> None:
            try:
                good = await ask()
            except Exception:
                log.exception("a health hook failed")
                good = False
            exchange.reply(Reply(200, b"\n", TEXT) if good else Reply(503, b"not ready\n", TEXT))

        return lambda exchange: self._application.spawn(answer(exchange))
