import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tiffin.codec.jsontext import dumps, dumps_array, is_nested_deeper, without_nan


def expected(array: np.ndarray) -> bytes:
    return json.dumps(without_nan(array.tolist())).encode()


@given(
    hnp.arrays(st.sampled_from(["f8", "f4", "f2", ">f8"]), hnp.array_shapes(min_dims=0, max_dims=3, min_side=0))
)
def test_a_float_array_reads_as_json_dumps_writes_it(array):
    assert dumps_array(array) == expected(array)


@given(hnp.arrays(hnp.integer_dtypes() | hnp.unsigned_integer_dtypes(), hnp.array_shapes(min_side=0)))
def test_an_integer_array_reads_as_json_dumps_writes_it(array):
    assert dumps_array(array) == expected(array)


@pytest.mark.parametrize(
    "number",
    [0.0, -0.0, 1e-4, 9.9e-5, 1e-5, 1e-7, 1e15, 1e16, 1e17, 1e22, 1e23, 5e-324, 1.7976931348623157e308, 0.1],
)
def test_numbers_where_the_notations_part_ways(number):
    array = np.array([[number, 1.0], [2.0, -number]])
    assert dumps_array(array) == json.dumps(array.tolist()).encode()


@pytest.mark.parametrize(
    "array",
    [
        np.array([[True, False]]),
        np.array(["a", "é", '"']),
        np.array([None, 1, "x"], dtype=object),
        np.arange(12).reshape(3, 4).T,
        np.arange(10.0)[::2],
        np.array(3.5),
        np.zeros((0, 3)),
    ],
    ids=["bool", "text", "object", "transposed", "strided", "scalar", "empty"],
)
def test_other_arrays_read_as_json_dumps_writes_them(array):
    assert dumps_array(array) == json.dumps(array.tolist()).encode()


def test_nan_and_infinity_become_null():
    assert dumps_array(np.array([1.0, math.nan, math.inf])) == b"[1.0, null, null]"
    assert dumps_array(np.array([1e-9, -math.inf])) == b"[1e-09, null]"
    assert without_nan({"a": (math.nan, [math.inf, 1.0])}) == {"a": [None, [None, 1.0]]}


def test_dumps_spaces_as_the_standard_library_does():
    assert dumps({"a": [1, 2.5]}) == '{"a": [1, 2.5]}'


def test_dumps_refuses_nan():
    with pytest.raises(ValueError, match="not JSON compliant"):
        dumps(math.nan)


def depth(value) -> int:
    if isinstance(value, list):
        return 1 + max((depth(v) for v in value), default=0)
    if isinstance(value, dict):
        return 1 + max((depth(v) for v in value.values()), default=0)
    return 0


values = st.recursive(
    st.integers() | st.text(alphabet='[]{}"\\ab'),
    lambda v: st.lists(v) | st.dictionaries(st.text('[{"\\'), v),
    max_leaves=20,
)


@given(values, st.integers(0, 6))
def test_nesting_is_counted_as_it_is(value, limit):
    assert is_nested_deeper(json.dumps(value).encode(), limit) == (depth(value) > limit)


@given(st.binary(max_size=60))
def test_counting_nesting_takes_any_bytes(body):
    assert is_nested_deeper(body, 2) in (True, False)


def test_a_hundred_thousand_brackets_are_too_deep():
    assert is_nested_deeper(b"[" * 100_000 + b"]" * 100_000, 32)
