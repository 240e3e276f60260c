import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tiffin.codec.forms import parse_multipart
from tiffin.errors import ServiceError
from tiffin.service import exceptions, json_values

FIELDS = {"properties": {"x": {"type": "tensor"}, "n": {"type": "integer"}}, "required": ["x"]}
FILES = {"properties": {"f": {"type": "file"}, "all": {"type": "array", "items": {"type": "file"}}, "n": {}}}


def no_files(name: str, data: memoryview) -> Path:
    raise AssertionError(name)


def test_arguments_are_bound_as_those_of_a_method():
    assert json_values.bound("S.f", FIELDS, (1,), {"n": 2}) == {"x": 1, "n": 2}
    root = {"root_input": True, "type": "string"}
    assert json_values.bound("S.f", root, ("a",), {}) == "a"
    assert json_values.bound("S.f", root, (), {"text": "a"}) == "a"


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((1, 2, 3), {}, "takes 2 arguments, found 3"),
        ((1,), {"x": 1}, "multiple values for argument 'x'"),
        ((), {"x": 1, "z": 1}, "unexpected argument 'z'"),
        ((), {"n": 1}, "misses the argument 'x'"),
    ],
)
def test_arguments_that_do_not_fit_are_type_errors(args, kwargs, says):
    with pytest.raises(TypeError, match=says):
        json_values.bound("S.f", FIELDS, args, kwargs)


@dataclass
class Pair:
    left: np.ndarray
    right: date


def test_values_become_json():
    frame = pd.DataFrame({"a": [1, 2]})
    schema = {"properties": {"d": {"type": "dataframe", "orient": "columns"}}}
    value = {
        "x": np.ones((1, 2)),
        "n": np.int64(3),
        "p": Pair(np.zeros(1), date(2020, 1, 2)),
        "s": {1},
        "d": frame,
    }
    media_type, body = json_values.encode(schema, value)
    assert media_type == b"application/json"
    assert json.loads(body) == {
        "x": [[1.0, 1.0]], "n": 3, "p": {"left": [0.0], "right": "2020-01-02"}, "s": [1], "d": {"a": [1, 2]},
    }  # fmt: skip


def test_files_images_and_bytes_make_the_body_a_form(tmp_path: Path):
    (tmp_path / "a.txt").write_bytes(b"content")
    value = {"f": tmp_path / "a.txt", "all": [b"raw", Image.new("RGB", (2, 2))], "n": 5}
    media_type, body = json_values.encode(FILES, value)
    fields = parse_multipart(media_type, body)
    assert [(u.filename, u.content_type, u.data) for u in fields["f"]] == [("a.txt", "text/plain", b"content")]
    assert [(u.filename, u.content_type) for u in fields["all"]] == [
        ("file", "application/octet-stream"),
        ("image.png", "image/png"),
    ]
    assert fields["n"] in (["5"], [b"5"])


def test_the_whole_body_is_what_its_schema_says(tmp_path: Path):
    (tmp_path / "a.png").write_bytes(b"png")
    assert json_values.encode({"root_input": True, "type": "string"}, "hé") == (b"text/plain", "hé".encode())
    assert json_values.encode({"root_input": True, "type": "file"}, tmp_path / "a.png") == (b"image/png", b"png")
    assert json_values.encode({"root_input": True, "type": "tensor"}, np.ones(1)) == (
        b"application/json",
        b"[1.0]",
    )


@pytest.mark.parametrize("value", [object(), Path("/nowhere/x")])
def test_what_cannot_be_sent_is_named(value):
    with pytest.raises(ServiceError):
        json_values.encode(FILES, {"f": value})


def test_answers_are_rebuilt_by_their_schema():
    def answer(schema, body, kind=b"application/json"):
        return json_values.decode(schema, {b"content-type": kind}, bytearray(body), no_files)

    array = answer({"type": "tensor", "format": "numpy-array", "dtype": "float32"}, b"[[1, 2]]")
    assert (array.dtype, array.tolist()) == (np.float32, [[1, 2]])
    frame = answer({"type": "dataframe", "orient": "records"}, b'[{"a": 1}]')
    pd.testing.assert_frame_equal(frame, pd.DataFrame({"a": [1]}))
    nested = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "tensor"}}}}
    assert answer(nested, b'{"a": [[1, 2]], "b": 3}')["a"][0].tolist() == [1, 2]
    assert answer({"type": "string"}, b"text", b"text/plain; charset=utf-8") == "text"
    assert answer({}, b"\x00", b"application/octet-stream") == b"\x00"


def test_files_and_images_are_rebuilt(tmp_path: Path):
    saved = {}

    def save(name: str, data: memoryview) -> Path:
        saved[name] = bytes(data)
        return tmp_path / name

    headers = {b"content-type": b"text/csv", b"content-disposition": b'attachment; filename="t.csv"'}
    assert json_values.decode({"type": "file"}, headers, bytearray(b"1,2"), save) == tmp_path / "t.csv"
    assert saved == {"t.csv": b"1,2"}
    import io

    file = io.BytesIO()
    Image.new("L", (3, 2)).save(file, "PNG")
    schema = {"type": "file", "format": "image", "pil": True}
    found = json_values.decode(schema, {b"content-type": b"image/png"}, bytearray(file.getvalue()), save)
    assert (found.size, found.mode) == (((3, 2)), "L")


@pytest.mark.parametrize(
    ("status", "body", "kind", "says"),
    [
        (400, b'[{"error": "bad thing"}]', exceptions.InvalidArgument, "bad thing"),
        (404, b"Not Found", exceptions.NotFound, "Not Found"),
        (418, b'[{"error": "tea"}]', exceptions.RemoteException, "tea"),
        (503, b"", exceptions.ServiceUnavailable, "S.f answered 503"),
        (500, b'{"error": "hidden"}', exceptions.RemoteException, "hidden"),
        (599, b"[]", exceptions.RemoteException, "[]"),
    ],
)
def test_errors_keep_their_status_and_say_what_the_server_said(status, body, kind, says):
    error = json_values.error_of("S.f", status, body)
    assert type(error) is kind
    assert str(error) == says
    assert error.error_code == (status if status != 599 else 500)
