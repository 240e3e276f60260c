"""As much HTTP/2 as a splice needs: where frames begin, and the few it says itself. Pure; RFC 9113."""

from __future__ import annotations

from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES = 9
DATA, HEADERS, SETTINGS, GOAWAY = 0x0, 0x1, 0x4, 0x7
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
LAST_STREAM = 2**31 - 1
_UNAVAILABLE = 14
"""A status of gRPC."""


class Frame(NamedTuple):
    """The head of a frame: its kind, flags, stream and the length of what follows."""

    kind: int
    flags: int
    stream: int
    length: int

    @property
    def is_acknowledgement(self) -> bool:
        """Whether it says that settings were taken over."""
        return self.kind == SETTINGS and bool(self.flags & ACK)


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """The bytes of a frame."""
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


class Walker:
    """Finds the heads of a caller's frames in bytes as they come; keeps at most a part of one head."""

    def __init__(self) -> None:
        self._skip = len(PREFACE)
        self._head = bytearray()

    @property
    def partial(self) -> int:
        """How many bytes of a head that is not complete were seen last."""
        return len(self._head)

    def feed(self, data: bytes) -> list[tuple[Frame, int]]:
        """Frames whose heads are complete now, each with where its head ends in ``data``."""
        found = []
        at = 0
        while at < len(data):
            step = min(self._skip, len(data) - at)
            self._skip -= step
            at += step
            if self._skip or at >= len(data):
                break
            taken = data[at : at + HEAD_BYTES - len(self._head)]
            self._head += taken
            at += len(taken)
            if len(self._head) == HEAD_BYTES:
                head = bytes(self._head)
                self._head.clear()
                length = int.from_bytes(head[:3], "big")
                found.append((Frame(head[3], head[4], int.from_bytes(head[5:9], "big") & LAST_STREAM, length), at))
                self._skip = length
        return found


class AcknowledgementFilter:
    """Passes a caller's bytes on without its first acknowledgement of settings.

    The activator sends settings while a call waits, since callers of gRPC give a connection up that sends none;
    a replica that was never asked would take the acknowledgement for a mistake.
    """

    def __init__(self) -> None:
        self._walker = Walker()
        self._kept = b""
        self.is_done = False

    def feed(self, data: bytes) -> bytes:
        """What is to be passed on now. A head that is not complete yet is kept back, at most 8 bytes."""
        if self.is_done:
            return data
        before = self._kept
        data = before + data
        # The walker has seen what was kept before.
        found = self._walker.feed(data[len(before) :])
        for head, end in found:
            if head.is_acknowledgement:
                end += len(before)
                self.is_done = True
                self._kept = b""
                return data[: end - HEAD_BYTES] + data[end:]
        partial = self._walker.partial
        self._kept = data[len(data) - partial :] if partial else b""
        return data[: len(data) - partial]


def settings() -> bytes:
    """Settings that change nothing: what a server must say first."""
    return frame(SETTINGS, 0, 0)


def acknowledgement() -> bytes:
    """The caller's settings are taken over."""
    return frame(SETTINGS, ACK, 0)


def farewell(last_stream: int = LAST_STREAM) -> bytes:
    """No streams after this one are taken; nothing went wrong."""
    return frame(GOAWAY, 0, 0, last_stream.to_bytes(4, "big") + bytes(4))


def unavailable(stream: int, message: str, retry_after: int) -> bytes:
    """An answer of 503 without a body, which gRPC reads as UNAVAILABLE with this message."""
    plain = "".join(one if " " <= one <= "~" and one != "%" else " " for one in message)
    block = b"".join(
        (
            _field(b":status", b"503"),
            _field(b"content-type", b"application/grpc"),
            _field(b"retry-after", str(retry_after).encode()),
            _field(b"grpc-status", str(_UNAVAILABLE).encode()),
            _field(b"grpc-message", plain.encode()),
        )
    )
    return frame(HEADERS, END_STREAM | END_HEADERS, stream, block)


def _field(name: bytes, value: bytes) -> bytes:
    """A header field as a literal that nobody has to remember (RFC 7541, 6.2.2)."""
    return b"\0" + _string(name) + _string(value)


def _string(text: bytes) -> bytes:
    length = len(text)
    if length < 127:
        return bytes((length,)) + text
    rest, head = length - 127, bytearray((127,))
    while rest >= 128:
        head.append(rest % 128 + 128)
        rest //= 128
    head.append(rest)
    return bytes(head) + text
