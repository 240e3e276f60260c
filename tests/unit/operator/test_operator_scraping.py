import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.operator.scraping import Counts, counts_of, held_of

CALLS = (
    ("POST", "/v1/models/iris:predict", 200, 12),
    ("POST", "/v1/models/iris:predict", 500, 1),
    ("GET", "/readyz", 200, 900),
    ("GET", "/metrics", 200, 70),
    ("GET", "/v2/health/live", 200, 8),
    ("GET", "/v2/models/iris/ready", 200, 8),
)
TIFFIN = "# TYPE tiffin_requests_total counter\n" + "".join(
    f'tiffin_requests_total{{namespace="m",method="{method}",endpoint="{endpoint}",code="{code}"}} {count}.0\n'
    for method, endpoint, code, count in CALLS
)
TIFFIN += 'tiffin_in_flight{namespace="m",deployment="iris"} 4.0\n'


@pytest.mark.parametrize(
    ("page", "counts"),
    [
        (TIFFIN.encode(), Counts(active=3, calls=13)),
        (b'tiffin_in_flight{deployment="iris"} 1.0\n', Counts()),
        (
            b'vllm:num_requests_running{m="a"} 2\nvllm:num_requests_waiting{m="a"} 5\n'
            b'vllm:request_success_total{r="stop"} 3\nvllm:request_success_total{r="length"} 4\n',
            Counts(active=2, waiting=5, calls=7),
        ),
        (
            b'nv_inference_request_success{model="a"} 9\nnv_inference_request_failure{model="a"} 1',
            Counts(calls=10),
        ),
        (b'request_predict_seconds_count{model_name="a"} 3 1700000000\n', Counts(calls=3)),
        (b"ts_inference_requests_total 5\nts_inference_requests_total_more 7\n", Counts(calls=5)),
        (b"model_infer_request_success_total NaN\nmodel_infer_request_success_total +Inf\n", Counts()),
        (b"process_cpu_seconds_total 5\n", None),
        (b"", None),
    ],
)
def test_calls_are_counted_of_every_server_that_is_known(page: bytes, counts: Counts | None) -> None:
    assert counts_of(page) == counts


@given(st.binary(max_size=80), st.sampled_from([b"tiffin_requests_total", b"vllm:num_requests_running", b""]))
def test_no_page_crashes_the_reading(noise: bytes, name: bytes) -> None:
    counts_of(noise + name + noise)
    held_of(name + noise)


def test_what_activators_hold_is_read_by_service() -> None:
    page = (
        b'# TYPE tiffin_activator_held gauge\ntiffin_activator_held{namespace="m",service="iris-predictor"} 3\n'
        b'tiffin_activator_held{namespace="m",service="b"} 0\n'
        b'tiffin_activator_holds_total{namespace="m",service="b"} 7\n'
    )
    assert held_of(page) == {"m/iris-predictor": 3, "m/b": 0}
