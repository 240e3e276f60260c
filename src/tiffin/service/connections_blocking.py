"""Connections for threads, which block; see ``connections`` for when a request is sent again."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterator, Sequence

from tiffin.codec.framing import Part
from tiffin.service.caller import Caller
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

_nothing = threading.Event()  # is never set: whoever waits for it pauses


class _Socket:
    """A connection of a thread's."""

    def __init__(self, place: Place, deadline: float) -> None:
        if place.unix:
            self.socket = socket.socket(socket.AF_UNIX)
            try:
                self.socket.settimeout(left_until(deadline))
                self.socket.connect(place.unix)
            except BaseException:
                self.socket.close()
                raise
        else:
            self.socket = socket.create_connection((place.host, place.port), timeout=left_until(deadline))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if place.is_tls:
                plain = self.socket
                try:
                    self.socket = ssl.create_default_context().wrap_socket(plain, server_hostname=place.host)
                except BaseException:
                    plain.close()
                    raise
        self.is_reused = False
        self.idle_since = 0.0

    def is_alive(self) -> bool:
        """Whether an idle one still stands, as far as can be told."""
        if time.monotonic() - self.idle_since > IDLE_SECONDS:
            return False
        return self.is_quiet()  # what would be there is its end, or bytes that nobody asked for

    def is_quiet(self) -> bool:
        """Whether nothing came."""
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        return not poll.poll(0)

    def send(self, parts: Sequence[Part], deadline: float) -> bool:
        """Send it all, or until an answer comes in its middle; whether it was all."""
        if isinstance(self.socket, ssl.SSLSocket):
            self.socket.settimeout(left_until(deadline))
            self.socket.sendall(b"".join(parts))
            return True
        left = [memoryview(part) for part in parts if len(part)]
        while left:
            self.socket.settimeout(left_until(deadline))
            sent = self.socket.sendmsg(left[:512])
            while left and sent >= len(left[0]):
                sent -= len(left.pop(0))
            if sent:
                left[0] = left[0][sent:]
            if left and not self.is_quiet():
                return False
        return True

    def receive(self, incoming: Incoming, deadline: float) -> None:
        """Some bytes more; raises ConnectionResetError at the end of the connection."""
        self.socket.settimeout(left_until(deadline))
        count = self.socket.recv_into(incoming.buffer())
        if count:
            incoming.received(count)
        elif not incoming.ended():
            raise ConnectionResetError("the connection ended before the answer did")

    def abort(self) -> None:
        """Have whoever waits for it fail; from any thread."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)


class Blocking:
    """Connections for threads. ``who`` is named in errors."""

    def __init__(self, place: Place, who: str) -> None:
        self._place = place
        self._who = who
        self._idle: list[_Socket] = []  # taken from and put to its end: both are atomic
        weakref.finalize(self, _close, self._idle)

    @contextlib.contextmanager
    def ask(self, parts: Sequence[Part], deadline: float, caller: Caller | None) -> Iterator[Answer]:
        """Send a request; within the context its head is there, and the rest is read by ``Answer.read``."""
        with whose(self._who, caller):
            connection, incoming = self._sent(parts, deadline, caller)
        answer = Answer(connection, incoming, self._who, caller)
        try:
            yield answer
        finally:
            if incoming.is_complete and incoming.keeps and len(self._idle) < MOST_IDLE:
                connection.idle_since = time.monotonic()
                self._idle.append(connection)
            else:
                connection.socket.close()

    def _sent(self, parts: Sequence[Part], deadline: float, caller: Caller | None) -> tuple[_Socket, Incoming]:
        connection = self._taken() or self._fresh(deadline)
        try:
            return connection, self._begun(connection, parts, deadline, caller)
        except Stale:
            fresh = self._fresh(deadline)
            return fresh, self._begun(fresh, parts, deadline, caller)

    def _begun(
        self, connection: _Socket, parts: Sequence[Part], deadline: float, caller: Caller | None
    ) -> Incoming:
        incoming = Incoming()
        try:
            with caller.until_gone(connection.abort) if caller else contextlib.nullcontext():
                try:
                    is_whole = connection.send(parts, deadline)
                except (BrokenPipeError, ConnectionResetError):
                    is_whole = False  # what it said before it closed may still be there
                while not incoming.status:
                    connection.receive(incoming, deadline)
                incoming.keeps = incoming.keeps and is_whole
        except BaseException as error:
            connection.socket.close()
            is_lost = isinstance(error, OSError) and not isinstance(error, TimeoutError)
            if is_lost and connection.is_reused and not incoming.has_begun and not (caller and caller.is_gone):
                raise Stale from error
            raise
        return incoming

    def _taken(self) -> _Socket | None:
        while self._idle:
            with contextlib.suppress(IndexError):
                connection = self._idle.pop()
                if connection.is_alive():
                    connection.is_reused = True
                    return connection
                connection.socket.close()
        return None

    def _fresh(self, deadline: float) -> _Socket:
        until = min(deadline, time.monotonic() + REFUSED_SECONDS)
        for pause in pauses():
            try:
                return _Socket(self._place, deadline)
            except (ConnectionRefusedError, FileNotFoundError):
                if time.monotonic() + pause >= until:
                    raise
                _nothing.wait(pause)
        raise AssertionError

    def close(self) -> None:
        """Close what is idle."""
        _close(self._idle)


def _close(idle: list[_Socket]) -> None:
    while idle:
        with contextlib.suppress(IndexError):
            idle.pop().socket.close()


class Answer:
    """An answer that has begun, read in a thread."""

    def __init__(self, connection: _Socket, incoming: Incoming, who: str, caller: Caller | None) -> None:
        self.incoming = incoming
        self._connection, self._who, self._caller = connection, who, caller

    def read(self, deadline: float) -> bytearray:
        """The whole body."""
        while not self.incoming.is_complete:
            self.more(deadline)
        return self.incoming.body

    def more(self, deadline: float) -> None:
        """Some bytes more."""
        with (
            whose(self._who, self._caller),
            self._caller.until_gone(self._connection.abort) if self._caller else contextlib.nullcontext(),
        ):
            self._connection.receive(self.incoming, deadline)
