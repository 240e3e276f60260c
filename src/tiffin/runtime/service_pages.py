"""What describes a service: its page, its schema, its OpenAPI document, an example call."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tiffin.errors import CallError
from tiffin.protocol.reply import JSON, TEXT, Reply
from tiffin.runtime.exchange import Endpoint, Exchange
from tiffin.service import pages

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication


class ServicePages:
    """The facet with the GET endpoints that describe."""

    def __init__(self, application: ServiceApplication) -> None:
        self._service = application.service
        self._places = sorted({"", application.service.path_prefix})
        self._rendered: Reply | None = None

    async def start(self) -> None:
        """Nothing to begin."""

    async def stop(self) -> None:
        """Nothing to let go of."""

    def endpoints(self) -> Iterable[Endpoint]:
        """They answer while the replica loads, too."""
        return [
            Endpoint("GET", "/schema.json", self._schema, exempt=True),
            *(Endpoint("GET", f"{at}/docs.json", self._docs, exempt=True) for at in self._places),
            Endpoint("GET", "/tiffin/example", self._example, exempt=True),
            *(Endpoint("GET", f"{at}/", self._to_page if at else self._page, exempt=True) for at in self._places),
        ]

    def _schema(self, exchange: Exchange) -> None:
        exchange.reply(Reply(200, json.dumps(self._service.schema(), separators=(",", ":")).encode(), JSON))

    def _docs(self, exchange: Exchange) -> None:
        from tiffin.service.openapi import document

        exchange.reply(Reply(200, json.dumps(document(self._service)).encode(), JSON))

    def _example(self, exchange: Exchange) -> None:
        found = pages.example_of(self._service)
        if found is None:
            raise CallError("there is no example: the service has no endpoints")
        exchange.reply(Reply(200, json.dumps(found).encode(), JSON))

    def _to_page(self, exchange: Exchange) -> None:
        # Relative, as a gateway may have a prefix of its own in front of the service's.
        upwards = b"../" * exchange.head.path.strip("/").count("/") + b"../"
        exchange.reply(Reply(307, b"", TEXT, ((b"location", upwards),)))

    def _page(self, exchange: Exchange) -> None:
        if self._rendered is None:
            from tiffin.runtime.page import page
            from tiffin.runtime.page.of_service import describe

            self._rendered = page(describe(self._service))
        exchange.reply(self._rendered)
