"""Where a SeldonMessage may be in a request: a JSON body, a ``json`` field of a form or of the query, or parts.

Seldon's wrapper takes all of these. What it answers with a 500, a body of another media type, is a 415 here.
"""

from __future__ import annotations

import base64
from typing import Any

from tiffin.codec.files import Upload
from tiffin.codec.forms import Fields, parse_multipart, parse_urlencoded
from tiffin.errors import DecodeError, UnsupportedMedia
from tiffin.protocol.head import Head
from tiffin.protocol.seldon_read import parse

_FORM = b"application/x-www-form-urlencoded"
_PARTS = b"multipart/form-data"


def document_of(head: Head, body: bytes) -> Any:
    """The parsed JSON of a request, wherever it is.

    Raises:
        DecodeError: there is none, or it is not JSON.
        UnsupportedMedia: the body is of another media type.
    """
    content_type = head.header(b"content-type")
    media = content_type.partition(b";")[0].strip().lower()
    if not body:
        return _field(parse_urlencoded(head.query)) if head.query else parse(body)
    if media in (b"", b"application/json", b"text/json") or media.endswith(b"+json"):
        return parse(body)
    if media == _FORM:
        # What curl -d sends without a header: JSON under the name of a form.
        return parse(body) if body.lstrip()[:1] in (b"{", b"[") else _field(parse_urlencoded(body))
    if media == _PARTS:
        return _message(parse_multipart(content_type, body))
    raise UnsupportedMedia(f"expected application/json or a form, found {media[:64].decode('latin-1')!r}")


def _field(fields: Fields) -> Any:
    found = fields.get("json")
    if not found:
        raise DecodeError("Can't find JSON in data")
    return parse(_content(found[0]))


def _message(fields: Fields) -> Any:
    """A message whose parts are fields: JSON texts, and ``strData`` and ``binData`` as they are or as files."""
    if "json" in fields:
        return _field(fields)
    message: dict[str, Any] = {}
    for name, values in fields.items():
        content = _content(values[0])
        if name == "strData":
            try:
                message[name] = content.decode("utf-8")
            except UnicodeDecodeError:
                raise DecodeError("expected text in UTF-8", at="strData") from None
        elif name == "binData" and isinstance(values[0], Upload):
            message[name] = base64.b64encode(content).decode("ascii")
        elif name == "binData":
            message[name] = values[0]
        else:
            message[name] = parse(content)
    return message


def _content(value: str | Upload) -> bytes:
    return value.data if isinstance(value, Upload) else value.encode("utf-8", "surrogatepass")
