"""The input of a model whose columns differ: numbers in some, text in others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.errors import DecodeError, ModelError
from tiffin.models import table
from tiffin.types import ANY, TensorSpec, datatype_of

Array = npt.NDArray[Any]


class Columns:
    """Takes one tensor per column, or one tensor of all columns when they are of one kind.

    Args:
        features: the number of columns.
        names: their names, when the model knows them.
        texts: the indices of columns of text; the others are FP64.
        frame: the model addresses columns by name, so it is given a pandas DataFrame.
        allows_nan: whether numbers may be missing (NaN).
    """

    def __init__(
        self, features: int, *, names: tuple[str, ...], texts: frozenset[int], frame: bool, allows_nan: bool
    ) -> None:
        self.features = features
        self.names = names
        self.texts = texts
        self.allows_nan = allows_nan
        self._pandas = _pandas() if frame else None
        kinds = ["BYTES" if index in texts else "FP64" for index in range(features)]
        if len(set(kinds)) == 1 and not names:
            self.specs: tuple[TensorSpec, ...] = (TensorSpec("input-0", kinds[0], (ANY, features)),)
        else:
            self.specs = tuple(
                TensorSpec(names[index] if names else f"input-{index}", kind, (ANY,))
                for index, kind in enumerate(kinds)
            )

    def conform(self, names: Sequence[str], arrays: Sequence[Array]) -> tuple[Array, ...]:
        """One array ``[rows]`` per column, in the model's order; raises DecodeError."""
        if len(arrays) == 1 and (self.features != 1 or arrays[0].ndim == 2):
            whole = arrays[0]
            if whole.ndim != 2 or whole.shape[1] != self.features:
                raise DecodeError(
                    f"expected [?, {self.features}], found {list(whole.shape)}", at="inputs[0].shape"
                )
            return tuple(self._column(whole[:, index], index, "inputs[0]") for index in range(self.features))
        order = table.order(names, self.names, self.features)
        rows = table.rows_of_columns(arrays)
        return tuple(
            self._column(arrays[place].reshape(rows), index, f"inputs[{place}]")
            for index, place in enumerate(order)
        )

    def join(self, arrays: tuple[Array, ...]) -> Any:
        """What the estimator takes: a DataFrame, or a matrix of objects."""
        if self._pandas is not None:
            return self._pandas.DataFrame(dict(zip(self.names, arrays, strict=True)))
        return np.stack([array.astype(object) for array in arrays], axis=1)

    def example(self) -> None:
        """Not known: a text that is no category may be refused."""
        return

    def _column(self, array: Array, index: int, at: str) -> Array:
        if not array.shape[0]:
            raise DecodeError("expected at least one row, found none", at=f"{at}.shape")
        if index not in self.texts:
            return table.finite(table.number(array, np.dtype(np.float64), at), at, allows_nan=self.allows_nan)
        if array.dtype.kind not in "OUS":
            raise DecodeError(f"expected BYTES, found {datatype_of(array.dtype.str)}", at=f"{at}.datatype")
        return table.text(array, at)


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ModelError(
            "the model chooses its columns by name, for which pandas is needed and not installed",
            hint="pip install pandas",
        ) from None
    return pandas
