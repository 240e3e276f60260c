"""Values to what a BentoML or Tiffin server takes, and its answers back, by the schema it gives of itself. Pure.

An argument that is a file makes the body a form, as clients of BentoML send it; all else is JSON. Arrays and
frames are rebuilt from what the schema says of the answer; images where it says ``pil``.
"""

from __future__ import annotations

import dataclasses
import io
import json
import mimetypes
import secrets
import sys
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path, PurePath
from typing import Any

from tiffin.codec.files import image_bytes, is_image
from tiffin.errors import ServiceError
from tiffin.service import exceptions

Save = Callable[[str, memoryview], Path]


def bound(where: str, schema: Mapping[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The arguments by name, or the one value that is the whole body; TypeError as for a method of one's own."""
    if schema.get("root_input"):
        values = (*args, *kwargs.values())
        if len(values) > 1:
            raise TypeError(f"{where}() takes one argument, found {len(values)}")
        return values[0] if values else {}
    names = list(schema.get("properties", {}))
    if len(args) > len(names):
        raise TypeError(f"{where}() takes {len(names)} arguments, found {len(args)}")
    named = dict(zip(names, args, strict=False))
    for name, value in kwargs.items():
        if name in named or name not in names:
            problem = "multiple values for" if name in named else "an unexpected"
            raise TypeError(f"{where}() got {problem} argument {name!r}")
        named[name] = value
    if missing := [name for name in schema.get("required", ()) if name not in named]:
        raise TypeError(f"{where}() misses the argument {missing[0]!r}")
    return named


def encode(schema: Mapping[str, Any], value: Any) -> tuple[bytes, bytes]:
    """Media type and body of a request.

    Raises:
        ServiceError: something in it has no form as JSON, or a file cannot be read.
    """
    if schema.get("root_input"):
        return _root(schema, value)
    fields = schema.get("properties", {})
    if any(_is_file(fields.get(name, {})) for name in value):
        return _form({name: (_is_file(fields.get(name, {})), given) for name, given in value.items()})
    return b"application/json", _json({name: _oriented(fields.get(name, {}), one) for name, one in value.items()})


def _root(schema: Mapping[str, Any], value: Any) -> tuple[bytes, bytes]:
    if schema.get("type") == "file":
        _, media_type, data = _file(value)
        return media_type, data
    if schema.get("type") == "string":
        return b"text/plain", value.encode() if isinstance(value, str) else bytes(value)
    return b"application/json", _json(_oriented(schema, value))


def _is_file(field: Mapping[str, Any]) -> bool:
    return field.get("type") == "file" or (field.get("type") == "array" and _is_file(field.get("items", {})))


def _oriented(field: Mapping[str, Any], value: Any) -> Any:
    if field.get("type") == "dataframe" and hasattr(value, "to_dict"):
        return value.to_dict(orient="list" if field.get("orient") == "columns" else "records")
    return value


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, default=_plain).encode()
    except (ValueError, RecursionError) as error:
        raise ServiceError(f"a value has no form as JSON: {error}") from error


def _plain(value: Any) -> Any:
    for name in ("detach", "numpy"):  # tensors are arrays first
        if type(value).__module__.partition(".")[0] in ("torch", "tensorflow") and hasattr(value, name):
            value = getattr(value, name)()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, set | frozenset):
        return list(value)
    raise ServiceError(f"a {type(value).__module__}.{type(value).__qualname__} has no form as JSON")


def _file(value: Any) -> tuple[str, bytes, bytes]:
    """Name, media type and bytes of a file, an image, or bytes."""
    if is_image(value):
        media_type, data = image_bytes(value)
        return f"image.{media_type.rpartition('/')[2]}", media_type.encode(), data
    if isinstance(value, str | PurePath):
        path = Path(value)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ServiceError(f"the file {path} cannot be sent: {error}") from error
        return path.name, (mimetypes.guess_type(path)[0] or "application/octet-stream").encode(), data
    if isinstance(value, bytes | bytearray | memoryview):
        return "file", b"application/octet-stream", bytes(value)
    raise ServiceError(f"expected a path, an image or bytes, found a {type(value).__qualname__}")


def _form(fields: Mapping[str, tuple[bool, Any]]) -> tuple[bytes, bytes]:
    boundary = secrets.token_hex(16).encode()
    parts = []
    for name, (is_file, value) in fields.items():
        for one in value if is_file and isinstance(value, list | tuple) else (value,):
            head = f'form-data; name="{_quoted(name)}"'
            if is_file:
                filename, media_type, data = _file(one)
                head += f'; filename="{_quoted(filename)}"'
                line = b"content-type: %b\r\n" % media_type
            else:
                data, line = one.encode() if isinstance(one, str) else _json(one), b""
            parts.append(
                b"--%b\r\ncontent-disposition: %b\r\n%b\r\n%b\r\n" % (boundary, head.encode(), line, data)
            )
    return b"multipart/form-data; boundary=" + boundary, b"".join(parts) + b"--" + boundary + b"--\r\n"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "%22").replace("\r", " ").replace("\n", " ")


# ---- answers


def decode(schema: Mapping[str, Any], headers: Mapping[bytes, bytes], body: bytearray, save: Save) -> Any:
    """The value of an answer."""
    kind = schema.get("type")
    media_type = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
    if kind == "file":
        if schema.get("pil") or (schema.get("format") == "image" and media_type.startswith(b"image/")):
            from PIL import Image

            return Image.open(io.BytesIO(body))
        return save(_filename(headers, media_type), memoryview(body))
    if media_type == b"application/json":
        return _value(schema, json.loads(body))
    return body.decode() if media_type.startswith(b"text/") else bytes(body)


def _filename(headers: Mapping[bytes, bytes], media_type: bytes) -> str:
    name = (
        headers.get(b"content-disposition", b"").partition(b'filename="')[2].partition(b'"')[0].decode("latin-1")
    )
    return name or f"file{mimetypes.guess_extension(media_type.decode('latin-1')) or ''}"


def _value(schema: Mapping[str, Any], value: Any) -> Any:
    match schema.get("type"):
        case "tensor":
            import numpy

            array = numpy.asarray(value, dtype=schema.get("dtype"))
            torch = sys.modules.get("torch") if schema.get("format") == "torch-tensor" else None
            return torch.from_numpy(array) if torch is not None else array
        case "dataframe":
            import pandas

            return pandas.DataFrame(value, columns=schema.get("columns"))
        case "object" if isinstance(value, dict):
            fields, rest = schema.get("properties", {}), schema.get("additionalProperties")
            other = rest if isinstance(rest, dict) else {}
            return {name: _value(fields.get(name, other), one) for name, one in value.items()}
        case "array" if isinstance(value, list) and isinstance(schema.get("items"), dict):
            return [_value(schema["items"], one) for one in value]
    return value


def error_of(where: str, status: int, body: bytes | bytearray) -> exceptions.BentoMLException:
    """The exception for an answer that is an error: that of its status, with what it says."""
    text = body.decode("utf-8", "replace")[:2000]
    try:
        found = json.loads(text)
        found = found[0] if isinstance(found, list) and found else found
        text = str(found["error"])
    except (ValueError, TypeError, KeyError):
        pass
    try:
        code = HTTPStatus(status)
    except ValueError:
        code = HTTPStatus.INTERNAL_SERVER_ERROR
    known = (exceptions.InvalidArgument, exceptions.NotFound, exceptions.UnprocessableEntity)
    classes = {kind.error_code: kind for kind in (*known, exceptions.ServiceUnavailable)}
    kind = classes.get(code, exceptions.RemoteException)
    error = kind(text or f"{where} answered {status}")
    error.error_code = code
    return error
