"""What one call in the Seldon protocol says, decoded."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Kind = Literal["tensor", "ndarray", "jsonData", "strData", "binData"]


class Message(msgspec.Struct, gc=False):
    """One SeldonMessage, decoded.

    ``value`` is an array (``tensor``, ``ndarray``; an empty ``data`` is an empty float64 array), any JSON value,
    text or bytes. ``meta`` is None when there was none. ``document`` is the message as it came, for ``*_raw``.
    """

    kind: Kind
    value: Any
    names: list[str]
    meta: dict[str, Any] | None
    document: dict[str, Any]

    @property
    def tags(self) -> dict[str, Any]:
        """``meta.tags``, or nothing."""
        return (self.meta or {}).get("tags") or {}

    @property
    def metrics(self) -> list[Any]:
        """``meta.metrics``, or nothing."""
        return (self.meta or {}).get("metrics") or []


class Feedback(msgspec.Struct):
    """What a caller says of an earlier answer; ``routing`` is ``response.meta.routing``, by node."""

    request: Message
    truth: Message
    reward: float
    routing: dict[str, int]
    document: dict[str, Any]


def brief(value: Any, longest: int = 120) -> str:
    """What was found, short enough for a message."""
    try:
        text = str(value)
    except RecursionError:
        text = type(value).__name__
    return text if len(text) <= longest else text[: longest - 3] + "..."
