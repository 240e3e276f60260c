"""HTTP/1.1 on a socket: bytes in, requests to endpoints, replies out.

One ``Connection`` per socket, on the event loop. Requests of a connection are answered one after the other:
what is pipelined behind the one in hand stays in the buffer, and reading stops when that grows. Nothing here
knows a model; the parsing is ``protocol.http1``'s.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from tiffin.errors import (
    CallError,
    CallTimeout,
    DeadlineExceeded,
    HeadTooLarge,
    MethodNotAllowed,
    NotReady,
    TiffinError,
    UnknownRoute,
)
from tiffin.protocol import http1
from tiffin.protocol.coding import decoded
from tiffin.protocol.head import Head
from tiffin.protocol.reply import JSON, Reply
from tiffin.runtime.exchange import Endpoint, Successor
from tiffin.runtime.lifecycle import State
from tiffin.runtime.request import Request

if TYPE_CHECKING:
    from tiffin.runtime.server import Server

log = logging.getLogger(__name__)

_HEAD, _BODY, _DISCARD, _CLOSED = range(4)
_LINGER_SECONDS = 2.0
_SLOWEST_BYTES_A_SECOND = 10_000
_LOADING = "the model is still loading; try again in a moment"
_SMALL_BODY = 65_536


def has_hung_up(transport: asyncio.BaseTransport) -> bool:
    """Whether the other end of a Unix socket is closed for both ways, so that no answer can arrive.

    Over TCP nobody can know before an answer is refused; the gateway, and other services, come by Unix sockets.
    """
    found = transport.get_extra_info("socket")
    if found is None or found.family != socket.AF_UNIX:
        return False
    poll = select.poll()
    poll.register(found.fileno(), 0)
    return bool(poll.poll(0))


class Connection(asyncio.Protocol):
    """One socket. States: reading a head, reading a body, answering, discarding (before a close)."""

    __slots__ = (
        "_advancing",
        "_awaited",
        "_body_until",
        "_buffer",
        "_chunked",
        "_chunks",
        "_drained",
        "_endpoint",
        "_eof",
        "_head",
        "_keep_alive",
        "_paused",
        "_request",
        "_state",
        "_status",
        "_transport",
        "_unsent",
        "deadline",
        "server",
    )

    def __init__(self, server: Server) -> None:
        self.server = server
        self.deadline = server.clock + server.limits.head_seconds
        self._transport: asyncio.Transport = None  # type: ignore[assignment]
        self._buffer: bytes | bytearray = b""
        self._state = _HEAD
        self._head: Head | None = None
        self._endpoint: Endpoint | TiffinError | None = None
        self._awaited = 0
        self._body_until = 0.0
        self._chunked: http1.ChunkedBody | None = None
        self._request: Request | None = None
        self._keep_alive = True
        self._advancing = False
        self._paused = False
        self._eof = False
        self._drained: asyncio.Event | None = None
        self._unsent = 0
        self._status = 0
        self._chunks = True

    # -- asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state = _CLOSED
        request, self._request = self._request, None
        if self._drained is not None:
            self._drained.set()
        if request is not None:
            self.server.in_flight -= 1
            self.server.metrics.dropped()
            self.server.metrics.request(
                request.endpoint.index if request.endpoint else -1, 499, time.perf_counter() - request.started
            )
            request.gone()
        self.server.forget(self)

    def data_received(self, data: bytes) -> None:
        if self._state == _HEAD and not self._buffer and self._request is None:
            # One whole request, with a head seen before: by far the commonest, and it needs no buffer.
            end = data.find(http1.END_OF_HEAD) + 4
            found = self.server.heads.get(data[:end])
            if found is not None and len(data) - end == found[0].content_length:
                self._dispatch(found[0], found[1], data[end:])
                return
        elif self._state >= _DISCARD:
            return
        if self._buffer:
            self._buffer += data  # In place when it is a bytearray, that is while a body arrives.
        else:
            self._buffer = data
        if self._request is not None:
            if len(self._buffer) > self.server.limits.max_head_bytes and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            return
        self._advance()

    def eof_received(self) -> bool:
        # A caller that closed its side may still wait for the answer in hand, and for those behind it.
        request = self._request
        if request is None:
            if self._drained is None:
                return False
        elif (request.left_at_eof and not self._buffer) or has_hung_up(self._transport):
            return False
        self._eof = self._paused = True
        return True

    def pause_writing(self) -> None:
        """The caller reads slowly: its further requests wait until it has read, or answers would pile up."""
        self._drained = asyncio.Event()
        self._unsent = self._transport.get_write_buffer_size()
        self.deadline = self.server.clock + self.server.limits.keep_alive_seconds
        if not self._paused and self._state < _DISCARD:
            self._paused = True
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._drained is None:
            return
        self._drained.set()
        self._drained = None
        if self._state >= _DISCARD:
            return
        if self._request is not None:
            self.deadline = float("inf")  # A streamed answer: it goes on for as long as it likes.
        else:
            self.deadline = self.server.clock + self.server.limits.keep_alive_seconds
        if self._paused:
            self._unpause()
        if self._buffer:
            self._advance()

    # -- requests ------------------------------------------------------------------------------------------

    def _advance(self) -> None:
        """Take whole requests off the buffer until one has to wait; a loop, since answers come back here."""
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._request is None and self._drained is None and self._state < _DISCARD:
                if self._state == _HEAD and (not self._buffer or not self._read_head()):
                    break
                if self._state == _BODY and not self._read_body():
                    break
        except TiffinError as error:
            self._refuse(error)
        finally:
            self._advancing = False
        if self._eof and self._request is None and self._drained is None:
            self.close()  # The last request of a caller that closed its side has been answered.

    def _unpause(self) -> None:
        """Read again, unless the caller has nothing more to say, or does not read itself."""
        if self._eof:
            self._advance()
        elif self._drained is None:
            self._paused = False
            self._transport.resume_reading()

    def _read_head(self) -> bool:
        buffer = self._buffer
        end = buffer.find(http1.END_OF_HEAD)
        if end < 0:
            return self._wait_for_head()
        end += 4
        if end > self.server.limits.max_head_bytes:
            raise self._head_too_large()
        block = bytes(buffer[:end])
        if block.startswith(b"\r\n"):  # RFC 9112, 2.2: an empty line before a request line is skipped.
            self._buffer = buffer[2:]
            return True
        head, endpoint = self.server.head(block)
        length = head.content_length
        if length <= 0:
            self._buffer = buffer[end:]
            if length == 0:
                self._dispatch(head, endpoint, b"")
                return True
        elif length > self.server.limits.max_body_bytes:
            self._head = head
            raise http1.body_too_large(self.server.limits.max_body_bytes, length)
        elif len(buffer) - end >= length:
            body = buffer[end : end + length]
            self._buffer = buffer[end + length :]
            self._dispatch(head, endpoint, body if type(body) is bytes else bytes(body))
            return True
        else:
            # The rest of the body is gathered in place: one copy per arriving piece, none per turn.
            self._buffer = bytearray(buffer[end:])
        self._head, self._endpoint = head, endpoint
        self._awaited = length
        self._chunked = http1.ChunkedBody(self.server.limits.max_body_bytes) if length < 0 else None
        self._state = _BODY
        # Silence is bounded, and so is dripping: a body that comes slower than this all along is cut off.
        expected = length if length > 0 else self.server.limits.max_body_bytes
        seconds = self.server.limits.body_seconds
        self._body_until = self.server.clock + seconds + expected / _SLOWEST_BYTES_A_SECOND
        self.deadline = min(self.server.clock + seconds, self._body_until)
        if head.expects_continue and not self._buffer:
            self._transport.write(http1.CONTINUE)
        return True

    def _wait_for_head(self) -> bool:
        # A head has begun: from now on it has to come in time, whatever the connection may idle.
        self.deadline = min(self.deadline, self.server.clock + self.server.limits.head_seconds)
        if len(self._buffer) > self.server.limits.max_head_bytes:
            raise self._head_too_large()
        if b"\n\n" in self._buffer:
            # llhttp would refuse a bare line feed; without this, such a caller would wait for the time-out.
            http1.parse_head(bytes(self._buffer) + b"\r\n\r\n", max_headers=self.server.limits.max_headers)
        return False

    def _head_too_large(self) -> HeadTooLarge:
        limit = self.server.limits.max_head_bytes
        return HeadTooLarge(f"expected a request head of at most {limit} bytes")

    def _read_body(self) -> bool:
        self.deadline = min(self.server.clock + self.server.limits.body_seconds, self._body_until)
        assert self._head is not None
        if self._chunked is not None:
            body, rest = self._chunked.feed(bytes(self._buffer))
            self._buffer = rest
            if body is None:
                return False
        else:
            if len(self._buffer) < self._awaited:
                return False
            body = (
                bytes(self._buffer[: self._awaited]) if len(self._buffer) > self._awaited else bytes(self._buffer)
            )
            self._buffer = bytes(self._buffer[self._awaited :])
        self._chunked = None
        self._state = _HEAD
        endpoint = self._endpoint
        assert endpoint is not None
        self._dispatch(self._head, endpoint, body)
        return True

    def _dispatch(self, head: Head, endpoint: Endpoint | TiffinError, body: bytes) -> None:
        server = self.server
        self._head = head
        self._keep_alive = head.keep_alive
        server.in_flight += 1
        if isinstance(endpoint, TiffinError):
            self._request = request = Request(self, head, body, None)
            self.deadline = server.clock + server.limits.keep_alive_seconds
            if server.state is State.STARTING and isinstance(endpoint, UnknownRoute):
                endpoint = NotReady(_LOADING)  # A service's endpoints are known once it was imported.
            request.reply(self._rendered(head, endpoint))
            return
        self._request = request = Request(self, head, body, endpoint)
        timeout = server.timeout_seconds
        self.deadline = float("inf") if timeout is None else server.clock + timeout
        try:
            if server.state is not State.READY and not endpoint.exempt and server.state is not State.DRAINING:
                raise NotReady(_LOADING)
            if b"content-encoding" in head.headers:
                request.body = decoded(body, head.headers[b"content-encoding"], server.limits.max_body_bytes)
            endpoint.handler(request)
        except TiffinError as error:
            if not isinstance(error, CallError):
                log.error("%s failed: %s", endpoint.template, error, exc_info=error.__cause__)
            request.reply(self._rendered(head, error))
        except Exception:
            log.exception("%s failed", endpoint.template)
            request.reply(self._rendered(head, TiffinError("unexpected")))

    def _rendered(self, head: Head, error: TiffinError) -> Reply:
        reply = self.server.application.render_error(head.path, error)
        if isinstance(error, MethodNotAllowed) and error.allow:
            reply.headers = (*reply.headers, (b"allow", ", ".join(error.allow).encode("ascii")))
        elif isinstance(error, NotReady):
            reply.headers = (*reply.headers, (b"retry-after", b"1"))
        return reply

    # -- answers -------------------------------------------------------------------------------------------

    def answer(self, request: Request, reply: Reply) -> None:
        """Write a whole reply and go on to the next request."""
        server = self.server
        body = reply.body
        close = not self._keep_alive or server.state is State.DRAINING
        if reply.status == 200 and reply.content_type is JSON and not reply.headers and not close:
            head = b"%b%d\r\n\r\n" % (server.json_ok, len(body))
        else:
            if reply.status in (204, 304):
                body = b""  # These have none by definition: bytes here would be read as the next answer.
            head = http1.encode_head(reply, common=server.common, length=len(body), close=close)
        if request.head.method == "HEAD":
            self._transport.write(head)
        elif len(body) < _SMALL_BODY:
            self._transport.write(head + body)
        else:
            # Not writelines: in Python 3.12.1 and 3.13.0 asyncio's does not stop at the high-water mark.
            self._transport.write(head)
            self._transport.write(body)
        self._done(request, reply.status, close)

    def start_stream(self, request: Request, reply: Reply) -> None:
        """Write the head of a chunked answer (HTTP/1.0: until the close)."""
        self._chunks = request.head.minor_version > 0
        close = not self._keep_alive or not self._chunks or self.server.state is State.DRAINING
        self._keep_alive = not close
        self._status = reply.status
        length = None if self._chunks else http1.UNTIL_CLOSE
        self._transport.write(http1.encode_head(reply, common=self.server.common, length=length, close=close))
        self.deadline = float("inf")
        self._write_chunk(reply.body)

    async def send_chunk(self, request: Request, chunk: bytes) -> None:
        """Write a chunk; waits while the caller reads slowly."""
        if self._drained is not None:
            await self._drained.wait()
        if request.closed or self._request is not request:
            raise ConnectionResetError("the caller has gone")
        self._write_chunk(chunk)

    def _write_chunk(self, chunk: bytes) -> None:
        if chunk and self._request is not None and self._request.head.method != "HEAD":
            self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk) if self._chunks else chunk)

    def finish_stream(self, request: Request) -> None:
        """Write the last chunk and go on to the next request."""
        if self._chunks and request.head.method != "HEAD":
            self._transport.write(b"0\r\n\r\n")
        self._done(request, self._status, not self._keep_alive)

    def hand_over(
        self, request: Request, successor: Callable[[Server, asyncio.Transport, bytes], Successor]
    ) -> None:
        """Let go of the socket: from now on its bytes are another's."""
        server, rest = self.server, bytes(self._buffer)
        self._buffer, self._request, self._state = b"", None, _CLOSED
        server.metrics.request(
            request.endpoint.index if request.endpoint else -1, 101, time.perf_counter() - request.started
        )
        server.in_flight -= 1
        server.connections.discard(self)
        heir = successor(server, self._transport, rest)
        server.connections.add(heir)
        if self._paused:
            self._paused = False
            self._transport.resume_reading()

    def _done(self, request: Request, status: int, close: bool) -> None:
        server = self.server
        endpoint = request.endpoint
        server.metrics.request(
            endpoint.index if endpoint is not None else -1, status, time.perf_counter() - request.started
        )
        server.in_flight -= 1
        self._request = None
        if close:
            self.close()
            return
        self.deadline = server.clock + server.limits.keep_alive_seconds
        if self._paused:
            self._unpause()
        if self._buffer:
            self._advance()

    def _refuse(self, error: TiffinError) -> None:
        """Answer an error found before there was a request, then close: the framing can't be trusted any more."""
        path = self._head.path if self._head is not None else ""
        reply = self.server.application.render_error(path, error)
        self._transport.write(
            http1.encode_head(reply, common=self.server.common, length=len(reply.body), close=True) + reply.body
        )
        self.server.metrics.request(-1, reply.status, 0.0)
        self._discard()

    def _discard(self) -> None:
        """Read and forget for a moment before closing: a close with unread bytes would reset the answer away."""
        self._state = _DISCARD
        self._buffer = b""
        self.deadline = self.server.clock + _LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    # -- ends ----------------------------------------------------------------------------------------------

    def late(self) -> None:
        """The deadline has passed; what that means depends on what was going on."""
        if self._drained is not None:
            unsent = self._transport.get_write_buffer_size()
            if unsent < self._unsent:  # Slow, but reading.
                self._unsent = unsent
                self.deadline = self.server.clock + self.server.limits.keep_alive_seconds
            else:
                self.abort()
        elif self._request is not None:
            request = self._request
            if request.on_close is not None:
                on_close, request.on_close = request.on_close, None
                on_close()
            seconds = self.server.timeout_seconds
            error = DeadlineExceeded(f"expected an answer within {seconds} seconds, found none")
            request.reply(self.server.application.render_error(request.head.path, error))
        elif self._state == _DISCARD or (self._state == _HEAD and not self._buffer):
            self.abort()
        else:
            self._refuse(CallTimeout("expected the rest of the request, found silence"))

    def close_if_idle(self) -> None:
        """Close a connection that waits for its next request."""
        if self._request is None and self._state == _HEAD and not self._buffer:
            self.close()

    def close(self) -> None:
        """Close once everything written has been sent."""
        if self._state != _CLOSED:
            self._state = _DISCARD
            self.deadline = self.server.clock + self.server.limits.keep_alive_seconds
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
