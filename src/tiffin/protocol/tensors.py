"""A call of tensors: what the tensor protocols (V2, V1, Seldon) decode a request into."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tiffin.protocol.reply import Reply

Array = npt.NDArray[Any]


class TensorCall:
    """One decoded call, from its protocol through the batcher and back.

    ``names`` and ``arrays`` are the inputs as sent; the model's ``conform`` puts ``arrays`` in its own order
    and datatypes. ``rows`` is the size of dimension 0. ``context`` belongs to the protocol that decoded it.
    ``exchange`` is answered with what ``write`` makes of the outputs; or ``done`` is called with the outcome.
    """

    # Defaults live in the class: a call is made for every request, and sets what differs.
    exchange: Any = None
    write: Callable[[TensorCall, Sequence[Array]], Reply]
    done: Callable[[Any], None] | None = None
    cancelled = False
    group: Hashable = None
    rows = 1
    nbytes = 0
    queued = 0.0

    def __init__(self, names: Sequence[str], arrays: Sequence[Array], context: Any = None) -> None:
        self.names = names
        self.arrays = arrays
        self.context = context

    def cancel(self) -> None:
        """The caller has gone: the call is dropped when its turn comes, or its outcome is."""
        self.cancelled = True


def measure(call: TensorCall) -> None:
    """Fill ``rows``, ``nbytes`` and ``group`` from the arrays, once the model has conformed them."""
    arrays = call.arrays
    if len(arrays) == 1:
        array = arrays[0]
        shape = array.shape
        call.rows = shape[0] if shape else 1
        call.nbytes = array.nbytes
        call.group = (array.dtype, shape[1:])
        return
    call.rows = len(arrays[0]) if arrays and arrays[0].ndim else 1
    call.nbytes = sum(array.nbytes for array in arrays)
    call.group = tuple((array.dtype, array.shape[1:]) for array in arrays)


def join(calls: Sequence[TensorCall]) -> tuple[Array, ...]:
    """One batch: the arrays of the calls, one after the other along dimension 0."""
    return tuple(np.concatenate(parts) for parts in zip(*(call.arrays for call in calls), strict=True))
