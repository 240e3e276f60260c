"""``Range`` and ``If-Range``: a part of an answer that is a file. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_ONE = re.compile(rb"^bytes\s*=\s*(\d*)\s*-\s*(\d*)$", re.IGNORECASE)


class Portion(NamedTuple):
    """Where a part begins, and where the next byte is; ``start == end`` when nothing of the file is asked for."""

    start: int
    end: int


def portion(asked: bytes, size: int) -> Portion | None:
    """The part a ``Range`` header asks for; ``None`` for the whole.

    Several ranges, other units and what cannot be read mean the whole, as RFC 9110 lets a server choose.
    """
    matched = _ONE.match(asked.strip())
    if matched is None or not (matched[1] or matched[2]) or len(asked) > 64:
        return None
    if not matched[1]:
        length = min(int(matched[2]), size)
        return Portion(size - length, size)
    start = int(matched[1])
    if matched[2] and int(matched[2]) < start:
        return None
    end = min(int(matched[2]) + 1, size) if matched[2] else size
    return Portion(start, end) if start < size else Portion(0, 0)


def still_valid(headers: Mapping[bytes, bytes], etag: bytes, modified: bytes) -> bool:
    """Whether what the caller has of the file is of this version, by its ``If-Range``."""
    condition = headers.get(b"if-range")
    return condition is None or condition.strip() in (etag, modified)
