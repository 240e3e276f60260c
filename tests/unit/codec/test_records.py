import contextlib
import dataclasses
import functools
import json
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NotRequired, TypedDict

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tiffin.codec.files import Scratch, Upload
from tiffin.codec.inputs import Input, Parameter
from tiffin.codec.markers import DType
from tiffin.codec.outputs import Output
from tiffin.validators import DataframeSchema

pl = pytest.importorskip("polars", reason="polars is not installed: pip install polars")


@dataclasses.dataclass
class Point:
    name: str
    at: np.ndarray
    tags: list[str] = dataclasses.field(default_factory=lambda: ["new"])
    near: "Point | None" = None


class Struct(msgspec.Struct, rename="camel"):
    full_name: str
    size: int = 3


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    n: Annotated[int, msgspec.Meta(ge=1, description="how many")]
    name: Annotated[str, msgspec.Meta(pattern="^a")] = "a"


class Listed(msgspec.Struct, array_like=True):
    n: int


class Cat(msgspec.Struct, tag=True):
    lives: int


class Dog(msgspec.Struct, tag=True):
    lives: int


class Typed(TypedDict):
    x: Annotated[np.ndarray, DType("float32")]
    note: NotRequired[str]


class Named(NamedTuple):
    x: np.ndarray
    n: int = 2


class Model(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    frame: pd.DataFrame
    inner: list[Point] = []


class First(BaseModel):
    kind: Literal["first"] = "first"
    n: int


class Second(BaseModel):
    kind: Literal["second"] = "second"
    n: int


def read(annotation, value) -> Any:
    body = json.dumps({"v": value}).encode()
    return Input([Parameter("v", annotation)]).from_json(body, Scratch()).kwargs["v"]


@pytest.mark.parametrize(
    ("annotation", "sent", "kind", "answered"),
    [
        (
            Point,
            {"name": "a", "at": [1, 2]},
            Point,
            {"name": "a", "at": [1, 2], "tags": ["new"], "near": None},
        ),
        (Struct, {"fullName": "a"}, Struct, {"fullName": "a", "size": 3}),
        (Cat | Dog, {"type": "Dog", "lives": 1}, Dog, {"type": "Dog", "lives": 1}),
        (Typed, {"x": [1, 2]}, dict, {"x": [1.0, 2.0]}),
        (Named, [[1]], Named, [[1], 2]),
        (Named, {"x": [1], "n": 5}, Named, [[1], 5]),
        (Point | None, None, type(None), None),
        (np.ndarray | dict[str, int], {"a": 1}, dict, {"a": 1}),
        (list[Struct], [{"fullName": "a", "size": 1}], list, [{"fullName": "a", "size": 1}]),
        (
            dict[str, Point],
            {"k": {"name": "a", "at": 1, "tags": [], "near": {"name": "b", "at": 2}}},
            dict,
            {
                "k": {
                    "name": "a",
                    "at": 1,
                    "tags": [],
                    "near": {"name": "b", "at": 2, "tags": ["new"], "near": None},
                }
            },
        ),
        (list[Model], [{"frame": [{"a": 1}]}], list, [{"frame": [{"a": 1}], "inner": []}]),
        (
            Annotated[First | Second, Field(discriminator="kind")],
            {"kind": "second", "n": 1},
            Second,
            {"kind": "second", "n": 1},
        ),
        (pl.DataFrame, [{"a": 1, "b": "x"}], pl.DataFrame, [{"a": 1, "b": "x"}]),
        (pl.LazyFrame, {"a": [1, 2]}, pl.LazyFrame, [{"a": 1}, {"a": 2}]),
        (
            Annotated[pl.DataFrame, DataframeSchema(orient="columns", columns=["b"])],
            {"a": [1], "b": [2]},
            pl.DataFrame,
            {"b": [2]},
        ),
        (pa.Table, [{"a": 1}], pa.Table, [{"a": 1}]),
    ],
)
def test_what_is_sent_reaches_the_method_as_its_class_and_goes_back(annotation, sent, kind, answered):
    value = read(annotation, sent)
    assert isinstance(value, kind)
    assert json.loads(Output(annotation).encode(value).body) == answered


def test_a_dataclass_contains_arrays_and_itself():
    value = read(Point, {"name": "a", "at": [1], "near": {"name": "b", "at": [2]}})
    assert isinstance(value.near, Point)
    assert value.near.at.tolist() == [2]


def test_an_instance_of_the_authors_model_is_an_answer():
    frame = pd.DataFrame({"a": [1]})
    assert json.loads(Output(list[Model]).encode([Model(frame=frame)]).body) == [
        {"frame": [{"a": 1}], "inner": []}
    ]


@pytest.mark.parametrize(
    ("annotation", "sent", "where"),
    [
        (Point, {"name": "a"}, ("v", "at")),
        (Point, {"name": 1, "at": [1]}, ("v", "name")),
        (Struct, {"fullName": "a", "size": "x"}, ("v", "size")),
        (Strict, {"n": 0}, ("v", "n")),
        (Strict, {"n": 1, "name": "b"}, ("v", "name")),
        (Strict, {"n": 1, "m": 1}, ("v",)),
        (Typed, {"x": {"a": 1}}, ("v", "x")),
        (Named, {"n": 1}, ("v",)),
        (Named, [[1], 2, 3], ("v",)),
        (Named, [], ("v", 0)),
        (pl.DataFrame, "text", ("v",)),
        (pl.DataFrame, {"a": [1], "b": [1, 2]}, ("v",)),
        (pa.Table, {"a": [1], "b": [1, 2]}, ("v",)),
        (Annotated[pl.DataFrame, DataframeSchema(columns=["z"])], [{"a": 1}], ("v",)),
    ],
)
def test_what_does_not_fit_says_where(annotation, sent, where):
    with pytest.raises(ValidationError) as caught:
        read(annotation, sent)
    assert caught.value.errors()[0]["loc"] == where


def test_an_untyped_answer_holds_frames_and_structs():
    value = {"frame": pl.DataFrame({"a": [1]}), "struct": Struct(full_name="a"), "lazy": pl.LazyFrame({"a": [2]})}
    assert json.loads(Output(Any).encode(value).body) == {
        "frame": [{"a": 1}],
        "struct": {"fullName": "a", "size": 3},
        "lazy": [{"a": 2}],
    }


def test_a_stream_of_records_is_written_item_by_item():
    assert (
        Output(Generator[Struct, None, None], is_stream=True).chunk(Struct("a")) == b'{"fullName": "a", "size": 3}'
    )


def test_fields_of_a_form_are_what_their_annotation_says():
    given = Input([Parameter("v", Path), Parameter("n", str), Parameter("raw", bytes)])
    scratch = Scratch()
    fields = {"v": [Upload(b"x", "a.txt")], "n": ["5"], "raw": [Upload(b"7", "r")]}
    kwargs = given.from_form(fields, scratch).kwargs
    assert (kwargs["v"].read_bytes(), kwargs["n"], kwargs["raw"]) == (b"x", "5", b"7")
    scratch.close()


def test_defaults_show_in_the_schema():
    schema = Input([Parameter("v", Struct)]).json_schema()
    assert schema["$defs"]["Struct"]["properties"]["size"]["default"] == 3
    assert schema["$defs"]["Struct"]["required"] == ["fullName"]


def test_limits_of_a_struct_show_in_the_schema():
    n = Input([Parameter("v", Strict)]).json_schema()["$defs"]["Strict"]["properties"]["n"]
    assert (n["minimum"], n["description"]) == (1, "how many")


def test_a_struct_that_travels_as_an_array_is_refused():
    with pytest.raises(TypeError, match="array_like"):
        Input([Parameter("v", Listed)])


@pytest.mark.parametrize("package", ["torch", "tensorflow"])
def test_tensors_go_and_come_as_nested_lists(package):
    library = pytest.importorskip(package, reason=f"{package} is not installed: pip install {package}")
    value = read(Annotated[library.Tensor, DType("float32")], [[1, 2]])
    assert isinstance(value, library.Tensor)
    assert json.loads(Output(library.Tensor).encode(value).body) == [[1.0, 2.0]]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**80), 2**80) | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "x", "n", "at"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.parametrize(
    "annotation", [Point, Strict, Cat | Dog, Typed, Named, Model, pl.DataFrame, pl.LazyFrame, pa.Table]
)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(value=_JSON)
def test_any_json_is_taken_or_refused(annotation, value):
    given_ = _input(annotation)
    body = json.dumps({"v": value}).encode()
    with contextlib.suppress(ValidationError):  # anything else would be answered with a 500
        given_.from_json(body, Scratch())


@functools.cache
def _input(annotation):
    return Input([Parameter("v", annotation)])
