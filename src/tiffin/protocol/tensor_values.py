"""Tensors to the arguments of a method by its annotations, and what it gives back to tensors.

=====================================  =======================================================================
annotation                             as a tensor
=====================================  =======================================================================
arrays (numpy, torch, tensorflow)      the tensor, in the declared dtype and shape
``bool``, ``int``, ``float``, ``str``  one element
``list`` and its like                  as many elements; of models and dicts each is JSON in BYTES
pandas.DataFrame                       a tensor for each column
pydantic models, dicts, the rest       one element of BYTES with JSON; a lone model's fields by their names
=====================================  =======================================================================
"""

from __future__ import annotations

import collections.abc
import enum
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import numpy as np
import orjson
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from tiffin.codec.annotations import adapt, is_file
from tiffin.codec.files import Scratch
from tiffin.codec.frames import DataframeSchema
from tiffin.codec.inputs import Arguments, Input
from tiffin.codec.tensors import TensorSchema
from tiffin.errors import DecodeError
from tiffin.protocol.tensors import Array, TensorCall
from tiffin.types import ANY, TensorSpec, datatype_of

Kind = Literal["tensor", "frame", "text", "bytes", "number", "list", "json", "any", "file"]
_NUMBERS: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64"}
_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence, collections.abc.Iterable, collections.abc.Set)


class Shape(NamedTuple):
    """What an annotation means as a tensor; ``inner`` is that of a list's elements."""

    kind: Kind
    datatype: str = "BYTES"
    schema: TensorSchema | DataframeSchema | None = None
    inner: Shape | None = None
    model: type[BaseModel] | None = None

    def spec(self, name: str, batch: int | None = None) -> TensorSpec:
        """As metadata shows it; ``batch`` is the dimension that is free whatever was declared."""
        if self.kind == "list":
            depth, element = 1, self.inner
            while element is not None and element.kind == "list":
                depth, element = depth + 1, element.inner
            return TensorSpec(name, element.datatype if element else "BYTES", (ANY,) * depth)
        if isinstance(self.schema, TensorSchema):
            shape = list(self.schema.shape or (ANY,))
            if batch is not None and batch < len(shape):
                shape[batch] = ANY
            return TensorSpec(name, self.datatype, tuple(shape))
        return TensorSpec(name, self.datatype, (1,))


def shape_of(annotation: Any) -> Shape:
    """What an annotation means; those of our own kinds are recognised whether adapted or not."""
    annotation = adapt(annotation)
    if is_file(annotation):
        return Shape("file")
    origin = get_origin(annotation)
    metadata: tuple[Any, ...] = ()
    if origin is Annotated:
        annotation, *found = get_args(annotation)
        metadata, origin = tuple(found), get_origin(annotation)
    for marker in metadata:
        if isinstance(marker, TensorSchema):
            return Shape("tensor", _datatype(marker.dtype), marker)
        if isinstance(marker, DataframeSchema):
            return Shape("frame", schema=marker)
    if annotation is Any:
        return Shape("any")
    if origin in (typing.Union, types.UnionType):
        choices = [choice for choice in get_args(annotation) if choice is not type(None)]
        return shape_of(choices[0]) if len(choices) == 1 else Shape("any")
    if origin is Literal:
        return shape_of(type(get_args(annotation)[0]))
    if origin in _LISTS or annotation in _LISTS:
        return Shape("list", inner=shape_of((*get_args(annotation), Any)[0]))
    if not isinstance(annotation, type):
        return Shape("json")
    return _class(annotation)


def _class(annotation: type) -> Shape:
    if issubclass(annotation, enum.Enum):
        return shape_of(type(next(iter(annotation)).value)) if len(annotation) else Shape("json")
    if issubclass(annotation, BaseModel):
        return Shape("json", model=annotation)
    for number, datatype in _NUMBERS.items():
        if issubclass(annotation, number):
            return Shape("number", datatype)
    if issubclass(annotation, str):
        return Shape("text")
    return Shape("bytes") if issubclass(annotation, bytes | bytearray) else Shape("json")


def _datatype(dtype: str | None) -> str:
    """The protocol's name of a declared dtype; FP64, which JSON's numbers are, where none or an unknown one is."""
    try:
        return datatype_of(np.dtype(dtype or "float64").str)
    except (TypeError, KeyError):
        return "FP32"


class TensorInput:
    """How tensors become arguments.

    Args:
        input_: What the endpoint takes.
        batch: The dimension calls are joined in; ``None`` where they are not.
    """

    def __init__(self, input_: Input, batch: int | None = None) -> None:
        self._input = input_
        self._root = input_.root.name if input_.root is not None and "root" in input_.model.model_fields else ""
        fields = input_.model.model_fields
        self._shapes = {self._root or name: shape_of(_whole(field)) for name, field in fields.items()}
        self._lone = next(iter(self._shapes), "") if len(self._shapes) == 1 else ""
        frames = [name for name, shape in self._shapes.items() if shape.kind == "frame"]
        self._frame = frames[0] if len(frames) == 1 else ""
        model = self._shapes[self._lone].model if self._lone else None
        self._fields = {n: shape_of(_whole(f)) for n, f in model.model_fields.items()} if model else {}
        is_plain = input_.root is None and all(p.kind == "plain" for p in input_.parameters)
        self._passes = is_plain and bool(input_.parameters) and all(map(_passes, fields.values()))
        self._batch = batch

    @property
    def has_files(self) -> bool:
        """Whether it takes what no tensor can hold."""
        return any(shape.kind == "file" for shape in self._shapes.values())

    def specs(self) -> list[TensorSpec]:
        """As metadata shows it: a frame by its declared columns."""
        found = []
        for name, shape in self._shapes.items():
            if isinstance(shape.schema, DataframeSchema):
                columns = shape.schema.columns or ()
                found += [TensorSpec(str(column), "FP64", (ANY,)) for column in columns]
            else:
                found.append(shape.spec(name, self._batch))
        return found

    def names(self) -> list[str]:
        """The fields of a call as JSON."""
        return list(self._shapes)

    def arguments(self, call: TensorCall, scratch: Scratch) -> Arguments:
        """The arguments for the tensors of a call.

        Raises:
            DecodeError: a tensor that there is no parameter for, or that does not fit its annotation.
            pydantic.ValidationError: what they hold does not.
        """
        values: dict[str, Any] = {}
        columns: dict[str, Array] = {}
        found = self._fields if self._fields and self._lone not in call.names else self._shapes
        for index, (name, array) in enumerate(zip(call.names, call.arrays, strict=True)):
            shape = found.get(name)
            if shape is not None and not (shape.kind == "frame" and not _is_json(array)):
                values[name] = value_of(shape, array, f"inputs[{index}]")
            elif self._frame:
                columns[name] = _column(array, f"inputs[{index}]")
            elif self._lone and len(call.names) == 1 and found is self._shapes:
                # The one tensor for the one parameter, as clients of saved models call it: input-0.
                values[self._lone] = value_of(found[self._lone], array, f"inputs[{index}]")
            else:
                raise self._unknown(name, found, index)
        if columns:
            values[self._frame] = _frame(columns)
        if found is self._fields and values:
            values = {self._lone: values}
        if self._passes and len(values) == len(self._shapes):
            return Arguments((), values)
        if self._root:
            values = {"root" if name == self._root else name: value for name, value in values.items()}
        return self._input.from_values(values, scratch)

    def _unknown(self, name: str, found: Mapping[str, Shape], index: int) -> DecodeError:
        wanted = ", ".join(found) or "none"
        return DecodeError(f"expected inputs among {wanted}, found {name[:64]!r}", at=f"inputs[{index}].name")


def _whole(field: FieldInfo) -> Any:
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def _passes(field: FieldInfo) -> bool:
    """Whether an array, once it has the declared dtype and shape, needs no more looking at."""
    return len(field.metadata) == 1 and isinstance(field.metadata[0], TensorSchema)


def value_of(shape: Shape, array: Array, at: str) -> Any:
    """What an annotation takes, from a tensor; raises DecodeError when it is none of it."""
    match shape.kind:
        case "tensor":
            return _tensor(shape.schema, array, at)
        case "list":
            return _list(shape, array, at)
        case "frame":
            return _json(_one(array, at), at)
        case "any":
            values = _texts(array, at).tolist() if array.dtype.kind == "O" else array.tolist()
            return values[0] if array.dtype.kind == "O" and array.shape == (1,) else values
        case "text":
            return _texts(_bytes_only(array, at), at).reshape(-1)[0] if array.size == 1 else _one(array, at)
        case "bytes":
            one = _one(_bytes_only(array, at), at)
            return one.encode() if isinstance(one, str) else one
        case "number":
            return _one(array, at)
        case _:
            return _json(_one(array, at), at) if array.dtype.kind == "O" else array.tolist()


def _tensor(schema: Any, array: Array, at: str) -> Any:
    if array.dtype.kind == "O":
        array = _texts(array, at)
    dtype = schema.dtype if schema.format == "numpy-array" else None
    try:
        if dtype is not None and array.dtype != dtype:
            if array.dtype.kind != "O" and not np.can_cast(array.dtype, dtype, "same_kind"):
                raise DecodeError(f"expected {_datatype(dtype)}, found {datatype_of(array.dtype.str)}", at=at)
            with np.errstate(over="ignore", invalid="ignore"):
                array = array.astype(dtype)
        elif not array.flags.writeable:
            array = array.copy()  # A method may write into what it was given.
        if schema.shape is not None:
            array = array.reshape(schema.shape)
        if schema.format == "numpy-array":
            return array
        value = schema.decode(array)
        return _as_torch(schema, value) if schema.format == "torch-tensor" else value
    except (ValueError, TypeError) as error:
        raise DecodeError(f"expected {_wanted(schema)}, found shape {list(array.shape)}: {error}", at=at) from None


def _as_torch(schema: TensorSchema, value: Any) -> Any:
    if schema.dtype is None:
        return value
    import torch

    return value.to(getattr(torch, schema.dtype))


def _wanted(schema: TensorSchema) -> str:
    shape = "any shape" if schema.shape is None else f"shape {list(schema.shape)}"
    return f"{schema.dtype or 'an array'} of {shape}"


def _list(shape: Shape, array: Array, at: str) -> list[Any]:
    inner = shape.inner or Shape("any")
    if array.ndim == 0:
        raise DecodeError("expected a tensor of one dimension at least, found a scalar", at=f"{at}.shape")
    if array.dtype.kind != "O":
        values: list[Any] = array.tolist()
        return values
    if inner.kind in ("tensor", "list"):
        return [value_of(inner, row, at) for row in array]
    if inner.kind in ("json", "frame"):
        return [_json(item, at) for item in array.reshape(-1)]
    if inner.kind == "bytes":
        return [item.encode() if isinstance(item, str) else item for item in array.reshape(-1)]
    texts: list[Any] = _texts(array, at).tolist()
    return texts


def _one(array: Array, at: str) -> Any:
    if array.size != 1:
        raise DecodeError(f"expected one element, found {array.size}", at=f"{at}.shape")
    return array.reshape(-1)[0] if array.dtype.kind == "O" else array.item()


def _bytes_only(array: Array, at: str) -> Array:
    if array.dtype.kind != "O":
        raise DecodeError(f"expected BYTES, found {datatype_of(array.dtype.str)}", at=f"{at}.datatype")
    return array


def _texts(array: Array, at: str) -> Array:
    """BYTES as text."""
    texts = np.empty(array.size, dtype=object)
    try:
        for index, item in enumerate(array.flat):
            texts[index] = item.decode("utf-8") if isinstance(item, bytes) else item
    except UnicodeDecodeError:
        raise DecodeError("expected text in UTF-8, found other bytes", at=at) from None
    return texts.reshape(array.shape)


def _json(text: Any, at: str) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, TypeError) as error:
        raise DecodeError(f"expected JSON in an element of BYTES, found: {error}", at=at) from None


def _is_json(array: Array) -> bool:
    """Whether a tensor called as the frame is the frame as JSON, and not a column of that name."""
    if array.dtype.kind != "O" or array.size != 1:
        return False
    first = array.reshape(-1)[0]
    start = first[:1] if isinstance(first, str) else first[:1].decode("latin-1")
    return start in ("[", "{")


def _column(array: Array, at: str) -> Array:
    if array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim != 1:
        raise DecodeError(f"expected a column, found shape {list(array.shape)}", at=f"{at}.shape")
    return _texts(array, at) if array.dtype.kind == "O" else array


def _frame(columns: Mapping[str, Array]) -> Any:
    import pandas

    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        raise DecodeError(f"expected columns of one length, found {sorted(lengths)}", at="inputs")
    # Copies: what came over the wire must not be written into.
    return pandas.DataFrame({name: column.copy() for name, column in columns.items()})
