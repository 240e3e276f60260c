"""What a service has put around all its endpoints: CORS, trace ids, middlewares, a log of its calls.

A service without any of it gets its endpoints back as they are: nothing of this is on their path.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tiffin.errors import CallError, MethodNotAllowed, TiffinError
from tiffin.protocol.cors import Cors, is_preflight
from tiffin.runtime.application import RouteTable
from tiffin.runtime.dressed import Dressed
from tiffin.runtime.exchange import Endpoint, Exchange, Handler

if TYPE_CHECKING:
    from tiffin.runtime.service_application import ServiceApplication

Layer = Callable[[Endpoint], Handler]


def around(application: ServiceApplication, endpoints: list[Endpoint]) -> list[Endpoint]:
    """The endpoints, each with every layer the service has; the first layer is the innermost."""
    service, settings = application.service, application.service.settings
    if settings.trace_id:
        routes = {service.route_of(method) for method in service.apis.values()}
        endpoints = _with(endpoints, lambda e: traced(e.handler) if e.template in routes else e.handler)
    if settings.cors is not None:
        cors = Cors(settings.cors)
        endpoints = _and_else(endpoints)
        endpoints = _with(endpoints, lambda e: shared(e.handler, cors, application.render_error))
    if service.middlewares:
        from tiffin.runtime.service_middlewares import Middlewares

        endpoints = _and_else(endpoints)
        middlewares = Middlewares(application, endpoints)
        endpoints = _with(endpoints, middlewares.layer)
    if settings.access_log is not None:
        from tiffin.runtime.access_log import AccessLog

        log = AccessLog(settings.access_log, service.name, application.render_error)
        endpoints = _with(endpoints, log.layer)
    return endpoints


def _with(endpoints: Sequence[Endpoint], layer: Layer) -> list[Endpoint]:
    return [Endpoint(e.method, e.template, layer(e), exempt=e.exempt, below=e.below) for e in endpoints]


def _and_else(endpoints: list[Endpoint]) -> list[Endpoint]:
    """With an endpoint for every path and method that has none, so that a layer sees those calls, too."""
    if any(e.below == "" and e.method == "*" for e in endpoints):
        return endpoints
    table = RouteTable(Endpoint(e.method, e.template, e.handler, below=e.below) for e in endpoints)

    def refuse(exchange: Exchange) -> None:
        table.find(exchange.head.method, exchange.head.path).handler(exchange)

    return [*endpoints, Endpoint("*", "/*", refuse, below="")]


def traced(handler: Handler) -> Handler:
    """``x-bentoml-trace-id`` on every answer: the caller's W3C trace, or a new one."""

    def handle(exchange: Exchange) -> None:
        handler(Dressed(exchange, ((b"x-bentoml-trace-id", trace_of(exchange.head.header(b"traceparent"))),)))

    return handle


def trace_of(parent: bytes) -> bytes:
    """32 hexadecimal digits: those of a ``traceparent`` header, or fresh ones."""
    parts = parent.split(b"-")
    if len(parts) >= 4 and len(parts[1]) == 32 and parts[1].isalnum() and parts[1].strip(b"0"):
        return parts[1]
    return b"%032x" % random.getrandbits(128)


def shared(handler: Handler, cors: Cors, render: Callable[[str, TiffinError], Any]) -> Handler:
    """With what a browser has to be told about other origins."""

    def handle(exchange: Exchange) -> None:
        head = exchange.head
        if is_preflight(head):
            exchange.reply(cors.preflight(head))
            return
        dressed = Dressed(exchange, cors.lines(head))
        try:
            handler(dressed)
        except CallError as error:
            reply = render(head.path, error)
            if isinstance(error, MethodNotAllowed):
                reply.headers = (*reply.headers, (b"allow", ", ".join(error.allow).encode("ascii")))
            dressed.reply(reply)

    return handle
