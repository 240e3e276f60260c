"""One GET request over a Unix socket: how a parent asks its children for health."""

from __future__ import annotations

import asyncio
import http.client
import socket
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


def get(unix: str, path: str, *, seconds: float = 2.0) -> Answer | None:
    """The answer; ``None`` when nobody listens or no whole answer came within ``seconds`` a read."""
    connection = _UnixConnection(unix, seconds)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(response.status, response.read())
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


async def ask(unix: str, path: str, *, seconds: float = 2.0) -> Answer | None:
    """``get`` in a thread."""
    return await asyncio.to_thread(get, unix, path, seconds=seconds)
