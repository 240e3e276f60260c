"""Answers of a service as values, and as exceptions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from tiffin.client.service_files import Received
from tiffin.client.service_routes import Route
from tiffin.client.service_values import rebuilt
from tiffin.service.exceptions import BentoMLException, InternalServerError


def value_of(route: Route, headers: Mapping[str, str], content: bytes, received: Received) -> Any:
    """What the method gave back: arrays and frames rebuilt, files as paths, pictures as such."""
    schema = route.output
    if schema.get("type") == "file":
        return received.file(headers, content, is_picture=bool(schema.get("pil")))
    items = schema.get("items")
    if headers.get("content-type", "").startswith("multipart/"):
        return received.files(headers, content, is_picture=isinstance(items, Mapping) and bool(items.get("pil")))
    if schema.get("type") == "string":
        return _text(schema, content)
    try:
        value = json.loads(content)
    except ValueError:  # an untyped method that gave text or bytes
        return _decoded(content)
    return rebuilt(value, schema)


def _text(schema: Mapping[str, Any], content: bytes) -> Any:
    if schema.get("format") == "binary":
        return content
    # Dates, UUIDs and enums are JSON strings; plain text is itself, also where it begins with a quotation mark.
    if ("format" in schema or "enum" in schema) and content[:1] == b'"':
        return json.loads(content)
    return content.decode("utf-8", "replace")


def _decoded(content: bytes) -> str | bytes:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content


def failure(status: int, content: bytes) -> BentoMLException:
    """The exception for a status; its message is the body."""
    message = content.decode("utf-8", "replace")
    try:
        code = HTTPStatus(status)
    except ValueError:
        return InternalServerError(message)
    kind = BentoMLException.error_mapping.get(code, BentoMLException)
    try:
        return kind(message, error_code=code)
    except TypeError:  # An author's own class, which is made of something else.
        return BentoMLException(message, error_code=code)
