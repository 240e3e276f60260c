"""A holder with services, pods and callers of its own, all on this machine, and no cluster."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from tiffin.kits.waiting import until
from tiffin.kube import names
from tiffin.operator.activator.asking import Asking
from tiffin.operator.activator.holder import Holder, Settings

HOST = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def free_port() -> int:
    with socket.socket() as found:
        found.bind((HOST, 0))
        return int(found.getsockname()[1])


def service(port: int, name: str = "iris-predictor", **annotations: str) -> dict[str, Any]:
    said = {names.PORT: str(port)} | {
        f"tiffin.dev/{key.replace('_', '-')}": value for key, value in annotations.items()
    }
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": "models", "name": name, "annotations": said},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }


def endpoints(
    addresses: list[tuple[str, int]], name: str = "iris-predictor", ready: bool = True
) -> list[dict[str, Any]]:
    """A slice for each port number, since a slice has one port for all of its addresses."""
    return [
        {
            "metadata": {
                "namespace": "models",
                "name": f"{name}-{index}",
                "labels": {"kubernetes.io/service-name": name},
            },
            "ports": [{"name": "http", "port": port}],
            "endpoints": [{"addresses": [host], "conditions": {"ready": True}}],
        }
        for index, (host, port) in enumerate(addresses)
    ]


class World:
    """``asks`` is what was asked for; ``ready`` makes pods known."""

    def __init__(self, settings: Settings) -> None:
        self.asks: list[tuple[str, str, int]] = []
        self.on_ask: Callable[[], None] = lambda: None
        self.asking = Asking(self._ask)
        self.holder = Holder(self.asking, settings)
        self.port = free_port()
        self._slices: dict[str, list[dict[str, Any]]] = {}

    async def _ask(self, namespace: str, name: str, replicas: int) -> bool:
        self.asks.append((namespace, name, replicas))
        self.on_ask()
        return True

    async def serve(self, name: str = "iris-predictor", **annotations: str) -> int:
        """A Service; the port of the activator that is listening for it."""
        port = self.port if not self.holder.listening else free_port()
        self.holder.update(self.holder.targets.service(service(port, name, **annotations)))

        async def listening() -> bool | None:
            return True if port in self.holder.listening else None

        assert await until(listening, seconds=5)
        return port

    def ready(self, *addresses: tuple[str, int], name: str = "iris-predictor") -> None:
        """The pods of a Service are exactly these."""
        for old in self._slices.get(name, ()):
            self.holder.update(self.holder.targets.no_slice(old))
        self._slices[name] = endpoints(list(addresses), name)
        for new in self._slices[name]:
            self.holder.update(self.holder.targets.slice(new))

    async def held(self, count: int, name: str = "iris-predictor") -> None:
        """Wait until so many are held."""

        async def found() -> bool | None:
            return True if self.holder.held(f"models/{name}") == count else None

        assert await until(found, seconds=10), f"{self.holder.held(f'models/{name}')} are held, not {count}"


@contextlib.asynccontextmanager
async def world(**settings: Any) -> AsyncIterator[World]:
    settings = {"host": HOST, "seconds": 30.0, "grace_seconds": 0.0} | settings
    made = World(Settings(**settings))
    try:
        yield made
    finally:
        await made.holder.close()


@contextlib.asynccontextmanager
async def pod(handler: Handler, host: str = HOST) -> AsyncIterator[tuple[str, int]]:
    """A server of any protocol; its address."""

    async def safe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(safe, host, 0)  # which queues 100 connections, as many servers do
    try:
        yield host, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def http_pod(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each call on a connection with the length of its body."""
    while True:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line.partition(b":")[2])
        left = length
        while left:
            chunk = await reader.read(min(left, 65536))
            if not chunk:
                return
            left -= len(chunk)
        body = b'{"length": %d}' % length
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body))
        await writer.drain()


async def call(port: int, body: bytes = b"{}", host: str = HOST) -> bytes:
    """All that is answered to one call, which asks for its connection to be kept."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(b"POST /v1/models/iris:predict HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % len(body))
        writer.write(body)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(
            int(line.partition(b":")[2])
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"content-length:")
        )
        return head + await reader.readexactly(length)
    finally:
        writer.close()
