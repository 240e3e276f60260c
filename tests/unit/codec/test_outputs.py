import enum
import json
import math
from collections.abc import AsyncIterator, Generator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
from pydantic import BaseModel

from tiffin.codec.io_model import IODescriptor
from tiffin.codec.markers import ContentType, DType
from tiffin.codec.outputs import Output
from tiffin.errors import PredictError

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"


class Point(BaseModel):
    key: str
    n: int = 3


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("annotation", "value", "content_type", "body"),
    [
        (int, 3, JSON, b"3"),
        (int, np.int64(3), JSON, b"3"),
        (float, 3, JSON, b"3.0"),
        (float, np.float32(0.5), JSON, b"0.5"),
        (float, math.nan, JSON, b"null"),
        (bool, np.True_, JSON, b"true"),
        (str, "é", TEXT, "é".encode()),
        (bytes, b"\x00", TEXT, b"\x00"),
        (Annotated[bytes, ContentType("image/png")], b"p", b"image/png", b"p"),
        (Annotated[str, ContentType("text/html")], "<p>", b"text/html; charset=utf-8", b"<p>"),
        (None, None, JSON, b"null"),
        (Any, {"a": [1, 2.5, None]}, JSON, b'{"a": [1, 2.5, null]}'),
        (Any, "raw", JSON, b"raw"),
        (Any, np.arange(2), JSON, b"[0, 1]"),
        (Any, {"a": np.float64(1.5), "b": np.arange(2)}, JSON, b'{"a": 1.5, "b": [0, 1]}'),
        (Any, math.nan, JSON, b"null"),
        (dict, {"a": "é", "b": [1, 2]}, JSON, b'{"a": "\\u00e9", "b": [1, 2]}'),
        (dict, {"a": math.inf}, JSON, b'{"a": null}'),
        (dict, {1: date(2020, 1, 2)}, JSON, b'{"1": "2020-01-02"}'),
        (dict[str, float], {"a": 1}, JSON, b'{"a": 1.0}'),
        (dict[str, np.ndarray], {"a": np.ones(2)}, JSON, b'{"a": [1.0, 1.0]}'),
        (list[float], np.array([1.5, 2]), JSON, b"[1.5, 2.0]"),
        (list[Point], [Point(key="a")], JSON, b'[{"key": "a", "n": 3}]'),
        (Point, Point(key="a"), JSON, b'{"key":"a","n":3}'),
        (Point, {"key": "a"}, JSON, b'{"key":"a","n":3}'),
        (str | None, None, JSON, b"null"),
        (str | None, "x", JSON, b"x"),
        (date, date(2020, 1, 2), TEXT, b'"2020-01-02"'),
        (Colour, Colour.RED, TEXT, b'"red"'),
        (tuple[int, str], (1, "a"), JSON, b'[1, "a"]'),
        (np.ndarray, np.array([[1.0, 2.5]]), JSON, b"[[1.0, 2.5]]"),
        (np.ndarray, [[1, 2]], JSON, b"[[1, 2]]"),
        (Annotated[np.ndarray, DType("float32")], [1], JSON, b"[1.0]"),
    ],
)
def test_a_value_leaves_as_its_annotation_says(annotation, value, content_type, body):
    encoded = Output(annotation).encode(value)
    assert (encoded.content_type, encoded.body) == (content_type, body)


def test_a_model_with_arrays_is_written():
    class Result(IODescriptor):
        scores: np.ndarray

    assert Output(Result).encode(Result(scores=np.ones(2))).body == b'{"scores":[1.0,1.0]}'


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int, "abc"),
        (str, 5),
        (Point, {"n": 1}),
        (list[int], 5),
        (dict, object()),
        (Any, object()),
        (np.ndarray, [[1], [1, 2]]),
    ],
)
def test_a_value_that_does_not_fit_is_the_authors_mistake(annotation, value):
    with pytest.raises(PredictError):
        Output(annotation).encode(value)


def test_a_file_is_an_attachment_with_its_name(tmp_path):
    path = tmp_path / "a b.csv"
    path.write_text("1,2")
    encoded = Output(Path).encode(path)
    assert encoded.content_type == b"text/csv; charset=utf-8"
    assert encoded.body == b"1,2"
    assert dict(encoded.headers)[b"content-disposition"] == b"attachment; filename*=utf-8''a%20b.csv"


def test_a_picture_file_is_shown_inline(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"x")
    encoded = Output(Path).encode(path)
    assert encoded.content_type == b"image/png"
    assert dict(encoded.headers)[b"content-disposition"] == b'inline; filename="a.png"'


def test_the_content_type_counts_where_the_name_says_nothing(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"x")
    assert Output(Annotated[Path, ContentType("audio/wav")]).encode(path).content_type == b"audio/wav"
    assert Output(Path).encode(path).content_type == b"application/octet-stream"


def test_a_file_that_is_not_there_is_the_authors_mistake(tmp_path):
    with pytest.raises(PredictError, match="cannot read"):
        Output(Path).encode(tmp_path / "none")


def test_a_picture_leaves_in_its_own_format():
    Image = pytest.importorskip("PIL.Image")
    encoded = Output(Image.Image).encode(Image.new("RGB", (1, 1)))
    assert (encoded.content_type, encoded.body[1:4]) == (b"image/png", b"PNG")


def test_a_frame_leaves_in_its_orientation():
    pd = pytest.importorskip("pandas")
    from tiffin.codec.frames import DataframeSchema

    frame = pd.DataFrame({"a": [1, 2], "b": ["x", None]})
    assert json.loads(Output(pd.DataFrame).encode(frame).body) == [{"a": 1, "b": "x"}, {"a": 2, "b": None}]
    columns = Output(Annotated[pd.DataFrame, DataframeSchema(orient="columns")])
    assert json.loads(columns.encode(frame).body) == {"a": [1, 2], "b": ["x", None]}


def test_stream_items_are_written_without_framing():
    output = Output(Generator[dict, None, None], is_stream=True)
    assert output.content_type == b"text/event-stream; charset=utf-8"
    assert [output.chunk(i) for i in ("é", b"\x00", {"i": 0})] == ["é".encode(), b"\x00", b'{"i": 0}']


def test_a_stream_may_choose_its_content_type():
    output = Output(Annotated[AsyncIterator[str], ContentType("text/plain")], is_stream=True)
    assert output.content_type == TEXT


def test_the_schema_of_a_stream_says_so():
    schema = Output(Generator[str, None, None], is_stream=True).json_schema()
    assert schema == {"type": "string", "is_stream": True, "media_type": "text/event-stream"}


def test_an_unreadable_annotation_is_an_error():
    class Odd:
        pass

    with pytest.raises(TypeError):
        Output(Odd)


def test_several_files_are_parts_in_their_order(tmp_path):
    from email.parser import BytesParser

    (tmp_path / "a.csv").write_text("1,2")
    (tmp_path / "b").write_bytes(b"\xff\n")
    encoded = Output(list[Path]).encode([tmp_path / "a.csv", tmp_path / "b"])
    message = BytesParser().parsebytes(b"content-type: " + encoded.content_type + b"\r\n\r\n" + encoded.body)
    parts = message.get_payload()
    assert message.get_content_type() == "multipart/mixed"
    assert [part.get_filename() for part in parts] == ["a.csv", "b"]
    assert [part.get_content_type() for part in parts] == ["text/csv", "application/octet-stream"]
    assert [part.get_payload(decode=True) for part in parts] == [b"1,2", b"\xff\n"]


def test_several_pictures_are_parts():
    from PIL import Image

    encoded = Output(list[Image.Image]).encode([Image.new("RGB", (1, 1))])
    assert encoded.content_type.startswith(b"multipart/mixed; boundary=")
    assert b'filename="0.png"' in encoded.body
    assert Output(list[Image.Image]).encode([]).body.endswith(b"--\r\n")
    with pytest.raises(PredictError, match="list of files"):
        Output(list[Image.Image]).encode([3])


@pytest.mark.parametrize(
    ("array", "body"),
    [
        (np.array(["2020-01-01", "NaT"], "datetime64[D]"), ["2020-01-01T00:00:00", None]),
        (np.array(["2020-01-01"], "datetime64[ns]"), ["2020-01-01T00:00:00"]),
        (np.array([90], "timedelta64[s]"), ["PT1M30S"]),
    ],
)
def test_an_array_of_times_leaves_as_texts(array, body):
    assert json.loads(Output(np.ndarray).encode(array).body) == body
