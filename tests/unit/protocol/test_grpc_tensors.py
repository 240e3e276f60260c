"""V2 over gRPC as bytes; tritonclient builds requests and reads answers, as an independent peer."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import InferInput, InferResult, service_pb2
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from tiffin.errors import CallError, DecodeError, NotReady, PredictError, TooLarge, TooManyCalls, UnknownRoute
from tiffin.protocol.grpc_tensors import GrpcTensors, split, status_of, stream_answer, stream_error
from tiffin.types import DATATYPES

FIXED = [np.dtype(kind.numpy) for kind in DATATYPES.values() if kind.size]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
ARRAYS = st.sampled_from(FIXED).flatmap(lambda dtype: arrays.arrays(dtype, SHAPES))
TEXTS = arrays.arrays(object, SHAPES, elements=st.text(max_size=8).map(str.encode))


def protocol(most: int = 1 << 20) -> GrpcTensors:
    return GrpcTensors(max_tensor_bytes=most)


def request(*tensors: tuple[str, np.ndarray[Any, Any]], raw: bool = True, **fields: Any) -> Any:
    """As tritonclient writes it; typed contents are written here, as it never sends them."""
    message = service_pb2.ModelInferRequest(model_name="m", **fields)
    for name, array in tensors:
        tensor = InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        added = message.inputs.add()
        added.CopyFrom(tensor._get_tensor())
        if raw:
            message.raw_input_contents.append(tensor._get_content())
        else:
            field = contents_field(added.datatype)
            getattr(added.contents, field).extend(array.ravel().tolist())
    return message


def typed(tensor: Any) -> np.ndarray[Any, Any]:
    values = list(getattr(tensor.contents, contents_field(tensor.datatype)))
    return np.array(values, dtype=triton_to_np_dtype(tensor.datatype)).reshape(list(tensor.shape))


def contents_field(datatype: str) -> str:
    if datatype in ("INT8", "INT16", "INT32"):
        return "int_contents"
    if datatype in ("UINT8", "UINT16", "UINT32"):
        return "uint_contents"
    return f"{datatype.lower()}_contents"


@settings(max_examples=60, deadline=None)
@given(st.lists(ARRAYS, min_size=1, max_size=3))
def test_raw_tensors_arrive_as_tritonclient_sent_them(sent: list[np.ndarray[Any, Any]]) -> None:
    one = protocol()
    data = request(*[(f"x{n}", array) for n, array in enumerate(sent)]).SerializeToString()
    for _ in range(2):  # The second time by the plan of the first.
        call = one.read(data).call
        assert call.names == [f"x{n}" for n in range(len(sent))]
        for found, array in zip(call.arrays, sent, strict=True):
            assert found.dtype == array.dtype
            assert found.shape == array.shape
            assert found.tobytes() == array.tobytes()


@settings(max_examples=30, deadline=None)
@given(TEXTS, st.booleans())
def test_texts_arrive_as_tritonclient_sent_them(sent: np.ndarray[Any, Any], raw: bool) -> None:
    (found,) = protocol().read(request(("x", sent), raw=raw).SerializeToString()).call.arrays
    assert found.shape == sent.shape
    assert found.ravel().tolist() == sent.ravel().tolist()


@settings(max_examples=60, deadline=None)
@given(ARRAYS.filter(lambda array: array.dtype != np.float16))
def test_typed_contents_are_read(sent: np.ndarray[Any, Any]) -> None:
    (found,) = protocol().read(request(("x", sent), raw=False).SerializeToString()).call.arrays
    assert found.dtype == sent.dtype
    np.testing.assert_array_equal(found, sent)


def test_raw_tensors_are_not_copied() -> None:
    data = request(("x", np.arange(6, dtype="<f4").reshape(2, 3))).SerializeToString()
    (array,) = protocol().read(data).call.arrays
    owner = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    assert owner is data


def test_a_request_of_the_same_words_and_other_numbers_is_read_anew() -> None:
    one = protocol()
    for number in (1.0, 2.0):
        (found,) = one.read(request(("x", np.array([number]))).SerializeToString()).call.arrays
        assert found.tolist() == [number]
    message = request(("x", np.array([1.0])))
    message.raw_input_contents[0] = b"short"
    with pytest.raises(DecodeError, match=r"raw_input_contents\[0\]: expected 8 bytes"):
        one.read(message.SerializeToString())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(ARRAYS, TEXTS), min_size=1, max_size=3), st.booleans())
def test_tritonclient_reads_the_answers(outputs: list[np.ndarray[Any, Any]], raw: bool) -> None:
    one = protocol()
    asked = one.read(request(("x", np.ones(1)), raw=raw).SerializeToString()).call.context
    named = [(f"y{n}", array) for n, array in enumerate(outputs)]
    for _ in range(2):
        answer = service_pb2.ModelInferResponse.FromString(one.write("m", asked, named))
        is_raw = raw or any(array.dtype == np.float16 for array in outputs)
        assert len(answer.raw_output_contents) == (len(outputs) if is_raw else 0)
        result = InferResult(answer)
        for tensor, (name, array) in zip(answer.outputs, named, strict=True):
            # tritonclient reads no typed contents.
            found = result.as_numpy(name) if is_raw else typed(tensor)
            assert found.shape == array.shape
            assert np.array_equal(found, array, equal_nan=array.dtype.kind == "f")


def test_wanted_outputs_come_alone_and_in_order() -> None:
    message = request(("x", np.ones(1)))
    for name in ("b", "a"):
        message.outputs.add(name=name)
    one = protocol()
    asked = one.read(message.SerializeToString()).call.context
    outputs = [("a", np.ones(1)), ("b", np.zeros(2)), ("c", np.ones(3))]
    answer = service_pb2.ModelInferResponse.FromString(one.write("m", asked, outputs))
    assert [tensor.name for tensor in answer.outputs] == ["b", "a"]
    with pytest.raises(DecodeError, match="Unexpected inference output 'b' for model 'm'; it has a"):
        one.write("m", asked, outputs[:1])


def test_the_id_is_given_back_and_parameters_are_read() -> None:
    message = request(("x", np.ones(1)), id="17")
    message.parameters["greedy"].bool_param = True
    message.parameters["warmth"].double_param = 0.5
    one = protocol()
    asked = one.read(message.SerializeToString()).call.context
    assert asked.parameters == {"greedy": True, "warmth": 0.5}
    answer = service_pb2.ModelInferResponse.FromString(one.write("m", asked, [("y", np.ones(1))], {"last": True}))
    assert answer.id == "17"
    assert answer.parameters["last"].bool_param


def test_streams_carry_answers_and_errors() -> None:
    one = protocol()
    asked = one.read(request(("x", np.ones(1)), id="1").SerializeToString()).call.context
    answer = service_pb2.ModelStreamInferResponse.FromString(
        stream_answer(one.write("m", asked, [("y", np.arange(200))]))
    )
    assert answer.error_message == ""
    assert InferResult(answer.infer_response).as_numpy("y").tolist() == list(range(200))
    failed = service_pb2.ModelStreamInferResponse.FromString(stream_error("no", "m", "1"))
    assert (failed.error_message, failed.infer_response.model_name, failed.infer_response.id) == ("no", "m", "1")


def changed(change: Any, *, raw: bool = True) -> bytes:
    message = request(("x", np.ones((1, 2), dtype="<f4")), raw=raw)
    change(message)
    data: bytes = message.SerializeToString()
    return data


def set_shape(*shape: int) -> Any:
    return lambda message: (message.inputs[0].ClearField("shape"), message.inputs[0].shape.extend(shape))


@pytest.mark.parametrize(
    ("data", "at"),
    [
        (changed(lambda m: setattr(m.inputs[0], "datatype", "FP31")), r"inputs\[0\].datatype: expected one of"),
        (changed(set_shape(-1, 2)), r"inputs\[0\].shape: expected dimensions of 0 or more"),
        (changed(set_shape(3)), r"raw_input_contents\[0\]: expected 12 bytes for FP32"),
        (changed(set_shape(*[1] * 20)), r"inputs\[0\].shape: expected at most"),
        (changed(lambda m: m.raw_input_contents.append(b"")), "raw_input_contents: expected an entry for each"),
        (changed(lambda m: m.inputs.append(m.inputs[0])), "raw_input_contents: expected an entry for each"),
        (changed(lambda m: m.inputs[0].contents.fp32_contents.append(1)), r"inputs\[0\].contents: expected no"),
        (changed(set_shape(3), raw=False), r"contents.fp32_contents: expected 3 elements"),
        (
            changed(lambda m: m.inputs[0].contents.int_contents.append(1), raw=False),
            "in fp32_contents, found int_contents",
        ),
        (
            changed(lambda m: setattr(m.inputs[0], "datatype", "FP16"), raw=False),
            "expected FP16 in raw_input_contents",
        ),
        (b"\xff\xff", "expected a ModelInferRequest message"),
        (b"\x0a\x05ab", "only a part of it"),
        (b"\x0a\x01\xff", "expected a inference.ModelInferRequest message"),
        (b"\x03", "found other bytes"),
        (b"\x00\x00", "found other bytes"),
    ],
)
def test_what_does_not_fit_is_refused(data: bytes, at: str) -> None:
    with pytest.raises(DecodeError, match=at):
        protocol().read(data)


def test_a_number_outside_of_its_datatype_is_refused() -> None:
    message = request(("x", np.ones(1, dtype="|i1")), raw=False)
    message.inputs[0].contents.int_contents[0] = 300
    with pytest.raises(DecodeError, match="outside its range"):
        protocol().read(message.SerializeToString())


def test_a_tensor_over_the_limit_is_refused_before_it_is_made() -> None:
    with pytest.raises(TooLarge):
        protocol(most=4).read(request(("x", np.ones(1))).SerializeToString())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_call_or_refused(data: bytes) -> None:
    with contextlib.suppress(CallError):
        protocol().read(data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_damaged_request_is_a_call_or_refused(data: st.DataObject) -> None:
    sent = bytearray(request(("x", np.ones((2, 2), dtype="<f4")), ("t", np.array([b"ab"], dtype=object)), id="1")
                     .SerializeToString())  # fmt: skip
    for _ in range(data.draw(st.integers(1, 3))):
        sent[data.draw(st.integers(0, len(sent) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(CallError):
        protocol().read(bytes(sent))


def test_what_is_split_is_the_message_without_its_raw_tensors() -> None:
    message = request(("x", np.ones(2)), id="7")
    rest, raw = split(message.SerializeToString())
    message.ClearField("raw_input_contents")
    assert rest == message.SerializeToString()
    assert [size for _, size in raw] == [16]


def test_errors_have_the_status_of_grpc_and_internals_stay_here() -> None:
    found = [status_of(error)[0] for error in (
        DecodeError("x"), TooLarge("x"), UnknownRoute("x"), TooManyCalls("x"), NotReady("x"), PredictError("x"),
    )]  # fmt: skip
    assert found == [3, 3, 5, 8, 14, 13]
    assert status_of(DecodeError("expected", at="inputs"))[1] == "inputs: expected"
    assert "secret" not in status_of(PredictError("secret"))[1]


def test_an_output_without_a_datatype_is_the_models_fault() -> None:
    one = protocol()
    asked = one.read(request(("x", np.ones(1))).SerializeToString()).call.context
    with pytest.raises(PredictError, match="dtype complex128"):
        one.write("m", asked, [("y", np.ones(1, dtype=complex))])
