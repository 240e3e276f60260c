"""The metrics page of a service: its own ``__metrics__``, and BentoML's names for last calls and batches."""

import time

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import tiffin


def samples(text: str) -> dict[str, list[tuple[dict[str, str], float]]]:
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


@pytest.mark.parametrize("prefix", ["", "/below"])
@pytest.mark.parametrize("is_async", [True, False])
def test_the_services_own_hook_has_the_last_word_about_the_page(prefix, is_async):
    class Plain:
        def __metrics__(self, text: str) -> str:
            return text + "mine 1.0\n"

    class Async:
        async def __metrics__(self, text: str) -> str:
            return text + "mine 1.0\n"

    made = tiffin.service(path_prefix=prefix or None)(Async if is_async else Plain)
    with TestClient(made.to_asgi()) as client:
        page = client.get(f"{prefix}/metrics").text
    assert page.endswith("mine 1.0\n")
    assert "tiffin_in_flight" in page


@pytest.mark.parametrize("answer", [None, ValueError("no")])
def test_a_hook_that_fails_is_logged_and_the_page_is_served(answer, caplog):
    @tiffin.service
    class Broken:
        def __metrics__(self, text: str) -> str:
            if answer is not None:
                raise answer
            return answer

    with TestClient(Broken.to_asgi()) as client:
        reply = client.get("/metrics")
    assert reply.status_code == 200
    assert "tiffin_in_flight" in reply.text
    assert "__metrics__ failed" in caplog.text


def test_batches_are_counted_by_method_in_calls():
    from tiffin.runtime.exchange import Endpoint
    from tiffin.runtime.metrics import Metrics

    metrics = Metrics([Endpoint("GET", "/livez", print), Endpoint("POST", "/score", print)])
    assert "bentoml_service_adaptive_batch_size" not in samples(metrics.page().decode())
    metrics.as_bento(
        "mine", {"service_name": "s", "service_version": "v", "runner_name": "r"}, {"/score": "score"}
    )
    metrics.joined("/score", 3)
    metrics.joined("/score", 1)
    metrics.joined("/unknown", 1)
    metrics.request(0, 200, 0.1)
    page = samples(metrics.page().decode())
    assert "mine_last_request_timestamp_seconds" not in page, "a look at health is no call"
    [(labels, calls)] = page["bentoml_service_adaptive_batch_size_sum"]
    assert calls == 4
    assert labels == {
        "method_name": "score",
        "worker_index": "1",
        "service_name": "s",
        "service_version": "v",
        "runner_name": "r",
    }
    [(_, count)] = page["bentoml_service_adaptive_batch_size_count"]
    assert count == 2
    before = time.time()
    metrics.request(1, 500, 0.1)
    [(_, last)] = samples(metrics.page().decode())["mine_last_request_timestamp_seconds"]
    assert before <= last <= time.time()
    assert samples(metrics.page().decode())["mine_request_total"][0][1] == 1, "a batch is no request"


def test_a_batchable_method_is_counted_when_it_is_called():
    @tiffin.service
    class Doubles:
        @tiffin.api(batchable=True, route="/v1/twice")
        def double(self, x: list[int]) -> list[int]:
            return [2 * i for i in x]

    with TestClient(Doubles.to_asgi()) as client:
        assert client.post("/v1/twice", json={"x": [1, 2]}).json() == [2, 4]
        page = samples(client.get("/metrics").text)
    [(labels, calls)] = page["bentoml_service_adaptive_batch_size_sum"]
    assert (labels["method_name"], calls) == ("double", 1)
