"""Values of a call as plain JSON values, and back by what the schema says."""

from __future__ import annotations

import base64
import codecs
import dataclasses
import datetime
import decimal
import enum
import json
import uuid
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

from tiffin.errors import MissingExtra


def plain(value: Any, schema: Mapping[str, Any] | None = None) -> Any:
    """A value as JSON has it: arrays as nested lists, frames as the schema orients them, records as objects.

    Raises:
        TypeError: it has no such form.
    """
    schema = schema or {}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Mapping):
        members = schema.get("properties", {})
        other = schema.get("additionalProperties")
        other = other if isinstance(other, Mapping) else {}
        return {_key(name): plain(item, members.get(name, other)) for name, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        items = schema.get("items")
        items = items if isinstance(items, Mapping) else {}
        return [plain(item, items) for item in value]
    return _converted(value, schema)


def _key(name: Any) -> str:
    return name if isinstance(name, str) else str(plain(name))


def _converted(value: Any, schema: Mapping[str, Any]) -> Any:
    for kinds, convert in _CONVERTERS:
        if isinstance(value, kinds):
            return convert(value)
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if kind.__name__ in ("DataFrame", "LazyFrame", "Table") and package in ("pandas", "polars", "pyarrow"):
        from tiffin.codec.frames import plain_frame

        return plain(plain_frame(value, str(schema.get("orient", "records"))))
    if hasattr(value, "model_dump"):
        return plain(value.model_dump(mode="json"), schema)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)}, schema)
    if hasattr(value, "__struct_fields__"):
        import msgspec

        return plain(msgspec.to_builtins(value, enc_hook=plain), schema)
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    elif package == "tensorflow":
        value = value.numpy()
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"a {kind.__name__} has no JSON form")


_CONVERTERS: tuple[tuple[Any, Callable[[Any], Any]], ...] = (
    ((datetime.datetime, datetime.date, datetime.time), lambda value: value.isoformat()),
    (datetime.timedelta, lambda value: value.total_seconds()),
    ((uuid.UUID, decimal.Decimal, PurePath), str),
    ((bytes, bytearray), lambda value: _text(bytes(value))),
)


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return base64.b64encode(value).decode()


def rebuilt(value: Any, schema: Mapping[str, Any]) -> Any:
    """A JSON value with arrays and frames where the schema has them.

    Raises:
        MissingExtra: their library is not installed.
    """
    if value is None:
        return None
    kind = schema.get("type")
    if kind == "tensor":
        return _tensor(value, schema)
    if kind == "dataframe":
        return _frame(value)
    if isinstance(value, dict):
        members, other = schema.get("properties", {}), schema.get("additionalProperties")
        other = other if isinstance(other, Mapping) else {}
        return {name: rebuilt(item, members.get(name, other)) for name, item in value.items()}
    if isinstance(value, list) and isinstance(schema.get("items"), Mapping):
        return [rebuilt(item, schema["items"]) for item in value]
    return value


def _tensor(value: Any, schema: Mapping[str, Any]) -> Any:
    kind, dtype = schema.get("format"), schema.get("dtype")
    try:
        if kind == "torch-tensor":
            import torch

            return torch.tensor(value, dtype=getattr(torch, dtype) if dtype else None)
        if kind == "tf-tensor":
            import tensorflow

            return tensorflow.constant(value, dtype=getattr(tensorflow, dtype) if dtype else None)
        import numpy

        return numpy.array(value, dtype=dtype)
    except ImportError as error:
        package = {"torch-tensor": "torch", "tf-tensor": "tensorflow"}.get(str(kind), "numpy")
        raise _missing(package) from error


def _frame(value: Any) -> Any:
    try:
        import pandas
    except ImportError:
        try:
            import polars
        except ImportError as error:
            raise _missing("pandas") from error
        return polars.DataFrame(value)
    return pandas.DataFrame(value)


def _missing(package: str) -> MissingExtra:
    return MissingExtra(
        f"expected {package}, which the answer is made with, found it is not installed",
        hint=f"pip install {package}; or take the bare answer with client.request('POST', ...)",
    )


class Items:
    """The items of a stream, from its chunks as the network cuts them.

    Text is given as it comes, in whole characters; JSON values as each is complete. Numbers that follow each other
    have nothing between them, so a chunk of them is one number.
    """

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        kind = schema.get("type")
        self._is_bytes = kind == "string" and schema.get("format") == "binary"
        self._is_text = kind == "string"
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._left = ""

    def feed(self, chunk: bytes) -> list[Any]:
        """What a chunk completes."""
        if self._is_bytes:
            return [chunk] if chunk else []
        text = self._decoder.decode(chunk)
        if self._is_text:
            return [text] if text else []
        self._left += text
        found = []
        while self._left:
            try:
                value, end = json.JSONDecoder().raw_decode(self._left)
            except ValueError:
                if self._left.lstrip()[:1] not in ("{", "[", '"'):
                    found.append(self._left)  # an untyped stream of text
                    self._left = ""
                break
            found.append(rebuilt(value, self._schema))
            self._left = self._left[end:].lstrip()
        return found

    def end(self) -> list[Any]:
        """What is left when the stream has ended."""
        left, self._left = self._left + self._decoder.decode(b"", True), ""
        return [left] if left else []
