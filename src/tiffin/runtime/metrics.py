"""Counters of one replica, in memory its workers share, and their Prometheus page.

Counting is one addition to a slot of a shared ``mmap``; each worker has a block of slots, so nothing is locked,
and a page asked of any worker sums the blocks of all. Labels come from the endpoints that exist and a fixed
list of status codes: a caller cannot make new series.
"""

from __future__ import annotations

import logging
import mmap
import os
from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from time import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.phases import PHASES

if TYPE_CHECKING:
    from prometheus_client.core import Metric

log = logging.getLogger(__name__)

BLOCK_BYTES = 1 << 20
"""Bytes per worker; pages never touched take no memory."""

STATUSES = (
    200,
    201,
    204,
    301,
    304,
    400,
    401,
    403,
    404,
    405,
    408,
    409,
    413,
    415,
    422,
    429,
    431,
    499,
    500,
    501,
    502,
    503,
    504,
)
_STATUS_SLOT = {status: slot for slot, status in enumerate(STATUSES)}
_OTHER = len(STATUSES)

SECONDS = (
    0.0001,
    0.00025,
    0.0005,
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    60.0,
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

_HISTOGRAM = len(SECONDS) + 2  # buckets, +Inf, sum
_ROWS_HISTOGRAM = len(ROWS) + 2
_IN_FLIGHT, _CONNECTIONS, _LOAD, _READY, _DROPPED, _RECORDED, _UNRECORDED, _LOGGED, _UNLOGGED = range(9)
_START = 9
_QUEUE = _START + len(PHASES)
_PREDICT = _QUEUE + _HISTOGRAM
_BATCH = _PREDICT + _HISTOGRAM
_TASKS = _BATCH + _ROWS_HISTOGRAM
TASK_STATES = ("completed", "failed", "canceled")
_DEPLOYED = _TASKS + len(TASK_STATES)
_LAST = _DEPLOYED + 1
_PROGRAM_PORT = _LAST + 1
_ENDPOINTS = _PROGRAM_PORT + 1
_LATENCY = len(STATUSES) + 1
_CALLS = _LATENCY + _HISTOGRAM
_PER_ENDPOINT = _CALLS + _ROWS_HISTOGRAM
_LATENCY_SUM = len(SECONDS) + 1


def shared_memory(workers: int, fileno: int = -1) -> mmap.mmap:
    """Blocks for ``workers`` workers: anonymous (inherited by fork), or over an open file of any size."""
    return mmap.mmap(fileno, workers * BLOCK_BYTES)


class Metrics:
    """One worker's slots, and the sums over all workers.

    Args:
        endpoints: every endpoint; its ``index`` is its place here.
        memory: from ``shared_memory``; ``None`` for a single worker.
        worker: which block is this worker's.
        labels: on every series, for example ``{"deployment": "iris"}``.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        memory: mmap.mmap | None = None,
        worker: int = 0,
        labels: dict[str, str] | None = None,
    ) -> None:
        self.know(endpoints)
        self._memory = memory if memory is not None else shared_memory(1)
        self._all = memoryview(self._memory).cast("d")
        block = BLOCK_BYTES // 8
        self._blocks = [self._all[start : start + block] for start in range(0, len(self._all), block)]
        self._slots = self._blocks[worker]
        self._labels = labels or {}
        self._in_flight = 0
        self._bento: tuple[str, dict[str, str]] | None = None
        self._methods: Mapping[str, str] = MappingProxyType({})
        self._has_users = True
        self.editor: Callable[[str], Awaitable[str]] | None = None
        for gauge in (_IN_FLIGHT, _CONNECTIONS, _READY):
            self._slots[gauge] = 0.0  # A restarted worker keeps its counters, not its gauges.

    def know(self, endpoints: Sequence[Endpoint]) -> None:
        """Count for these from now on; those that were known before have to keep their places.

        Raises:
            ValueError: there are more than have room.
        """
        # The first place is for requests no endpoint was found for, whose index is -1.
        self._endpoints = [("", ""), *((endpoint.method, endpoint.template) for endpoint in endpoints)]
        if (_ENDPOINTS + len(self._endpoints) * _PER_ENDPOINT) * 8 > BLOCK_BYTES:
            raise ValueError(
                f"expected at most {BLOCK_BYTES // 8 // _PER_ENDPOINT} endpoints, found {len(endpoints)}"
            )
        self._is_call = [method != "GET" for method, _ in self._endpoints]
        self._bases = [_ENDPOINTS + index * _PER_ENDPOINT for index in range(len(self._endpoints))]

    def deployed(self) -> None:
        """The deployment hooks have run, once for all workers."""
        self._blocks[0][_DEPLOYED] = 1.0

    @property
    def is_deployed(self) -> bool:
        """Whether they have, in any worker, since the replica began."""
        return self._blocks[0][_DEPLOYED] > 0

    @property
    def program_port(self) -> int:
        """Where the program of the service listens, which one worker started for all; 0 as long as it does not."""
        return int(self._blocks[0][_PROGRAM_PORT])

    @program_port.setter
    def program_port(self, port: int) -> None:
        self._blocks[0][_PROGRAM_PORT] = port

    def as_bento(
        self, namespace: str, labels: dict[str, str], methods: Mapping[str, str] = MappingProxyType({})
    ) -> None:
        """Give requests under BentoML's names, too: the same slots, read when the page is.

        ``methods`` has the names of methods by route.
        """
        self._bento = (namespace, labels)
        self._methods = methods

    def without_users(self) -> None:
        """Leave out what user code registers."""
        self._has_users = False

    # -- counting, on the request path ---------------------------------------------------------------------

    def request(self, endpoint: int, status: int, seconds: float) -> None:
        """A request was answered; ``endpoint`` is -1 when none was found for it."""
        slots = self._slots
        base = self._bases[endpoint + 1]
        slots[base + _STATUS_SLOT.get(status, _OTHER)] += 1.0
        base += _LATENCY
        slots[base + bisect_left(SECONDS, seconds)] += 1.0
        slots[base + _LATENCY_SUM] += seconds
        if self._bento is not None and self._is_call[endpoint + 1]:
            slots[_LAST] = time()

    def batch(self, rows: int, seconds: float, waits: Iterable[float]) -> None:
        """A batch was predicted; ``waits`` are the seconds its calls had queued."""
        slots = self._slots
        slots[_PREDICT + bisect_left(SECONDS, seconds)] += 1.0
        slots[_PREDICT + len(SECONDS) + 1] += seconds
        slots[_BATCH + bisect_left(ROWS, rows)] += 1.0
        slots[_BATCH + len(ROWS) + 1] += rows
        total = 0.0
        for wait in waits:
            slots[_QUEUE + bisect_left(SECONDS, wait)] += 1.0
            total += wait
        slots[_QUEUE + len(SECONDS) + 1] += total

    def joined(self, route: str, calls: int) -> None:
        """So many calls of a batchable method, which has this route, were answered as one batch."""
        try:
            base = self._bases[self._endpoints.index(("POST", route))] + _CALLS
        except ValueError:
            return  # called in another way before its endpoints were known
        self._slots[base + bisect_left(ROWS, calls)] += 1.0
        self._slots[base + len(ROWS) + 1] += calls

    def dropped(self) -> None:
        """A caller left before its answer."""
        self._slots[_DROPPED] += 1.0

    def recorded(self, calls: int = 1) -> None:
        """Calls were written to the spool."""
        self._slots[_RECORDED] += calls

    def unrecorded(self, calls: int = 1) -> None:
        """Calls of the sample that were not written, for want of room."""
        self._slots[_UNRECORDED] += calls

    def logged(self, events: int = 1) -> None:
        """Payload events were delivered."""
        self._slots[_LOGGED] += events

    def unlogged(self, events: int = 1) -> None:
        """Payload events that were dropped: the queue was full, or their receiver did not take them."""
        self._slots[_UNLOGGED] += events

    def task_ended(self, state: str) -> None:
        """A task has come to its end, as completed, failed or canceled."""
        self._slots[_TASKS + TASK_STATES.index(state)] += 1.0

    def gauges(self, in_flight: int, connections: int) -> None:
        """What is going on now; called once a second and before a page."""
        self._slots[_IN_FLIGHT] = in_flight
        self._slots[_CONNECTIONS] = connections

    def loaded(self, seconds: float) -> None:
        """The model or service took this long to load and warm up."""
        self._slots[_LOAD] = seconds
        self._slots[_READY] = 1.0

    def started(self, seconds: Mapping[str, float]) -> None:
        """The phases of the start took this long."""
        for slot, phase in enumerate(PHASES):
            self._slots[_START + slot] = seconds.get(phase, 0.0)

    def unready(self) -> None:
        """Draining."""
        self._slots[_READY] = 0.0

    # -- the page ------------------------------------------------------------------------------------------

    def page(self) -> bytes:
        """The Prometheus text page: the sums over all workers, and what user code registered in this one."""
        import prometheus_client

        registry = prometheus_client.CollectorRegistry()
        registry.register(self)
        page = prometheus_client.generate_latest(registry)
        return page + _user_metrics() if self._has_users else page

    async def edited_page(self) -> bytes:
        """The page as the service's own ``__metrics__`` leaves it; as it was, when that fails."""
        page = self.page()
        if self.editor is None:
            return page
        try:
            return (await self.editor(page.decode())).encode()
        except Exception:
            log.exception("__metrics__ failed; the metrics are served without it")
            return page

    def collect(self) -> Iterator[Metric]:
        """Every series, for prometheus_client."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names, values = list(self._labels), list(self._labels.values())
        requests = CounterMetricFamily(
            "tiffin_requests", "Requests answered, by status code.", labels=[*names, "method", "endpoint", "code"]
        )
        seconds = HistogramMetricFamily(
            "tiffin_request_seconds",
            "From the last byte of a request to its answer.",
            labels=[*names, "method", "endpoint"],
        )
        for index, (method, template) in enumerate(self._endpoints):
            base = _ENDPOINTS + index * _PER_ENDPOINT
            counted = [self._sum(base + slot) for slot in range(len(STATUSES) + 1)]
            if not any(counted):
                continue
            for slot, count in enumerate(counted):
                if count:
                    code = str(STATUSES[slot]) if slot < len(STATUSES) else "other"
                    requests.add_metric([*values, method, template, code], count)
            self._histogram(seconds, [*values, method, template], base + len(STATUSES) + 1, SECONDS)
        yield requests
        yield seconds
        if self._bento is not None:
            yield from self._as_bento(*self._bento)
        for name, text, base, bounds in (
            ("tiffin_queue_seconds", "How long calls waited for a batch.", _QUEUE, SECONDS),
            ("tiffin_predict_seconds", "How long the model took for a batch.", _PREDICT, SECONDS),
            ("tiffin_batch_rows", "Rows in a batch.", _BATCH, ROWS),
        ):
            family = HistogramMetricFamily(name, text, labels=names)
            self._histogram(family, values, base, bounds)
            yield family
        for name, text, slot, total in (
            ("tiffin_in_flight", "Requests being answered.", _IN_FLIGHT, self._sum),
            ("tiffin_connections", "Open connections.", _CONNECTIONS, self._sum),
            ("tiffin_load_seconds", "Time to load and warm up; the slowest worker's.", _LOAD, self._max),
            ("tiffin_ready_workers", "Workers that are ready.", _READY, self._sum),
        ):
            gauge = GaugeMetricFamily(name, text, labels=names)
            gauge.add_metric(values, total(slot))
            yield gauge
        start = GaugeMetricFamily(
            "tiffin_start_seconds", "How long each phase of the start took.", labels=[*names, "phase"]
        )
        for slot, phase in enumerate(PHASES):
            start.add_metric([*values, phase], self._max(_START + slot))
        yield start
        for name, text, slot in (
            ("tiffin_callers_gone", "Callers that left before their answer.", _DROPPED),
            ("tiffin_recorded_calls", "Calls written down for comparing and replaying.", _RECORDED),
            ("tiffin_unrecorded_calls", "Calls that should have been, for which there was no room.", _UNRECORDED),
            ("tiffin_logged_payloads", "Payload events delivered to the logger's address.", _LOGGED),
            ("tiffin_unlogged_payloads", "Payload events dropped: no room, or not taken.", _UNLOGGED),
        ):
            counter = CounterMetricFamily(name, text, labels=names)
            counter.add_metric(values, self._sum(slot))
            yield counter

        ended = CounterMetricFamily(
            "tiffin_tasks_ended", "Tasks that have ended, by how.", labels=[*names, "status"]
        )
        for slot, state in enumerate(TASK_STATES):
            if count := self._sum(_TASKS + slot):
                ended.add_metric([*values, state], count)
        yield ended

    def _as_bento(self, namespace: str, labels: dict[str, str]) -> Iterator[Metric]:
        """Counts, seconds and what is in progress, by BentoML's names; ``endpoint`` is the route."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        names, values = ["endpoint", *labels], list(labels.values())
        total = CounterMetricFamily(
            f"{namespace}_request", "Requests answered.", labels=[*names, "http_response_code"]
        )
        seconds = HistogramMetricFamily(
            f"{namespace}_request_duration_seconds", "From a request to its answer.", labels=names
        )
        for index, (method, template) in enumerate(self._endpoints):
            base = _ENDPOINTS + index * _PER_ENDPOINT
            counted = {code: self._sum(base + slot) for code, slot in _STATUS_SLOT.items()}
            if method == "GET" or not any(counted.values()):
                continue  # As BentoML, which counts calls and no looks at health, metrics or the page.
            for code, count in counted.items():
                if count:
                    total.add_metric([template, *values, str(code)], count)
            self._histogram(seconds, [template, *values], base + _LATENCY, SECONDS)
        yield total
        yield seconds
        if last := self._max(_LAST):
            stamp = GaugeMetricFamily(
                f"{namespace}_last_request_timestamp_seconds",
                "When the last request was answered, in seconds since 1970.",
                labels=list(labels),
            )
            stamp.add_metric(values, last)
            yield stamp
        yield self._joined(labels)
        now = GaugeMetricFamily(f"{namespace}_request_in_progress", "Requests being answered.", labels=names)
        now.add_metric(["", *values], self._sum(_IN_FLIGHT))
        yield now

    def _joined(self, labels: dict[str, str]) -> Metric:
        from prometheus_client.core import HistogramMetricFamily

        # The name is BentoML's, whatever the namespace; it counts requests, tiffin_batch_rows their items.
        family = HistogramMetricFamily(
            "bentoml_service_adaptive_batch_size",
            "Requests answered as one batch.",
            labels=["method_name", "worker_index", *labels],
        )
        for index, (_, template) in enumerate(self._endpoints):
            base = _ENDPOINTS + index * _PER_ENDPOINT + _CALLS
            for worker, block in enumerate(self._blocks, 1):
                counts = block[base : base + len(ROWS) + 1]
                if any(counts):
                    bounds = (*map(str, ROWS), "+Inf")
                    buckets = list(zip(bounds, accumulate(counts), strict=True))
                    name = self._methods.get(template, template)
                    family.add_metric([name, str(worker), *labels.values()], buckets, block[base + len(ROWS) + 1])
        return family

    def _sum(self, slot: int) -> float:
        return sum(block[slot] for block in self._blocks)

    def _max(self, slot: int) -> float:
        return max(block[slot] for block in self._blocks)

    def _histogram(self, family: Any, labels: list[str], base: int, bounds: Sequence[float]) -> None:
        total = 0.0
        buckets: list[tuple[str, float]] = []
        for slot in range(len(bounds) + 1):
            total += self._sum(base + slot)
            buckets.append((str(bounds[slot]) if slot < len(bounds) else "+Inf", total))
        family.add_metric(labels, buckets, self._sum(base + len(bounds) + 1))


def _user_metrics() -> bytes:
    """What user code registered with prometheus_client, in all workers, and the process's own figures."""
    import prometheus_client
    from prometheus_client import multiprocess

    if not os.environ.get(MULTIPROCESS):
        return prometheus_client.generate_latest(prometheus_client.REGISTRY)
    registry = prometheus_client.CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    for collector in (prometheus_client.ProcessCollector, prometheus_client.PlatformCollector):
        collector(registry=registry)
    return prometheus_client.generate_latest(registry)


MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""The variable by which prometheus_client's values are in files that several processes share."""


def start_seconds(memory: mmap.mmap) -> dict[str, float]:
    """How long each phase of the start took, of the slowest worker."""
    slots = memoryview(memory).cast("d")
    starts = range(_START, len(slots), BLOCK_BYTES // 8)
    return {phase: max(slots[at + slot] for at in starts) for slot, phase in enumerate(PHASES)}
