"""What Prometheus may answer, and what is made of it."""

import pytest

from tiffin.kits import prometheus as asking
from tiffin.local import prometheus


@pytest.mark.parametrize(
    ("answer", "value", "error"),
    [
        ({"status": "success", "data": {"resultType": "scalar", "result": [1, "2.5"]}}, 2.5, ""),
        ({"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "3"]}]}}, 3.0, ""),
        ({"status": "success", "data": {"resultType": "vector", "result": []}}, None, "no value"),
        (
            {"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "3"]}] * 2}},
            None,
            "2 series",
        ),
        ({"status": "success", "data": {"resultType": "matrix", "result": []}}, None, "matrix"),
        ({"status": "error", "error": "parse error"}, None, "refused: parse error"),
        ([], None, "did not answer like Prometheus"),
        ({"status": "success"}, None, "did not answer like Prometheus"),
        ({"status": "success", "data": {"resultType": "scalar", "result": [1, "x"]}}, None, "did not answer"),
    ],
)
def test_answers(answer: object, value: float | None, error: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "_ask", lambda server, expression: answer)
    reading = prometheus.query("http://p", "q", now=5.0)
    assert (reading.value, reading.time) == (value, 5.0)
    assert error in reading.error
    assert bool(reading.error) == (value is None)


@pytest.mark.parametrize("server", ["", "p:9090", "ftp://p", "http://", "http://127.0.0.1:1", "http://h:99999"])
def test_addresses_that_cannot_be_asked_are_a_reason(server: str) -> None:
    reading = prometheus.query(server, "q")
    assert reading.value is None
    assert server in reading.error
