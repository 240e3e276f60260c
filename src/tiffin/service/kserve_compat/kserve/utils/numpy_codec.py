"""``kserve.utils.numpy_codec``: datatypes of the protocol and numpy's."""

from __future__ import annotations

from typing import Any

import numpy as np

_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    **{f"INT{bits}": getattr(np, f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": getattr(np, f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": getattr(np, f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.object_,
}
_NAMES = {np.dtype(kind): name for name, kind in _NUMPY.items()}


def to_np_dtype(dtype: str) -> Any:
    """The type of numpy for a datatype; None for one the protocol lacks."""
    return _NUMPY.get(dtype)


def from_np_dtype(np_dtype: Any) -> str | None:
    """The datatype for numpy's; None where there is none. Texts, objects and dates are BYTES."""
    dtype = np.dtype(np_dtype)
    if dtype.kind in "OSUM":
        return "BYTES"
    return _NAMES.get(dtype.newbyteorder("="))
