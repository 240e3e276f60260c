"""The input of a tabular model: rows of numbers (or text), as one tensor or as one tensor per column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.errors import DecodeError
from tiffin.types import ANY, TensorSpec, datatype_of

Array = npt.NDArray[Any]


class Table:
    """Checks and casts the tensors of one call into a matrix ``[rows, features]``.

    Args:
        features: the number of columns; ``ANY`` when the model does not say.
        names: the columns' names, when the model knows them.
        dtype: what the model wants; other numbers are cast to it.
        allows_nan: whether a missing value may be sent as NaN. Infinity is never taken.
        name: what the tensor is called in metadata; callers may call it anything.
    """

    def __init__(
        self,
        features: int,
        *,
        names: Sequence[str] = (),
        dtype: npt.DTypeLike = np.float64,
        allows_nan: bool = False,
        name: str = "input-0",
    ) -> None:
        self.features = features
        self.names = tuple(names)
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        floats = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))
        self._narrower = frozenset(found for found in floats if found.itemsize < self.dtype.itemsize)
        self.allows_nan = allows_nan
        self.specs = (TensorSpec(name, datatype_of(self.dtype.str), (ANY, features)),)

    def conform(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[Array]:
        """The matrix; raises DecodeError."""
        if len(arrays) == 1:
            array = arrays[0]
            # vdot is the cheapest test for "all finite" (0.3 us); it may overflow for huge but finite values,
            # which the careful path then finds to be fine.
            shape = array.shape
            if len(shape) == 2 and shape[1] == self.features and shape[0]:
                if array.dtype in self._narrower:
                    array = array.astype(self.dtype)
                if array.dtype is self.dtype and math.isfinite(np.vdot(array, array)):
                    return (array,)
            return (self._matrix(names, array),)
        return (self._columns(names, arrays),)

    def example(self) -> tuple[Array] | None:
        """One row of zeros; None when the number of columns is not known."""
        if self.features == ANY:
            return None
        return (np.zeros((1, self.features), self.dtype),)

    def _matrix(self, names: Sequence[str], array: Array) -> Array:
        if array.ndim == 1 and self.features == 1 and names[0] in self.names:
            array = array[:, None]
        if array.ndim != 2 or self.features not in (array.shape[1], ANY):
            raise DecodeError(self._wrong_shape(array.shape), at="inputs[0].shape")
        return self._checked(array, "inputs[0]")

    def _wrong_shape(self, shape: tuple[int, ...]) -> str:
        columns = "?" if self.features == ANY else self.features
        message = f"expected [?, {columns}], found {list(shape)}"
        if len(shape) == 1 and self.features in (shape[0], ANY):
            message += f"; add the batch dimension: [1, {shape[0]}]"
        return message

    def join(self, arrays: tuple[Array, ...]) -> Array:
        """The matrix itself."""
        return arrays[0]

    def _columns(self, names: Sequence[str], arrays: Sequence[Array]) -> Array:
        places = order(names, self.names, self.features)
        rows = rows_of_columns(arrays)
        columns = [self._checked(arrays[place].reshape(rows, 1), f"inputs[{place}]") for place in places]
        return np.concatenate(columns, axis=1)

    def _checked(self, array: Array, at: str) -> Array:
        if not array.shape[0]:
            raise DecodeError("expected at least one row, found none", at=f"{at}.shape")
        return finite(number(array, self.dtype, at), at, allows_nan=self.allows_nan)


class Texts:
    """The input of a model that reads text: one tensor of strings, ``[rows]`` (or ``[rows, 1]``)."""

    def __init__(self, name: str = "input-0") -> None:
        self.specs = (TensorSpec(name, "BYTES", (ANY,)),)

    def conform(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[Array]:
        """An object array of ``str``; raises DecodeError."""
        if len(arrays) != 1:
            raise DecodeError(f"expected one tensor of strings, found {len(arrays)} tensors", at="inputs")
        array = arrays[0]
        if array.dtype.kind not in "OUS":
            raise DecodeError(f"expected BYTES, found {datatype_of(array.dtype.str)}", at="inputs[0].datatype")
        if array.ndim == 2 and array.shape[1] == 1:
            array = array[:, 0]
        if array.ndim != 1:
            raise DecodeError(f"expected [?], found {list(array.shape)}", at="inputs[0].shape")
        if not array.shape[0]:
            raise DecodeError("expected at least one row, found none", at="inputs[0].shape")
        return (text(array, "inputs[0]"),)

    def join(self, arrays: tuple[Array, ...]) -> Array:
        """The texts themselves."""
        return arrays[0]

    def example(self) -> tuple[Array]:
        """One short sentence."""
        return (np.array(["a word"], dtype=object),)


def order(names: Sequence[str], wanted: tuple[str, ...], features: int) -> Sequence[int]:
    """Which input is which column: by name when the model knows names and the caller uses them."""
    if wanted and set(names) == set(wanted) and len(names) == features:
        return [names.index(name) for name in wanted]
    if set(names) & set(wanted):
        missing = [name for name in wanted if name not in names]
        extra = [name for name in names if name not in wanted]
        found = f"without {', '.join(missing)}" if missing else f"with {', '.join(extra) or 'repeated names'}"
        raise DecodeError(f"expected the columns {', '.join(wanted)}, found inputs {found}", at="inputs")
    if len(names) != features:
        wished = "one tensor" if features == ANY else f"one tensor of shape [?, {features}], or {features} columns"
        raise DecodeError(f"expected {wished}, found {len(names)} tensors", at="inputs")
    return range(features)


def rows_of_columns(arrays: Sequence[Array]) -> int:
    """The number of rows all columns have; raises DecodeError when they are no columns, or differ."""
    for index, array in enumerate(arrays):
        at = f"inputs[{index}].shape"
        if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
            raise DecodeError(f"expected a column, [?] or [?, 1], found {list(array.shape)}", at=at)
        if array.shape[0] != arrays[0].shape[0]:
            raise DecodeError(f"expected {arrays[0].shape[0]} rows as in inputs[0], found {array.shape[0]}", at=at)
    return int(arrays[0].shape[0])


def text(array: Array, at: str) -> Array:
    """The same values as an object array of ``str``; raises DecodeError for bytes that are not UTF-8."""
    out = np.empty(array.shape, dtype=object)
    flat = out.reshape(-1)
    for index, value in enumerate(array.reshape(-1).tolist()):
        try:
            flat[index] = value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError:
            raise DecodeError(f"expected UTF-8, found other bytes in element {index}", at=f"{at}.data") from None
    return out


def number(array: Array, dtype: np.dtype[Any], at: str) -> Array:
    """The array as ``dtype``; DecodeError when it is not of numbers, or does not fit."""
    found = array.dtype
    if found is dtype or found == dtype:
        return array
    if found.kind not in "biuf":
        raise DecodeError(f"expected {datatype_of(dtype.str)}, found {_name(found)}", at=f"{at}.datatype")
    if dtype.kind == "f":
        if found.itemsize <= dtype.itemsize:
            return array.astype(dtype)
        with np.errstate(over="ignore"):
            return array.astype(dtype)
    if found.kind == "f" or (dtype.kind == "b") != (found.kind == "b"):
        raise DecodeError(f"expected {datatype_of(dtype.str)}, found {_name(found)}", at=f"{at}.datatype")
    info = np.iinfo(dtype)
    if array.size and (int(array.min()) < info.min or int(array.max()) > info.max):
        raise DecodeError(
            f"expected {datatype_of(dtype.str)}, found {_name(found)} values outside [{info.min}, {info.max}]",
            at=f"{at}.data",
        )
    return array.astype(dtype)


def finite(array: Array, at: str, *, allows_nan: bool) -> Array:
    """The array itself; DecodeError with the place of the first value that is not allowed."""
    # The sum of squares is finite only if every value is; a fifth of the price of asking each.
    if array.dtype.kind != "f" or math.isfinite(np.vdot(array, array)):
        return array
    wrong = np.isinf(array) if allows_nan else ~np.isfinite(array)
    if wrong.any():
        place = np.argwhere(wrong)[0]
        value = "NaN" if np.isnan(array[tuple(place)]) else f"infinity or a value too large for {array.dtype}"
        raise DecodeError(f"expected finite numbers, found {value} in row {int(place[0])}", at=f"{at}.data")
    return array


def _name(dtype: np.dtype[Any]) -> str:
    try:
        return datatype_of(dtype.str)
    except KeyError:
        return str(dtype)
