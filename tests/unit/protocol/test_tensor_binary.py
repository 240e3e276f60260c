"""Tensor data as bytes; tritonclient's own (de)serializers are the independent peer."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.utils import deserialize_bytes_tensor, np_to_triton_dtype, serialize_byte_tensor

from tiffin.errors import CallError, DecodeError, TooLarge
from tiffin.protocol import tensor_binary, tensor_json
from tiffin.types import DATATYPES

LIMIT = 1 << 20
SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4)
FIXED = [name for name in DATATYPES if name != "BYTES"]


def decode(body: bytes, shape: list[int], name: str, offset: int = 0, size: int | None = None) -> Any:
    length = len(body) - offset if size is None else size
    return tensor_binary.decode(body, offset, length, shape, DATATYPES[name], "t", max_bytes=LIMIT)


@given(st.sampled_from(FIXED).flatmap(lambda n: st.tuples(st.just(n), hnp.arrays(tensor_json.dtype(n), SHAPES))))
def test_every_datatype_of_fixed_size_comes_back_bit_for_bit(sent: tuple[str, np.ndarray[Any, Any]]) -> None:
    name, array = sent
    assert np_to_triton_dtype(array.dtype) == name
    body = b"head" + array.tobytes() + b"tail"
    found = decode(body, list(array.shape), name, offset=4, size=array.nbytes)
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tobytes() == array.tobytes()
    assert tensor_binary.encode(array, DATATYPES[name]) == array.tobytes()


def test_other_memory_layouts_are_written_row_major_and_little_endian() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3)
    expected = np.array([0, 3, 1, 4, 2, 5], "<i4").tobytes()
    assert tensor_binary.encode(array.T, DATATYPES["INT32"]) == expected


@given(st.lists(st.one_of(st.binary(max_size=9), st.text(st.characters(exclude_categories=["Cs"]), max_size=5))))
def test_bytes_are_laid_out_as_tritonclient_does(values: list[bytes | str]) -> None:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    raw = [value if isinstance(value, bytes) else value.encode() for value in values]
    text = tensor_binary.encode(array, DATATYPES["BYTES"])
    if values:
        assert text == serialize_byte_tensor(array).item()
        assert deserialize_bytes_tensor(text).tolist() == raw
    assert decode(text, [len(values)], "BYTES").tolist() == raw


@pytest.mark.parametrize(
    ("body", "shape", "name", "said"),
    [
        (b"abc", [1], "FP32", "4 bytes for FP32"),
        (b"abcd", [2], "FP32", "8 bytes"),
        (b"abcd", [0], "FP32", "0 bytes"),
        (b"", [1], "UINT8", "1 bytes"),
        (b"\x02", [1], "BOOL", "0 or 1"),
        (b"ab", [-2], "UINT8", "0 or more"),
        (b"", [0, 2**62, 2**62], "FP64", "smaller dimensions"),
        (b"", [1], "BYTES", "1 BYTES elements"),
        (b"\x00\x00\x00", [1], "BYTES", "1 BYTES elements"),
        (b"\x05\x00\x00\x00abcd", [1], "BYTES", "5 bytes, found 4"),
        (b"\xff\xff\xff\xff", [1], "BYTES", "4294967295 bytes"),
        (b"\x01\x00\x00\x00ab", [1], "BYTES", "1 more bytes"),
        (b"\x04\x00\x00\x00abcd", [2], "BYTES", "2 BYTES elements, found 1"),
        (b"\x00\x00\x00\x00", [0], "BYTES", "4 more bytes"),
        (b"\x00\x00\x00\x00", [500_000], "BYTES", "found room for 1"),
    ],
)
def test_bytes_that_do_not_fit_their_shape_are_refused(
    body: bytes, shape: list[int], name: str, said: str
) -> None:
    with pytest.raises(DecodeError, match=said) as caught:
        decode(body, shape, name)
    assert str(caught.value).startswith("t")


def test_elements_never_reach_past_their_own_size() -> None:
    body = b"\x08\x00\x00\x00abcd" + b"efgh"
    with pytest.raises(DecodeError, match="8 bytes, found 4"):
        decode(body, [1], "BYTES", size=8)


@pytest.mark.parametrize("shape", [[4294967296, 4294967296], [2**63], [LIMIT + 1]])
def test_shapes_over_the_limit_are_refused(shape: list[int]) -> None:
    for name in ("UINT8", "BYTES"):
        with pytest.raises(TooLarge):
            decode(b"abcd", shape, name)


@given(st.binary(max_size=40), st.lists(st.integers(-1, 5), max_size=3), st.sampled_from(list(DATATYPES)))
def test_any_bytes_are_a_tensor_of_its_shape_or_a_refusal(body: bytes, shape: list[int], name: str) -> None:
    try:
        found = decode(body, shape, name)
    except CallError:
        return
    assert list(found.shape) == shape
    assert tensor_binary.encode(found, DATATYPES[name]) == body
