"""The output of an endpoint: from what a method gave back to media type and bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from pydantic import BaseModel, TypeAdapter, ValidationError

from tiffin.codec.annotations import adapt, content_type_of, is_file, item_of
from tiffin.codec.files import file_answer, files_answer, image_bytes, is_image
from tiffin.codec.frames import plain_frame
from tiffin.codec.io_model import described, has_adapted_fields
from tiffin.codec.jsontext import dumps, dumps_array, without_nan
from tiffin.codec.records import kind_of
from tiffin.codec.tensors import TensorSchema
from tiffin.errors import PredictError

_PLAIN = (Any, dict, list, dict[str, Any], list[Any])
_EXACT = (int, float, bool)


class Encoded(NamedTuple):
    """An answer: media type with its charset, bytes, further headers."""

    content_type: bytes
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class Output:
    """What an endpoint gives back.

    Args:
        annotation: The method's return annotation, ``Any`` when there is none.
        is_stream: Whether the method is a generator; the annotation then says what it yields.
        model: A pydantic model that stands in for the annotation.

    Raises:
        TypeError: an annotation pydantic cannot read.
    """

    def __init__(self, annotation: Any, *, is_stream: bool = False, model: type[BaseModel] | None = None) -> None:
        media_type = content_type_of(getattr(annotation, "__metadata__", ()))
        if media_type is not None and is_stream:
            annotation = annotation.__origin__
        annotation = item_of(annotation) if model is None else model
        self.is_stream = is_stream
        self.annotation = annotation
        self.media_type = media_type or ("text/event-stream" if is_stream else None)
        self._is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
        self._model = described(annotation) if self._is_model else None
        self._is_adapted = self._is_model and has_adapted_fields(annotation)
        adapted = self._model or adapt(annotation)
        try:
            self._adapter: TypeAdapter[Any] = TypeAdapter(adapted)
            self._schema_type = str(self.json_schema().get("type"))
        except Exception as error:  # pydantic's schema errors have no common base below Exception
            raise TypeError(str(error)) from error
        self._is_plain = any(annotation is plain or annotation == plain for plain in _PLAIN)
        metadata = getattr(adapted, "__metadata__", ())
        self._is_array = any(isinstance(m, TensorSchema) and m.format == "numpy-array" for m in metadata)
        self._is_files = self._schema_type == "array" and is_file(adapted)
        self.content_type = with_charset(self.media_type or self._mime())

    def encode(self, value: Any) -> Encoded:
        """An answer from what the method gave back.

        Raises:
            PredictError: it is not what the annotation says, or has no form as bytes.
        """
        kind = type(value)
        is_array = self._is_array and kind.__module__ == "numpy" and kind.__name__ == "ndarray"
        if is_array and value.dtype.kind not in "mM":  # times are pydantic's to write
            return Encoded(self.content_type, dumps_array(value))
        if kind is self.annotation and kind in _EXACT:
            return Encoded(self.content_type, dumps(without_nan(value)).encode())
        if isinstance(value, PurePath):
            return self._file(Path(value))
        if is_image(value):
            media_type, data = image_bytes(value)
            return Encoded(media_type.encode(), data)
        if self._is_files and isinstance(value, (list, tuple)):
            return self._files(value)
        return Encoded(self.content_type, self._bytes(value))

    def chunk(self, item: Any) -> bytes:
        """One item of a stream: text and bytes as they are, anything else as JSON."""
        if isinstance(item, str):
            return item.encode()
        return item if isinstance(item, bytes) else self.encode(item).body

    def _bytes(self, value: Any) -> bytes:
        try:
            return self._text(value)
        except ValidationError as error:
            where = ".".join(map(str, error.errors()[0]["loc"]))
            found = error.errors()[0]["msg"]
            raise PredictError(
                f"expected the method to return {self.annotation}, found {type(value).__name__}: {found}",
                at=where or None,
            ) from error
        except PredictError:
            raise
        except Exception as error:  # serialisers of user types raise what they like
            raise PredictError(f"cannot write a {type(value).__name__} as {self.annotation}: {error}") from error

    def _text(self, value: Any) -> bytes:
        if self._model is not None:
            if not isinstance(value, BaseModel) or (self._is_adapted and not isinstance(value, self._model)):
                value = self._model.model_validate(value, from_attributes=isinstance(value, BaseModel))
            return str(value.model_dump_json()).encode()
        if not self._is_plain:
            value = self._validated(value)
        if isinstance(value, (str, bytes)):
            return value.encode() if isinstance(value, str) else value
        if self._is_plain:
            try:
                return dumps(value).encode()
            except (TypeError, ValueError):
                pass
        return dumps(without_nan(self._adapter.dump_python(value, mode="json", fallback=_fallback))).encode()

    def _validated(self, value: Any) -> Any:
        if type(value).__module__ == "numpy" and not self._is_array:
            # Methods annotated ``-> list[float]`` or ``-> int`` often return what the model gave them.
            value = value.tolist()
        return self._adapter.validate_python(value)

    def _file(self, path: Path) -> Encoded:
        try:
            otherwise = "application/octet-stream" if self._is_files else self._mime()
            media_type, data, headers = file_answer(path, self.media_type or otherwise)
        except OSError as error:
            raise PredictError(f"cannot read the file the method returned: {error}") from error
        return Encoded(with_charset(media_type), data, headers)

    def _files(self, values: Sequence[Any]) -> Encoded:
        items = []
        for number, value in enumerate(values):
            if isinstance(value, PurePath):
                found = self._file(Path(value))
                items.append((found.content_type.decode("latin-1"), found.body, found.headers))
            elif is_image(value):
                media_type, data = image_bytes(value)
                name = f'inline; filename="{number}.{media_type.partition("/")[2]}"'
                items.append((media_type, data, ((b"content-disposition", name.encode()),)))
            else:
                raise PredictError(
                    f"expected a list of files, found a {type(value).__name__} in it", at=str(number)
                )
        media_type, body = files_answer(items)
        return Encoded(media_type.encode(), body)

    def _mime(self) -> str:
        if self._is_files:
            return "multipart/mixed"
        if self._schema_type == "string":
            return "text/plain"
        if self._schema_type == "file":
            schema = self.json_schema()
            family = schema.get("format")
            fallback = f"{family}/*" if family in ("image", "audio", "video") else "application/octet-stream"
            return str(schema.get("content_type") or fallback)
        return "application/json"

    def json_schema(self, **options: Any) -> dict[str, Any]:
        """JSON Schema of the output; streams say so, and which media type they have."""
        if self._model is not None:
            schema = self._model.model_json_schema(**options)
        else:
            schema = self._adapter.json_schema(**options)
        if options:
            return schema
        if self.is_stream:
            schema["is_stream"] = True
        if self.media_type:
            schema["media_type"] = self.media_type
        return schema


def with_charset(media_type: str) -> bytes:
    """A content type; text gets its charset."""
    if media_type.startswith("text/") and "charset=" not in media_type:
        media_type += "; charset=utf-8"
    return media_type.encode("latin-1")


def _fallback(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays inside an untyped answer
        return value.tolist()
    if type(value).__name__ in ("DataFrame", "LazyFrame", "Table"):
        return plain_frame(value)
    if kind_of(type(value)) == "struct":
        import msgspec

        return msgspec.to_builtins(value, enc_hook=_fallback)
    raise TypeError(f"a {type(value).__name__} has no JSON form")
