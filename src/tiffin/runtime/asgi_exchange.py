"""An ASGI call as an exchange: the other direction of ``asgi``."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, MutableMapping
from typing import Any

from tiffin.errors import TiffinError
from tiffin.protocol.head import Head
from tiffin.protocol.http1 import body_too_large
from tiffin.protocol.reply import Reply
from tiffin.runtime.asgi import Message, Receive, Send
from tiffin.runtime.exchange import Endpoint


class AsgiExchange:
    """One request that came by ASGI; what is answered is sent by ``deliver``."""

    def __init__(self, head: Head, body: bytes) -> None:
        self.head = head
        self.body = body
        self.closed = False
        self.on_close: Callable[[], None] | None = None
        self.left_at_eof = True
        self.status = 0
        self._messages: asyncio.Queue[Message | None] = asyncio.Queue()
        self._is_answered = False
        self._is_broken = False

    def reply(self, reply: Reply) -> None:
        """Answer with a whole reply; the second one is dropped."""
        if self._claim(reply, len(reply.body)):
            self._messages.put_nowait({"type": "http.response.body", "body": reply.body, "more_body": False})
            self._messages.put_nowait(None)

    def start(self, reply: Reply) -> None:
        """Begin a streamed answer."""
        if self._claim(reply, None) and reply.body:
            self._messages.put_nowait({"type": "http.response.body", "body": reply.body, "more_body": True})

    async def send(self, chunk: bytes) -> None:
        """Send a chunk, at the pace of the caller."""
        if self.closed:
            raise ConnectionResetError("the caller has gone")
        self._messages.put_nowait({"type": "http.response.body", "body": chunk, "more_body": True})
        await self._messages.join()

    def finish(self) -> None:
        """End a streamed answer."""
        self._messages.put_nowait({"type": "http.response.body", "body": b"", "more_body": False})
        self._messages.put_nowait(None)

    def abort(self) -> None:
        """Break off a streamed answer: the server in front is told by an exception."""
        self._is_broken = True
        self._messages.put_nowait(None)

    def _claim(self, reply: Reply, length: int | None) -> bool:
        if self._is_answered or self.closed:
            return False
        self._is_answered = True
        self.status = reply.status
        headers = [(b"content-type", reply.content_type)] if reply.content_type else []
        headers += reply.headers
        if length is not None and reply.status not in (204, 304):
            headers.append((b"content-length", b"%d" % length))
        self._messages.put_nowait({"type": "http.response.start", "status": reply.status, "headers": headers})
        return True

    async def deliver(self, receive: Receive, send: Send) -> None:
        """Send the answer as it comes; a caller that leaves is told to ``on_close``."""
        watcher = asyncio.ensure_future(self._watch(receive))
        try:
            while (message := await self._messages.get()) is not None:
                try:
                    await send(message)
                finally:
                    self._messages.task_done()
        except OSError:
            self._gone()
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher
        if self._is_broken:
            raise ConnectionAbortedError("the answer was broken off")

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._gone()

    def _gone(self) -> None:
        if self.closed:
            return
        self.closed = True
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
        self._messages.put_nowait(None)


def head_of(scope: MutableMapping[str, Any]) -> Head:
    """The head of a request; repeated headers are joined as on a socket."""
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        name = bytes(name).lower()
        separator = b"; " if name == b"cookie" else b", "
        headers[name] = headers[name] + separator + value if name in headers else bytes(value)
    root = scope.get("root_path", "")
    path = scope["path"]
    length = headers.get(b"content-length", b"")
    return Head(
        scope.get("method", "GET"),
        (path.removeprefix(root) or "/") if root else path,
        scope.get("query_string", b""),
        headers,
        int(length) if length.isdigit() else (-1 if b"transfer-encoding" in headers else 0),
        True,
    )


async def body_of(receive: Receive, limit: int) -> bytes:
    """The whole body; raises TooLarge over ``limit`` bytes, ConnectionResetError when the caller leaves."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the caller has gone")
        body += message.get("body", b"")
        if len(body) > limit:
            raise body_too_large(limit)
        if not message.get("more_body", False):
            return bytes(body)


def begin(endpoint: Endpoint, exchange: Any, render: Callable[[str, TiffinError], Reply]) -> None:
    """Call an endpoint's handler; what it raises at once is the answer."""
    try:
        endpoint.handler(exchange)
    except TiffinError as error:
        exchange.reply(render(exchange.head.path, error))
