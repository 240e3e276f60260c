"""One request in hand on a connection: what its endpoint is given to answer it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Endpoint, Successor

if TYPE_CHECKING:
    from tiffin.runtime.server import Server
    from tiffin.runtime.wire import Connection


class Request:
    """One request in hand: the exchange its endpoint answers through. See ``exchange.Exchange``."""

    __slots__ = (
        "_answered",
        "_connection",
        "body",
        "closed",
        "endpoint",
        "head",
        "left_at_eof",
        "on_close",
        "started",
    )

    def __init__(self, connection: Connection, head: Head, body: bytes, endpoint: Endpoint | None) -> None:
        self._connection = connection
        self.head = head
        self.body = body
        self.endpoint = endpoint
        self.closed = False
        self.left_at_eof = False
        self.on_close: Callable[[], None] | None = None
        self.started = time.perf_counter()
        self._answered = False

    def reply(self, reply: Reply) -> None:
        """Answer with a whole reply; the second answer to a request is dropped."""
        if self._answered or self.closed:
            return
        self._answered = True
        self._connection.answer(self, reply)

    def start(self, reply: Reply) -> None:
        """Begin a streamed answer."""
        if self._answered or self.closed:
            return
        self._answered = True
        self._connection.start_stream(self, reply)

    async def send(self, chunk: bytes) -> None:
        """Send a chunk, at the pace of the caller."""
        await self._connection.send_chunk(self, chunk)

    def finish(self) -> None:
        """End a streamed answer."""
        if not self.closed:
            self._connection.finish_stream(self)

    def abort(self) -> None:
        """Break a streamed answer off: without its last chunk the caller knows it is incomplete."""
        if not self.closed:
            self._connection.abort()

    def take_over(self, successor: Callable[[Server, asyncio.Transport, bytes], Successor]) -> None:
        """Give the socket to who speaks another protocol on it."""
        self._answered = True
        self._connection.hand_over(self, successor)

    def gone(self) -> None:
        """The caller has left."""
        self.closed = True
        on_close, self.on_close = self.on_close, None
        if on_close is not None:
            on_close()
