"""Tensor data in the binary tensor extension: little-endian elements, row-major; BYTES with 4-byte lengths."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np

from tiffin.errors import DecodeError
from tiffin.protocol.tensor_json import dtype, elements
from tiffin.protocol.tensors import Array
from tiffin.types import Datatype

_LENGTH = struct.Struct("<I")


def decode(
    body: bytes,
    offset: int,
    size: int,
    shape: Sequence[int],
    kind: Datatype,
    at: str,
    *,
    max_bytes: int,
    size_at: str = "",
) -> Array:
    """An array over ``body[offset:offset + size]``, without a copy for datatypes of fixed size.

    ``size_at`` is what an error calls the place of the size, where that is not the tensor's parameters.

    Raises:
        DecodeError: ``size`` is not what datatype and shape need.
    """
    count = elements(shape, at, size=kind.size, max_bytes=max_bytes)
    if kind.kind == "bytes":
        return _bytes(body, offset, size, count, at).reshape(shape)
    if count * kind.size != size:
        raise DecodeError(
            f"expected {count * kind.size} bytes for {kind.name} of shape {list(shape)}, found {size}",
            at=size_at or f"{at}.parameters.binary_data_size",
        )
    array = np.frombuffer(body, dtype=dtype(kind.name), count=count, offset=offset)
    if kind.kind == "bool" and count and array.view(np.uint8).max() > 1:
        raise DecodeError("expected BOOL bytes of 0 or 1, found another value", at=at)
    return array.reshape(shape)


def _bytes(body: bytes, offset: int, size: int, count: int, at: str) -> Array:
    end = offset + size
    # Each element takes 4 bytes at least: check before allocating what a caller merely announced.
    if count * 4 > size:
        raise DecodeError(f"expected {count} BYTES elements, found room for {size // 4}", at=at)
    array = np.empty(count, dtype=object)
    for index in range(count):
        if offset + 4 > end:
            raise DecodeError(f"expected {count} BYTES elements, found {index}", at=at)
        (length,) = _LENGTH.unpack_from(body, offset)
        offset += 4
        if length > end - offset:
            raise DecodeError(
                f"expected a BYTES element of {length} bytes, found {end - offset}", at=f"{at}.data[{index}]"
            )
        array[index] = body[offset : offset + length]
        offset += length
    if offset != end:
        raise DecodeError(f"expected {count} BYTES elements, found {end - offset} more bytes", at=at)
    return array


def encode(array: Array, kind: Datatype) -> bytes:
    """The array's elements as bytes, row-major."""
    if kind.kind != "bytes":
        return np.ascontiguousarray(array, dtype=dtype(kind.name)).tobytes()
    parts: list[bytes] = []
    for element in array.flat:
        data = element if isinstance(element, bytes) else str(element).encode("utf-8")
        parts.append(_LENGTH.pack(len(data)))
        parts.append(data)
    return b"".join(parts)
