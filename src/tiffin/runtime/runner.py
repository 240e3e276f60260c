"""Runs a saved model: batches of calls, inline when a predict is cheap, else in one thread of its own.

The decisions are ``batcher``'s; this file has the loop, the thread and the clock.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from tiffin.errors import PredictError, TiffinError
from tiffin.models.model import SavedModel
from tiffin.protocol.tensors import Array, TensorCall, join, measure
from tiffin.runtime.batcher import Batcher
from tiffin.runtime.metrics import Metrics
from tiffin.spec import Batching

log = logging.getLogger(__name__)

INLINE_SECONDS = 200e-6
"""A predict shorter than this runs on the event loop: handing it to a thread would cost as much again."""

_SLOW_IN_A_ROW = 8

Outcome = Sequence[Array] | TiffinError
Deliver = Callable[[TensorCall, Outcome], None]


class Runner:
    """Takes calls, gives each its outcome through ``deliver``, exactly once, on the event loop.

    Args:
        model: what predicts; only ever called by one thread at a time.
        batching: caps; off for models whose rows depend on each other.
        deliver: receives the outcome of each call that still has a caller.
        predict_seconds: the time of one warm predict, measured; decides inline or thread.
    """

    def __init__(
        self, model: SavedModel, batching: Batching, deliver: Deliver, metrics: Metrics, predict_seconds: float
    ) -> None:
        enabled = model.batchable and batching.enabled is not False
        self._model = model
        self._deliver = deliver
        self._metrics = metrics
        self._batcher: Batcher[TensorCall] = Batcher(batching.max_rows if enabled else 1, batching.max_bytes)
        self._enabled = enabled
        self._inline = predict_seconds < INLINE_SECONDS
        self._scheduled = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: _PredictThread | None = None
        self._slow = 0

    def start(self) -> None:
        """Bind to the running loop."""
        self._loop = asyncio.get_running_loop()

    def stop(self) -> None:
        """End the thread, after the batch in hand."""
        if self._thread is not None:
            self._thread.stop()
            self._thread = None

    @property
    def is_inline(self) -> bool:
        """Whether predicts run on the event loop."""
        return self._inline

    def submit(self, call: TensorCall) -> None:
        """Queue a call whose arrays the model has conformed."""
        measure(call)
        if not self._enabled:
            call.group = call  # Alone in its group: batches are never shared.
        call.queued = time.perf_counter()
        self._batcher.add(call)
        if not self._scheduled:
            self._scheduled = True
            assert self._loop is not None
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Start the next batch, or look again in the next turn of the loop, after it has read its sockets."""
        assert self._loop is not None
        now = time.perf_counter()
        if self._batcher.lingers(now):
            self._loop.call_soon(self._pump)
            return
        batch = self._batcher.take()
        if not batch:
            self._scheduled = False
            return
        if self._inline:
            self._run_inline(batch, now)
        else:
            if self._thread is None:
                self._thread = _PredictThread(self._model, self._loop, self._finished)
            self._thread.predict(batch)

    def _reconsider(self, seconds: float) -> None:
        """Leave the loop when predicts have become slow; a single one may only have lost its turn on the core."""
        self._slow = self._slow + 1 if seconds > 4 * INLINE_SECONDS else 0
        if self._slow == _SLOW_IN_A_ROW:
            log.info(
                "predicts now run in a thread: %d in a row took over %.0f us", self._slow, 4e6 * INLINE_SECONDS
            )
            self._inline = False

    def _run_inline(self, batch: list[TensorCall], started: float) -> None:
        outcomes = run(self._model, batch)
        self._finished(batch, outcomes, started, time.perf_counter())

    def _finished(
        self, batch: list[TensorCall], outcomes: Sequence[Outcome], started: float, ended: float
    ) -> None:
        assert self._loop is not None
        seconds = ended - started
        rows = sum([call.rows for call in batch])
        self._batcher.ended(rows, seconds, ended)
        self._metrics.batch(rows, seconds, [started - call.queued for call in batch])
        # The next batch first, so that a thread has work while the replies are written.
        if self._batcher.rows:
            if self._inline:
                self._loop.call_soon(self._pump)
            else:
                self._pump()
        else:
            self._scheduled = False
        if self._inline and len(batch) == 1:
            self._reconsider(seconds)
        deliver = self._deliver
        for call, outcome in zip(batch, outcomes, strict=True):
            deliver(call, outcome)


def run(model: SavedModel, batch: Sequence[TensorCall]) -> Sequence[Outcome]:
    """Predict for a batch; an outcome per call.

    When the batch fails its halves are tried, and theirs, so that a bad call fails alone.
    """
    try:
        if len(batch) == 1:
            outputs = model.predict(tuple(batch[0].arrays))
            if model.batchable:
                _check_rows(outputs, batch[0].rows)
            return (outputs,)
        outputs = model.predict(join(batch))
        return _split(outputs, batch)
    except TiffinError as error:
        failure: TiffinError = error
    except (Exception, SystemExit) as error:
        failure = PredictError(f"the model raised {type(error).__name__}: {error}")
        failure.__cause__ = error
    if len(batch) == 1:
        return (failure,)
    middle = len(batch) // 2
    return [*run(model, batch[:middle]), *run(model, batch[middle:])]


def _split(outputs: Sequence[Array], batch: Sequence[TensorCall]) -> Sequence[Outcome]:
    """Each call's rows of every output; raises PredictError when the model gave other rows than it got."""
    total = sum([call.rows for call in batch])
    _check_rows(outputs, total)
    parts: list[Outcome] = []
    position = 0
    if len(outputs) == 1:
        array = outputs[0]
        for call in batch:
            end = position + call.rows
            parts.append((array[position:end],))
            position = end
        return parts
    for call in batch:
        end = position + call.rows
        parts.append([array[position:end] for array in outputs])
        position = end
    return parts


def _check_rows(outputs: Sequence[Array], rows: int) -> None:
    for array in outputs:
        if array.ndim == 0 or array.shape[0] != rows:
            raise PredictError(f"expected {rows} rows from the model, found shape {list(array.shape)}")


class _PredictThread:
    """The one thread that calls the model, woken with a batch, answering on the loop."""

    def __init__(
        self,
        model: SavedModel,
        loop: asyncio.AbstractEventLoop,
        finished: Callable[[list[TensorCall], Sequence[Outcome], float, float], None],
    ) -> None:
        self._model = model
        self._loop = loop
        self._finished = finished
        self._work: queue.SimpleQueue[list[TensorCall] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="predict", daemon=True)
        self._thread.start()

    def predict(self, batch: list[TensorCall]) -> None:
        self._work.put(batch)

    def stop(self) -> None:
        self._work.put(None)

    def _serve(self) -> None:
        while (batch := self._work.get()) is not None:
            started = time.perf_counter()
            outcomes = run(self._model, batch)
            ended = time.perf_counter()
            try:
                self._loop.call_soon_threadsafe(self._finished, batch, outcomes, started, ended)
            except RuntimeError:  # The loop has closed: the replica is gone, and so are the callers.
                return
