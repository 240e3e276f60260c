"""The Seldon protocol: a SeldonMessage in, a value out; a result in, a SeldonMessage out.

    {"data": {"names": [...], "ndarray": [[...]] | "tensor": {"shape": [...], "values": [...]}}, "meta": {...}}
    {"jsonData": any} | {"strData": "text"} | {"binData": "base64"}

The bytes of a reply follow Seldon's Python wrapper exactly: sorted keys, no spaces, a newline at the end,
integers kept as integers, floats as Python writes them, and a bare ``NaN`` or ``Infinity`` (not JSON by the
letter, yet what its clients read). The kind of the reply mirrors that of the request.

Lives here: the names to use. Reading is in ``seldon_read``, writing in ``seldon_write``.
"""

from __future__ import annotations

from tiffin.protocol.seldon_message import Feedback, Kind, Message
from tiffin.protocol.seldon_read import (
    Bounds,
    feedback_of,
    message_of,
    messages_of,
    parse,
    read,
    read_feedback,
    read_list,
)
from tiffin.protocol.seldon_write import (
    UnknownResult,
    dimensions,
    dumps,
    render_error,
    reply_meta,
    write,
    write_error,
    write_feedback,
)

__all__ = [
    "Bounds",
    "Feedback",
    "Kind",
    "Message",
    "UnknownResult",
    "dimensions",
    "dumps",
    "feedback_of",
    "message_of",
    "messages_of",
    "parse",
    "read",
    "read_feedback",
    "read_list",
    "render_error",
    "reply_meta",
    "write",
    "write_error",
    "write_feedback",
]
