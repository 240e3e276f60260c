"""gRPC of ``tiffin serve`` with tritonclient: a saved model, a plain class, and a service, as real processes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest
import tritonclient.grpc as client
import tritonclient.http as http_client
from tests.integration.conftest import Served, until
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tiffin.protocol.grpc_messages import HEALTH, REFLECTION, message

SERVICE = """
from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, AsyncGenerator, Generator

import numpy as np
import tiffin
from tiffin.validators import DType, Shape

MARKS = Path(__file__).parent


@tiffin.service(traffic={"timeout": 2, "max_concurrency": 8})
class Demo:
    @tiffin.api(batchable=True)
    def predict(self, x: Annotated[np.ndarray, Shape((-1, 4)), DType("float32")]) -> np.ndarray:
        x += 0  # may be written into
        return x.sum(axis=1)

    @tiffin.api
    async def write(self, text_input: str, max_tokens: int = 3) -> AsyncGenerator[str, None]:
        for number in range(max_tokens):
            yield f"{text_input}{number}"

    @tiffin.api
    def count(self, n: int) -> Generator[dict, None, None]:
        for number in range(n):
            if number == 2:
                raise RuntimeError("secret")
            yield {"i": number}

    @tiffin.api
    async def wait(self, seconds: float, mark: str) -> float:
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            (MARKS / mark).touch()
            raise
        return seconds

    @tiffin.api
    async def forever(self, n: int) -> AsyncGenerator[int, None]:
        try:
            while True:
                yield n
                await asyncio.sleep(0.01)
        finally:
            (MARKS / "left").touch()
"""
CLASS = """
import numpy as np

class Plain:
    def predict(self, X, features_names=None, meta=None):
        if X.shape[-1] != 2:
            raise RuntimeError("secret")
        return X * 2
"""


def port_of(served: Served) -> int:
    found = re.search(r"gRPC at [\w.]+:(\d+)", served.text())
    assert found, served.text()
    return int(found[1])


@contextlib.contextmanager
def connected(served: Served) -> Iterator[client.InferenceServerClient]:
    with client.InferenceServerClient(f"127.0.0.1:{port_of(served)}") as found:
        yield found


def tensor(name: str, value: Any, module: Any = client) -> Any:
    array = np.asarray(value)
    array = array.astype(object) if array.dtype.kind == "U" else array
    found = module.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    found.set_data_from_numpy(array)
    return found


Serving = Callable[..., contextlib.AbstractContextManager[Served]]


@pytest.fixture(scope="module")
def model(serving: Serving, iris_model: Path) -> Iterator[Served]:
    with serving(str(iris_model), "--name", "iris", "--grpc-port", "0") as served:
        yield served


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("service")
    (directory / "demo.py").write_text(SERVICE)
    (directory / "plain.py").write_text(CLASS)
    return directory


@pytest.fixture(scope="module")
def service(serving: Serving, home: Path) -> Iterator[Served]:
    with serving("demo:Demo", "--name", "demo", "--grpc-port", "0", directory=home) as served:
        yield served


def failure(ask: Callable[[], Any]) -> str:
    with pytest.raises(InferenceServerException) as caught:
        ask()
    return str(caught.value)


def test_a_saved_model_answers(model: Served) -> None:
    with connected(model) as asked:
        assert asked.is_server_live()
        assert asked.is_server_ready()
        assert asked.is_model_ready("iris")
        assert asked.get_server_metadata().name == "tiffin"
        metadata = asked.get_model_metadata("iris")
        assert metadata.inputs[0].datatype == "FP64"
        assert list(metadata.inputs[0].shape) == [-1, 4]
        rows = [[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]]
        answer = asked.infer("iris", [tensor("input-0", rows)], request_id="7")
        assert answer.as_numpy("output-0").tolist() == [0, 2]
        assert answer.get_response().id == "7"
        assert [found.name for found in asked.get_model_repository_index().models] == ["iris"]


def test_what_a_caller_gets_wrong_has_a_code_of_its_own(model: Served) -> None:
    rows = [tensor("input-0", [[1.0, 2.0, 3.0, 4.0]])]
    with connected(model) as asked:
        assert "NOT_FOUND" in failure(lambda: asked.infer("nope", rows))
        assert "NOT_FOUND" in failure(lambda: asked.get_model_metadata("nope"))
        assert "INVALID_ARGUMENT" in failure(lambda: asked.infer("iris", [tensor("input-0", [[1.0]])]))
        wanted = [client.InferRequestedOutput("other")]
        assert "INVALID_ARGUMENT" in failure(lambda: asked.infer("iris", rows, outputs=wanted))
        assert "UNIMPLEMENTED" in failure(lambda: asked.infer("iris", rows, model_version="2"))
        assert "UNIMPLEMENTED" in failure(lambda: asked.load_model("iris"))


def test_calls_of_grpc_and_http_are_counted_alike(model: Served) -> None:
    with connected(model) as asked:
        asked.infer("iris", [tensor("input-0", [[1.0, 2.0, 3.0, 4.0]])])
    page = model.ask("GET", "/metrics")[1].decode()
    assert re.search(r'tiffin_requests_total\{code="200".*/ModelInfer",method="GRPC"', page)
    status, body = model.ask("POST", "/inference.GRPCInferenceService/ModelInfer", b"")
    assert (status, b"gRPC" in body or b"GRPC" in body) == (405, True)


def test_damaged_messages_are_the_callers_fault(model: Served) -> None:
    request = service_pb2.ModelInferRequest(model_name="iris", raw_input_contents=[bytes(32)])
    request.inputs.add(name="input-0", datatype="FP64", shape=[1, 4])
    good = request.SerializeToString()

    async def codes() -> set[grpc.StatusCode]:
        found = set()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_of(model)}") as channel:
            infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
            for index in range(len(good)):
                for byte in (0, 3, 0x7F, 0xFF):
                    try:
                        await infer(good[:index] + bytes([byte]) + good[index + 1 :])
                    except grpc.aio.AioRpcError as error:
                        found.add(error.code())
        return found

    wrong = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED}
    assert asyncio.run(codes()) <= wrong


def test_health_and_reflection_are_the_standard_ones(model: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(model)}") as channel:
        check = channel.unary_unary(f"/{HEALTH}.Health/Check")
        answer, asked = message(f"{HEALTH}.HealthCheckResponse"), message(f"{HEALTH}.HealthCheckRequest")
        assert answer.FromString(check(b"")).status == 1
        assert answer.FromString(check(asked(service="iris").SerializeToString())).status == 1
        with pytest.raises(grpc.RpcError) as caught:
            check(asked(service="nope").SerializeToString())
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = channel.unary_stream(f"/{HEALTH}.Health/Watch")(b"")
        assert answer.FromString(next(watch)).status == 1
        watch.cancel()
        request = message(f"{REFLECTION}.ServerReflectionRequest")
        questions = [request(list_services="*"), request(file_containing_symbol="inference.ModelInferRequest")]
        ask = channel.stream_stream(f"/{REFLECTION}.ServerReflection/ServerReflectionInfo")
        found = [
            message(f"{REFLECTION}.ServerReflectionResponse").FromString(data)
            for data in ask(iter(question.SerializeToString() for question in questions))
        ]
    names = [service.name for service in found[0].list_services_response.service]
    assert "inference.GRPCInferenceService" in names
    assert b"ModelInferRequest" in found[1].file_descriptor_response.file_descriptor_proto[0]


def test_several_workers_share_the_port_and_a_taken_one_is_named(serving: Serving, iris_model: Path) -> None:
    rows = [tensor("input-0", [[1.0, 2.0, 3.0, 4.0]])]
    with serving(str(iris_model), "--name", "iris", "--workers", "2", "--grpc-port", "0") as served:
        for _ in range(8):
            with connected(served) as asked:
                assert asked.infer("iris", rows).as_numpy("output-0").shape == (1,)
        taken = str(port_of(served))
        with serving(str(iris_model), "--grpc-port", taken, ready=False) as other:
            assert other.process.wait(30) == 3
            assert f"port {taken} on 127.0.0.1 is in use" in other.text()
            assert "--grpc-port" in other.text()
        assert served.stop() == 0


def test_a_plain_class_answers(serving: Serving, home: Path) -> None:
    with serving("plain:Plain", "--name", "plain", "--grpc-port", "0", directory=home) as served:
        with connected(served) as asked:
            answer = asked.infer("plain", [tensor("x", [[1.0, 2.0]])])
            assert answer.as_numpy("predict").tolist() == [[2.0, 4.0]]
            text = failure(lambda: asked.infer("plain", [tensor("x", [[1.0]])]))
            assert "INTERNAL" in text
            assert "secret" not in text
        assert served.stop() == 0


def test_methods_of_a_service_are_models_over_both_protocols(service: Served) -> None:
    rows = np.ones((3, 4), dtype="f4")
    with connected(service) as asked:
        for name in ("demo", "predict"):
            assert asked.infer(name, [tensor("x", rows)]).as_numpy("output-0").tolist() == [4.0] * 3
        assert "INVALID_ARGUMENT" in failure(lambda: asked.infer("demo", [tensor("x", [["a"]])]))
        assert "UNIMPLEMENTED" in failure(lambda: asked.infer("write", [tensor("text_input", ["a"])]))
        assert list(asked.get_model_metadata("demo").inputs[0].shape) == [-1, 4]
    with http_client.InferenceServerClient(f"127.0.0.1:{service.port}") as asked:
        answer = asked.infer("demo", [tensor("x", rows, http_client)])
        assert answer.as_numpy("output-0").tolist() == [4.0] * 3
        assert asked.is_model_ready("predict")
        assert asked.get_model_metadata("write")["inputs"][0] == {
            "name": "text_input", "datatype": "BYTES", "shape": [1],
        }  # fmt: skip
        assert "400" in failure(lambda: asked.infer("write", [tensor("text_input", ["a"], http_client)]))
        assert "[404] Model with name nope does not exist" in failure(lambda: asked.get_model_metadata("nope"))


def test_a_generator_streams_and_a_failed_call_does_not_end_the_stream(service: Served) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with connected(service) as asked:
        asked.start_stream(lambda result, error: answers.put((result, error)))
        inputs = [tensor("text_input", ["t"]), tensor("max_tokens", [2])]
        asked.async_stream_infer("write", inputs, request_id="w", enable_empty_final_response=True)
        asked.async_stream_infer("count", [tensor("n", [9])], request_id="c")
        asked.async_stream_infer("nope", [tensor("n", [9])], request_id="n")
        asked.async_stream_infer("demo", [tensor("x", np.ones((1, 4), dtype="f4"))], request_id="d")
        found = [answers.get(timeout=20) for _ in range(8)]
        asked.stop_stream()
    said = [
        str(error) if error else (result.get_response().id, [o.name for o in result.get_response().outputs])
        for result, error in found
    ]
    assert said == [
        ("w", ["output-0"]), ("w", ["output-0"]), ("w", []), ("c", ["i"]), ("c", ["i"]),
        "The model could not answer; see the server's log.", "Model with name nope does not exist.",
        ("d", ["output-0"]),
    ]  # fmt: skip


def test_generate_streams_server_sent_events(service: Served) -> None:
    ask = "/v2/models/write/generate_stream"
    status, body = service.ask("POST", ask, {"text_input": "t", "parameters": {"max_tokens": 2}, "id": "7"})
    event = 'data: {"model_name":"write","model_version":"","id":"7","text_output":"t%d"}\n\n'
    assert (status, body.decode()) == (200, event % 0 + event % 1)
    _, body = service.ask("POST", "/v2/models/count/generate_stream", {"n": 9})
    assert body.decode().endswith('data: {"error":"The model could not answer; see the server\'s log."}\n\n')
    assert service.ask("POST", "/v2/models/demo/generate", {"x": [1, 2, 3, 4]}) == (
        200, b'{"model_name":"demo","model_version":"","output-0":[10.0]}',
    )  # fmt: skip
    for body in ({"text": "t"}, {"text_input": "t", "parameters": {"other": 1}}, [], {"text_input": 1}):
        assert service.ask("POST", ask, body)[0] == 400


def wait_request(seconds: float, mark: str) -> Any:
    request = service_pb2.ModelInferRequest(model_name="wait")
    request.inputs.add(name="seconds", datatype="FP64", shape=[1]).contents.fp64_contents.append(seconds)
    request.inputs.add(name="mark", datatype="BYTES", shape=[1]).contents.bytes_contents.append(mark.encode())
    return request


def test_a_callers_deadline_and_the_services_end_calls(service: Served, home: Path) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(service)}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        for seconds, mark, timeout in ((30.0, "callers", 0.2), (30.0, "services", 20.0)):
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(wait_request(seconds, mark), timeout=timeout)
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            until((home / mark).exists)


def test_calls_above_the_services_limit_are_turned_away(service: Served) -> None:
    async def codes() -> list[Any]:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port_of(service)}") as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            calls = [stub.ModelInfer(wait_request(0.5, "limit")) for _ in range(12)]
            return [await call.code() for call in calls]

    found = asyncio.run(codes())
    assert found.count(grpc.StatusCode.OK) == 8
    assert found.count(grpc.StatusCode.RESOURCE_EXHAUSTED) == 4


def test_a_stream_whose_caller_left_is_closed(service: Served, home: Path) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port_of(service)}") as channel:
        request = service_pb2.ModelInferRequest(model_name="forever")
        request.inputs.add(name="n", datatype="INT64", shape=[1]).contents.int64_contents.append(3)
        calls = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelStreamInfer(iter([request]))
        assert next(calls).infer_response.model_name == "forever"
        calls.cancel()
        until((home / "left").exists)


def test_a_call_in_hand_is_answered_while_draining(serving: Serving, home: Path) -> None:
    with (
        serving("demo:Demo", "--grpc-port", "0", directory=home) as served,
        grpc.insecure_channel(f"127.0.0.1:{port_of(served)}") as channel,
    ):
        call = service_pb2_grpc.GRPCInferenceServiceStub(channel).ModelInfer.future(wait_request(1.0, "drain"))
        until(lambda: b"\ntiffin_in_flight{" in (page := served.ask("GET", "/metrics")[1]) and b"} 2.0" in page)
        served.process.send_signal(signal.SIGTERM)
        assert call.result(timeout=20).outputs[0].name == "output-0"
        assert served.process.wait(20) == 0


VECTORS = json.loads((Path(__file__).parents[1] / "conformance/vectors/v2.json").read_text())
FIELDS = {"FP64": "fp64_contents", "FP32": "fp32_contents", "INT64": "int64_contents", "INT32": "int_contents"}


def said_over_grpc(vector: dict[str, Any]) -> Any:
    """The request of a vector as a message; None for one that only JSON can say."""
    body = vector["request"].get("json")
    tensors = body.get("inputs") if isinstance(body, dict) else None
    if not tensors or body.get("parameters"):
        return None
    request = service_pb2.ModelInferRequest(model_name="iris")
    try:
        request.id = body.get("id") or ""
        for tensor in tensors:
            added = request.inputs.add(name=tensor["name"], datatype=tensor["datatype"], shape=tensor["shape"])
            values = [value for value in np.ravel(tensor["data"]).tolist() if type(value) in (int, float)]
            if len(values) != np.size(tensor["data"]):
                return None
            getattr(added.contents, FIELDS[tensor["datatype"]]).extend(values)
        for wanted in body.get("outputs") or ():
            request.outputs.add(name=wanted["name"])
    except (KeyError, TypeError, ValueError):
        return None
    return request


SAID = [(vector, request) for vector in VECTORS if (request := said_over_grpc(vector)) is not None]


def test_enough_vectors_can_be_said_over_grpc() -> None:
    assert len(SAID) > 10


@pytest.mark.parametrize(("vector", "request_"), SAID, ids=[vector["name"] for vector, _ in SAID])
def test_a_vector_of_http_holds_over_grpc(model: Served, vector: dict[str, Any], request_: Any) -> None:
    expected = vector["expect"]
    with grpc.insecure_channel(f"127.0.0.1:{port_of(model)}") as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        if expected["status"] == 200:
            answer = stub.ModelInfer(request_)
            found = [list(output.contents.int64_contents) for output in answer.outputs]
            assert found == [output["data"] for output in expected["json"]["outputs"]]
        else:
            with pytest.raises(grpc.RpcError) as caught:
                stub.ModelInfer(request_)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
