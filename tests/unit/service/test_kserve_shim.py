"""The kserve module that stands in for the package: tensors as objects, and what its server hands over."""

import sys
from collections.abc import Iterator
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import ServiceError
from tiffin.service import kserve_compat
from tiffin.service.kserve_compat import server

DATATYPES = {"BOOL": np.bool_, "INT8": np.int8, "UINT64": np.uint64, "FP32": np.float32, "FP64": np.float64}


@pytest.fixture(scope="module")
def kserve() -> Iterator[ModuleType]:
    before = sys.argv
    sys.argv = ["model.py", "--model_name=m", "--unknown", "x"]
    kserve_compat.provide()
    import kserve

    if getattr(kserve, "PROVIDED_BY", "") != "tiffin":
        pytest.skip("the real kserve is installed, and found first")
    yield kserve
    sys.argv = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "kserve"]:
        del sys.modules[name]


def test_flags_are_read_as_the_package_reads_them(kserve: ModuleType) -> None:
    from kserve.model_server import args, parser

    assert args.model_name == "m"
    assert (args.http_port, args.predictor_protocol, args.predictor_host) == (8080, "v1", None)
    assert parser.parse_args(["--predictor_use_ssl", "yes"]).predictor_use_ssl is True


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("binary", [True, False])
def test_a_request_is_the_same_when_it_was_sent(datatype: str, binary: bool, kserve: ModuleType) -> None:
    array = np.array([[0, 1], [1, 0]], dtype=DATATYPES[datatype])
    tensor = kserve.InferInput("x", [2, 2], datatype)
    tensor.set_data_from_numpy(array, binary_data=binary)
    sent, length = kserve.InferRequest("m", [tensor], request_id="r").to_rest()
    if length is None:
        import orjson

        sent = orjson.dumps(sent)
    read = kserve.InferRequest.from_bytes(sent, len(sent) if length is None else length, "m")
    assert read.id == "r"
    assert read.inputs[0].as_numpy().dtype == array.dtype
    np.testing.assert_array_equal(read.inputs[0].as_numpy(), array)
    assert isinstance(read.inputs[0].data, list)


@given(texts=st.lists(st.text(max_size=5), max_size=4))
def test_texts_survive_the_binary_form(texts: list[str]) -> None:
    kserve_compat.provide()
    from kserve.protocol import infer_type

    array = np.empty(len(texts), dtype=np.object_)
    array[:] = texts
    tensor = infer_type.InferInput("x", [len(texts)], "BYTES")
    tensor.set_data_from_numpy(array, binary_data=True)
    assert [item.decode() for item in tensor.as_numpy()] == texts


@given(body=st.binary(max_size=60), length=st.integers(0, 60))
def test_bytes_that_are_no_request_are_invalid_input(body: bytes, length: int) -> None:
    kserve_compat.provide()
    from kserve.errors import InvalidInput
    from kserve.protocol import infer_type

    with pytest.raises(InvalidInput):
        infer_type.InferRequest.from_bytes(body, length, "m")


def test_data_that_contradicts_its_shape_is_invalid_input(kserve: ModuleType) -> None:
    from kserve.errors import InferenceError, InvalidInput

    with pytest.raises(InvalidInput, match=r"x is not FP32 of shape \[3\]"):
        kserve.InferInput("x", [3], "FP32", [1, 2]).as_numpy()
    with pytest.raises(InferenceError, match="unexpected datatype FP64 from numpy array, expected FP32"):
        kserve.InferInput("x", [1], "FP32").set_data_from_numpy(np.array([1.0]))
    with pytest.raises(InvalidInput, match="FP16 data via JSON"):
        kserve.InferResponse("r", "m", [kserve.InferOutput("y", [1], "FP16", [1.0])]).to_rest()


def test_outputs_that_were_asked_for_are_the_ones_given(kserve: ModuleType) -> None:
    from kserve.errors import InvalidInput
    from kserve.protocol.infer_type import RequestedOutput

    outputs = [kserve.InferOutput(name, [1], "INT64", [1]) for name in "ab"]
    body, _ = kserve.InferResponse("r", "m", outputs, requested_outputs=[RequestedOutput("b")]).to_rest()
    assert [output["name"] for output in body["outputs"]] == ["b"]
    with pytest.raises(InvalidInput, match="Unexpected inference output 'c'"):
        kserve.InferResponse("r", "m", outputs, requested_outputs=[RequestedOutput("c")]).to_rest()


def test_what_a_server_is_given_is_handed_over(kserve: ModuleType) -> None:
    handed = server.take_over()

    class Ready(kserve.Model):
        def load(self) -> bool:
            self.ready = True
            return True

    ready, late = Ready("a"), Ready("b")
    ready.load()
    with pytest.raises(server.Started):
        kserve.ModelServer().start([ready, late])
    assert list(handed.models) == ["a"]
    assert handed.context is not None
    with pytest.raises(ServiceError, match="found b not ready"):
        kserve.ModelServer().start([Ready("b")])
    with pytest.raises(ServiceError, match="expected a list of models, found Ready"):
        kserve.ModelServer().start(ready)


def test_what_only_the_package_has_says_so(kserve: ModuleType) -> None:
    with pytest.raises(ImportError, match="pip install kserve"):
        _ = kserve.KServeClient
    assert not hasattr(kserve, "nonsense")
