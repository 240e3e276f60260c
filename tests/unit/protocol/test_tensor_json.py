"""Tensor data as JSON: every datatype comes back as sent, and nothing else is taken for it."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiffin.errors import CallError, DecodeError, TooLarge
from tiffin.protocol import tensor_json
from tiffin.types import DATATYPES

LIMIT = 1 << 20
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
FIXED = [name for name in DATATYPES if name != "BYTES"]


def decode(text: str | bytes, shape: list[int], name: str, **options: Any) -> np.ndarray[Any, Any]:
    raw = text.encode() if isinstance(text, str) else text
    return tensor_json.decode(raw, shape, DATATYPES[name], "t", max_bytes=LIMIT, **options)


@given(st.sampled_from(FIXED).flatmap(lambda n: st.tuples(st.just(n), hnp.arrays(tensor_json.dtype(n), SHAPES))))
def test_numbers_come_back_as_sent_nested_and_flat(sent: tuple[str, np.ndarray[Any, Any]]) -> None:
    name, array = sent
    array = np.where(np.isfinite(array), array, 0).astype(array.dtype)
    shape = list(array.shape)
    for text in (json.dumps(array.ravel().tolist()), json.dumps(array.tolist())):
        found = decode(text, shape, name)
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        assert (found == array).all()


@given(hnp.arrays(object, SHAPES, elements=st.text(st.characters(exclude_categories=["Cs"]), max_size=5)))
def test_texts_come_back_as_sent(array: np.ndarray[Any, Any]) -> None:
    for text in (json.dumps(array.ravel().tolist()), json.dumps(array.tolist(), ensure_ascii=False)):
        found = decode(text, list(array.shape), "BYTES")
        assert found.dtype == object
        assert found.tolist() == array.tolist()


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=5))
def test_base64_texts_become_bytes(values: list[bytes]) -> None:
    text = json.dumps([base64.b64encode(value).decode() for value in values])
    assert decode(text, [len(values)], "BYTES", base64_text=True).tolist() == values


@pytest.mark.parametrize(
    ("text", "shape", "name", "values"),
    [
        ("[1, 2.5, -3e2]", [3], "FP32", [1.0, 2.5, -300.0]),
        ("[1, 0]", [2], "BOOL", [True, False]),
        ("[[true],[false]]", [2, 1], "BOOL", [[True], [False]]),
        ("[18446744073709551615]", [1], "UINT64", [2**64 - 1]),
        ("[-9223372036854775808]", [1], "INT64", [-(2**63)]),
        ("[5]", [], "INT8", 5),
        ("[[[1,2],[3,4]]]", [4], "INT16", [1, 2, 3, 4]),
        ("[1,2,3,4]", [2, 2], "INT16", [[1, 2], [3, 4]]),
        ("[]", [0], "FP64", []),
        ("[]", [0, 3], "FP64", []),
        ("[[]]", [1, 0], "BYTES", [[]]),
        (" [ \n[1] ] ", [1, 1], "UINT8", [[1]]),
        ('["\\u00e9\\ud83d\\ude00"]', [1], "BYTES", ["é😀"]),
    ],
)
def test_what_is_taken(text: str, shape: list[int], name: str, values: Any) -> None:
    assert decode(text, shape, name).tolist() == values


def test_fp16_beyond_its_range_is_infinite_without_a_warning() -> None:
    assert decode("[1e300, -70000]", [2], "FP16").tolist() == [np.inf, -np.inf]


@pytest.mark.parametrize(
    ("text", "shape", "name", "said"),
    [
        ("[1, 2]", [3], "FP32", "3 elements"),
        ("[1, 2]", [], "FP32", "1 elements"),
        ("[1]", [0], "FP32", "0 elements"),
        ("[[1, 2], [3]]", [3], "INT32", "ragged|equal length"),
        ("[[1, 2], 3]", [3], "INT32", "equal length"),
        ('[["a"], ["b", "c"]]', [3], "BYTES", "ragged|equal length"),
        ('[[], ["b"]]', [1], "BYTES", "ragged|equal length"),
        ("[1.0]", [1], "INT32", "INT32"),
        ("[1.5]", [1], "UINT8", "UINT8"),
        ("[true]", [1], "INT32", "INT32"),
        ("[true]", [1], "FP32", "FP32"),
        ("[2]", [1], "BOOL", "BOOL"),
        ("[1.0]", [1], "BOOL", "BOOL"),
        ('["true"]', [1], "BOOL", "BOOL"),
        ("[true, 1]", [2], "BOOL", "BOOL"),
        ('["1"]', [1], "FP64", "FP64"),
        ("[1]", [1], "BYTES", "BYTES"),
        ("[null]", [1], "BYTES", "BYTES"),
        ("[null]", [1], "FP32", "FP32"),
        ("[{}]", [1], "FP32", "FP32"),
        ("[256]", [1], "UINT8", "range"),
        ("[-1]", [1], "UINT64", "range"),
        ("[128]", [1], "INT8", "range"),
        ("[18446744073709551616]", [1], "UINT64", "range"),
        ("[9223372036854775808]", [1], "INT64", "range"),
        ("[1" + "0" * 5000 + "]", [1], "INT64", "range"),
        ("[1e999]", [1], "FP64", "range"),
        ("[NaN]", [1], "FP64", "JSON"),
        ("[Infinity]", [1], "FP64", "JSON"),
        ("[1,]", [1], "FP64", "JSON"),
        ("[1", [1], "FP64", "JSON"),
        ("[1] 2", [1], "FP64", "JSON"),
        ("", [1], "FP64", "a list"),
        ("1", [1], "FP64", "a list"),
        ("null", [1], "FP64", "a list"),
        ('{"a": 1}', [1], "FP64", "a list"),
        ('"ab"', [2], "BYTES", "a list"),
        ("[" * 13 + "1" + "]" * 13, [1], "FP64", "12 deep"),
        ("[" * 100_000, [1], "FP64", "12 deep"),
        ('["\\ud800"]', [1], "BYTES", "t.data"),
        ("[1]", [1] * 13, "FP64", "12 dimensions"),
        ("[1]", [-1], "FP64", "0 or more, found -1"),
        ("[]", [0, 2**62, 2**62], "FP64", "smaller dimensions"),
        ("[]", [0, 10**30], "BOOL", "smaller dimensions"),
    ],
)
def test_what_is_refused_and_how(text: str, shape: list[int], name: str, said: str) -> None:
    with pytest.raises(DecodeError, match=said) as caught:
        decode(text, shape, name)
    assert str(caught.value).startswith("t.")


def test_bytes_that_are_no_utf8_are_refused() -> None:
    with pytest.raises(DecodeError, match=r"t\.data"):
        decode(b'["\xff"]', [1], "BYTES")


@pytest.mark.parametrize("text", ['["abc"]', '["****"]', '["é"]', '["QQ==\\n"]'])
def test_bad_base64_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match=r"t\.data\[0\]: expected base64"):
        decode(text, [1], "BYTES", base64_text=True)


@pytest.mark.parametrize(
    "shape", [[4294967296, 4294967296], [2**63], [10**40], [LIMIT // 8 + 1], [1024, 1024, 1024], [3, 2**62, 4]]
)
def test_shapes_over_the_limit_are_refused_before_anything_is_allocated(shape: list[int]) -> None:
    with pytest.raises(TooLarge, match=r"t\.shape: expected a tensor of at most"):
        decode("[1]", shape, "FP64")


def test_an_unknown_datatype_is_answered_with_those_there_are() -> None:
    with pytest.raises(DecodeError, match=r"expected one of BOOL, UINT8, .*, found 'FLOAT'"):
        tensor_json.datatype("FLOAT", "inputs[0]")


SOUP = st.text('[]{}",:0123456789.eE+-truefalsn \\ud', max_size=40)


@given(SOUP, st.lists(st.integers(-1, 5), max_size=4), st.sampled_from(list(DATATYPES)), st.booleans())
def test_any_text_is_a_tensor_of_its_shape_or_a_refusal(
    text: str, shape: list[int], name: str, base64_text: bool
) -> None:
    try:
        found = decode(text, shape, name, base64_text=base64_text)
    except CallError:
        return
    assert list(found.shape) == shape
    assert found.dtype == tensor_json.dtype(name)
