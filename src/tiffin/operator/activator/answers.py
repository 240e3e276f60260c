"""What the first bytes of a connection speak, and what a caller is told who waited in vain. Pure."""

from __future__ import annotations

import json
import re
from typing import Literal

from tiffin.operator.activator import frames

Speech = Literal["http/1", "http/2", "other"]
RETRY_AFTER_SECONDS = 5
_REQUEST_LINE = re.compile(rb"[A-Z][A-Z0-9_-]{0,30} [^\r\n]*")
_BEGINNING = re.compile(rb"[A-Z][A-Z0-9_-]{0,30}")


def speech(first: bytes) -> Speech:
    """Which protocol a connection begins with, by its first bytes."""
    if first and frames.PREFACE.startswith(first[: len(frames.PREFACE)]):
        return "http/2"
    if _REQUEST_LINE.match(first) or _BEGINNING.fullmatch(first):
        return "http/1"
    return "other"


def refusal(reason: str, *, retry_after: int = RETRY_AFTER_SECONDS) -> bytes:
    """A whole answer of HTTP/1: 503, with the reason as all of Tiffin's errors give it."""
    body = json.dumps({"error": reason}).encode()
    return (
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\n"
        b"server: tiffin\r\nconnection: close\r\nretry-after: %d\r\ncontent-length: %d\r\n\r\n%s"
        % (retry_after, len(body), body)
    )
