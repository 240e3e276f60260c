import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from tiffin.codec.files import Scratch, Upload
from tiffin.codec.inputs import Arguments, Input, Parameter, resolve_default
from tiffin.codec.io_model import IODescriptor
from tiffin.codec.markers import ContentType, DType, Shape
from tiffin.errors import DecodeError


class Point(BaseModel):
    x: int
    y: int = 3


def take(body: Any, *parameters: Parameter) -> Arguments:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Input(parameters).from_json(raw, Scratch())


@pytest.mark.parametrize(
    ("annotation", "sent", "got"),
    [
        (int, 5, 5),
        (int, "5", 5),
        (int, 5.0, 5),
        (int, 10**30, 10**30),
        (float, 5, 5.0),
        (float, 2.5, 2.5),
        (bool, True, True),
        (bool, "yes", True),
        (str, "é", "é"),
        (list, [1, "a"], [1, "a"]),
        (list[float], [1, 2.5], [1.0, 2.5]),
        (list[int], [1, 2], [1, 2]),
        (dict, {"a": 1}, {"a": 1}),
        (dict[str, int], {"a": "1"}, {"a": 1}),
        (Any, None, None),
        (Optional[int], None, None),  # noqa: UP045
        (int | None, 4, 4),
        (Literal["a", "b"], "a", "a"),
        (Annotated[list[int] | None, "said"], [1], [1]),
        (type(None), None, None),
        (Point, {"x": 1}, Point(x=1)),
        (tuple[int, str], [1, "a"], (1, "a")),
    ],
)
def test_a_value_arrives_as_its_annotation_says(annotation, sent, got):
    kwargs = take({"v": sent}, Parameter("v", annotation)).kwargs
    assert kwargs == {"v": got}
    assert type(kwargs["v"]) is type(got)


@pytest.mark.parametrize(
    ("annotation", "sent"),
    [(int, 1.5), (int, "x"), (float, None), (str, 5), (list, {}), (list[int], ["x"]), (dict, []), (Point, {})],
)
def test_a_value_that_does_not_fit_says_where(annotation, sent):
    with pytest.raises(ValidationError) as caught:
        take({"v": sent}, Parameter("v", annotation))
    assert caught.value.errors()[0]["loc"][0] == "v"
    assert caught.value.title == "Input"


def test_unknown_keys_are_ignored_and_missing_ones_get_their_default():
    parameters = (Parameter("a", int), Parameter("b", int, 2))
    assert take({"a": 1, "zz": 1}, *parameters).kwargs == {"a": 1, "b": 2}


def test_an_empty_body_is_an_empty_object():
    assert take(b"", Parameter("b", int, 2)).kwargs == {"b": 2}
    with pytest.raises(ValidationError):
        take(b"", Parameter("a", int))


@pytest.mark.parametrize("body", [b"{", b"[1]", b"null", b"\xff", b'"x"', b"{]}"])
def test_a_body_that_is_no_object_is_refused(body):
    with pytest.raises(ValidationError):
        take(body, Parameter("a", int))


def test_mutable_defaults_are_not_shared_between_calls():
    taken = Input((Parameter("v", list, []),))
    taken.from_json(b"", Scratch()).kwargs["v"].append(1)
    assert taken.from_json(b"{}", Scratch()).kwargs == {"v": []}


def test_field_defaults_and_constraints_hold():
    parameter = Parameter("x", int, Field(default=3, ge=1))
    assert take({}, parameter).kwargs == {"x": 3}
    with pytest.raises(ValidationError):
        take({"x": 0}, parameter)


def test_a_field_default_resolves_to_its_value():
    assert resolve_default(Field(default=3)) == 3
    assert resolve_default(Field(default_factory=list)) == []
    assert resolve_default(7) == 7


@pytest.mark.parametrize("name", ["json", "copy", "model_name", "schema", "dict", "class_"])
def test_a_parameter_may_have_a_name_pydantic_uses(name):
    assert take({name: 1}, Parameter(name, int)).kwargs == {name: 1}


# Arrays


@pytest.mark.parametrize(
    ("annotation", "sent", "dtype", "shape"),
    [
        (np.ndarray, [[1, 2], [3, 4]], "int64", (2, 2)),
        (np.ndarray, [1.5], "float64", (1,)),
        (np.ndarray, 3, "int64", ()),
        (Annotated[np.ndarray, DType("float32")], [[1]], "float32", (1, 1)),
        (Annotated[np.ndarray, Shape((2, 2))], [1, 2, 3, 4], "int64", (2, 2)),
        (Annotated[np.ndarray, Shape((-1, 2)), DType("float64")], [1, 2, 3, 4], "float64", (2, 2)),
        (npt.NDArray[np.float32], [1, 2], "float32", (2,)),
        (npt.NDArray[np.floating], [1.5], "float64", (1,)),
    ],
)
def test_an_array_gets_its_dtype_and_shape(annotation, sent, dtype, shape):
    array = take({"x": sent}, Parameter("x", annotation)).kwargs["x"]
    assert isinstance(array, np.ndarray)
    assert (array.dtype.name, array.shape) == (dtype, shape)


@pytest.mark.parametrize(
    ("annotation", "sent"),
    [
        (np.ndarray, [[1, 2], [3]]),
        (np.ndarray, {"a": 1}),
        (np.ndarray, [{"a": 1}]),
        (Annotated[np.ndarray, Shape((2, 2))], [1, 2, 3]),
        (Annotated[np.ndarray, DType("float32")], ["a"]),
        (Annotated[np.ndarray, DType("float32")], {"a": 1}),
        (Annotated[np.ndarray, DType("uint8")], [300]),
        (Annotated[np.ndarray, DType("uint8")], [-1]),
    ],
)
def test_an_array_that_does_not_fit_is_the_callers_mistake(annotation, sent):
    with pytest.raises(ValidationError):
        take({"x": sent}, Parameter("x", annotation))


def test_a_number_too_large_for_its_dtype_is_infinite():
    array = take({"x": [1e300]}, Parameter("x", Annotated[np.ndarray, DType("float32")])).kwargs["x"]
    assert np.isinf(array).all()


def test_null_in_an_array_reaches_the_method():
    array = take({"x": [[1, None]]}, Parameter("x", np.ndarray)).kwargs["x"]
    assert array.tolist() == [[1, None]]


def test_arrays_inside_containers_and_models_are_arrays():
    class Pair(IODescriptor):
        left: np.ndarray
        right: Annotated[np.ndarray, DType("float32")]

    kwargs = take(
        {"d": {"a": [1]}, "l": [[1], [2, 3]], "o": [1], "p": {"left": [1], "right": [2]}},
        Parameter("d", dict[str, np.ndarray]),
        Parameter("l", list[np.ndarray]),
        Parameter("o", np.ndarray | None, None),
        Parameter("p", Pair),
    ).kwargs
    assert isinstance(kwargs["d"]["a"], np.ndarray)
    assert [a.tolist() for a in kwargs["l"]] == [[1], [2, 3]]
    assert isinstance(kwargs["o"], np.ndarray)
    assert kwargs["p"].right.dtype == np.float32


bodies = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda v: st.lists(v, max_size=4) | st.dictionaries(st.sampled_from("abx"), v, max_size=3),
    max_leaves=8,
)

TYPED = Input(
    (
        Parameter("a", int),
        Parameter("b", float, 1.0),
        Parameter("x", np.ndarray),
        Parameter("s", Annotated[np.ndarray, Shape((2,)), DType("float32")], None),
        Parameter("p", Point | None, None),
        Parameter("l", list[float] | None, None),
    )
)


@given(st.dictionaries(st.sampled_from("abxspl"), bodies) | bodies)
def test_any_json_fits_or_is_the_callers_mistake(body):
    try:
        arguments = TYPED.from_json(json.dumps(body).encode(), Scratch())
    except ValidationError:
        return
    assert isinstance(arguments.kwargs["x"], np.ndarray)
    assert type(arguments.kwargs["a"]) is int


FAST = (Parameter("a", int), Parameter("b", float), Parameter("x", np.ndarray), Parameter("l", list[str], None))


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("a", "b", "x", "l"), bodies)))
def test_the_fast_way_and_pydantic_agree(body):
    fast, slow = Input(FAST), Input(FAST)
    slow._fast = None
    raw = json.dumps(body).encode()
    outcomes = []
    for taken in (fast, slow):
        try:
            kwargs = taken.from_json(raw, Scratch()).kwargs
            outcomes.append({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in kwargs.items()})
        except ValidationError as error:
            outcomes.append(error.errors(include_input=False))
    assert repr(outcomes[0]) == repr(outcomes[1])


# The whole body


@pytest.mark.parametrize(
    ("annotation", "body", "got"),
    [
        (str, b"plain", "plain"),
        (str, b'"quoted"', '"quoted"'),
        (str, b"", ""),
        (bytes, b"\xff\x00", b"\xff\x00"),
        (list[str], b'["a"]', ["a"]),
        (list[int], b"[1, 2]", [1, 2]),
        (dict, b'{"x": 1}', {"x": 1}),
    ],
)
def test_a_root_parameter_takes_the_whole_body(annotation, body, got):
    arguments = take(body, Parameter("v", annotation, kind="root"))
    assert arguments.kwargs == {}
    assert arguments.args == (got,)


def test_a_root_model_takes_the_whole_body():
    (point,) = take(b'{"x": 1}', Parameter("p", Point, kind="root")).args
    assert isinstance(point, Point)
    assert point.x == 1
    with pytest.raises(ValidationError, match="1 validation error for PointIODescriptor"):
        take(b"", Parameter("p", Point, kind="root"))


def test_a_root_array_takes_nested_lists():
    (array,) = take(b"[[1.5]]", Parameter("x", np.ndarray, kind="root")).args
    assert array.tolist() == [[1.5]]


def test_an_empty_body_leaves_a_root_its_default():
    assert take(b"", Parameter("v", list[int], None, kind="root")).args == (None,)


@pytest.mark.parametrize("body", [b"{x", b"\xff\xfe", b'"x"', b"[" * 5000])
def test_a_root_list_refuses_what_is_none(body):
    with pytest.raises(ValidationError):
        take(body, Parameter("v", list[str], kind="root"))


def test_a_root_text_is_utf8():
    with pytest.raises(DecodeError):
        take(b"\xff", Parameter("v", str, kind="root"))


def test_a_root_parameter_stands_alone():
    with pytest.raises(TypeError, match="whole body"):
        Input((Parameter("a", str, kind="root"), Parameter("b", str)))


# Variadic parameters, and a model in their place


def test_kwargs_travel_under_their_own_name():
    parameter = Parameter("kwargs", kind="kwargs")
    assert take({"kwargs": {"a": 1}}, parameter).kwargs == {"a": 1}
    with pytest.raises(ValidationError):
        take({"a": 1}, parameter)


def test_args_follow_what_stands_before_them():
    arguments = take({"a": 1, "args": [2, 3]}, Parameter("a", int), Parameter("args", int, kind="args"))
    assert arguments == Arguments((1, 2, 3), {})


def test_a_model_stands_in_for_the_parameters():
    taken = Input((), model=Point)
    assert taken.from_json(b'{"x": 1}', Scratch()).kwargs == {"x": 1, "y": 3}


# Forms and files


def form(fields: dict, *parameters: Parameter) -> Arguments:
    return Input(parameters).from_form(fields, Scratch())


def test_form_values_are_json_where_they_can_be():
    got = form(
        {"a": ["1"], "b": ["x"], "c": ["[1]"]}, Parameter("a", int), Parameter("b", str), Parameter("c", list)
    )
    assert got.kwargs == {"a": 1, "b": "x", "c": [1]}


def test_the_last_of_repeated_form_values_counts():
    assert form({"a": ["1", "2"]}, Parameter("a", int)).kwargs == {"a": 2}


def test_a_file_part_is_a_path_that_ends_with_its_name():
    scratch = Scratch()
    taken = Input((Parameter("f", Path),))
    path = taken.from_form({"f": [Upload(b"data", "../../etc/x.txt", "text/plain")]}, scratch).kwargs["f"]
    assert path.read_bytes() == b"data"
    assert path.name.endswith("x.txt")
    assert path.parent == Path(scratch.directory)
    scratch.close()
    assert not path.parent.exists()


def test_repeated_file_parts_are_a_list():
    paths = form({"f": [Upload(b"1", "a"), Upload(b"2", "b")]}, Parameter("f", list[Path])).kwargs["f"]
    assert [path.read_bytes() for path in paths] == [b"1", b"2"]


def test_a_file_of_another_type_is_refused():
    parameter = Parameter("f", Annotated[Path, ContentType("audio/*")])
    form({"f": [Upload(b"", "x.wav", "audio/wav")]}, parameter)
    with pytest.raises(ValidationError, match=r"Invalid content type text/plain, expected audio/\*"):
        form({"f": [Upload(b"", "x.txt", "text/plain")]}, parameter)


@pytest.mark.parametrize("sent", ["x", "ftp://example.com/x", 5, None])
def test_a_file_cannot_be_text(sent):
    with pytest.raises(ValidationError, match="a file as a part"):
        take({"f": sent}, Parameter("f", Path))


def test_a_root_file_takes_the_whole_body_or_the_only_part():
    parameter = Parameter("f", Path, kind="root")
    assert take(b"data", parameter).args[0].read_bytes() == b"data"
    assert form({"file": [Upload(b"data", "x")]}, parameter).args[0].read_bytes() == b"data"
    with pytest.raises(ValidationError):
        form({"file": ["text"]}, parameter)


def test_a_picture_is_opened():
    pytest.importorskip("PIL")
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.new("RGB", (4, 2)).save(buffer, "PNG")
    picture = form({"im": [Upload(buffer.getvalue(), "x.png", "image/png")]}, Parameter("im", Image.Image)).kwargs[
        "im"
    ]
    assert picture.size == (4, 2)
    for junk in (b"junk", b"", buffer.getvalue()[:20]):
        with pytest.raises(ValidationError, match="cannot be read as one"):
            form({"im": [Upload(junk, "x.png", "image/png")]}, Parameter("im", Image.Image))


def test_a_frame_is_built_from_records_or_columns():
    pd = pytest.importorskip("pandas")
    from tiffin.codec.frames import DataframeSchema

    frame = take({"d": [{"a": 1, "b": "x"}]}, Parameter("d", pd.DataFrame)).kwargs["d"]
    assert frame.to_dict("list") == {"a": [1], "b": ["x"]}
    columns = Annotated[pd.DataFrame, DataframeSchema(orient="columns", columns=["b", "a"])]
    frame = take({"d": {"a": [1], "b": [2]}}, Parameter("d", columns)).kwargs["d"]
    assert list(frame.columns) == ["b", "a"]
    for sent in (5, "x", None, {"a": [1], "b": [1, 2]}):
        with pytest.raises(ValidationError):
            take({"d": sent}, Parameter("d", pd.DataFrame))


# Schemas


@pytest.mark.parametrize(
    ("annotation", "schema"),
    [
        (np.ndarray, {"type": "tensor", "format": "numpy-array"}),
        (
            Annotated[np.ndarray, Shape((2, 3)), DType("float32")],
            {"type": "tensor", "format": "numpy-array", "dtype": "float32", "shape": [2, 3], "dim": 6},
        ),
        (Path, {"type": "file", "format": "binary"}),
        (
            Annotated[Path, ContentType("audio/*")],
            {"type": "file", "format": "audio", "content_type": "audio/*"},
        ),
        (int, {"type": "integer"}),
    ],
)
def test_the_schema_says_what_clients_need(annotation, schema):
    found = Input((Parameter("x", annotation),)).json_schema()["properties"]["x"]
    assert found == {"title": "X", **schema}


def test_a_root_input_says_so():
    assert Input((Parameter("x", list[str], kind="root"),)).json_schema()["root_input"] is True


@pytest.mark.parametrize(
    ("parameter", "media_type"),
    [
        (Parameter("x", int), "application/json"),
        (Parameter("x", Path), "multipart/form-data"),
        (Parameter("x", list[Path]), "multipart/form-data"),
        (Parameter("x", Path | None, None), "multipart/form-data"),
        (Parameter("x", str, kind="root"), "text/plain"),
        (Parameter("x", Path, kind="root"), "application/octet-stream"),
        (Parameter("x", Annotated[Path, ContentType("image/png")], kind="root"), "image/png"),
    ],
)
def test_the_media_type_follows_from_the_annotation(parameter, media_type):
    assert Input((parameter,)).media_type == media_type


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the type statement came with Python 3.12")
def test_a_type_statement_stands_for_what_it_names():
    names: dict[str, Any] = {"np": np, "Annotated": Annotated, "DType": DType}
    exec('type Batch = Annotated[np.ndarray, DType("float32")]\ntype Json = list[Json] | int', names)
    kwargs = take({"x": [1], "j": [[1]]}, Parameter("x", names["Batch"]), Parameter("j", names["Json"])).kwargs
    assert kwargs["x"].dtype == np.float32
    assert kwargs["j"] == [[1]]


def test_half_a_surrogate_pair_is_no_text_of_a_form():
    text = form({"x": ['"\\ud800"']}, Parameter("x", str)).kwargs["x"]
    assert text == '"\\ud800"'  # what was sent, and not what cannot be written again
    assert form({"x": ['"\\ud83d\\ude00"']}, Parameter("x", str)).kwargs["x"] == "\U0001f600"


def test_half_a_surrogate_pair_is_no_root_value():
    with pytest.raises(ValidationError, match="half of a surrogate pair"):
        Input([Parameter("x", list[str], kind="root")]).from_json(b'["\\ud800"]', Scratch())
    with pytest.raises(ValidationError, match="Invalid JSON: it is not UTF-8"):
        Input([Parameter("x", list[str], kind="root")]).from_json(b'["\xe9"]', Scratch())


def test_a_file_is_no_array():
    with pytest.raises(ValidationError, match="found a file"):
        form({"x": [Upload(b"\xff\x00", "x.png", "image/png")]}, Parameter("x", np.ndarray))


def test_a_picture_that_breaks_off_is_the_callers_mistake_when_its_pixels_are_read():
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(buffer, "PNG")
    broken = Upload(buffer.getvalue()[:-600], "x.png", "image/png")
    picture = form({"im": [broken]}, Parameter("im", Image.Image)).kwargs["im"]
    with pytest.raises(DecodeError, match="break off") as caught:
        picture.convert("RGB")
    assert isinstance(caught.value, OSError)  # methods that catch PIL's own error still do


def test_postscript_is_no_picture():
    from PIL import Image

    script = Upload(b"%!PS-Adobe\n%%BoundingBox: 0 0 1 1\n", "x.eps", "application/octet-stream")
    with pytest.raises(ValidationError, match="EPS, which is not taken"):
        form({"im": [script]}, Parameter("im", Image.Image))
