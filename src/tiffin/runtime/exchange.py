"""What a handler is given: one request on one connection, and the means to answer it.

A handler is a plain function called on the event loop; it answers at once with ``reply``, or keeps the
exchange and answers later. It is called with the whole body in hand. Every exchange is answered once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply

if TYPE_CHECKING:
    from tiffin.runtime.server import Server


class Exchange(Protocol):
    """One request in progress.

    ``closed`` turns true when the caller has gone; answering then is harmless. ``on_close``, when set, is
    called once at that moment, if the exchange is not answered yet. Over TCP a caller that closes its side may
    have left, or wait for the answer; with ``left_at_eof`` set it counts as gone, as in most servers.
    """

    head: Head
    body: bytes
    closed: bool
    on_close: Callable[[], None] | None
    left_at_eof: bool

    def reply(self, reply: Reply) -> None:
        """Answer with a whole reply."""

    def start(self, reply: Reply) -> None:
        """Begin a streamed (chunked) answer; ``reply.body``, if any, is its first chunk."""

    async def send(self, chunk: bytes) -> None:
        """Send a chunk; waits while the caller reads slowly. Raises ConnectionResetError when gone."""

    def finish(self) -> None:
        """End a streamed answer."""

    def abort(self) -> None:
        """Break off a streamed answer so that the caller can tell it is incomplete."""


class Wired(Exchange, Protocol):
    """An exchange on a socket of its own, which a WebSocket can take over."""

    def take_over(self, successor: Callable[[Server, asyncio.Transport, bytes], Successor]) -> None:
        """Give the socket to who speaks another protocol on it; it gets the bytes that are there already."""


class Successor(Protocol):
    """What a connection has to be for the server, whatever it speaks."""

    deadline: float

    def late(self) -> None:
        """The deadline has passed."""

    def close_if_idle(self) -> None:
        """The replica drains."""

    def close(self) -> None:
        """The replica ends."""


Handler = Callable[[Exchange], None]


class Endpoint:
    """A method and path pattern with its handler.

    ``template`` labels metrics (bounded). ``exempt`` endpoints (health, metrics) answer also while loading and
    draining, and are not counted against concurrency limits. ``below``, when set, is a prefix without a slash at
    its end: the endpoint has every path at and below it that has no endpoint of its own. Its method may be ``*``.
    """

    __slots__ = ("below", "exempt", "handler", "index", "method", "template")

    def __init__(
        self, method: str, template: str, handler: Handler, *, exempt: bool = False, below: str | None = None
    ) -> None:
        self.method = method
        self.template = template
        self.handler = handler
        self.exempt = exempt
        self.below = below
        self.index = -1
