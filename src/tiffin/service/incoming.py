"""One HTTP/1.1 answer as it comes in: pure, for whoever reads it, in a thread or on a loop.

A body of known length goes straight to where it will lie; nothing is gathered and joined afterwards.
"""

from __future__ import annotations

from tiffin.codec import framing
from tiffin.errors import DecodeError

_HEAD_BYTES = 65_536
_SPACE_BYTES = 16_384
_STREAM_SPACE_BYTES = 262_144
MOST_BYTES = 2**31
"""Of an answer, or of one item of a stream."""


class Incoming:
    """Give it bytes by ``buffer`` and ``received`` until ``is_complete``.

    Attributes:
        status: 0 until the head is there.
        headers: By lower-case name; the last of a name counts.
        body: Complete when the answer is; of a chunked one, what came and was not taken.
        has_begun: Whether any byte came.
        keeps: Whether the connection may be used again.
    """

    __slots__ = (
        "_chunk_left", "_filled", "_rest", "_space", "_until_end", "body", "has_begun", "headers", "is_chunked",
        "is_complete", "keeps", "status",
    )  # fmt: skip

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.has_begun = self.is_complete = self.is_chunked = self._until_end = False
        self.keeps = True
        self._space = bytearray(_SPACE_BYTES)
        self._rest = bytearray()
        self._filled = 0
        self._chunk_left = 0

    def buffer(self) -> memoryview:
        """Where the next bytes go; never empty before the answer is complete."""
        if self.status and not self.is_chunked and not self._until_end:
            return memoryview(self.body)[self._filled :]
        return memoryview(self._space)

    def received(self, count: int) -> None:
        """So many bytes were put there; raises DecodeError for what is no answer."""
        self.has_begun = True
        if self.status and not self.is_chunked and not self._until_end:
            self._filled += count
            self.is_complete = self._filled == len(self.body)
            return
        self._rest += memoryview(self._space)[:count]
        if not self.status and not self._read_head():
            return
        if self.is_chunked:
            self._read_chunks()
        elif self._until_end:
            self.body += self._rest
            self._rest.clear()

    def ended(self) -> bool:
        """The connection ended: whether that was the answer's end."""
        if self._until_end and self.status:
            self.is_complete, self.keeps = True, False
        return self.is_complete

    def take_record(self) -> tuple[int, bytearray] | None:
        """The next whole record of a stream, and its frame."""
        if len(self.body) < framing.RECORD_BYTES:
            return None
        kind, length = framing.read_record(memoryview(self.body)[: framing.RECORD_BYTES])
        if length > MOST_BYTES:
            raise DecodeError(f"expected at most {MOST_BYTES} bytes, found {length}")
        end = framing.RECORD_BYTES + length
        if len(self.body) < end:
            return None
        frame = self.body[framing.RECORD_BYTES : end]
        del self.body[:end]
        return kind, frame

    def _read_head(self) -> bool:
        end = self._rest.find(b"\r\n\r\n")
        if end < 0:
            if len(self._rest) >= _HEAD_BYTES:
                raise DecodeError("expected the head of an answer, found more than 64 KiB")
            return False
        first, *lines = bytes(self._rest[:end]).split(b"\r\n")
        del self._rest[: end + 4]
        parts = first.split(b" ", 2)
        if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
            raise DecodeError(f"expected an answer of HTTP/1.1, found {first[:80]!r}")
        status = int(parts[1])
        if 100 <= status < 200:  # more will come
            return bool(self._rest) and self._read_head()
        for line in lines:
            name, _, value = line.partition(b":")
            self.headers[name.strip().lower()] = value.strip()
        self.keeps = parts[0] == b"HTTP/1.1" and self.headers.get(b"connection", b"").lower() != b"close"
        self.status = status
        self._read_framing()
        return True

    def _read_framing(self) -> None:
        if self.headers.get(b"transfer-encoding", b"").lower() == b"chunked":
            self.is_chunked = True
            self._space = bytearray(_STREAM_SPACE_BYTES)
            return
        length = self.headers.get(b"content-length", b"")
        if not length and self.status not in (204, 304):
            self._until_end = True
            return
        if length and not length.isdigit():
            raise DecodeError(f"expected the length of an answer, found {length[:40]!r}")
        if int(length or 0) > MOST_BYTES:
            raise DecodeError(f"expected an answer of at most {MOST_BYTES} bytes, found {int(length)}")
        self.body = bytearray(int(length or 0))
        self._filled = len(self._rest)
        if self._filled > len(self.body):
            raise DecodeError("expected one answer, found bytes behind it")
        self.body[: self._filled] = self._rest
        self._rest.clear()
        self.is_complete = self._filled == len(self.body)

    def _read_chunks(self) -> None:
        while self._rest and not self.is_complete:
            if self._chunk_left > 2:
                count = min(self._chunk_left - 2, len(self._rest))
                self.body += memoryview(self._rest)[:count]
                self._drop(count)
                self._chunk_left -= count
                if len(self.body) > MOST_BYTES + framing.RECORD_BYTES:
                    raise DecodeError(f"expected an answer of at most {MOST_BYTES} bytes, found more")
            elif self._chunk_left:  # its line break
                count = min(self._chunk_left, len(self._rest))
                self._drop(count)
                self._chunk_left -= count
            elif not self._begin_chunk():
                return

    def _begin_chunk(self) -> bool:
        end = self._rest.find(b"\r\n")
        if end < 0:
            if len(self._rest) > 1024:
                raise DecodeError("expected the length of a chunk, found a long line")
            return False
        try:
            length = int(bytes(self._rest[:end]).partition(b";")[0].strip(), 16)
        except ValueError:
            raise DecodeError(f"expected the length of a chunk, found {bytes(self._rest[:40])!r}") from None
        if length == 0:
            # Trailers: none of ours sends any, so the last line is empty.
            if len(self._rest) < end + 4:
                return False
            self.keeps = self.keeps and self._rest[end:] == b"\r\n\r\n"
            self._rest.clear()
            self.is_complete = True
            return True
        self._drop(end + 2)
        self._chunk_left = length + 2
        return True

    def _drop(self, count: int) -> None:
        del self._rest[:count]
