"""A look at the calls of a worker for others: what came and what was answered, without a cost when nobody looks.

Connections become ``TappedConnection`` while somebody wants calls, and plain ones again when nobody does: the code
of a plain connection knows nothing of it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import msgspec

from tiffin.protocol.head import Head
from tiffin.protocol.reply import Reply
from tiffin.runtime.request import Request
from tiffin.runtime.wire import Connection
from tiffin.spec.recording import REPLAYED, SECONDS

if TYPE_CHECKING:
    from tiffin.runtime.server import Server

log = logging.getLogger(__name__)

_REPLAYED, _SECONDS = REPLAYED.encode(), SECONDS.encode()
_NOT_TAPPED = frozenset({"GET", "HEAD", "OPTIONS"})


class Taken(msgspec.Struct, gc=False):
    """One call and its answer. ``seconds`` is how long it took; ``time`` when it was answered, since 1970.

    A streamed answer is kept up to the limit of who wants most; ``is_cut``: there was more. ``is_broken``: the
    caller left, or the answer broke off.
    """

    head: Head
    body: bytes
    time: float
    seconds: float
    status: int
    answer_headers: tuple[tuple[bytes, bytes], ...]
    answer: bytes
    is_streamed: bool = False
    is_cut: bool = False
    is_broken: bool = False


class Listener(Protocol):
    """Somebody who wants calls."""

    @property
    def limit(self) -> int:
        """Bytes of a streamed answer that are of use."""

    def look(self) -> bool:
        """Whether calls are wanted now; asked twice a second."""

    def take(self, taken: Taken) -> None:
        """A call; must return at once and never raise for long."""

    def close(self) -> None:
        """No more calls will come."""


class _Stream:
    __slots__ = ("chunks", "is_cut", "reply", "size")

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.chunks: list[bytes] = []
        self.size = 0
        self.is_cut = False


class Tap:
    """Who wants calls, and the streamed answers in progress. Belongs to one server."""

    def __init__(self, server: Server, listeners: Sequence[Listener]) -> None:
        self._server = server
        self._listeners = listeners
        self._wanting: tuple[Listener, ...] = ()
        self.streams: dict[Request, _Stream] = {}
        self.limit = 0

    def look(self) -> None:
        """Ask who wants calls now, and turn connections accordingly."""
        self._wanting = tuple(listener for listener in self._listeners if listener.look())
        self.limit = max((listener.limit for listener in self._wanting), default=0)
        kind = TappedConnection if self._wanting else Connection
        if self._server.connection is kind:
            return
        self._server.connection = kind
        for connection in self._server.connections:
            if not isinstance(connection, Connection):
                continue  # It speaks another protocol by now.
            # The one in hand may be half way through a streamed answer: what was not seen from its beginning
            # is not taken.
            connection.__class__ = kind

    def take(
        self,
        request: Request,
        reply: Reply,
        body: bytes,
        *,
        stream: _Stream | None = None,
        is_broken: bool = False,
    ) -> None:
        """Hand a call to everybody who wants it."""
        head = request.head
        if head.method in _NOT_TAPPED or (request.endpoint is not None and request.endpoint.exempt):
            return
        headers = reply.headers
        if reply.content_type:
            headers = ((b"content-type", reply.content_type), *headers)
        taken = Taken(
            head=head,
            body=request.body,
            time=time.time(),
            seconds=time.perf_counter() - request.started,
            status=reply.status,
            answer_headers=headers,
            answer=body,
            is_streamed=stream is not None,
            is_cut=stream is not None and stream.is_cut,
            is_broken=is_broken,
        )
        for listener in self._wanting:
            try:
                listener.take(taken)
            except Exception:
                log.exception("a call could not be recorded")

    def close(self) -> None:
        """No more calls will come."""
        for listener in self._listeners:
            listener.close()


class TappedConnection(Connection):
    """A connection whose calls somebody wants."""

    __slots__ = ()

    def answer(self, request: Request, reply: Reply) -> None:
        """Answer first; then tell."""
        if _REPLAYED in request.head.headers:
            took = b"%.6f" % (time.perf_counter() - request.started)
            reply = msgspec.structs.replace(reply, headers=(*reply.headers, (_SECONDS, took)))
        super().answer(request, reply)
        if (tap := self.server.tap) is not None:
            tap.take(request, reply, reply.body)

    def start_stream(self, request: Request, reply: Reply) -> None:
        """Remember the head of a streamed answer."""
        if (tap := self.server.tap) is not None:
            tap.streams[request] = _Stream(reply)
        super().start_stream(request, reply)

    def _write_chunk(self, chunk: bytes) -> None:
        super()._write_chunk(chunk)
        tap, request = self.server.tap, self._request
        stream = tap.streams.get(request) if tap is not None and request is not None else None
        if tap is None or stream is None:
            return
        if stream.size + len(chunk) > tap.limit:
            stream.is_cut = True
            chunk = chunk[: max(0, tap.limit - stream.size)]
        stream.size += len(chunk)
        stream.chunks.append(chunk)

    def finish_stream(self, request: Request) -> None:
        """The last chunk was sent; then tell."""
        super().finish_stream(request)
        self._tell_of_stream(request, is_broken=False)

    def connection_lost(self, exc: Exception | None) -> None:
        """The caller left, or an answer was broken off."""
        request = self._request
        super().connection_lost(exc)
        if request is not None:
            self._tell_of_stream(request, is_broken=True)

    def _tell_of_stream(self, request: Request, *, is_broken: bool) -> None:
        tap = self.server.tap
        stream = tap.streams.pop(request, None) if tap is not None else None
        if tap is not None and stream is not None:
            tap.take(request, stream.reply, b"".join(stream.chunks), stream=stream, is_broken=is_broken)
