"""Connections for event loops; see ``connections`` for when a request is sent again."""

from __future__ import annotations

import asyncio
import contextlib
import time
import weakref
from collections.abc import AsyncIterator, Sequence

from tiffin.codec.framing import Part
from tiffin.service.connections import (
    IDLE_SECONDS,
    MOST_IDLE,
    REFUSED_SECONDS,
    Place,
    Stale,
    left_until,
    pauses,
    whose,
)
from tiffin.service.incoming import Incoming


class _Wire(asyncio.BufferedProtocol):
    """A connection of an event loop's. At most one answer is read at a time, and bytes only while one is."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.incoming: Incoming | None = None
        self.is_closed = self.is_reused = False
        self.idle_since = 0.0
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unasked = bytearray(1)
        self._is_paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def get_buffer(self, sizehint: int) -> memoryview:
        incoming = self.incoming
        return memoryview(self._unasked) if incoming is None or incoming.is_complete else incoming.buffer()

    def buffer_updated(self, nbytes: int) -> None:
        incoming = self.incoming
        if incoming is None or incoming.is_complete:
            self._fail(ConnectionResetError("bytes came that nobody asked for"))
            return
        try:
            incoming.received(nbytes)
        except Exception as error:
            self._fail(error)
            return
        if incoming.is_chunked and len(incoming.body) > 1_048_576 and not self._is_paused:
            self._is_paused = True  # until somebody takes what is there
            if self.transport is not None:
                self.transport.pause_reading()
        if incoming.is_chunked or incoming.is_complete:
            self._wake()

    def eof_received(self) -> None:
        if self.incoming is None or not self.incoming.ended():
            self._fail(ConnectionResetError("the connection ended before the answer did"))
        else:
            self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(error or ConnectionResetError("the connection ended before the answer did"))

    def _fail(self, error: Exception) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._error = error
            if self.transport is not None:
                self.transport.abort()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def changed(self, deadline: float) -> None:
        """Wait for bytes more, where they matter; raises TimeoutError, OSError."""
        assert self.incoming is not None
        if self._is_paused and self.transport is not None:
            self._is_paused = False
            self.transport.resume_reading()
        if not self.is_closed:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()
            timer = loop.call_later(max(0.0, deadline - time.monotonic()), self._late)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        if self.is_closed and self._error is not None and not self.incoming.is_complete:
            raise self._error

    def _late(self) -> None:
        self._fail(TimeoutError())

    def begin(self, parts: Sequence[Part]) -> Incoming:
        """Send a request, whose answer is read from now on."""
        assert self.transport is not None
        self.incoming = Incoming()
        self.transport.writelines(parts)
        return self.incoming

    def close(self) -> None:
        """End it at once, which the other side takes as that nobody waits any more."""
        self._fail(ConnectionAbortedError("closed"))


class Asynchronous:
    """Connections for event loops, each loop its own."""

    def __init__(self, place: Place, who: str) -> None:
        self._place = place
        self._who = who
        self._idle: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, list[_Wire]] = weakref.WeakKeyDictionary()

    @contextlib.asynccontextmanager
    async def ask(self, parts: Sequence[Part], deadline: float) -> AsyncIterator[AnswerToCome]:
        """Send a request; within the context its head is there. Leaving early closes the connection."""
        with whose(self._who, None):
            wire, incoming = await self._sent(parts, deadline)
        try:
            yield AnswerToCome(wire, incoming, self._who)
        finally:
            idle = self._idle.setdefault(asyncio.get_running_loop(), [])
            if incoming.is_complete and incoming.keeps and not wire.is_closed and len(idle) < MOST_IDLE:
                wire.idle_since = time.monotonic()
                wire.incoming = None
                idle.append(wire)
            else:
                wire.close()

    async def _sent(self, parts: Sequence[Part], deadline: float) -> tuple[_Wire, Incoming]:
        wire = self._taken() or await self._fresh(deadline)
        try:
            return wire, await self._begun(wire, parts, deadline)
        except Stale:
            wire = await self._fresh(deadline)
            return wire, await self._begun(wire, parts, deadline)

    async def _begun(self, wire: _Wire, parts: Sequence[Part], deadline: float) -> Incoming:
        incoming = wire.begin(parts)
        try:
            while not incoming.is_complete and not (incoming.status and incoming.is_chunked):
                await wire.changed(deadline)
        except BaseException as error:
            wire.close()
            is_lost = isinstance(error, OSError) and not isinstance(error, TimeoutError)
            if is_lost and wire.is_reused and not incoming.has_begun:
                raise Stale from error
            raise
        return incoming

    def _taken(self) -> _Wire | None:
        idle = self._idle.get(asyncio.get_running_loop())
        while idle:
            wire = idle.pop()
            if not wire.is_closed and time.monotonic() - wire.idle_since <= IDLE_SECONDS:
                wire.is_reused = True
                return wire
            wire.close()
        return None

    async def _fresh(self, deadline: float) -> _Wire:
        loop = asyncio.get_running_loop()
        until = min(deadline, time.monotonic() + REFUSED_SECONDS)
        for pause in pauses():
            try:
                async with asyncio.timeout(left_until(deadline)):
                    if self._place.unix:
                        _, wire = await loop.create_unix_connection(_Wire, self._place.unix)
                    else:
                        _, wire = await loop.create_connection(
                            _Wire, self._place.host, self._place.port, ssl=self._place.is_tls or None
                        )
                return wire
            except (ConnectionRefusedError, FileNotFoundError):
                if time.monotonic() + pause >= until:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError

    async def close(self) -> None:
        """Close what is idle on this loop."""
        for wire in self._idle.pop(asyncio.get_running_loop(), ()):
            wire.close()


class AnswerToCome:
    """An answer that has begun, read on a loop; one of known length is complete already."""

    def __init__(self, wire: _Wire, incoming: Incoming, who: str) -> None:
        self.incoming = incoming
        self._wire, self._who = wire, who

    async def read(self, deadline: float) -> bytearray:
        """The whole body."""
        while not self.incoming.is_complete:
            await self.more(deadline)
        return self.incoming.body

    async def more(self, deadline: float) -> None:
        """Some bytes more."""
        with whose(self._who, None):
            await self._wire.changed(deadline)
