"""An exchange with something around it: header lines on its answer, a line in a log."""

from __future__ import annotations

from collections.abc import Callable

from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.exchange import Exchange, Successor

Lines = tuple[tuple[bytes, bytes], ...]


class Dressed:
    """Answers through another exchange.

    Args:
        inner: the exchange that is answered.
        lines: put on its answer, unless it has such a line itself; of ``vary`` there may be several.
        on_end: called with the answer's head and its size in bytes, once it has been given as a whole.
    """

    __slots__ = ("_inner", "_lines", "_on_end", "_reply", "_size", "body", "head")

    def __init__(
        self, inner: Exchange, lines: Lines = (), on_end: Callable[[Reply, int], None] | None = None
    ) -> None:
        self._inner = inner
        self._lines = lines
        self._on_end = on_end
        self._reply: Reply | None = None
        self._size = 0
        self.head: Head = inner.head
        self.body: bytes = inner.body

    @property
    def closed(self) -> bool:
        """Whether the caller has gone."""
        return self._inner.closed

    @closed.setter
    def closed(self, value: bool) -> None:
        self._inner.closed = value

    @property
    def left_at_eof(self) -> bool:
        """That of the exchange inside."""
        return self._inner.left_at_eof

    @left_at_eof.setter
    def left_at_eof(self, value: bool) -> None:
        self._inner.left_at_eof = value

    @property
    def on_close(self) -> Callable[[], None] | None:
        """Called when the caller goes."""
        return self._inner.on_close

    @on_close.setter
    def on_close(self, function: Callable[[], None] | None) -> None:
        self._inner.on_close = function

    def _dress(self, reply: Reply) -> None:
        self._reply = reply
        if self._lines:
            there = {name for name, _ in reply.headers} - {b"vary"}
            reply.headers = (*reply.headers, *(line for line in self._lines if line[0] not in there))

    def reply(self, reply: Reply) -> None:
        """Answer with a whole reply."""
        self._dress(reply)
        self._inner.reply(reply)
        self._size = len(reply.body)
        self._told()

    def start(self, reply: Reply) -> None:
        """Begin a streamed answer."""
        self._dress(reply)
        self._size = len(reply.body)
        self._inner.start(reply)

    async def send(self, chunk: bytes) -> None:
        """Send a chunk."""
        self._size += len(chunk)
        await self._inner.send(chunk)

    def finish(self) -> None:
        """End a streamed answer."""
        self._inner.finish()
        self._told()

    def abort(self) -> None:
        """Break a streamed answer off."""
        self._inner.abort()
        self._told()

    def take_over(self, successor: Callable[..., Successor]) -> None:
        """Give the socket away; AttributeError when there is none."""
        self._inner.take_over(successor)  # type: ignore[attr-defined]

    def _told(self) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is not None and self._reply is not None:
            on_end(self._reply, self._size)
