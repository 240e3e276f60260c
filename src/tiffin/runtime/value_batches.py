"""Joins the calls of one batchable method: lists, arrays and dataframes, by the same rule as saved models.

The decisions are ``batcher``'s. A method gets one value that holds the items of several calls, and gives one
that is cut up again; when a batch fails its halves are tried, so that a bad call fails alone. Where items have a
cost (tokens, pixels), a batch is full when its cost is, too.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import partial
from typing import Any

from tiffin.errors import NotReady, PredictError
from tiffin.runtime.batch_values import Cost, asked, costs, cut, group_of, join, length, parts
from tiffin.runtime.batcher import Batcher
from tiffin.runtime.metrics import Metrics

MAX_BYTES = 64 * 1024 * 1024
"""Cap in bytes of a batch; unlike a saved model's, a method's batches are bounded by its author in items."""

Ask = Callable[[Any], Awaitable[Any]]
Done = Callable[[Any], None]


class Waiting:
    """One call's value and who is told its answer; with ``cancelled`` set, nobody is."""

    __slots__ = ("ask", "cancelled", "done", "group", "nbytes", "queued", "rows", "value")

    def __init__(self, value: Any, ask: Ask, group: Hashable, rows: int, nbytes: float, done: Done) -> None:
        self.value = value
        self.ask = ask
        self.group = group
        self.rows = rows
        self.nbytes = nbytes
        self.done = done
        self.queued = time.perf_counter()
        self.cancelled = False


class ValueBatches:
    """The waiting calls of one method of one worker; at most one batch is being answered at a time.

    Args:
        max_items: most items in a batch; a larger call is cut and put together again.
        max_wait_seconds: a call that has waited longer is refused: its caller has given up by then.
        dimensions: the dimension that grows, of the input and of the output.
        cost: what one item costs; called on the event loop, so it should only look.
        max_cost: most cost in a batch.
    """

    def __init__(
        self,
        *,
        max_items: int,
        max_wait_seconds: float,
        dimensions: tuple[int, int] = (0, 0),
        metrics: Metrics | None = None,
        route: str = "",
        cost: Cost | None = None,
        max_cost: float = MAX_BYTES,
    ) -> None:
        self._max_items = max_items
        self._max_wait = max_wait_seconds
        self._in, self._out = dimensions
        self._metrics = metrics
        self._route = route
        self._cost = cost
        self._max_cost = max_cost
        # Without a cost the bytes of arrays are what a batch is full of.
        self._batcher: Batcher[Waiting] = Batcher(max_items, max_cost)
        self._task: asyncio.Task[None] | None = None
        self._queue: deque[Waiting] = deque()
        self._shedding: asyncio.TimerHandle | None = None

    async def submit(self, value: Any, ask: Ask) -> Any:
        """The method's answer for one call's value.

        ``ask`` calls the method with a value; a batch is asked with that of its first call.

        Raises:
            PredictError: the method gave another number of items than it got.
            NotReady: the call waited longer than ``max_wait_seconds``.
            CallError: the value has no items to count.
        """
        count, weights = self._measure(value)
        if self._fits(count, weights):
            return await self._wait(value, ask, count, _weight(value, weights))
        waits = []
        for start, end in parts(count, self._max_items, weights, self._max_cost):
            part = cut(value, self._in, start, end)
            weight = _weight(part, None if weights is None else weights[start:end])
            waits.append(self._wait(part, ask, end - start, weight))
        return join(await asyncio.gather(*waits), self._out)

    def offer(self, value: Any, ask: Ask, done: Done) -> Waiting | None:
        """As ``submit``, without a coroutine that waits: ``done`` is called with the answer, or the exception.

        None, and nothing done, when the value is more than one batch holds.
        """
        count, weights = self._measure(value)
        if not self._fits(count, weights):
            return None
        return self._add(value, ask, count, _weight(value, weights), done)

    def _measure(self, value: Any) -> tuple[int, list[float] | None]:
        count = asked(value, self._in)
        return count, None if self._cost is None else costs(value, self._in, self._cost, self._max_cost)

    def _fits(self, count: int, weights: list[float] | None) -> bool:
        return count <= self._max_items and (weights is None or sum(weights) <= self._max_cost)

    async def _wait(self, value: Any, ask: Ask, count: int, weight: float) -> Any:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        item = self._add(value, ask, count, weight, partial(_resolve, future))
        try:
            return await future
        except asyncio.CancelledError:
            item.cancelled = True
            raise

    def _add(self, value: Any, ask: Ask, count: int, weight: float, done: Done) -> Waiting:
        item = Waiting(value, ask, group_of(value, self._in), count, weight, done)
        self._batcher.add(item)
        self._queue.append(item)
        if self._shedding is None:
            self._shedding = asyncio.get_running_loop().call_later(self._max_wait, self._shed)
        if self._task is None:
            self._task = asyncio.create_task(self._work())
        return item

    def _shed(self) -> None:
        """Refuse the calls that have waited too long, also while a batch is being answered: they have given up."""
        now = time.perf_counter()
        queue, self._shedding = self._queue, None
        while queue:
            left = queue[0].queued + self._max_wait - now
            if left > 0:
                self._shedding = asyncio.get_running_loop().call_later(left, self._shed)
                return
            item = queue.popleft()
            _settle(item, self._too_late())
            item.cancelled = True

    def _too_late(self) -> NotReady:
        return NotReady(
            f"the call has waited {self._max_wait * 1000:g} ms for its batch, which is the most; try again later"
        )

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
                self._began(batch)
                await self._answer(batch)
                self._count(batch, began)
        finally:
            self._task = None

    def _began(self, batch: Sequence[Waiting]) -> None:
        """These wait no more, nor do those before them whose callers have gone."""
        taken = set(map(id, batch))
        queue = self._queue
        if all(id(item) in taken or item.cancelled for item in queue):
            queue.clear()
        else:
            self._queue = deque(item for item in queue if id(item) not in taken and not item.cancelled)
        if not self._queue and self._shedding is not None:
            self._shedding.cancel()
            self._shedding = None

    def _count(self, batch: Sequence[Waiting], began: float) -> None:
        ended = time.perf_counter()
        rows = sum(item.rows for item in batch)
        self._batcher.ended(rows, ended - began, ended)
        if self._metrics is not None:
            self._metrics.batch(rows, ended - began, [began - item.queued for item in batch])
            self._metrics.joined(self._route, len(batch))

    async def _answer(self, batch: Sequence[Waiting]) -> None:
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


def _settle(item: Waiting, outcome: Any) -> None:
    if not item.cancelled:
        item.done(outcome)


def _resolve(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():
        return  # Its caller has gone.
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _weight(value: Any, weights: Sequence[float] | None) -> float:
    if weights is not None:
        return sum(weights)
    return int(getattr(value, "nbytes", 0)) if hasattr(value, "dtype") else 0
