"""What a method gave back, as tensors: a dict's keys, a frame's columns, a model's fields, else ``output-0``."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, is_typeddict

import numpy as np
from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from tiffin.codec.frames import DataframeSchema
from tiffin.codec.outputs import Output
from tiffin.errors import PredictError
from tiffin.protocol.tensor_values import shape_of
from tiffin.protocol.tensors import Array
from tiffin.types import ANY, TensorSpec

OUTPUT = "output-0"
"""What the only output of a method is called."""

NamedArrays = list[tuple[str, Array]]


def specs_of(output: Output, batch: int | None = None) -> list[TensorSpec]:
    """What metadata can say of the outputs; empty when their names are known only with an answer."""
    annotation = output.annotation
    fields = _fields_of(annotation)
    if fields is not None:
        return [shape_of(found).spec(name) for name, found in fields.items()]
    shape = shape_of(annotation)
    if isinstance(shape.schema, DataframeSchema):
        return [TensorSpec(str(column), "FP64", (ANY,)) for column in shape.schema.columns or ()]
    return [] if shape.kind in ("any", "json", "file") else [shape.spec(OUTPUT, batch)]


def _fields_of(annotation: Any) -> dict[str, Any] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    if is_typeddict(annotation) or (isinstance(annotation, type) and dataclasses.is_dataclass(annotation)):
        return dict(annotation.__annotations__) if not _has_text(annotation) else None
    return None


def _has_text(annotation: Any) -> bool:
    """Annotations written as text, of modules with ``from __future__ import annotations``."""
    return any(isinstance(found, str) for found in annotation.__annotations__.values())


def tensors_of(value: Any) -> NamedArrays:
    """The outputs for one answer.

    Raises:
        PredictError: something that neither a tensor nor JSON can hold.
    """
    if isinstance(value, Mapping):
        return [(str(name), array_of(found)) for name, found in value.items()]
    if isinstance(value, BaseModel):
        return [(name, array_of(getattr(value, name))) for name in type(value).model_fields]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, array_of(getattr(value, field.name))) for field in dataclasses.fields(value)]
    if hasattr(value, "__struct_fields__"):
        return [(name, array_of(getattr(value, name))) for name in value.__struct_fields__]
    if hasattr(value, "iloc") and hasattr(value, "columns"):
        return [(str(name), array_of(value[name].to_numpy())) for name in value.columns]
    if isinstance(value, tuple) and value and all(hasattr(item, "dtype") for item in value):
        return [(f"output-{index}", array_of(item)) for index, item in enumerate(value)]
    return [(OUTPUT, array_of(value))]


def array_of(value: Any) -> Array:
    """One value as a tensor: numbers and text as they are, everything else as JSON in BYTES."""
    if hasattr(value, "iloc"):
        value = value.to_numpy()
    elif hasattr(value, "detach"):
        value = _from_torch(value)
    elif hasattr(value, "numpy") and hasattr(value, "dtype") and not isinstance(value, np.generic):
        value = value.numpy()
    if isinstance(value, np.ndarray | np.generic):
        return _array(np.asarray(value))
    if isinstance(value, bool | int | float) and not (isinstance(value, int) and abs(value) >= 2**63):
        return np.array([value])
    if isinstance(value, list | tuple) and value:
        return _listed(list(value))
    if isinstance(value, list | tuple):
        return np.empty(0)
    return _objects([value])


def _from_torch(value: Any) -> Any:
    value = value.detach().cpu()
    # numpy has no such type.
    return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()


def _array(array: Array) -> Array:
    array = array.reshape(1) if array.ndim == 0 else array
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind == "M":
        array = np.datetime_as_string(array)
    return _objects(array.reshape(-1).tolist()).reshape(array.shape)


def _listed(values: list[Any]) -> Array:
    if all(isinstance(item, str | bytes) for item in values):
        return _objects(values)
    try:
        array = np.array(values)
    except (ValueError, TypeError, OverflowError):  # Ragged.
        return _objects(values)
    if array.dtype.kind in "biuf":
        return array
    is_text = array.dtype.kind in "US" and all(isinstance(item, str | bytes) for item in _leaves(values))
    return _array(array) if is_text else _objects(values)


def _leaves(values: Sequence[Any]) -> list[Any]:
    return [leaf for item in values for leaf in (_leaves(item) if isinstance(item, list | tuple) else [item])]


def _objects(values: Sequence[Any]) -> Array:
    array = np.empty(len(values), dtype=object)
    for index, value in enumerate(values):
        array[index] = value if isinstance(value, str | bytes) else _text(value)
    return array


def _text(value: Any) -> bytes:
    try:
        return to_json(value, fallback=_fallback, inf_nan_mode="null")
    except (PydanticSerializationError, ValueError, TypeError) as error:
        raise PredictError(f"expected an answer that tensors or JSON can hold: {error}") from error


def _fallback(value: Any) -> Any:
    if hasattr(value, "detach"):
        return _from_torch(value).tolist()
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_dict"):
        return value.to_dict(orient="records")
    if hasattr(value, "__struct_fields__"):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    raise TypeError(f"a {type(value).__name__} has no JSON form")
