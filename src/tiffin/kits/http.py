"""One request to a child: how a parent asks its replicas and its gateway for health."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("tiffin", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def get(endpoint: str, path: str, *, seconds: float = 2.0) -> Answer | None:
    """The answer; ``None`` when nobody listens or no whole answer came within ``seconds`` a read.

    ``endpoint`` is a Unix socket's path (it has a ``/``), or ``host:port``.
    """
    return request("GET", endpoint, path, seconds=seconds)


def request(
    method: str,
    endpoint: str,
    path: str,
    *,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = 2.0,
) -> Answer | None:
    """As ``get``, with any method, body and headers."""
    if "/" in endpoint:
        connection: http.client.HTTPConnection = _UnixConnection(endpoint, seconds)
    else:
        connection = http.client.HTTPConnection(endpoint, timeout=seconds)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


async def ask(endpoint: str, path: str, *, seconds: float = 2.0) -> Answer | None:
    """``get`` in a thread."""
    return await asyncio.to_thread(get, endpoint, path, seconds=seconds)
