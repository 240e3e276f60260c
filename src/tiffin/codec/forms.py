"""Form bodies: ``multipart/form-data`` and ``application/x-www-form-urlencoded`` to names and values."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from tiffin.codec.files import Upload
from tiffin.errors import DecodeError

MAX_PARTS = 1000

Fields = dict[str, list[str | Upload]]


def parse_urlencoded(body: bytes) -> Fields:
    """The fields of a URL-encoded body, in order; DecodeError when there are too many or they are no text."""
    fields: Fields = {}
    try:
        pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, max_num_fields=MAX_PARTS, errors="strict")
    except UnicodeDecodeError:
        raise DecodeError("expected a URL-encoded form in UTF-8, found other bytes") from None
    except ValueError:
        raise DecodeError(f"expected a URL-encoded form of at most {MAX_PARTS} fields, found more") from None
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    name: bytes = b""
    value: bytes = b""
    data: list[bytes] = field(default_factory=list)


def parse_multipart(content_type: bytes, body: bytes) -> Fields:
    """The parts of a multipart body by field name: text, or an Upload where a file name was given.

    Raises:
        DecodeError: no boundary, framing that breaks off, a part without a name, or too many parts.
    """
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise DecodeError("expected a boundary in the content-type of multipart/form-data, found none")
    # It warns of every broken body in the log; the caller is told, and that is enough.
    logging.getLogger("python_multipart.multipart").setLevel(logging.ERROR)
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())  # type: ignore[arg-type,unused-ignore]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise DecodeError(f"expected multipart/form-data framed by its boundary: {error}") from None
    if not reader.ended:
        raise DecodeError("expected multipart/form-data that ends with its boundary, found the end of the body")
    fields: Fields = {}
    for part in reader.parts:
        name, value = _field(part)
        fields.setdefault(name, []).append(value)
    return fields


class _Reader:
    """Collects what the push parser finds."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.ended = False

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise DecodeError(f"expected at most {MAX_PARTS} parts, found more")
        self.parts.append(_Part())

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].value += data[start:end]

    def _header_end(self) -> None:
        part = self.parts[-1]
        part.headers[part.name.lower()] = part.value
        part.name = part.value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].data.append(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _field(part: _Part) -> tuple[str, str | Upload]:
    from python_multipart.multipart import parse_options_header

    _, options = parse_options_header(part.headers.get(b"content-disposition", b""))
    if b"name" not in options:
        raise DecodeError("expected a name in the content-disposition of every part, found a part without")
    name = options[b"name"].decode("utf-8", "replace")
    data = b"".join(part.data)
    if b"filename" in options or b"filename*" in options:
        filename = options.get(b"filename", options.get(b"filename*", b"")).decode("utf-8", "replace")
        media_type = part.headers.get(b"content-type", b"").decode("latin-1").split(";")[0].strip().lower()
        return name, Upload(data, filename, media_type)
    return name, _text(part, data)


def _text(part: _Part, data: bytes) -> str:
    charset = re.search(rb"charset=([\w.-]+)", part.headers.get(b"content-type", b""))
    try:
        return data.decode(charset[1].decode() if charset else "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise DecodeError(
            "expected text in its declared character set in a form field, found other bytes"
        ) from None
