"""Tensors as the arguments of methods, and answers as tensors, by annotation."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.codec.files import Scratch
from tiffin.codec.frames import DataframeSchema
from tiffin.codec.inputs import MISSING, Input, Parameter
from tiffin.codec.markers import DType, Shape
from tiffin.codec.outputs import Output
from tiffin.errors import CallError, DecodeError, PredictError
from tiffin.protocol.tensor_results import specs_of, tensors_of
from tiffin.protocol.tensor_values import TensorInput
from tiffin.protocol.tensors import TensorCall
from tiffin.types import TensorSpec


class Colour(enum.Enum):
    RED = "red"


class Point(pydantic.BaseModel):
    x: float
    tags: list[str] = []


class Pair(TypedDict):
    a: int
    b: str


@dataclasses.dataclass
class Both:
    a: int
    b: str


class Packed(msgspec.Struct):
    a: int


Four = Annotated[np.ndarray, Shape((-1, 4)), DType("float32")]


def takes(**annotations: Any) -> TensorInput:
    return TensorInput(Input([Parameter(name, annotation) for name, annotation in annotations.items()]))


def texts(*values: Any) -> np.ndarray[Any, Any]:
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def given_to(input_: TensorInput, **tensors: Any) -> dict[str, Any]:
    arrays = [np.asarray(array) for array in tensors.values()]
    return input_.arguments(TensorCall(list(tensors), arrays), Scratch()).kwargs


@pytest.mark.parametrize(
    ("annotation", "tensor", "value"),
    [
        (str, texts(b"caf\xc3\xa9"), "café"),
        (str | None, texts("x"), "x"),
        (bytes, texts("x"), b"x"),
        (int, np.array([3]), 3),
        (int, np.array(3), 3),
        (float, np.array([[2.5]]), 2.5),
        (bool, np.array([True]), True),
        (Literal["a", "b"], texts("b"), "b"),
        (Colour, texts("red"), Colour.RED),
        (list[float], np.array([1.0, 2.0]), [1.0, 2.0]),
        (list[list[int]], np.array([[1, 2]]), [[1, 2]]),
        (list[str], texts(b"a", "b"), ["a", "b"]),
        (list[bytes], texts("a"), [b"a"]),
        (list[Point], texts('{"x": 1}', b'{"x": 2}'), [Point(x=1), Point(x=2)]),
        (tuple[int, ...], np.array([1, 2]), (1, 2)),
        (set[str], texts("a"), {"a"}),
        (Point, texts(b'{"x": 1}'), Point(x=1)),
        (Both, texts('{"a": 1, "b": "c"}'), Both(1, "c")),
        (Pair, texts('{"a": 1, "b": "c"}'), {"a": 1, "b": "c"}),
        (dict[str, int], texts('{"a": 1}'), {"a": 1}),
        (dict, texts('{"a": [1]}'), {"a": [1]}),
        (Any, np.array([1, 2]), [1, 2]),
        (Any, texts(b"one"), "one"),
        (Any, texts("a", "b"), ["a", "b"]),
        (int | str, np.array(4), 4),
    ],
)
def test_a_tensor_becomes_what_the_annotation_says(annotation: Any, tensor: Any, value: Any) -> None:
    assert given_to(takes(p=annotation, other=str), p=tensor, other=texts("o"))["p"] == value


def test_arrays_pass_in_their_dtype_and_may_be_written_into() -> None:
    sent = np.frombuffer(np.arange(4.0).tobytes())
    array = given_to(takes(x=np.ndarray), x=sent)["x"]
    array += 1
    assert (array.dtype, sent.tolist()) == (np.dtype("f8"), [0.0, 1.0, 2.0, 3.0])
    cast = given_to(takes(x=Four), x=np.arange(8))["x"]
    assert (cast.dtype, cast.shape) == (np.dtype("f4"), (2, 4))


@pytest.mark.parametrize(
    ("annotation", "tensor", "message"),
    [
        (Four, np.ones((1, 3)), r"inputs\[0\]: expected float32 of shape \[-1, 4\], found shape \[1, 3\]"),
        (Annotated[np.ndarray, DType("int32")], np.ones(2), r"inputs\[0\]: expected INT32, found FP64"),
        (Four, texts("a"), r"inputs\[0\]: expected float32"),
        (str, np.ones(1), r"inputs\[0\].datatype: expected BYTES, found FP64"),
        (str, texts("a", "b"), "expected one element, found 2"),
        (str, texts(b"\xff"), "expected text in UTF-8"),
        (int, np.array([1, 2]), "expected one element, found 2"),
        (list[int], np.array(1), "expected a tensor of one dimension at least"),
        (Point, texts("{"), "expected JSON in an element of BYTES"),
    ],
)
def test_what_does_not_fit_names_its_tensor(annotation: Any, tensor: Any, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        given_to(takes(p=annotation, other=str), p=tensor)


def test_names_are_the_parameters() -> None:
    two = takes(a=int, b=int)
    with pytest.raises(DecodeError, match=r"inputs\[0\].name: expected inputs among a, b, found 'c'"):
        given_to(two, c=np.array([1]))
    with pytest.raises(pydantic.ValidationError, match="Field required"):
        given_to(two, a=np.array([1]))
    # As clients of saved models call the one tensor of a model.
    assert given_to(takes(a=int), **{"input-0": np.array([1])}) == {"a": 1}


def test_a_default_stands_in_for_a_tensor_that_is_not_sent() -> None:
    input_ = TensorInput(Input([Parameter("a", int), Parameter("b", int, 7)]))
    assert given_to(input_, a=np.array([1])) == {"a": 1, "b": 7}
    assert Parameter("a", int).default is MISSING


def test_a_lone_model_takes_its_fields_too() -> None:
    one = takes(p=Point)
    assert given_to(one, x=np.array([1.0]), tags=texts("a"))["p"] == Point(x=1, tags=["a"])
    assert given_to(one, p=texts('{"x": 1}'))["p"] == Point(x=1)
    with pytest.raises(DecodeError, match="expected inputs among x, tags, found 'z'"):
        given_to(one, x=np.array([1.0]), z=np.array([1.0]))


def test_a_model_in_place_of_parameters_takes_its_fields() -> None:
    input_ = TensorInput(Input((), model=Point))
    assert given_to(input_, x=np.array([1.0]))["x"] == 1.0


def test_a_parameter_that_is_the_whole_body_goes_by_its_name() -> None:
    input_ = TensorInput(Input([Parameter("numbers", list[int], kind="root")]))
    call = TensorCall(["numbers"], [np.array([1, 2])])
    assert input_.arguments(call, Scratch()).args == ([1, 2],)


def test_a_frame_takes_a_tensor_for_each_column() -> None:
    found = given_to(takes(df=pd.DataFrame, k=int), a=[1, 2], b=texts(b"x", "y"), k=[3])
    pd.testing.assert_frame_equal(found["df"], pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), check_dtype=False)
    assert found["k"] == 3
    assert given_to(takes(df=pd.DataFrame), df=texts('[{"a": 1}]'))["df"]["a"].tolist() == [1]
    assert given_to(takes(df=pd.DataFrame), df=np.array([1, 2]))["df"]["df"].tolist() == [1, 2]
    with pytest.raises(DecodeError, match=r"columns of one length, found \[1, 2\]"):
        given_to(takes(df=pd.DataFrame), a=[1, 2], b=[1])
    with pytest.raises(DecodeError, match=r"expected a column, found shape \[2, 2\]"):
        given_to(takes(df=pd.DataFrame), a=np.ones((2, 2)))


def test_metadata_comes_from_the_signature() -> None:
    columns = Annotated[pd.DataFrame, DataframeSchema(columns=["a", "b"])]
    shown = takes(x=Four, n=int, t=str, many=list[list[float]], p=Point, df=columns).specs()
    assert shown == [
        TensorSpec("x", "FP32", (-1, 4)),
        TensorSpec("n", "INT64", (1,)),
        TensorSpec("t", "BYTES", (1,)),
        TensorSpec("many", "FP64", (-1, -1)),
        TensorSpec("p", "BYTES", (1,)),
        TensorSpec("a", "FP64", (-1,)),
        TensorSpec("b", "FP64", (-1,)),
    ]
    batched = TensorInput(Input([Parameter("x", Annotated[np.ndarray, Shape((1, 4))])]), 0)
    assert batched.specs() == [TensorSpec("x", "FP64", (-1, 4))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (np.ones((1, 2), dtype="f4"), {"output-0": (np.dtype("f4"), [[1.0, 1.0]])}),
        (np.float32(2), {"output-0": (np.dtype("f4"), [2.0])}),
        (3, {"output-0": (np.dtype("i8"), [3])}),
        (True, {"output-0": (np.dtype("?"), [True])}),
        ("café", {"output-0": (np.dtype("O"), ["café"])}),
        (b"\xff", {"output-0": (np.dtype("O"), [b"\xff"])}),
        (None, {"output-0": (np.dtype("O"), [b"null"])}),
        (2**70, {"output-0": (np.dtype("O"), [b"1180591620717411303424"])}),
        ([1, 2.5], {"output-0": (np.dtype("f8"), [1.0, 2.5])}),
        ([], {"output-0": (np.dtype("f8"), [])}),
        (["a", "b"], {"output-0": (np.dtype("O"), ["a", "b"])}),
        ([1, "a"], {"output-0": (np.dtype("O"), [b"1", "a"])}),
        ([[1], [2, 3]], {"output-0": (np.dtype("O"), [b"[1]", b"[2,3]"])}),
        ([{"a": 1}], {"output-0": (np.dtype("O"), [b'{"a":1}'])}),
        ({"a": [1], "b": "c"}, {"a": (np.dtype("i8"), [1]), "b": (np.dtype("O"), ["c"])}),
        (Point(x=1), {"x": (np.dtype("f8"), [1.0]), "tags": (np.dtype("f8"), [])}),
        (Both(1, "c"), {"a": (np.dtype("i8"), [1]), "b": (np.dtype("O"), ["c"])}),
        (Packed(1), {"a": (np.dtype("i8"), [1])}),
        (pd.DataFrame({"a": [1], "b": ["c"]}), {"a": (np.dtype("i8"), [1]), "b": (np.dtype("O"), ["c"])}),
        (pd.Series([1.5]), {"output-0": (np.dtype("f8"), [1.5])}),
        (
            (np.ones(1), np.zeros(1)),
            {"output-0": (np.dtype("f8"), [1.0]), "output-1": (np.dtype("f8"), [0.0])},
        ),
        (np.array(["2026-01-01"], dtype="M8[D]"), {"output-0": (np.dtype("O"), ["2026-01-01"])}),
    ],
)
def test_an_answer_becomes_tensors(value: Any, shown: Any) -> None:
    found = {name: (array.dtype, array.tolist()) for name, array in tensors_of(value)}
    assert found == shown


def test_an_answer_that_nothing_can_hold_is_the_authors_fault() -> None:
    with pytest.raises(PredictError, match="tensors or JSON can hold"):
        tensors_of({"a": object()})


def test_metadata_of_answers() -> None:
    assert specs_of(Output(Four)) == [TensorSpec("output-0", "FP32", (-1, 4))]
    assert specs_of(Output(str)) == [TensorSpec("output-0", "BYTES", (1,))]
    assert specs_of(Output(Point)) == [TensorSpec("x", "FP64", (1,)), TensorSpec("tags", "BYTES", (-1,))]
    assert specs_of(Output(dict[str, int])) == []
    assert specs_of(Output(Any)) == []


TENSORS = st.one_of(
    st.lists(st.text(max_size=4), max_size=3).map(lambda values: texts(*values)),
    st.lists(st.binary(max_size=4), max_size=3).map(lambda values: texts(*values)),
    st.lists(st.floats(), max_size=3).map(np.array),
    st.lists(st.booleans(), min_size=1, max_size=3).map(np.array),
    st.just(np.ones((2, 2), dtype="i2")),
)
ANNOTATIONS = [
    str,
    bytes,
    int,
    list[int],
    list[str],
    Point,
    Four,
    pd.DataFrame,
    Any,
    dict,
    Pair,
    Colour,
    list[Point],
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ANNOTATIONS), st.lists(TENSORS, max_size=2), st.booleans())
def test_any_tensors_are_arguments_or_refused(annotation: Any, sent: list[Any], named: bool) -> None:
    names = ["p", "q"] if named else ["x", "tags"]
    call = TensorCall(names[: len(sent)], sent)
    with contextlib.suppress(CallError, pydantic.ValidationError):
        takes(p=annotation).arguments(call, Scratch())
