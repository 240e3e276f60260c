"""KServe's V1 protocol as bytes."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiffin.errors import CallError, DecodeError, ModelError, TooLarge
from tiffin.protocol import kserve_v1
from tiffin.protocol.head import Head
from tiffin.protocol.kserve_v1 import KServeV1
from tiffin.protocol.tensors import TensorCall

HEAD = Head("POST", "/v1/models/m:predict", b"", {}, 0, True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)


def protocol(*outputs: str, limit: int = 1 << 20) -> KServeV1:
    return KServeV1("m", "input-0", outputs or ("out",), max_tensor_bytes=limit)


def read(body: Any, limit: int = 1 << 20) -> TensorCall:
    return protocol(limit=limit).read(HEAD, body if isinstance(body, bytes) else json.dumps(body).encode())


@pytest.mark.parametrize(
    ("instances", "dtype", "values"),
    [
        ([[1.5, 2], [3, 4]], "f8", [[1.5, 2.0], [3.0, 4.0]]),
        ([1, 2], "i8", [1, 2]),
        ([[1, 2]], "f8", [[1.0, 2.0]]),
        ([[[1, 2]]], "i8", [[[1, 2]]]),
        ([True, False], "?", [True, False]),
        (["a", "bc"], "O", ["a", "bc"]),
        ([["a"], ["b"]], "O", [["a"], ["b"]]),
        ([[]], "f8", [[]]),
    ],
)
def test_instances_become_one_tensor(instances: list[Any], dtype: str, values: list[Any]) -> None:
    for key in ("instances", "inputs"):
        call = read({key: instances})
        assert list(call.names) == ["input-0"]
        assert call.arrays[0].dtype == np.dtype(dtype)
        assert call.arrays[0].tolist() == values


def test_instances_win_over_inputs_and_other_keys_are_ignored() -> None:
    assert read({"inputs": [[9]], "instances": [[1]], "signature_name": "s"}).arrays[0].tolist() == [[1]]


def test_objects_become_one_tensor_per_name() -> None:
    call = read({"instances": [{"a": 1, "b": "x", "c": [1, 2]}, {"b": "y", "a": 2, "c": [3, 4]}]})
    assert list(call.names) == ["a", "b", "c"]
    assert [array.tolist() for array in call.arrays] == [[1, 2], ["x", "y"], [[1, 2], [3, 4]]]


@given(hnp.arrays("f8", hnp.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
def test_numbers_come_back_as_sent(array: np.ndarray[Any, Any]) -> None:
    array = np.where(np.isfinite(array), array, 0)
    found = read({"instances": array.tolist()}).arrays[0]
    assert found.shape == array.shape
    assert (found == array).all()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "Unrecognized request format"),
        (b"nope", "Unrecognized request format"),
        (b'{"instances":[NaN]}', "Unrecognized request format"),
        (b'{"instances":["\xff"]}', "Unrecognized request format"),
        (b'{"instances":[["\xff"]]}', "Unrecognized request format"),
        (b'{"instances":["\\ud800"]}', "Unrecognized request format"),
        (b'{"instances":' + b"[" * 200_000, "Unrecognized request format"),
        (b"null", "JSON object"),
        (b"[[1]]", "JSON object"),
        ({}, 'Expected "instances" to be a list'),
        ({"instances": None}, 'Expected "instances" to be a list'),
        ({"instances": {"a": [1]}}, 'Expected "instances" to be a list'),
        ({"instances": "abc"}, 'Expected "instances" to be a list'),
        ({"instances": []}, "at least one instance"),
        ({"instances": [{}]}, "at least one name"),
        ({"instances": [{"a": 1}, {"b": 1}]}, r"instances\[1\]"),
        ({"instances": [{"a": 1}, 1]}, r"instances\[1\]"),
        ({"instances": [1, {"a": 1}]}, "one type"),
        ({"instances": [{"a": [1]}, {"a": [1, 2]}]}, "a: .*ragged"),
        ({"instances": [{"a": {"b": 1}}]}, "a: .*dict"),
        ({"instances": [[1, 2], [3]]}, "ragged"),
        ({"instances": [[1, 2], 3]}, "ragged"),
        ({"instances": [["a"], "b"]}, "ragged|list"),
        ({"instances": [["a", "b"], ["c"]]}, "ragged|list"),
        ({"instances": [None]}, "null"),
        ({"instances": [[1, None]]}, "one type"),
        ({"instances": [1, "a"]}, "one type"),
        ({"instances": [True, "a"]}, "one type"),
        ({"instances": [[{}]]}, "dict"),
        ({"instances": [2**70]}, "int"),
    ],
)
def test_malformed_requests_are_refused(body: Any, said: str) -> None:
    with pytest.raises(DecodeError, match=said):
        read(body)


def test_deep_nesting_is_refused() -> None:
    for depth in (65, 900):
        with pytest.raises(DecodeError):
            read(b'{"instances":' + b"[" * depth + b"1" + b"]" * depth + b"}")


def test_one_long_text_does_not_make_room_for_as_long_ones_everywhere() -> None:
    many = ["a"] * 10_000
    assert read({"instances": ["x" * 1_000_000, *many]}).arrays[0].nbytes < 1_000_000
    with pytest.raises(DecodeError):
        read({"instances": [1, "x" * 100_000_000, *many]})


def test_tensors_over_the_limit_are_refused() -> None:
    with pytest.raises(TooLarge):
        read({"instances": [[1.0] * 20]}, limit=100)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**66), 2**66) | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)


@given(st.lists(JSON_VALUES, max_size=4) | JSON_VALUES)
def test_any_instances_are_tensors_or_a_refusal(instances: Any) -> None:
    try:
        call = read({"instances": instances})
    except CallError:
        return
    assert len(call.names) == len(call.arrays) > 0
    assert all(len(array) == len(instances) for array in call.arrays)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.array([1, 0]), [1, 0]),
        (np.array([[0.25, 0.75]], "f4"), [[0.25, 0.75]]),
        (np.array([0.5], "f2"), [0.5]),
        (np.array([True]), [True]),
        (np.array(["a", "é"], dtype=object), ["a", "é"]),
        (np.array(["a"]), ["a"]),
        (np.array([b"a"], dtype=object), ["a"]),
        (np.arange(4.0).reshape(2, 2).T, [[0.0, 2.0], [1.0, 3.0]]),
    ],
)
def test_one_output_is_a_list_of_predictions(array: np.ndarray[Any, Any], expected: list[Any]) -> None:
    assert json.loads(protocol().write(read({"instances": [[1]]}), [array]).body) == {"predictions": expected}


def test_several_outputs_are_one_object_per_row() -> None:
    reply = protocol("label", "p").write(read({"instances": [[1]]}), [np.array(["x", "y"]), np.eye(2)])
    assert json.loads(reply.body) == {
        "predictions": [{"label": "x", "p": [1.0, 0.0]}, {"label": "y", "p": [0.0, 1.0]}]
    }


def test_readiness_and_errors() -> None:
    assert json.loads(protocol().status(True).body) == {"name": "m", "ready": True}
    assert protocol().status(False).status == 503
    assert kserve_v1.error(DecodeError("bad")).body == b'{"error":"bad"}'
    hidden = kserve_v1.error(ModelError("secret"))
    assert hidden.status == 500
    assert b"secret" not in hidden.body
