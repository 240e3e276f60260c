"""Counters in shared memory, and the page they make; prometheus_client's parser is the independent peer."""

import mmap
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from tiffin.runtime.exchange import Endpoint
from tiffin.runtime.metrics import ROWS, SECONDS, STATUSES, Metrics, shared_memory

ENDPOINTS = [Endpoint("POST", "/v2/models/m/infer", lambda exchange: None), Endpoint("GET", "/v2", lambda e: None)]


def parsed(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Sample name to labels to value."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.page().decode()):
        for sample in family.samples:
            key = tuple(sorted(sample.labels.items()))
            assert key not in found.get(sample.name, {}), "a series twice"
            found.setdefault(sample.name, {})[key] = sample.value
    return found


def value(page: dict[str, Any], name: str, **labels: str) -> float:
    return page[name][tuple(sorted(labels.items()))]


def test_requests_are_counted_by_endpoint_and_status() -> None:
    metrics = Metrics(ENDPOINTS)
    for endpoint, status in ((0, 200), (0, 200), (0, 400), (1, 200), (-1, 404), (0, 418), (0, 999)):
        metrics.request(endpoint, status, 0.01)
    page = parsed(metrics)
    infer = {"method": "POST", "endpoint": "/v2/models/m/infer"}
    assert value(page, "tiffin_requests_total", **infer, code="200") == 2
    assert value(page, "tiffin_requests_total", **infer, code="400") == 1
    assert value(page, "tiffin_requests_total", **infer, code="other") == 2
    assert value(page, "tiffin_requests_total", method="GET", endpoint="/v2", code="200") == 1
    assert value(page, "tiffin_requests_total", method="", endpoint="", code="404") == 1


@given(st.lists(st.integers(0, 2000), max_size=300))
@settings(max_examples=20, deadline=None)
def test_any_statuses_make_a_bounded_number_of_series(statuses: list[int]) -> None:
    metrics = Metrics(ENDPOINTS)
    for index, status in enumerate(statuses):
        metrics.request(index % 3 - 1, status, 0.0)
    page = parsed(metrics)
    series = page.get("tiffin_requests_total", {})
    assert len(series) <= 3 * (len(STATUSES) + 1)
    assert sum(series.values()) == len(statuses)


EXACT = st.sampled_from([*SECONDS, 0.0, 1e-9, 61.0, 1e9]) | st.floats(0, 100)


@given(st.lists(EXACT, min_size=1, max_size=40))
@settings(max_examples=20, deadline=None)
def test_a_histogram_counts_what_is_at_most_each_bound(seconds: list[float]) -> None:
    metrics = Metrics(ENDPOINTS)
    for each in seconds:
        metrics.request(0, 200, each)
    page = parsed(metrics)
    labels = {"method": "POST", "endpoint": "/v2/models/m/infer"}
    for bound in SECONDS:
        expected = sum(each <= bound for each in seconds)
        assert value(page, "tiffin_request_seconds_bucket", **labels, le=str(bound)) == expected
    assert value(page, "tiffin_request_seconds_bucket", **labels, le="+Inf") == len(seconds)
    assert value(page, "tiffin_request_seconds_count", **labels) == len(seconds)
    assert value(page, "tiffin_request_seconds_sum", **labels) == pytest.approx(sum(seconds))


def test_batches_are_counted_by_rows_predict_time_and_wait() -> None:
    metrics = Metrics([])
    metrics.batch(3, 0.002, [0.0001, 0.4])
    metrics.batch(2000, 0.1, [7.0])
    page = parsed(metrics)
    assert value(page, "tiffin_batch_rows_count") == 2
    assert value(page, "tiffin_batch_rows_sum") == 2003
    assert value(page, "tiffin_batch_rows_bucket", le="2.0") == 0
    assert value(page, "tiffin_batch_rows_bucket", le="4.0") == 1
    assert value(page, "tiffin_batch_rows_bucket", le=str(ROWS[-1])) == 1
    assert value(page, "tiffin_predict_seconds_sum") == pytest.approx(0.102)
    assert value(page, "tiffin_queue_seconds_count") == 3
    assert value(page, "tiffin_queue_seconds_sum") == pytest.approx(7.4001)


def test_a_page_asked_of_any_worker_sums_them_all() -> None:
    memory = shared_memory(3)
    workers = [Metrics(ENDPOINTS, memory, index) for index in range(3)]
    for index, worker in enumerate(workers):
        for _ in range(index + 1):
            worker.request(0, 200, 0.5)
        worker.gauges(index, 10)
        worker.loaded(index * 1.5)
        worker.dropped()
    workers[2].unready()
    pages = [parsed(worker) for worker in workers]
    for page in pages:
        labels = {"method": "POST", "endpoint": "/v2/models/m/infer"}
        assert value(page, "tiffin_requests_total", **labels, code="200") == 6
        assert value(page, "tiffin_request_seconds_sum", **labels) == 3.0
        assert value(page, "tiffin_in_flight") == 3
        assert value(page, "tiffin_connections") == 30
        assert value(page, "tiffin_load_seconds") == 3.0
        assert value(page, "tiffin_ready_workers") == 2
        assert value(page, "tiffin_callers_gone_total") == 3


def test_a_restarted_worker_keeps_its_counters_and_not_its_gauges() -> None:
    memory = shared_memory(2)
    Metrics(ENDPOINTS, memory, 1).request(0, 200, 0.5)
    first = Metrics(ENDPOINTS, memory, 1)
    first.gauges(4, 5)
    first.loaded(1.0)
    again = Metrics(ENDPOINTS, memory, 1)
    again.request(0, 200, 0.5)
    page = parsed(Metrics(ENDPOINTS, memory, 0))
    labels = {"method": "POST", "endpoint": "/v2/models/m/infer"}
    assert value(page, "tiffin_requests_total", **labels, code="200") == 2
    assert value(page, "tiffin_in_flight") == 0
    assert value(page, "tiffin_ready_workers") == 0


def test_counters_are_shared_through_the_memory_itself() -> None:
    memory = shared_memory(1)
    assert isinstance(memory, mmap.mmap)
    Metrics(ENDPOINTS, memory).request(1, 503, 1.0)
    assert value(
        parsed(Metrics(ENDPOINTS, memory)), "tiffin_requests_total", method="GET", endpoint="/v2", code="503"
    )


def test_labels_are_on_every_series_and_are_escaped() -> None:
    metrics = Metrics(ENDPOINTS, labels={"deployment": 'a"b\\c\nd'})
    metrics.request(0, 200, 0.1)
    metrics.batch(1, 0.1, [0.1])
    for name, series in parsed(metrics).items():
        if name.startswith("tiffin_"):
            assert all(("deployment", 'a"b\\c\nd') in labels for labels in series)


def test_more_endpoints_than_there_is_memory_for_are_refused() -> None:
    many = [Endpoint("GET", f"/{index}", lambda exchange: None) for index in range(5000)]
    with pytest.raises(ValueError, match="endpoints, found 5000"):
        Metrics(many)
