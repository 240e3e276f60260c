"""Append-only segments of framed blocks, written by one process and read by another while it writes.

A block is 4 bytes of length and 4 of CRC-32, little-endian, then its bytes. A writer holds a lock on its segment,
so that a reader knows when nothing more will come, also after the writer was killed; what such a writer left half
written is not there for a reader.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from tiffin.kits.locks import is_held

SUFFIX = ".spool"
_FRAME = struct.Struct("<II")
_MOST_BLOCK_BYTES = 1 << 30


class Writer:
    """One segment. Raises OSError where the disk does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self._file: BinaryIO = path.open("xb", buffering=0)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise

    def append(self, blocks: Iterable[bytes]) -> None:
        """Write whole blocks; after an OSError the segment is as it was before."""
        data = b"".join(_FRAME.pack(len(block), zlib.crc32(block)) + block for block in blocks)
        written = 0
        try:
            while written < len(data):
                written += self._file.write(memoryview(data)[written:])
        except OSError:
            with contextlib.suppress(OSError):
                self._file.truncate(self.size)
                self._file.seek(self.size)
            raise
        self.size += len(data)

    def close(self) -> None:
        """Nothing more will come."""
        self._file.close()


def read(path: Path, offset: int, *, most_bytes: int = 8_388_608) -> tuple[list[bytes], int]:
    """Whole blocks from ``offset`` on, about ``most_bytes`` of them, and where the next one begins.

    A block that is not all there yet, or damaged, ends what is read. Raises OSError.
    """
    blocks: list[bytes] = []
    with path.open("rb") as file:
        file.seek(offset)
        taken = 0
        while taken < most_bytes:
            frame = file.read(_FRAME.size)
            if len(frame) < _FRAME.size:
                break
            length, check = _FRAME.unpack(frame)
            if length > _MOST_BLOCK_BYTES:
                break
            block = file.read(length)
            if len(block) < length or zlib.crc32(block) != check:
                break
            taken += _FRAME.size + length
            blocks.append(block)
    return blocks, offset + taken


def is_finished(path: Path) -> bool:
    """Whether its writer has closed it or is dead."""
    try:
        return not is_held(path)
    except OSError:
        return True
