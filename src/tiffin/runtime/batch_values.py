"""What a batch of a method is made of: lists, arrays and dataframes, counted, weighed, cut and joined. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from tiffin.errors import CallError, PredictError, TooLarge

Cost = Callable[[Any], float]


def group_of(value: Any, dimension: int) -> Hashable:
    """What two values must have in common to be joined: kind, datatype, columns, and the other dimensions."""
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        return ("frame", tuple(map(str, value.columns)), tuple(map(str, value.dtypes)))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = tuple(value.shape)
        return (type(value), value.dtype, shape[:dimension], shape[dimension + 1 :])
    return type(value).__name__


def length(value: Any, dimension: int) -> int:
    """How many items a batch value holds.

    Raises:
        PredictError: it is nothing that can be counted.
    """
    shape = getattr(value, "shape", None)
    try:
        return int(shape[dimension]) if shape is not None else len(value)
    except (TypeError, IndexError):
        raise PredictError(
            f"expected a batch (a list, an array or a dataframe), found {type(value).__name__}"
        ) from None


def asked(value: Any, dimension: int) -> int:
    """As ``length``, of what a caller sent.

    Raises:
        CallError: an array without the dimension that batches grow in, or a value that is no batch at all.
    """
    try:
        return length(value, dimension)
    except PredictError:
        rank = getattr(value, "ndim", None)
        found = type(value).__name__ if rank is None else f"an array of {rank}"
        needed = "a list of items" if rank is None else f"an array of at least {dimension + 1} dimensions"
        raise CallError(f"expected {needed}, found {found}") from None


def join(values: Sequence[Any], dimension: int) -> Any:
    """The items of several values as one value of the same kind."""
    first = values[0]
    if hasattr(first, "iloc"):
        import pandas

        return pandas.concat(list(values), ignore_index=True)
    if type(first).__module__.partition(".")[0] == "torch":
        import torch

        return torch.cat(list(values), dim=dimension)
    if hasattr(first, "dtype"):
        import numpy

        return numpy.concatenate(list(values), axis=dimension)
    return [item for value in values for item in value]


def cut(value: Any, dimension: int, start: int, end: int) -> Any:
    """The items from ``start`` up to ``end`` of a batch value."""
    if hasattr(value, "iloc"):
        return value.iloc[start:end].reset_index(drop=True)
    if hasattr(value, "dtype"):
        return value[(slice(None),) * dimension + (slice(start, end),)]
    return value[start:end]


def items(value: Any, dimension: int) -> Iterator[Any]:
    """The items of a batch value: elements of a list, rows of a dataframe, slices of an array."""
    if hasattr(value, "iloc"):
        return (value.iloc[index] for index in range(len(value)))
    if hasattr(value, "dtype"):
        leading = (slice(None),) * dimension
        return (value[(*leading, index)] for index in range(int(value.shape[dimension])))
    return iter(value)


def costs(value: Any, dimension: int, cost: Cost, most: float) -> list[float]:
    """What each item costs.

    Raises:
        PredictError: the author's function gave back no cost.
        TooLarge: an item alone costs more than a whole batch may.
    """
    found = []
    for index, item in enumerate(items(value, dimension)):
        one = cost(item)
        try:
            number = float(one)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise PredictError(f"expected cost to return a number from 0, found {one!r}", at=f"[{index}]")
        if number > most:
            raise TooLarge(f"expected items that cost at most {most:g}, found one of {number:g}", at=f"[{index}]")
        found.append(number)
    return found


def parts(count: int, max_items: int, weights: Sequence[float] | None, max_cost: float) -> list[tuple[int, int]]:
    """Where to cut ``count`` items, from and up to, so that no part is over a limit; in order, none left out."""
    if weights is None:
        return [(start, min(start + max_items, count)) for start in range(0, count, max_items)] or [(0, 0)]
    found, start, total = [], 0, 0.0
    for index, weight in enumerate(weights):
        if index > start and (index - start >= max_items or total + weight > max_cost):
            found.append((start, index))
            start, total = index, 0.0
        total += weight
    return [*found, (start, count)]
