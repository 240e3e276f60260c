"""A whole answer, before it is bytes on a connection."""

from __future__ import annotations

import msgspec

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Reply(msgspec.Struct, gc=False):
    """Status, media type and body; ``headers`` are further lines, names in lower case.

    ``content_type`` empty means no such header (the binary tensor extension answers so).
    """

    status: int = 200
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
