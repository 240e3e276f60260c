"""The Open Inference Protocol as bytes; tritonclient builds requests and reads replies, as an independent peer."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.http import InferInput, InferRequestedOutput, InferResult
from tritonclient.http._utils import _get_inference_request

from tiffin.errors import CallError, DecodeError, ModelError, NotReady, PredictError, TooLarge
from tiffin.protocol import open_inference, tensor_json
from tiffin.protocol.head import Head
from tiffin.protocol.open_inference import HEADER_LENGTH, OpenInference
from tiffin.protocol.reply import Reply
from tiffin.protocol.tensors import TensorCall
from tiffin.types import ANY, DATATYPES, TensorSpec

LIMIT = 1 << 20
SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=4)
FIXED = [name for name in DATATYPES if name != "BYTES"]
ARRAYS = st.sampled_from(FIXED).flatmap(lambda name: hnp.arrays(tensor_json.dtype(name), SHAPES))
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def protocol(*outputs: str) -> OpenInference:
    return OpenInference("m", outputs or ("out",), max_tensor_bytes=LIMIT)


def head(header_length: bytes | None = None) -> Head:
    headers = {} if header_length is None else {HEADER_LENGTH: header_length}
    return Head("POST", "/v2/models/m/infer", b"", headers, 0, True)


def tensor(**fields: Any) -> dict[str, Any]:
    return {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]} | fields


def read(body: Any, header_length: bytes | None = None, *outputs: str) -> TensorCall:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return protocol(*outputs).read(head(header_length), text)


def asked(inputs: list[InferInput], outputs: list[InferRequestedOutput] | None = None, **more: Any) -> Any:
    """(body, value of Inference-Header-Content-Length) as tritonclient sends them."""
    options: dict[str, Any] = dict.fromkeys(("sequence_start", "sequence_end", "custom_parameters"))
    options |= {"request_id": "", "sequence_id": 0, "priority": 0, "timeout": None} | more
    body, length = _get_inference_request(inputs=inputs, outputs=outputs, **options)
    return body if isinstance(body, bytes) else body.encode(), None if length is None else str(length).encode()


def as_input(name: str, array: np.ndarray[Any, Any], datatype: str, *, binary: bool) -> InferInput:
    made = InferInput(name, list(array.shape), datatype)
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def told(reply: Reply) -> InferResult:
    length = dict(reply.headers).get(HEADER_LENGTH)
    return InferResult.from_response_body(reply.body, header_length=None if length is None else int(length))


# -- round trips with the peer -----------------------------------------------------------------------------


def datatype_name(array: np.ndarray[Any, Any]) -> str:
    return next(name for name in FIXED if tensor_json.dtype(name) == array.dtype)


@given(st.lists(ARRAYS, min_size=1, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3))
def test_tensors_arrive_as_tritonclient_sent_them(arrays: list[np.ndarray[Any, Any]], binary: list[bool]) -> None:
    inputs, sent = [], []
    for index, array in enumerate(arrays):
        name = datatype_name(array)
        in_binary = binary[index] or name == "FP16"  # tritonclient has no JSON for FP16, like us.
        if not in_binary:
            array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
        inputs.append(as_input(f"i{index}", array, name, binary=in_binary))
        sent.append(array)
    call = read(*asked(inputs))
    assert list(call.names) == [f"i{index}" for index in range(len(sent))]
    for found, array in zip(call.arrays, sent, strict=True):
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert found.tobytes() == array.tobytes()


@given(hnp.arrays(object, SHAPES, elements=TEXT), st.booleans())
def test_texts_arrive_as_tritonclient_sent_them(array: np.ndarray[Any, Any], binary: bool) -> None:
    call = read(*asked([as_input("t", array, "BYTES", binary=binary)]))
    values = [v.decode() if isinstance(v, bytes) else v for v in call.arrays[0].ravel()]
    assert values == array.ravel().tolist()
    assert call.arrays[0].shape == array.shape


@given(st.lists(ARRAYS, min_size=1, max_size=3), st.lists(st.booleans(), min_size=3, max_size=3), st.booleans())
def test_tritonclient_reads_what_is_written(
    arrays: list[np.ndarray[Any, Any]], binary: list[bool], all_binary: bool
) -> None:
    names = [f"o{index}" for index in range(len(arrays))]
    arrays = [np.where(np.isfinite(a), a, 0).astype(a.dtype) if a.dtype.kind == "f" else a for a in arrays]
    wanted = None
    if not all_binary:
        wanted = [
            InferRequestedOutput(name, binary_data=flag or array.dtype == "f2")
            for name, array, flag in zip(names, arrays, binary, strict=False)
        ]
    made = protocol(*names)
    body, length = asked([as_input("i", np.ones((1, 2), "f4"), "FP32", binary=False)], wanted, request_id="7")
    call = made.read(head(length), body)
    reply = made.write(call, arrays)
    result = told(reply)
    assert result.get_response()["id"] == "7"
    for name, array in zip(names, arrays, strict=True):
        assert result.get_output(name)["datatype"] == datatype_name(array)
        found = result.as_numpy(name)
        assert found.shape == array.shape
        assert (found == array).all()


@given(hnp.arrays(object, SHAPES, elements=TEXT), st.booleans(), st.booleans())
def test_tritonclient_reads_texts(array: np.ndarray[Any, Any], binary: bool, as_bytes: bool) -> None:
    made = protocol()
    wanted = [InferRequestedOutput("out", binary_data=binary)]
    body, length = asked([as_input("i", np.ones((1, 2), "f4"), "FP32", binary=True)], wanted)
    given_out = np.array([v.encode() for v in array.ravel()], dtype=object) if as_bytes else array.ravel()
    result = told(made.write(made.read(head(length), body), [given_out.reshape(array.shape)]))
    found = [v.decode() if isinstance(v, bytes) else v for v in result.as_numpy("out").ravel()]
    assert found == array.ravel().tolist()
    assert list(result.get_output("out")["shape"]) == list(array.shape)


# -- the letter of requests --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, np.array([[1, 2]], "f4")),
        ({"data": [[1, 2]]}, np.array([[1, 2]], "f4")),
        ({"datatype": "FP64", "data": [0.1, -2e300]}, np.array([[0.1, -2e300]], "f8")),
        ({"datatype": "INT64", "shape": [2]}, np.array([1, 2], "i8")),
        ({"shape": [2, 1]}, np.array([[1], [2]], "f4")),
        ({"parameters": None}, np.array([[1, 2]], "f4")),
        ({"parameters": {"content_type": "np", "x": 1, "y": True, "z": 0.5}}, np.array([[1, 2]], "f4")),
        ({"unknown": {"nested": [1, {"deep": None}]}}, np.array([[1, 2]], "f4")),
    ],
)
def test_what_an_input_may_say(fields: dict[str, Any], expected: np.ndarray[Any, Any]) -> None:
    for request in ({"inputs": [tensor(**fields)]}, {"zzz": 1, "outputs": None, "inputs": [tensor(**fields)]}):
        (found,) = read(request).arrays
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()


def test_base64_is_taken_when_the_content_type_says_so() -> None:
    fields = {"datatype": "BYTES", "shape": [2], "data": ["AAH/", ""], "parameters": {"content_type": "base64"}}
    assert read({"inputs": [tensor(**fields)]}).arrays[0].tolist() == [b"\x00\x01\xff", b""]


def test_floats_and_other_requests_take_turns_on_one_protocol() -> None:
    made = protocol()
    for _ in range(3):
        for fields in ({}, {"datatype": "INT8"}, {"data": [[1, 2]]}, {"datatype": "BYTES", "data": ["1", "2"]}):
            (found,) = made.read(head(), json.dumps({"inputs": [tensor(**fields)]}).encode()).arrays
            assert found.shape == (1, 2)


OUT = b'"outputs":[{"name":"out","shape":[1],"datatype":"FP64","parameters":null,"data":[0.5]}]}'


def test_a_reply_has_kserves_key_order_and_nulls() -> None:
    made = protocol()
    call = made.read(head(), json.dumps({"id": "x", "inputs": [tensor()]}).encode())
    reply = made.write(call, [np.array([0.5])])
    assert reply.body == b'{"model_name":"m","model_version":null,"id":"x","parameters":null,' + OUT
    assert (reply.status, reply.content_type, reply.headers) == (200, b"application/json", ())


@given(TEXT)
def test_ids_come_back(identifier: str) -> None:
    for request in (
        {"id": identifier, "inputs": [tensor()]},
        {"id": identifier, "inputs": [tensor(datatype="INT8")]},
    ):
        made = protocol()
        reply = made.write(made.read(head(), json.dumps(request).encode()), [np.array([0.5])])
        assert json.loads(reply.body)["id"] == identifier


@pytest.mark.parametrize("extra", [{}, {"outputs": [{"name": "out"}]}, {"id": None}, {"outputs": []}])
def test_requests_without_an_id_get_different_ones(extra: dict[str, Any]) -> None:
    made = protocol()
    body = json.dumps({"inputs": [tensor()]} | extra).encode()
    ids = {json.loads(made.write(made.read(head(), body), [np.array([0.5])]).body)["id"] for _ in range(50)}
    assert len(ids) == 50
    assert all(len(identifier) == 36 and identifier.count("-") == 4 for identifier in ids)


@pytest.mark.parametrize(
    ("request_fields", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"outputs": []}, ["a", "b", "c"]),
        ({"outputs": [{"name": "b"}]}, ["b"]),
        ({"outputs": [{"name": "c"}, {"name": "a"}]}, ["c", "a"]),
        ({"outputs": [{"name": "a", "parameters": {"binary_data": True}}, {"name": "b"}]}, ["a*", "b"]),
        ({"parameters": {"binary_data_output": True}}, ["a*", "b*", "c*"]),
        ({"parameters": {"binary_data_output": False}}, ["a", "b", "c"]),
        ({"parameters": {"binary_data_output": "yes"}}, ["a", "b", "c"]),
        (
            {
                "parameters": {"binary_data_output": True},
                "outputs": [{"name": "b", "parameters": {"binary_data": False}}, {"name": "a"}],
            },
            ["b", "a*"],
        ),
    ],
)
def test_outputs_are_chosen_and_each_is_json_or_binary(
    request_fields: dict[str, Any], expected: list[str]
) -> None:
    made = protocol("a", "b", "c")
    call = made.read(head(), json.dumps({"inputs": [tensor()]} | request_fields).encode())
    values = {"a": np.array([1], "i4"), "b": np.array([[2.0]]), "c": np.array(["x"], dtype=object)}
    reply = made.write(call, list(values.values()))
    result = told(reply)
    described = [
        output["name"] + "*" * ("binary_data_size" in (output["parameters"] or {}))
        for output in result.get_response()["outputs"]
    ]
    assert described == expected
    for name in expected:
        name = name.rstrip("*")
        found = result.as_numpy(name).ravel()[0]
        assert (found.decode() if isinstance(found, bytes) else found) == values[name].ravel()[0]
    is_binary = any(name.endswith("*") for name in expected)
    assert reply.content_type == (b"application/octet-stream" if is_binary else b"application/json")


def test_fp16_has_no_json_form_and_the_reply_says_what_to_do() -> None:
    made = protocol()
    call = made.read(head(), json.dumps({"inputs": [tensor()]}).encode())
    with pytest.raises(CallError, match="binary_data"):
        made.write(call, [np.array([1], "f2")])


@pytest.mark.parametrize("array", [np.array([1j]), np.array(["2020-01-01"], "M8[D]")])
def test_an_output_of_a_dtype_the_protocol_lacks_is_the_models_fault(array: np.ndarray[Any, Any]) -> None:
    made = protocol()
    call = made.read(head(), json.dumps({"inputs": [tensor()]}).encode())
    with pytest.raises(PredictError, match="dtype"):
        made.write(call, [array])


@pytest.mark.parametrize(
    ("array", "datatype", "data"),
    [
        (np.arange(6, dtype="i4").reshape(2, 3).T, "INT32", [0, 3, 1, 4, 2, 5]),
        (np.array([1, 2], ">i2"), "INT16", [1, 2]),
        (np.array([True, False]), "BOOL", [True, False]),
        (np.array(["é", "b"]), "BYTES", ["é", "b"]),
        (np.array([b"\xff", "b"], dtype=object), "BYTES", ["�", "b"]),
        (np.array(1.5), "FP64", [1.5]),
        (np.zeros((0, 3)), "FP64", []),
        (np.array([np.nan, np.inf]), "FP64", [None, None]),
    ],
)
def test_outputs_of_any_layout_are_flat_row_major_json(
    array: np.ndarray[Any, Any], datatype: str, data: list[Any]
) -> None:
    made = protocol()
    call = made.read(head(), json.dumps({"inputs": [tensor()]}).encode())
    output = json.loads(made.write(call, [array]).body)["outputs"][0]
    assert output == {
        "name": "out",
        "shape": list(array.shape),
        "datatype": datatype,
        "parameters": None,
        "data": data if isinstance(data, list) else [data],
    }


# -- refusals ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON"),
        (b"not json", "JSON"),
        (b'{"inputs":', "JSON"),
        (b"\xef\xbb\xbf{}", "JSON"),
        (b"null", "object"),
        (b"[]", "object"),
        (b"5", "object"),
        (b'"text"', "object"),
        (b"{}", "inputs"),
        ({"inputs": None}, "inputs"),
        ({"inputs": {}}, "inputs"),
        ({"inputs": []}, "at least one"),
        ({"inputs": [None]}, r"inputs"),
        ({"inputs": [{}]}, r"name"),
        ({"inputs": [tensor(name=5)]}, "name"),
        ({"inputs": [tensor(name=None)]}, "name"),
        ({"inputs": [tensor(shape=None)]}, "shape"),
        ({"inputs": [tensor(shape=2)]}, "shape"),
        ({"inputs": [tensor(shape=["1"])]}, "shape"),
        ({"inputs": [tensor(shape=[1.5, 1])]}, "shape"),
        ({"inputs": [tensor(shape=[True, 2])]}, "shape"),
        ({"inputs": [tensor(shape=[-1, 2])]}, r"inputs\[0\].shape: .*found -1"),
        ({"inputs": [tensor(shape=[3])]}, r"inputs\[0\].data: expected 3 elements"),
        ({"inputs": [tensor(shape=[1, 2, 3])]}, r"expected 6 elements"),
        ({"inputs": [tensor(shape=[1] * 13)]}, "dimensions"),
        ({"inputs": [tensor(shape=[0, 2**62, 2**62], data=[])]}, "smaller"),
        ({"inputs": [tensor(datatype="FP8")]}, r"inputs\[0\].datatype"),
        ({"inputs": [tensor(datatype=7)]}, "datatype"),
        ({"inputs": [tensor(data=None)]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(data="ab")]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(data=[1, None])]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(data=[1, "2"])]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(data=[1, True])]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(data=[[1], [2, 3]])]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(datatype="INT32", data=[1, 2.5])]}, r"inputs\[0\].data"),
        ({"inputs": [tensor(), tensor(name="b", data=[1])]}, r"inputs\[1\].data"),
        ({"inputs": [tensor(), tensor()]}, "different names"),
        ({"inputs": [tensor(datatype="INT8"), tensor()]}, "different names"),
        ({"inputs": [{"name": "a", "shape": [1], "datatype": "FP32"}]}, r"inputs\[0\]: expected data"),
        ({"inputs": [tensor(parameters=[])]}, "parameters"),
        ({"inputs": [tensor(parameters={"x": {}})]}, "parameters"),
        ({"inputs": [tensor()], "id": 5}, "id"),
        ({"inputs": [tensor()], "parameters": 5}, "parameters"),
        ({"inputs": [tensor()], "outputs": {}}, "outputs"),
        ({"inputs": [tensor()], "outputs": [{"name": "nope"}]}, r"outputs\[0\].name: .*'nope'.*it has out"),
        ({"inputs": [tensor(datatype="INT8")], "outputs": [{"name": "nope"}]}, "nope"),
        ({"inputs": [tensor()], "outputs": ["out"]}, "outputs"),
        (b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":[NaN]}]}', "JSON"),
        (b'{"inputs":[{"name":"\xff","shape":[1],"datatype":"FP32","data":[1]}]}', "JSON|utf-8"),
        (b'{"inputs":[{"name":"a","shape":[1],"datatype":"BYTES","data":["\xff"]}]}', "JSON|utf-8"),
        (b'{"inputs":[{"name":"\\ud800","shape":[1],"datatype":"FP32","data":[1]}]}', "surrogate"),
        (b'{"inputs":' + b"[" * 200_000, "inputs|JSON"),
        (b'{"x":' + b"[" * 200_000 + b"]" * 200_000 + b',"inputs":[]}', "recursion|deep|JSON"),
        (b'{"inputs":[{"name":"a","shape":[1],"datatype":"FP32","data":' + b"[" * 2000, "JSON|deep|list|data"),
    ],
)
def test_malformed_requests_are_refused_with_their_place(body: Any, said: str) -> None:
    made = protocol()
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    for _ in range(2):  # The second time the protocol has learnt from the first.
        with pytest.raises(DecodeError, match=said):
            made.read(head(), text)


@pytest.mark.parametrize("shape", [[4294967296, 4294967296], [2**63, 2], [LIMIT], [1, LIMIT]])
def test_shapes_over_the_limit_are_too_large(shape: list[int]) -> None:
    for datatype in ("FP64", "INT64"):
        with pytest.raises(TooLarge, match=r"inputs\[0\].shape"):
            read({"inputs": [tensor(shape=shape, datatype=datatype)]})


BINARY = {"name": "a", "shape": [2], "datatype": "UINT8", "parameters": {"binary_data_size": 2}}


@pytest.mark.parametrize(
    ("input_", "tail", "length", "said"),
    [
        (BINARY, b"ab", None, r"JSON|Inference-Header-Content-Length"),
        (BINARY, b"", b"all", "size of 0 to 0 bytes"),
        (BINARY, b"a", b"all", "size of 0 to 1 bytes"),
        (BINARY, b"abc", b"all", "no bytes after the last tensor, found 1"),
        (BINARY, b"ab", b"0", "1 to"),
        (BINARY, b"ab", b"-1", "1 to"),
        (BINARY, b"ab", b"9999", "1 to"),
        (BINARY, b"ab", b"1e2", "1 to"),
        (BINARY, b"ab", b"", "1 to"),
        (BINARY, b"ab", b"9" * 30, "1 to"),
        (BINARY, b"ab", b"5", "JSON"),
        (BINARY | {"shape": [3]}, b"ab", b"all", "3 bytes for UINT8"),
        (BINARY | {"shape": [-1]}, b"ab", b"all", "found -1"),
        (BINARY | {"datatype": "BYTES"}, b"ab", b"all", "2 BYTES elements"),
        (BINARY | {"datatype": "NONE"}, b"ab", b"all", "NONE"),
        (BINARY | {"data": [1, 2]}, b"ab", b"all", "found both"),
        (BINARY | {"parameters": {"binary_data_size": -1}}, b"ab", b"all", "0 to 2"),
        (BINARY | {"parameters": {"binary_data_size": 2.0}}, b"ab", b"all", "0 to 2"),
        (BINARY | {"parameters": {"binary_data_size": True}}, b"ab", b"all", "0 to 2"),
        (BINARY | {"parameters": {"binary_data_size": "2"}}, b"ab", b"all", "0 to 2"),
        (BINARY | {"parameters": {"binary_data_size": 2**70}}, b"ab", b"all", "0 to 2|range"),
        (BINARY | {"parameters": {}}, b"ab", b"all", "expected data"),
        (tensor(), b"ab", b"all", "no bytes after"),
    ],
)
def test_binary_requests_that_do_not_add_up_are_refused(
    input_: dict[str, Any], tail: bytes, length: bytes | None, said: str
) -> None:
    text = json.dumps({"inputs": [input_]}).encode()
    with pytest.raises(DecodeError, match=said):
        read(text + tail, str(len(text)).encode() if length == b"all" else length)


def test_binary_requests_with_one_json_part_are_each_read_for_themselves() -> None:
    made = protocol()
    for values in ([1, 2], [3, 4], [250, 251]):
        text = json.dumps({"inputs": [BINARY]}).encode()
        call = made.read(head(str(len(text)).encode()), text + bytes(values))
        assert call.arrays[0].tolist() == values
    for tail in (b"", b"a", b"abc"):
        with pytest.raises(DecodeError):
            made.read(head(str(len(text)).encode()), text + tail)
    for value in (0, 1, 2):
        text = json.dumps({"inputs": [BINARY | {"datatype": "BOOL"}]}).encode()
        if value == 2:
            with pytest.raises(DecodeError, match="0 or 1"):
                made.read(head(str(len(text)).encode()), text + bytes([value] * 2))
        else:
            found = made.read(head(str(len(text)).encode()), text + bytes([value] * 2))
            assert found.arrays[0].tolist() == [bool(value)] * 2


def test_a_null_binary_data_size_is_none_however_often_it_is_sent() -> None:
    made = protocol()
    text = json.dumps({"inputs": [tensor(parameters={"binary_data_size": None})]}).encode()
    for _ in range(3):
        assert made.read(head(str(len(text)).encode()), text).arrays[0].tolist() == [[1, 2]]


def test_a_binary_request_whose_json_is_alone_in_the_body_needs_the_header() -> None:
    with pytest.raises(DecodeError, match="Inference-Header-Content-Length header with binary tensors"):
        read({"inputs": [BINARY]})


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**66), 2**66)
    | st.floats()
    | TEXT
    | st.sampled_from(list(DATATYPES)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "inputs", "outputs", "id"]), inner
        )
    ),
    max_leaves=12,
)


@given(
    st.fixed_dictionaries(
        {
            "inputs": st.lists(
                st.fixed_dictionaries(
                    {"name": TEXT, "shape": st.lists(st.integers(-1, 4), max_size=3)},
                    optional={
                        "datatype": st.sampled_from(list(DATATYPES)),
                        "data": JSON_VALUES,
                        "parameters": JSON_VALUES,
                    },
                ),
                max_size=3,
            )
        },
        optional={"id": JSON_VALUES, "outputs": JSON_VALUES, "parameters": JSON_VALUES},
    )
)
def test_any_request_is_tensors_of_their_shapes_or_a_refusal(request_: dict[str, Any]) -> None:
    try:
        call = read(request_)
    except CallError:
        return
    assert [list(array.shape) for array in call.arrays] == [i["shape"] for i in request_["inputs"]]
    assert all(i["datatype"] in DATATYPES for i in request_["inputs"])


# -- metadata, readiness, errors ---------------------------------------------------------------------------


def test_metadata_describes_the_tensors() -> None:
    reply = protocol().metadata(
        "sklearn_svc", [TensorSpec("i", "FP64", (ANY, 4))], [TensorSpec("out", "BYTES", (ANY,))]
    )
    assert json.loads(reply.body) == {
        "name": "m",
        "versions": None,
        "platform": "sklearn_svc",
        "inputs": [{"name": "i", "datatype": "FP64", "shape": [-1, 4]}],
        "outputs": [{"name": "out", "datatype": "BYTES", "shape": [-1]}],
    }


def test_readiness_is_a_status() -> None:
    assert protocol().ready(True) == Reply(200, b'{"name":"m","ready":true}')
    assert protocol().ready(False).status == 503


def test_errors_show_a_caller_only_what_it_can_fix() -> None:
    shown = open_inference.error(DecodeError("bad", at="inputs"))
    assert (shown.status, shown.body) == (400, b'{"error":"inputs: bad"}')
    assert open_inference.error(NotReady("wait")).status == 503
    hidden = open_inference.error(ModelError("secret path"))
    assert hidden.status == 500
    assert b"secret" not in hidden.body
