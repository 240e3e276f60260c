"""The layout of a frame: a tree of small values, and beside it the large ones as they lie in memory.

::

    offset          what
    0               "TFN1"
    4               length of the tree in bytes, an unsigned 32-bit number
    8               how many buffers follow, the same
    12              the length of each buffer in bytes, unsigned 64-bit numbers
    12 + 8 n        the tree, msgpack
    then, for each  zeros up to a multiple of 64, then the buffer

Numbers are little-endian. Nothing here reads the tree: ``frame_values`` does. Buffers are never copied, neither
when a frame is put together nor when it is taken apart.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tiffin.errors import DecodeError

MEDIA_TYPE = b"application/vnd.tiffin.frame"
STREAM_MEDIA_TYPE = b"application/vnd.tiffin.frames"
"""A body of records: a byte that says what follows, an unsigned 64-bit length, a frame of that length."""

ITEM, FAILURE, END = 1, 2, 3
"""Kinds of records: an item of a stream; what went wrong instead of the next one; nothing more (no frame)."""

MAGIC = b"TFN1"
ALIGNMENT = 64
"""Of buffers, counted from the frame's begin, so that a copy of the frame holds aligned numbers."""
MOST_BUFFERS = 65_536

_HEAD = struct.Struct("<4sII")
_RECORD = struct.Struct("<BQ")
RECORD_BYTES = _RECORD.size

Part = bytes | memoryview


def pack(tree: bytes, buffers: Sequence[memoryview]) -> list[Part]:
    """The parts of a frame, to be written one after the other; the buffers are parts of their own.

    Raises:
        ValueError: more than 4 GiB of tree, or more than ``MOST_BUFFERS`` buffers.
    """
    if len(tree) >= 2**32 or len(buffers) > MOST_BUFFERS:
        raise ValueError(f"a frame of {len(tree)} bytes and {len(buffers)} buffers is too large")
    lengths = [len(buffer) for buffer in buffers]
    head = _HEAD.pack(MAGIC, len(tree), len(buffers)) + struct.pack(f"<{len(buffers)}Q", *lengths) + tree
    if not buffers:
        return [head]
    parts: list[Part] = []
    at = len(head)
    for buffer, length in zip(buffers, lengths, strict=True):
        padding = bytes(-at % ALIGNMENT)
        if parts:
            parts.append(padding)
        else:
            parts.append(head + padding)
        parts.append(buffer)
        at += len(padding) + length
    return parts


def size_of(parts: Sequence[Part]) -> int:
    """How many bytes these are together."""
    return sum(map(len, parts))


def unpack(frame: memoryview) -> tuple[memoryview, list[memoryview]]:
    """The tree and the buffers of a frame, as views of it.

    Raises:
        DecodeError: it is not a frame, or not a whole one, or there is something behind it.
    """
    if len(frame) < _HEAD.size:
        raise DecodeError(f"expected a frame, found {len(frame)} bytes")
    magic, tree_length, count = _HEAD.unpack_from(frame)
    if magic != MAGIC:
        raise DecodeError(f"expected a frame, which begins with {MAGIC!r}, found {bytes(magic)!r}")
    at = _HEAD.size + 8 * count
    if count > MOST_BUFFERS or len(frame) < at + tree_length:
        raise DecodeError(f"expected a frame, found {count} buffers and a tree of {tree_length} bytes cut off")
    lengths = struct.unpack_from(f"<{count}Q", frame, _HEAD.size)
    tree = frame[at : at + tree_length]
    at += tree_length
    buffers = []
    for length in lengths:
        at += -at % ALIGNMENT
        buffers.append(frame[at : at + length])
        at += length
    if at != len(frame):
        raise DecodeError(f"expected a frame of {at} bytes, found {len(frame)}")
    return tree, buffers


def record(kind: int, frame: Sequence[Part] = ()) -> list[Part]:
    """The parts of one record of a stream."""
    return [_RECORD.pack(kind, size_of(frame)), *frame]


def read_record(head: bytes | bytearray | memoryview) -> tuple[int, int]:
    """Kind and length of a record from its first ``RECORD_BYTES``; DecodeError when it is none."""
    kind, length = _RECORD.unpack(head)
    if kind not in (ITEM, FAILURE, END):
        raise DecodeError(f"expected a record of a stream, found one of kind {kind}")
    return kind, length
