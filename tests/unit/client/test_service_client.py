import dataclasses
import datetime
import enum
import json
import uuid

import numpy as np
import pandas as pd
import pytest

from tiffin.client.service_answers import failure, value_of
from tiffin.client.service_files import Files, Received
from tiffin.client.service_routes import Route, outgoing, routes_of
from tiffin.client.service_values import Items, plain, rebuilt
from tiffin.exceptions import BentoMLException, InvalidArgument, NotFound, ServiceUnavailable

FILE = {"type": "file", "format": "binary"}


def route(properties=None, required=(), output=None, **more):
    given = {"type": "object", "properties": properties or {}, "required": list(required), **more}
    return Route("f", "/f", given, output or {})


def sent(found, *args, **kwargs):
    with Files() as files:
        return outgoing(found, args, kwargs, files)


class Colour(enum.StrEnum):
    RED = "red"


@dataclasses.dataclass
class Point:
    at: np.ndarray
    on: datetime.date


@pytest.mark.parametrize(
    ("value", "schema", "expected"),
    [
        (np.float32(1.5), {}, 1.5),
        ({"a": np.ones(2), 1: Colour.RED}, {}, {"a": [1.0, 1.0], "1": "red"}),
        (pd.DataFrame({"a": [1]}), {"type": "dataframe", "orient": "records"}, [{"a": 1}]),
        (pd.DataFrame({"a": [1]}), {"type": "dataframe", "orient": "columns"}, {"a": [1]}),
        (Point(np.zeros(1), datetime.date(2020, 1, 2)), {}, {"at": [0.0], "on": "2020-01-02"}),
        ((1, {2}), {}, [1, [2]]),
        (uuid.UUID(int=1), {}, "00000000-0000-0000-0000-000000000001"),
        (b"text", {}, "text"),
    ],
)
def test_values_go_out_as_plain_json(value, schema, expected):
    assert plain(value, schema) == expected
    json.dumps(plain(value, schema))


def test_what_has_no_form_is_refused():
    with pytest.raises(TypeError, match="object has no JSON form"):
        plain(object())


def test_arrays_and_frames_are_rebuilt_where_the_schema_has_them():
    schema = {
        "type": "object",
        "properties": {
            "x": {"type": "tensor", "format": "numpy-array", "dtype": "int8"},
            "rows": {"type": "array", "items": {"type": "dataframe", "orient": "records"}},
        },
    }
    value = rebuilt({"x": [1, 2], "rows": [[{"a": 1}]], "other": [1]}, schema)
    assert value["x"].dtype == np.int8
    assert value["rows"][0].a.tolist() == [1]
    assert value["other"] == [1]


def test_arguments_go_by_position_or_name():
    found = route({"a": {"type": "integer"}, "b": {"type": "integer"}}, ["a"])
    assert json.loads(sent(found, 1, b=2).content) == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "misses a"),
        ((1, 2, 3), {}, "takes 2 arguments"),
        ((1,), {"a": 1}, "several values for a"),
        ((1,), {"c": 1}, "no parameter c; it has a, b"),
    ],
)
def test_arguments_that_do_not_fit_are_a_type_error(args, kwargs, message):
    with pytest.raises(TypeError, match=message):
        sent(route({"a": {}, "b": {}}, ["a"]), *args, **kwargs)


def test_files_go_out_as_a_form(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("hello")
    found = route({"f": FILE, "fs": {"type": "array", "items": FILE}, "n": {"type": "integer"}})
    with Files() as files:
        request = outgoing(found, (), {"f": path, "fs": [b"x", "http://host/a.png"], "n": 3}, files)
        assert [(name, part[0], part[1].read()) for name, part in request.files] == [
            ("f", "a.txt", b"hello"),
            ("fs", "upload", b"x"),
        ]
        opened = request.files[0][1][1]
    assert request.data == {"fs": ["http://host/a.png"], "n": ["3"]}
    assert opened.closed


def test_the_whole_body_is_one_argument():
    text = Route("f", "/f", {"type": "string", "root_input": True}, {})
    assert sent(text, "hi").content == b"hi"
    array = Route("f", "/f", {"type": "tensor", "root_input": True}, {})
    assert sent(array, np.ones(2)).content == b"[1.0, 1.0]"
    file = Route("f", "/f", {**FILE, "root_input": True}, {})
    assert sent(file, b"bytes").content == b"bytes"
    with pytest.raises(TypeError, match="one positional"):
        sent(text, x=1)


@pytest.mark.parametrize(
    ("schema", "chunks", "items"),
    [
        ({"type": "string"}, ["é".encode()[:1], "é".encode()[1:] + b"x"], ["éx"]),
        ({"type": "string", "format": "binary"}, [b"\xff"], [b"\xff"]),
        ({"type": "object"}, [b'{"i": 0}{"i', b'": 1}'], [{"i": 0}, {"i": 1}]),
        ({}, [b"plain ", b"text"], ["plain ", "text"]),
        ({"type": "tensor", "dtype": "int8"}, [b"[1]"], [np.array([1])]),
        ({}, [b'{"a'], ['{"a']),
    ],
)
def test_items_of_a_stream_do_not_depend_on_how_the_network_cuts_it(schema, chunks, items):
    reader = Items(schema)
    found = [item for chunk in chunks for item in reader.feed(chunk)]
    assert found + reader.end() == items


def test_a_file_comes_back_as_a_path_that_cannot_choose_its_place():
    received = Received()
    headers = {"content-disposition": 'attachment; filename="../../a.txt"'}
    path = value_of(route(output=FILE), headers, b"x", received)
    assert path.read_bytes() == b"x"
    assert path.name.endswith("a.txt")
    received.close()
    assert not path.exists()


def test_several_files_come_back_as_a_list():
    content = (
        b'--b\r\ncontent-type: text/plain\r\ncontent-disposition: attachment; filename="a.txt"\r\n\r\nA\r\n'
        b'--b\r\ncontent-type: application/octet-stream\r\ncontent-disposition: attachment; filename="b"\r\n\r\n'
        b"\xff\n\r\n--b--\r\n"
    )
    received = Received()
    found = value_of(
        route(output={"type": "array", "items": FILE}),
        {"content-type": "multipart/mixed; boundary=b"},
        content,
        received,
    )
    assert [path.read_bytes() for path in found] == [b"A", b"\xff\n"]
    received.close()


@pytest.mark.parametrize(
    ("schema", "content", "value"),
    [
        ({"type": "string"}, b'"quoted"', '"quoted"'),
        ({"type": "string", "format": "date"}, b'"2020-01-02"', "2020-01-02"),
        ({"type": "string", "format": "binary"}, b"\xff", b"\xff"),
        ({}, b"text", "text"),
        ({}, b"\xff", b"\xff"),
        ({}, b"null", None),
    ],
)
def test_answers_are_what_the_schema_says(schema, content, value):
    assert value_of(route(output=schema), {}, content, Received()) == value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidArgument),
        (404, NotFound),
        (503, ServiceUnavailable),
        (418, BentoMLException),
        (999, BentoMLException),
    ],
)
def test_a_status_is_an_exception(status, kind):
    error = failure(status, b'[{"error":"x"}]')
    assert isinstance(error, kind)
    assert str(error) == '[{"error":"x"}]'
    assert status == 999 or error.error_code == status


def test_routes_show_their_parameters():
    schema = {
        "routes": [
            {
                "name": "f",
                "route": "/x",
                "input": {"properties": {"b": {"default": 2}, "a": {}}, "required": ["a"]},
                "output": {"is_stream": True},
                "is_task": False,
            }
        ]
    }
    found = routes_of(schema)["f"]
    assert str(found.signature()) == "(a, b=2)"
    assert found.is_stream
