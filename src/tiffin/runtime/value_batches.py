"""Joins the calls of one batchable method: lists, arrays and dataframes, by the same rule as saved models.

The decisions are ``batcher``'s. A method gets one value that holds the items of several calls, and gives one
that is cut up again; when a batch fails its halves are tried, so that a bad item fails alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Any

from tiffin.errors import NotReady, PredictError
from tiffin.runtime.batcher import Batcher
from tiffin.runtime.metrics import Metrics

MAX_BYTES = 64 * 1024 * 1024
"""Cap in bytes of a batch; unlike a saved model's, a method's batches are bounded by its author in items."""

Ask = Callable[[Any], Awaitable[Any]]


class _Waiting:
    """One call's value and what becomes of it."""

    __slots__ = ("ask", "cancelled", "future", "group", "nbytes", "queued", "rows", "value")

    def __init__(self, value: Any, ask: Ask, group: Hashable, rows: int, future: asyncio.Future[Any]) -> None:
        self.value = value
        self.ask = ask
        self.group = group
        self.rows = rows
        self.nbytes = int(getattr(value, "nbytes", 0)) if hasattr(value, "dtype") else 0
        self.future = future
        self.queued = time.perf_counter()
        self.cancelled = False


class ValueBatches:
    """The waiting calls of one method of one worker; at most one batch is being answered at a time.

    Args:
        max_items: most items in a batch; a larger call is cut and put together again.
        max_wait_seconds: a call that has waited longer is refused: its caller has given up by then.
        dimensions: the dimension that grows, of the input and of the output.
    """

    def __init__(
        self,
        *,
        max_items: int,
        max_wait_seconds: float,
        dimensions: tuple[int, int] = (0, 0),
        metrics: Metrics | None = None,
    ) -> None:
        self._max_items = max_items
        self._max_wait = max_wait_seconds
        self._in, self._out = dimensions
        self._metrics = metrics
        self._batcher: Batcher[_Waiting] = Batcher(max_items, MAX_BYTES)
        self._task: asyncio.Task[None] | None = None

    async def submit(self, value: Any, ask: Ask) -> Any:
        """The method's answer for one call's value.

        ``ask`` calls the method with a value; a batch is asked with that of its first call.

        Raises:
            PredictError: the method gave another number of items than it got.
            NotReady: the call waited longer than ``max_wait_seconds``.
        """
        count = length(value, self._in)
        if count <= self._max_items:
            return await self._wait(value, ask, count)
        steps = range(0, count, self._max_items)
        parts = [cut(value, self._in, start, min(start + self._max_items, count)) for start in steps]
        answers = await asyncio.gather(*(self._wait(part, ask, length(part, self._in)) for part in parts))
        return join(answers, self._out)

    async def _wait(self, value: Any, ask: Ask, count: int) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        item = _Waiting(value, ask, group_of(value, self._in), count, future)
        self._batcher.add(item)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        try:
            return await item.future
        except asyncio.CancelledError:
            item.cancelled = True
            raise

    async def _work(self) -> None:
        """Answer batches until nothing waits."""
        try:
            await asyncio.sleep(0)  # What the loop has read in this turn belongs to the first batch.
            while True:
                # Not an event: each turn of the loop reads the sockets, which is where company comes from.
                while self._batcher.lingers(time.perf_counter()):  # noqa: ASYNC110
                    await asyncio.sleep(0)
                batch = self._batcher.take()
                if not batch:
                    return
                began = time.perf_counter()
                late = [item for item in batch if began - item.queued > self._max_wait]
                for item in late:
                    _settle(item, NotReady("the service is overloaded; try again in a moment"))
                batch = [item for item in batch if began - item.queued <= self._max_wait]
                if batch:
                    await self._answer(batch)
                    self._count(batch, began)
        finally:
            self._task = None

    def _count(self, batch: Sequence[_Waiting], began: float) -> None:
        ended = time.perf_counter()
        rows = sum(item.rows for item in batch)
        self._batcher.ended(rows, ended - began, ended)
        if self._metrics is not None:
            self._metrics.batch(rows, ended - began, [began - item.queued for item in batch])

    async def _answer(self, batch: Sequence[_Waiting]) -> None:
        try:
            value = batch[0].value if len(batch) == 1 else join([item.value for item in batch], self._in)
            answer = await batch[0].ask(value)
            total = sum(item.rows for item in batch)
            if length(answer, self._out) != total:
                raise PredictError(f"expected {total} items from a batch, found {length(answer, self._out)}")
            if len(batch) == 1:
                _settle(batch[0], answer)
                return
        except Exception as error:
            if len(batch) == 1:
                _settle(batch[0], error)
                return
            middle = len(batch) // 2
            await self._answer(batch[:middle])
            await self._answer(batch[middle:])
            return
        start = 0
        for item in batch:
            _settle(item, cut(answer, self._out, start, start + item.rows))
            start += item.rows


def _settle(item: _Waiting, outcome: Any) -> None:
    if item.future.done():
        return  # Its caller has gone.
    if isinstance(outcome, Exception):
        item.future.set_exception(outcome)
    else:
        item.future.set_result(outcome)


def group_of(value: Any, dimension: int) -> Hashable:
    """What two values must have in common to be joined: kind, datatype, columns, and the other dimensions."""
    if hasattr(value, "columns") and hasattr(value, "iloc"):
        return ("frame", tuple(map(str, value.columns)), tuple(map(str, value.dtypes)))
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        shape = tuple(value.shape)
        return (type(value).__name__, str(value.dtype), shape[:dimension], shape[dimension + 1 :])
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
