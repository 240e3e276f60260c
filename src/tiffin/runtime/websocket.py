"""A WebSocket on a connection that began as HTTP/1.1, for ASGI applications (RFC 6455).

Frames are wsproto's, which knows no sockets; it comes with ``pip install tiffin[websocket]``. A message is taken
by the application before the next is read from the socket, so that a fast caller waits instead of filling memory.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import importlib.util
import logging
from typing import TYPE_CHECKING, Any

from tiffin.errors import DecodeError, MissingExtra
from tiffin.protocol.head import Head
from tiffin.protocol.http1 import clean
from tiffin.runtime.asgi import App, Message, address
from tiffin.runtime.exchange import Wired

if TYPE_CHECKING:
    from tiffin.runtime.server import Server

log = logging.getLogger(__name__)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NORMAL, _GOING_AWAY, _ABNORMAL, _TOO_BIG, _FAILED = 1000, 1001, 1006, 1009, 1011
_QUEUED = 8


def is_asked_for(head: Head) -> bool:
    """Whether a request wants to become a WebSocket."""
    return head.header(b"upgrade").lower() == b"websocket" and b"upgrade" in [
        option.strip() for option in head.header(b"connection").lower().split(b",")
    ]


def accept_key(head: Head) -> bytes:
    """What proves to the caller that a WebSocket was understood.

    Raises:
        DecodeError: the request breaks RFC 6455, 4.2.1.
    """
    key = head.header(b"sec-websocket-key")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        is_key = False
    if head.method != "GET" or not is_key:
        raise DecodeError("expected a WebSocket's GET with 16 bytes in base64 as Sec-WebSocket-Key")
    if head.header(b"sec-websocket-version") != b"13":
        raise DecodeError("expected Sec-WebSocket-Version: 13")
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def websocket_scope(head: Head, *, root_path: str, state: dict[str, Any]) -> dict[str, Any]:
    """The scope of one WebSocket."""
    offered = head.header(b"sec-websocket-protocol").decode("latin-1")
    return {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        **address(head, root_path, "ws"),
        "headers": list(head.headers.items()),
        "subprotocols": [word.strip() for word in offered.split(",") if word.strip()],
        "state": state.copy(),
        "extensions": {"websocket.http.response": {}},
    }


class WebSocket(asyncio.Protocol):
    """One WebSocket, between an application and a socket. Also what the server has in its set of connections."""

    def __init__(self, server: Server, transport: asyncio.Transport, key: bytes, max_bytes: int) -> None:
        self._server = server
        self._transport = transport
        self._key = key
        self._max_bytes = max_bytes
        self._frames: Any = None
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._messages.put_nowait({"type": "websocket.connect"})
        self._rest = b""
        self._parts: list[Any] = []
        self._size = 0
        self._writable: asyncio.Event | None = None
        self._refusal: list[Any] | None = None
        self.is_closed = False
        self.deadline = float("inf")

    # -- the socket ----------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Frames, once the application has accepted; what comes before waits."""
        if self._frames is None:
            self._rest += data
            if len(self._rest) > self._max_bytes:
                self._transport.abort()
            return
        from wsproto.utilities import RemoteProtocolError

        try:
            self._frames.receive_data(data)
            for event in self._frames.events():
                self._hear(event)
        except RemoteProtocolError as error:
            log.debug("a WebSocket broke the protocol: %s", error)
            if error.event_hint is not None:
                self._write(error.event_hint)
            self._end(_ABNORMAL, "")
            self._transport.close()

    def _hear(self, event: Any) -> None:
        from wsproto import events

        if isinstance(event, events.Message):
            self._gather(event)
        elif isinstance(event, events.Ping):
            self._write(event.response())
        elif isinstance(event, events.CloseConnection):
            if not self.is_closed:
                self._write(event.response())
            self._end(event.code, event.reason or "")
            self._transport.close()

    def _gather(self, event: Any) -> None:
        self._size += len(event.data)
        if self._size > self._max_bytes:
            self._close(_TOO_BIG, f"expected messages of at most {self._max_bytes} bytes")
            return
        self._parts.append(event.data)
        if not event.message_finished:
            return
        parts, self._parts, self._size = self._parts, [], 0
        if isinstance(parts[0], str):
            message: Message = {"type": "websocket.receive", "text": "".join(parts), "bytes": None}
        else:
            message = {"type": "websocket.receive", "bytes": b"".join(map(bytes, parts)), "text": None}
        self._messages.put_nowait(message)
        if self._messages.qsize() >= _QUEUED:
            self._transport.pause_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._end(_ABNORMAL, "")
        self.resume_writing()
        self._server.forget(self)

    def eof_received(self) -> bool:
        """The caller says nothing more; a WebSocket without its close frame is broken."""
        return False

    def pause_writing(self) -> None:
        """The caller reads slowly."""
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        """It has read."""
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # -- the server ----------------------------------------------------------------------------------------

    def late(self) -> None:
        """The caller did not answer a close in time."""
        self._transport.abort()

    def close_if_idle(self) -> None:
        """The replica drains: the caller may come back, to another one."""
        self._close(_GOING_AWAY, "")

    def close(self) -> None:
        """The replica ends."""
        self._close(_GOING_AWAY, "")
        self._transport.close()

    # -- the application -----------------------------------------------------------------------------------

    async def receive(self) -> Message:
        """The next message; after the end, always the same one."""
        message = await self._messages.get()
        if message["type"] == "websocket.disconnect":
            self._messages.put_nowait(message)
        elif self._messages.qsize() < _QUEUED and not self._transport.is_closing():
            self._transport.resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """Accept, answer or close; raises OSError once the caller has gone."""
        kind = message["type"]
        if self.is_closed:
            if kind == "websocket.close":
                return
            raise ConnectionResetError("the caller has gone")
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.http.response.start":
            self._refusal = [message, b""]
        elif kind == "websocket.http.response.body" and self._refusal is not None:
            self._refusal[1] += message.get("body", b"")
            if not message.get("more_body", False):
                self._refuse(self._refusal[0]["status"], self._refusal[0].get("headers", ()), self._refusal[1])
        elif kind == "websocket.close" and self._frames is None:
            self._refuse(403, (), b"")
        elif kind == "websocket.close":
            self._close(message.get("code", _NORMAL), message.get("reason") or "")
        elif kind == "websocket.send" and self._frames is not None:
            await self._say(message)
        else:
            raise RuntimeError(f"expected websocket.accept before {kind!r}")

    async def _say(self, message: Message) -> None:
        from wsproto import events

        text = message.get("text")
        if text is not None:
            self._write(events.TextMessage(data=text))
        else:
            self._write(events.BytesMessage(data=bytes(message.get("bytes") or b"")))
        if self._writable is not None:
            await self._writable.wait()

    def _accept(self, message: Message) -> None:
        from wsproto.connection import Connection, ConnectionType

        lines = [b"HTTP/1.1 101 Switching Protocols", b"upgrade: websocket", b"connection: Upgrade"]
        lines.append(b"sec-websocket-accept: " + self._key)
        if message.get("subprotocol"):
            lines.append(b"sec-websocket-protocol: " + clean(str(message["subprotocol"]).encode("latin-1")))
        for name, value in message.get("headers", ()):
            lines.append(clean(bytes(name)) + b": " + clean(bytes(value)))
        self._transport.write(b"\r\n".join((*lines, b"", b"")))
        self._frames = Connection(ConnectionType.SERVER)
        rest, self._rest = self._rest, b""
        if rest:
            self.data_received(rest)

    def _refuse(self, status: int, headers: Any, body: bytes) -> None:
        lines = [b"HTTP/1.1 %d Refused" % status, b"content-length: %d" % len(body), b"connection: close"]
        for name, value in headers:
            if bytes(name).lower() not in (b"content-length", b"connection", b"transfer-encoding"):
                lines.append(clean(bytes(name)) + b": " + clean(bytes(value)))
        self._transport.write(b"\r\n".join((*lines, b"", body)))
        self._end(_ABNORMAL, "")
        self._transport.close()

    def fail(self) -> None:
        """The application raised, or returned without a close."""
        if self._frames is None and not self.is_closed:
            self._refuse(500, (), b"")
        else:
            self._close(_FAILED, "")

    def finish(self) -> None:
        """The application returned."""
        if self._frames is None and not self.is_closed:
            self._refuse(403, (), b"")
        else:
            self._close(_NORMAL, "")

    def _write(self, event: Any) -> None:
        self._transport.write(self._frames.send(event))

    def _close(self, code: int, reason: str) -> None:
        if self.is_closed:
            return
        if self._frames is not None:
            from wsproto import events

            self._write(events.CloseConnection(code=code, reason=reason[:120]))
            self.deadline = self._server.clock + self._server.limits.head_seconds  # for the caller's own close
        else:
            self._transport.close()
        self._end(code, reason)

    def _end(self, code: int, reason: str) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._messages.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})


async def run(app: App, exchange: Wired, scope: dict[str, Any], key: bytes, max_bytes: int) -> None:
    """Take the socket over and let the application speak on it; ``key`` is from ``accept_key``."""
    found: list[WebSocket] = []

    def successor(server: Server, transport: asyncio.Transport, rest: bytes) -> WebSocket:
        socket = WebSocket(server, transport, key, max_bytes)
        transport.set_protocol(socket)
        found.append(socket)
        if rest:
            socket.data_received(rest)
        return socket

    exchange.take_over(successor)
    socket = found[0]
    try:
        await app(scope, socket.receive, socket.send)
    except Exception as error:
        if not (socket.is_closed and isinstance(error, OSError)):
            log.exception("a WebSocket of the mounted application failed")
        socket.fail()
    else:
        socket.finish()


def check_library() -> None:
    """Raises MissingExtra, with the way to get it, unless wsproto is installed."""
    if importlib.util.find_spec("wsproto") is None:
        raise MissingExtra(
            "WebSockets need wsproto, which is not installed", hint="pip install 'tiffin[websocket]'"
        )
