"""What the activator says of itself: ``/metrics``, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.holder import Holder

PORT = 9090
"""Where they are when nobody says; the autoscaler asks there."""
_MOST_BYTES = 16_384
_SECONDS = 10.0
_KINDS = (
    ("held", "gauge", "Connections that wait for a replica."),
    ("holds_total", "counter", "Connections that had to wait for a replica."),
    ("connected", "gauge", "Connections passed on to a replica."),
    ("refused_total", "counter", "Connections that waited in vain."),
    ("left_total", "counter", "Callers that left before there was a replica."),
    ("replayed_total", "counter", "Connections whose first replica broke off without a word."),
)


def metrics(holder: Holder, asking: Asking) -> str:
    """A page for Prometheus. Only Services that were ever called have series."""
    lines = []
    rows = []
    for key, count in sorted(holder.counts.items()):
        namespace, _, name = key.partition("/")
        labels = f'{{namespace="{namespace}",service="{name}"}}'
        rows.append(
            (labels, holder.held(key), count.held, count.connected, count.refused, count.left, count.replayed)
        )
    for column, (name, kind, what) in enumerate(_KINDS, start=1):
        lines += [f"# HELP tiffin_activator_{name} {what}", f"# TYPE tiffin_activator_{name} {kind}"]
        lines += [f"tiffin_activator_{name}{row[0]} {row[column]}" for row in rows]
    for name, kind, what, value in (
        ("connections", "gauge", "Connections that are open.", holder.connections),
        ("ports", "gauge", "Ports that are listened on.", len(holder.listening)),
        ("asks_total", "counter", "Asks for a replica that changed a number.", asking.asked),
        ("failed_asks_total", "counter", "Asks for a replica that failed.", asking.failed),
    ):
        lines += [f"# HELP tiffin_activator_{name} {what}", f"# TYPE tiffin_activator_{name} {kind}"]
        lines.append(f"tiffin_activator_{name} {value}")
    return "\n".join(lines) + "\n"


class Pages:
    """A few addresses over HTTP/1; each connection is for one request."""

    def __init__(self, paths: dict[str, Callable[[], tuple[int, str]]]) -> None:
        self._paths = paths
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """The port it listens on; raises OSError."""
        self._server = await asyncio.start_server(self._answer, host or None, port, limit=_MOST_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                parts = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
                path = parts[1].partition("?")[0] if len(parts) == 3 else ""
                page = self._paths.get(path)
                status, text = (404, "no such page\n") if page is None else page()
                body = text.encode()
                reasons = {200: "OK", 404: "Not Found", 503: "Service Unavailable"}
                writer.write(
                    f"HTTP/1.1 {status} {reasons[status]}\r\ncontent-type: text/plain; version=0.0.4\r\n"
                    f"content-length: {len(body)}\r\nconnection: close\r\n\r\n".encode()
                    + (b"" if parts[0] == "HEAD" else body)
                )
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()
