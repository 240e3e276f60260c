"""Arrays and tensors as nested lists."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic_core import PydanticSerializationUnexpectedValue

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import core_schema

Format = Literal["numpy-array", "torch-tensor", "tf-tensor"]


@dataclass(frozen=True)
class TensorSchema:
    """One array: of which library, and the dtype and shape it is brought into (``None``: as it comes)."""

    format: Format = "numpy-array"
    dtype: str | None = None
    shape: tuple[int, ...] | None = None

    def decode(self, value: Any) -> Any:
        """Nested lists to an array; an array passes as it is.

        Raises:
            ValueError: ragged lists, objects, elements that do not cast, or a count that does not fit the shape.
        """
        try:
            return _DECODERS[self.format](self, value)
        except ValueError:
            raise
        except (TypeError, OverflowError, RuntimeError) as error:
            # pydantic turns only ValueError into an answer for the caller.
            raise ValueError(str(error)) from error

    def encode(self, value: Any, info: core_schema.SerializationInfo) -> Any:
        """An array to nested lists."""
        if info.mode != "json":
            return value
        if not hasattr(value, "shape"):  # another member of a union
            raise PydanticSerializationUnexpectedValue("expected an array")
        if self.format == "torch-tensor":
            value = value.detach().cpu().numpy()
        elif self.format == "tf-tensor":
            value = value.numpy()
        elif value.dtype.kind == "M":
            value = value.astype("datetime64[us]")  # finer ones come from tolist() as integers
        return value.tolist()

    def describe(self) -> dict[str, Any]:
        """The schema clients build arrays from."""
        described: dict[str, Any] = {"type": "tensor", "format": self.format}
        if self.dtype is not None:
            described["dtype"] = self.dtype
        if self.shape is not None:
            described["shape"] = list(self.shape)
            described["dim"] = math.prod(self.shape)
        return described

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Validation by ``decode``, serialisation by ``encode``."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(
            self.decode,
            core_schema.any_schema(),
            serialization=core_schema.plain_serializer_function_ser_schema(self.encode, info_arg=True),
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """``describe()``, or plain nested arrays where OpenAPI reads it."""
        if handler.mode == "validation":
            return self.describe()
        described: dict[str, Any] = {"type": _ITEM_TYPES.get((self.dtype or "f")[:3], "number")}
        if self.dtype is None:
            described = {"type": ["number", "boolean", "string", "null"]}
        for _ in self.shape or ():
            described = {"type": "array", "items": described}
        if self.shape is None:  # of any rank
            described = {"type": ["array", *_listed(described["type"])], "items": {}}
        return described | {"x-tiffin-type": self.describe()}


_ITEM_TYPES = {"int": "integer", "uin": "integer", "boo": "boolean", "str": "string"}


def _listed(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind


def _numpy(schema: TensorSchema, value: Any) -> Any:
    import numpy

    if isinstance(value, numpy.ndarray):
        return value
    if value is None or isinstance(value, (str, bytes)):  # bytes: a file among the parts of a form
        found = "null" if value is None else "a text" if isinstance(value, str) else "a file"
        raise ValueError(f"expected a number or nested lists of numbers, found {found}")
    if schema.dtype is None:
        array = numpy.array(value)
        if array.dtype.kind == "O":
            _refuse_objects(array)
    else:
        with numpy.errstate(over="ignore", invalid="ignore"):  # too large for the dtype is infinite, silently
            array = numpy.array(value, dtype=schema.dtype)
    return array if schema.shape is None else array.reshape(schema.shape)


def _refuse_objects(array: Any) -> None:
    # null stays allowed, as estimators that impute take it; anything with parts is a mistake of the caller.
    for element in array.ravel().tolist():
        if isinstance(element, (dict, list)):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                f"expected nested lists of numbers, text or booleans, found {_kind(element)} inside"
            )


def _kind(element: Any) -> str:
    return "an object" if isinstance(element, dict) else "lists of different lengths"


def _torch(schema: TensorSchema, value: Any) -> Any:
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if type(value).__module__ == "numpy":
        return torch.from_numpy(value)
    tensor = torch.tensor(value, dtype=getattr(torch, schema.dtype) if schema.dtype else None)
    return tensor if schema.shape is None else tensor.reshape(schema.shape)


def _tensorflow(schema: TensorSchema, value: Any) -> Any:
    import tensorflow

    if isinstance(value, tensorflow.Tensor):
        return value
    dtype = getattr(tensorflow, schema.dtype) if schema.dtype else None
    return tensorflow.constant(value, dtype=dtype, shape=schema.shape)


_DECODERS = {"numpy-array": _numpy, "torch-tensor": _torch, "tf-tensor": _tensorflow}
