"""A line for each call, written by a thread of its own: a slow disk or terminal holds no call up."""

from __future__ import annotations

import atexit
import logging
import logging.handlers
import queue
import random
import time
from collections.abc import Callable

from tiffin.errors import CallError, TiffinError
from tiffin.protocol.reply import Reply
from tiffin.runtime.dressed import Dressed
from tiffin.runtime.exchange import Endpoint, Exchange, Handler
from tiffin.service.settings import AccessLogSettings

log = logging.getLogger("tiffin.access")

_QUEUED = 10_000


class AccessLog:
    """Writes what was asked and answered, in BentoML's form."""

    def __init__(
        self, settings: AccessLogSettings, service: str, render: Callable[[str, TiffinError], Reply]
    ) -> None:
        self._settings = settings
        self._service = service
        self._render = render
        _write_in_thread()

    def layer(self, endpoint: Endpoint) -> Handler:
        """The endpoint's handler with a line for each answer, or as it is when its path is to be skipped."""
        handler = endpoint.handler
        if endpoint.below is None and endpoint.template in self._settings.skip_paths:
            return handler

        def handle(exchange: Exchange) -> None:
            began = time.perf_counter()
            if exchange.head.path in self._settings.skip_paths:
                handler(exchange)
                return
            line = lambda reply, size: self._say(exchange, reply, size, time.perf_counter() - began)  # noqa: E731
            dressed = Dressed(exchange, on_end=line)
            try:
                handler(dressed)
            except CallError as error:
                dressed.reply(self._render(exchange.head.path, error))

        return handle

    def _say(self, exchange: Exchange, reply: Reply, size: int, seconds: float) -> None:
        settings, head = self._settings, exchange.head
        asked = ["scheme=http", f"method={head.method}", f"path={head.path}"]
        if settings.request_content_type:
            asked.append(f"type={head.header(b'content-type').decode('latin-1')}")
        if settings.request_content_length:
            asked.append(f"length={len(exchange.body)}")
        said = [f"status={reply.status}"]
        if settings.response_content_type:
            said.append(f"type={reply.content_type.decode('latin-1')}")
        if settings.response_content_length:
            said.append(f"length={size}")
        parts = head.header(b"traceparent").decode("latin-1").split("-")
        trace = int(parts[1], 16) if len(parts) >= 4 and _is_hex(parts[1]) else random.getrandbits(128)
        span = int(parts[2], 16) if len(parts) >= 4 and _is_hex(parts[2]) else random.getrandbits(64)
        log.info(
            "%s (%s) (%s) %.3fms (trace=%s,span=%s,sampled=0,service.name=%s)",
            head.header(b"x-forwarded-for").decode("latin-1").partition(",")[0] or "-",
            ",".join(asked),
            ",".join(said),
            seconds * 1000,
            format(trace, settings.trace_id),
            format(span, settings.span_id),
            self._service,
        )


def _is_hex(text: str) -> bool:
    try:
        return int(text, 16) > 0
    except ValueError:
        return False


class _Dropping(logging.handlers.QueueHandler):
    def __init__(self, lines: queue.SimpleQueue[logging.LogRecord]) -> None:
        super().__init__(lines)
        self.lines = lines

    def enqueue(self, record: logging.LogRecord) -> None:
        """Without a wait; of what comes faster than it can be written, the newest is dropped."""
        if self.lines.qsize() < _QUEUED:
            self.lines.put_nowait(record)


def _write_in_thread() -> None:
    if any(isinstance(handler, _Dropping) for handler in log.handlers):
        return
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    listener = logging.handlers.QueueListener(lines, *logging.getLogger().handlers, respect_handler_level=True)
    log.addHandler(_Dropping(lines))
    log.propagate = False
    log.setLevel(logging.INFO)
    listener.start()
    atexit.register(listener.stop)
