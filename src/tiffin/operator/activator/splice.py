"""One connection: its caller's end, a pod's end, and what passes between them.

    first ──some bytes──> held ──connected──> trial ──the pod speaks, or more was sent──> spliced
                            ^                   │
                            └────pod is lost────┘        (what was sent so far is kept, and sent again)

Reading stops at the first bytes and goes on when there is a pod: what a caller sends meanwhile stays in the
kernel's buffers and then with the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from tiffin.operator.activator import answers, frames

FIRST_BYTES = 4096
"""Read of a connection while it waits."""
_CHUNK_BYTES = 65_536
_LINGER_SECONDS = 2.0
"""How long a caller is listened to after its last answer: to hang up on one that still sends would lose it."""
_HALF_OPEN_SECONDS = 30.0
"""How long a caller may stay that sends nothing although its pod has said all."""
_chunk = memoryview(bytearray(_CHUNK_BYTES))
"""Read into by all: what was read is copied before anything else is."""


class End(asyncio.BufferedProtocol):
    """One end of a splice."""

    transport: asyncio.Transport
    peer: End | None = None
    is_lost = False
    is_ended = False
    """Whether the other side said that it sends no more."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Writes are held up when more than a chunk waits."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_CHUNK_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        """Everybody's."""
        return _chunk

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        self.received(bytes(_chunk[:nbytes]))

    def received(self, data: bytes) -> None:
        """Pass them on."""
        if self.peer is not None and not self.peer.is_lost:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """This side has said all; the other may still speak."""
        self.is_ended = True
        peer = self.peer
        if peer is None or peer.is_lost:
            return False
        if peer.is_ended:
            peer.transport.close()
            return False
        if peer.transport.can_write_eof():
            peer.transport.write_eof()
        return True

    def pause_writing(self) -> None:
        """Nobody takes what is written: read no more of it."""
        if self.peer is not None and not self.peer.is_lost:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """It is taken again."""
        if self.peer is not None and not self.peer.is_lost:
            self.peer.transport.resume_reading()


class Owner(Protocol):
    """Who looks after a caller."""

    def opened(self, caller: Caller) -> None:
        """It has connected."""

    def began(self, caller: Caller) -> None:
        """Its first bytes are there; no more are read."""

    def gone(self, caller: Caller) -> None:
        """It has no connection any more."""


class Caller(End):
    """The end of a caller, who has ``patience`` seconds to begin; ``owner`` is told what happens."""

    def __init__(self, owner: Owner, patience: float) -> None:
        self._owner = owner
        self._patience = patience
        self._filter: frames.AcknowledgementFilter | None = None
        self._refusing: frames.Walker | None = None
        self._last_stream = 0
        self._reason = ""
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self.first = b""
        self.speech: answers.Speech = "other"
        self.is_greeted = False
        self.is_finishing = False
        self.sent_more = False
        self.last_heard = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Nobody is asked for a replica before it says something: it may only look whether somebody listens."""
        super().connection_made(transport)
        self._after(self._patience, self.transport.close)
        self._owner.opened(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """As few as tell who speaks, at first."""
        return _chunk if self.first else _chunk[:FIRST_BYTES]

    @property
    def descriptor(self) -> int:
        """Of its socket; -1 when that is closed."""
        socket = self.transport.get_extra_info("socket")
        return -1 if socket is None else int(socket.fileno())

    def received(self, data: bytes) -> None:
        """The first bytes are kept; later ones go to the pod."""
        if self.is_finishing:
            if self._refusing is not None:
                self._refuse_streams(data)
            return
        if not self.first:
            self.first = data
            self.speech = answers.speech(data)
            self.transport.pause_reading()
            if self._timer is not None:
                self._timer.cancel()
            self._owner.began(self)
            return
        self.sent_more = True
        self.last_heard = self._loop.time()
        if isinstance(self.peer, Pod):
            self.peer.settle()
        super().received(self._filtered(data))

    def greet(self) -> None:
        """Say what a server of HTTP/2 says first: callers of gRPC do not wait long for that."""
        if self.speech == "http/2" and not self.is_greeted:
            self.is_greeted = True
            self.transport.write(frames.settings())

    def join(self, pod: Pod) -> None:
        """Let bytes pass, beginning with those that were kept."""
        self.peer, pod.peer = pod, self
        self._filter = frames.AcknowledgementFilter() if self.is_greeted else None
        pod.transport.write(self._filtered(self.first))
        if self.is_ended:
            pod.transport.write_eof()
        else:
            self.transport.resume_reading()

    def part(self) -> None:
        """The pod was lost before it said anything: wait again."""
        self.peer = None
        if not self.is_lost:
            self.transport.pause_reading()

    def forget_first(self) -> None:
        """They will not be needed again; one is kept to say that there were some."""
        self.first = self.first[:1]

    def refuse(self, reason: str) -> None:
        """Tell the caller, in its protocol, that it waited in vain."""
        if self.is_lost or self.is_finishing:
            return
        if self.speech == "http/1":
            self.transport.write(answers.refusal(reason))
            self.finish()
        elif self.speech == "http/2":
            self.greet()
            self.transport.write(frames.acknowledgement() + frames.farewell())
            self._refusing, self._reason = frames.Walker(), reason
            self.is_finishing = True
            self._refuse_streams(self.first)
            self.transport.resume_reading()
            self._timer = self._loop.call_later(_LINGER_SECONDS / 2, self._end_streams)
        else:
            self.transport.close()

    def finish(self) -> None:
        """Nothing more is said to this caller; it is listened to for a moment, then gone."""
        if self.is_lost:
            return
        self.is_finishing, self._refusing, self.peer = True, None, None
        if self.is_ended or not self.transport.can_write_eof():
            self.transport.close()
            return
        self.transport.write_eof()
        self.transport.resume_reading()
        self._after(_LINGER_SECONDS, self.transport.close)

    def end_when_silent(self) -> None:
        """The pod has said all: a caller that says nothing either is not kept for ever."""
        self.last_heard = self._loop.time()
        self._after(_HALF_OPEN_SECONDS, self._look_at_silence)

    def eof_received(self) -> bool:
        """One that ends before it began, or after it was refused, is gone."""
        if self.is_finishing or not self.first:
            self.is_ended = True
            return False
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """The caller has gone; so goes its pod's end."""
        self.is_lost = True
        if self._timer is not None:
            self._timer.cancel()
        if self.peer is not None and not self.peer.is_lost:
            if error is None:
                self.peer.transport.close()
            else:
                self.peer.transport.abort()
        self._owner.gone(self)

    def _filtered(self, data: bytes) -> bytes:
        if self._filter is None:
            return data
        data = self._filter.feed(data)
        if self._filter.is_done:
            self._filter = None
        return data

    def _refuse_streams(self, data: bytes) -> None:
        assert self._refusing is not None
        for head, _ in self._refusing.feed(data):
            # A client's streams are odd, and each begins higher than the one before.
            if head.kind == frames.HEADERS and head.stream > self._last_stream:
                self._last_stream = head.stream
                self.transport.write(frames.unavailable(head.stream, self._reason, answers.RETRY_AFTER_SECONDS))

    def _end_streams(self) -> None:
        if not self.is_lost:
            self.transport.write(frames.farewell(self._last_stream))
            self.finish()

    def _look_at_silence(self) -> None:
        if self._loop.time() - self.last_heard >= _HALF_OPEN_SECONDS:
            self.finish()
        else:
            self._after(_HALF_OPEN_SECONDS, self._look_at_silence)

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, do)


class Pod(End):
    """The end of a pod. ``settled`` is true once the pod spoke or more than the kept bytes was sent to it, and
    false when it was lost before that.
    """

    def __init__(self) -> None:
        self.over: Callable[[], None] = _nothing
        self.settled: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def settle(self) -> None:
        """What was sent cannot be taken back from here on."""
        if not self.settled.done():
            self.settled.set_result(True)
            if isinstance(self.peer, Caller):
                self.peer.forget_first()

    def received(self, data: bytes) -> None:
        """It speaks."""
        self.settle()
        super().received(data)

    def eof_received(self) -> bool:
        """One that ends without a word was leaving when it was found."""
        if not self.settled.done():
            return False
        stays = super().eof_received()
        if stays and isinstance(self.peer, Caller):
            self.peer.end_when_silent()
        return stays

    def connection_lost(self, error: Exception | None) -> None:
        """The caller hears what was said, and then that this was all."""
        self.is_lost = True
        self.over()
        if not self.settled.done():
            if isinstance(self.peer, Caller):
                self.peer.part()
            self.settled.set_result(False)
        elif isinstance(self.peer, Caller) and not self.peer.is_finishing:
            if error is not None and not self.peer.is_lost:
                self.peer.transport.abort()  # Broken off, as it would be without anybody between.
            else:
                self.peer.finish()


def _nothing() -> None:
    """Nobody waits for the end."""
