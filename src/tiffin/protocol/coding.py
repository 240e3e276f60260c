"""Content codings of request bodies: gzip and deflate, bounded."""

from __future__ import annotations

import zlib

from tiffin.errors import DecodeError, UnsupportedMedia
from tiffin.protocol.http1 import body_too_large

_WINDOWS = {b"gzip": 31, b"x-gzip": 31, b"deflate": 15}


def decoded(body: bytes, coding: bytes, max_bytes: int) -> bytes:
    """The body without its content coding.

    Raises:
        UnsupportedMedia: a coding other than gzip or deflate.
        DecodeError: the body is not in that coding.
        TooLarge: it is larger than ``max_bytes`` when decoded.
    """
    name = coding.strip().lower()
    if name in (b"", b"identity"):
        return body
    window = _WINDOWS.get(name)
    if window is None:
        raise UnsupportedMedia(
            f"expected Content-Encoding gzip, deflate or none, found {coding[:32].decode('latin-1')!r}"
        )
    inflater = zlib.decompressobj(window)
    try:
        data = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise DecodeError(f"expected a body in {name.decode('ascii')}, found other bytes") from None
    if len(data) > max_bytes:
        raise body_too_large(max_bytes)
    if not inflater.eof or inflater.unused_data:
        raise DecodeError(f"expected one complete {name.decode('ascii')} stream as body")
    return data
