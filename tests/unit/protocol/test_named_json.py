import json
from collections.abc import Generator
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from tiffin import errors
from tiffin.codec.files import Scratch
from tiffin.protocol import named_json
from tiffin.protocol.head import Head
from tiffin.service.context import Response
from tiffin.service.endpoint import api
from tiffin.service.exceptions import BentoMLException, InvalidArgument, NotFound
from tiffin.service.validators import ContentType, DType, Shape

JSON = b"application/json"
TEXT = b"text/plain; charset=utf-8"
FORM = b"application/x-www-form-urlencoded"
UNEXPECTED = b'{"error":"An unexpected error has occurred, please check the server log."}'


class Point(BaseModel):
    key: str
    n: int = 3


class Methods:
    @api
    def add(self, a: int, b: int = 2) -> int:
        return a + b

    @api
    def text(self, s: str) -> str:
        return s

    @api
    def whole(self, s: str, /) -> str:
        return s

    @api
    def names(self, xs: list[str], /) -> list[str]:
        return xs

    @api
    def raw(self) -> bytes:
        return b"\x00"

    @api
    def png(self) -> Annotated[bytes, ContentType("image/png")]:
        return b"p"

    @api
    def nothing(self) -> None: ...

    @api
    def unannotated(self, v):
        return v

    @api
    def point(self, p: Point) -> Point:
        return p

    @api
    def whole_point(self, p: Point, /) -> Point:
        return p

    @api
    def double(self, x: Annotated[np.ndarray, DType("float64")]) -> np.ndarray:
        return x * 2.0

    @api
    def square(self, x: Annotated[np.ndarray, Shape((2, 2)), DType("float32")]) -> np.ndarray:
        return x

    @api
    def named(self) -> dict[str, np.ndarray]:
        return {"a": np.ones(2)}

    @api
    def options(self, **kwargs) -> dict:
        return kwargs

    @api
    def rest(self, a: int, *args: int) -> int:
        return a + sum(args)

    @api
    def maybe(self, s: str | None = None) -> str | None:
        return s

    @api
    def file(self, f: Path, tag: str = "t") -> str:
        return f.read_text() + tag

    @api
    def stream(self) -> Generator[str, None, None]:
        yield "x"


def head(content_type: bytes = b"") -> Head:
    return Head("POST", "/", b"", {b"content-type": content_type} if content_type else {}, 1, True, False)


def answer(name: str, body: bytes | dict, content_type: bytes = JSON):
    """What a caller gets: the whole way, without a wire."""
    endpoint = getattr(Methods, name)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        args, kwargs = named_json.decode(endpoint, head(content_type), raw, Scratch(), max_nesting=32)
        return named_json.encode(endpoint, endpoint.func(Methods(), *args, **kwargs))
    except (errors.TiffinError, ValidationError) as error:
        return named_json.error_reply(error)


@pytest.mark.parametrize(
    ("name", "body", "content_type", "expected"),
    [
        ("add", {"a": 1}, JSON, b"3"),
        ("add", {"a": 1, "zz": 5}, JSON, b"3"),
        ("add", {"a": "1"}, b"", b"3"),
        ("add", {"a": 1}, b"strange/type", b"3"),
        ("add", {"a": 1}, b"application/json; charset=utf-8", b"3"),
        ("add", b"a=1&b=5", FORM, b"6"),
        ("add", {"a": 1}, FORM, b"3"),
        ("add", b'--X\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--X--\r\n',
         b"multipart/form-data; boundary=X", b"3"),
        ("unannotated", {"v": {"a": 1.0, "b": [1, 2]}}, JSON, b'{"a": 1.0, "b": [1, 2]}'),
        ("names", b'["a", "b"]', JSON, b'["a", "b"]'),
        ("nothing", b"", JSON, b"null"),
        ("point", {"p": {"key": "a"}}, JSON, b'{"key":"a","n":3}'),
        ("whole_point", {"key": "a", "n": 4}, JSON, b'{"key":"a","n":4}'),
        ("double", {"x": [[1, 2.5]]}, JSON, b"[[2.0, 5.0]]"),
        ("square", {"x": [1, 2, 3, 4]}, JSON, b"[[1.0, 2.0], [3.0, 4.0]]"),
        ("named", b"", JSON, b'{"a": [1.0, 1.0]}'),
        ("options", {"kwargs": {"a": 1}}, JSON, b'{"a": 1}'),
        ("rest", {"a": 1, "args": [2, 3]}, JSON, b"6"),
        ("maybe", b"", JSON, b"null"),
    ],
)  # fmt: skip
def test_a_json_answer_has_these_bytes(name, body, content_type, expected):
    reply = answer(name, body, content_type)
    assert (reply.status, reply.content_type, reply.body) == (200, JSON, expected)


@pytest.mark.parametrize(
    ("name", "body", "content_type", "media_type", "expected"),
    [
        ("text", {"s": "é"}, JSON, TEXT, "é".encode()),
        ("text", b"s=abc", FORM, TEXT, b"abc"),
        ("whole", b'"quoted"', JSON, TEXT, b'"quoted"'),
        ("whole", b"plain", b"text/plain", TEXT, b"plain"),
        ("raw", b"", JSON, TEXT, b"\x00"),
        ("png", b"", JSON, b"image/png", b"p"),
        ("file",
         b'--X\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nhello\r\n'
         b'--X\r\nContent-Disposition: form-data; name="tag"\r\n\r\n!\r\n--X--\r\n',
         b"multipart/form-data; boundary=X", TEXT, b"hello!"),
    ],
)  # fmt: skip
def test_other_answers_have_their_own_type(name, body, content_type, media_type, expected):
    reply = answer(name, body, content_type)
    assert (reply.status, reply.content_type, reply.body) == (200, media_type, expected)


@pytest.mark.parametrize(
    ("name", "body", "content_type", "kind", "loc"),
    [
        ("add", {}, JSON, "missing", ["a"]),
        ("add", {"a": "x"}, JSON, "int_parsing", ["a"]),
        ("add", b"{bad", JSON, "json_invalid", []),
        ("add", b"a=x", FORM, "int_parsing", ["a"]),
        ("add", b"[1]", JSON, "model_type", []),
        ("double", {"x": [[1, 2], [3]]}, JSON, "value_error", ["x"]),
        ("square", {"x": [1, 2, 3]}, JSON, "value_error", ["x"]),
        ("options", {"a": 1}, JSON, "missing", ["kwargs"]),
        ("names", b"{bad", JSON, "json_invalid", []),
        ("names", b"[1]", JSON, "string_type", ["root", 0]),
        ("point", {"p": {}}, JSON, "missing", ["p", "key"]),
        ("file", {"f": "x"}, JSON, "value_error", ["f"]),
        ("file", b"garbage", b"multipart/form-data; boundary=X", "decode_error", []),
        ("file", b"", b"multipart/form-data", "decode_error", []),
        ("double", b'{"x": ' + b"[" * 40 + b"]" * 40 + b"}", JSON, "decode_error", []),
    ],
)
def test_input_that_does_not_fit_is_a_400_with_details(name, body, content_type, kind, loc):
    reply = answer(name, body, content_type)
    assert (reply.status, reply.content_type) == (400, JSON)
    said = json.loads(reply.body)
    assert (said["detail"][0]["type"], said["detail"][0]["loc"]) == (kind, loc)
    assert said["detail"][0]["msg"]
    assert "input" not in said["detail"][0]
    assert said["error"]


def test_the_title_of_a_validation_error_is_bentomls():
    assert json.loads(answer("add", {}).body)["error"] == "1 validation error for Input"
    assert json.loads(answer("names", b"5").body)["error"] == "1 validation error for listIODescriptor"


def test_pickles_are_not_opened():
    reply = answer("add", b"cposix\nsystem\n", named_json.PICKLE)
    expected = b'[{"error":"application/vnd.bentoml+pickle is not allowed in main server"}]'
    assert (reply.status, reply.body) == (415, expected)


@pytest.mark.parametrize(
    ("error", "status", "content_type", "body"),
    [
        (InvalidArgument("bad thing"), 400, JSON, b'[{"error":"bad thing"}]'),
        (NotFound("é"), 404, JSON, '[{"error":"é"}]'.encode()),
        (BentoMLException("x", error_code=HTTPStatus.IM_A_TEAPOT), 418, JSON, b'[{"error":"x"}]'),
        (BentoMLException("s", error_code=HTTPStatus.UNAUTHORIZED), 401, JSON, b'{"error":"Authorization error"}'),
        (BentoMLException("s", error_code=HTTPStatus.FORBIDDEN), 403, JSON, b'{"error":"Authorization error"}'),
        (BentoMLException("secret"), 500, JSON, UNEXPECTED),
        (BentoMLException("s", error_code=HTTPStatus.SERVICE_UNAVAILABLE), 503, JSON, UNEXPECTED),
        (RuntimeError("secret"), 500, JSON, UNEXPECTED),
        (KeyboardInterrupt(), 500, JSON, UNEXPECTED),
        (errors.PredictError("secret"), 500, JSON, UNEXPECTED),
        (errors.TiffinError("secret"), 500, JSON, UNEXPECTED),
        (named_json.deadline(3.0), 504, JSON, b'{"error":"Not able to process the request in 3 seconds"}'),
        (named_json.deadline(1.5), 504, JSON, b'{"error":"Not able to process the request in 1.5 seconds"}'),
        (errors.TooManyCalls("x"), 429, JSON, b'{"error":"Too many requests"}'),
        (errors.NotReady("loading"), 503, JSON, b'{"error":"loading"}'),
        (errors.TooLarge("too large"), 413, JSON, b'{"error":"too large"}'),
        (errors.UnknownRoute("x"), 404, TEXT, b"Not Found"),
        (errors.MethodNotAllowed("x", allow=("POST",)), 405, TEXT, b"Method Not Allowed"),
    ],
)
def test_an_error_reads_as_bentoml_writes_it(error, status, content_type, body):
    reply = named_json.error_reply(error)
    assert (reply.status, reply.content_type, reply.body) == (status, content_type, body)


def test_text_that_has_no_utf8_form_still_makes_an_answer():
    assert named_json.error_reply(InvalidArgument("\ud800")).status == 400


def test_a_context_sets_status_headers_and_cookies():
    response = Response(status_code=201)
    response.headers["X-A"] = "b\r\nx-evil: 1"
    response.headers["content-type"] = "text/css"
    response.headers["content-length"] = "0"
    response.set_cookie("k", "v")
    reply = named_json.encode(Methods.text, "x", response)
    assert (reply.status, reply.content_type) == (201, b"text/css")
    assert reply.headers == ((b"x-a", b"b  x-evil: 1"), (b"set-cookie", b"k=v; Path=/; SameSite=lax"))
    assert named_json.stream_head(Methods.stream, response).status == 201


def test_a_response_of_starlette_passes_as_it_is():
    responses = pytest.importorskip("starlette.responses")
    made = responses.Response(b"x", status_code=202, media_type="text/csv", headers={"x-a": "b"})
    reply = named_json.encode(Methods.add, made)
    assert (reply.status, reply.body, reply.content_type) == (202, b"x", b"text/csv; charset=utf-8")
    assert reply.headers == ((b"x-a", b"b"),)


types = st.sampled_from([JSON, b"", FORM, b"multipart/form-data; boundary=X", b"text/plain", b"\xff"])
names = st.sampled_from(
    ["add", "text", "whole", "names", "point", "whole_point", "double", "square", "file", "maybe"]
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda v: st.lists(v, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "x", "s", "p", "key"]), v),
    max_leaves=6,
)


@given(names, json_values.map(lambda v: json.dumps(v).encode()) | st.binary(max_size=50), types)
def test_any_body_is_answered_with_200_or_400(name, body, content_type):
    assert answer(name, body, content_type).status in (200, 400)


@pytest.mark.parametrize(
    ("headers", "status", "body", "place"),
    [
        ({}, 200, b"hello", None),
        ({b"range": b"bytes=1-2"}, 206, b"el", b"bytes 1-2/5"),
        ({b"range": b"bytes=9-"}, 416, b"", b"bytes */5"),
        ({b"range": b"bytes=0-1,3-4"}, 200, b"hello", None),
        ({b"range": b"bytes=1-2", b"if-range": b'"older"'}, 200, b"hello", None),
    ],
)
def test_a_file_is_answered_in_part(tmp_path, headers, status, body, place):
    class Files:
        @api
        def file(self) -> Path: ...

    path = tmp_path / "a.txt"
    path.write_text("hello")
    whole = named_json.encode(Files.file, path)
    reply = named_json.in_part(whole, Head("POST", "/file", b"", headers, 0, True))
    assert (reply.status, reply.body, dict(reply.headers).get(b"content-range")) == (status, body, place)


def test_only_files_are_answered_in_part():
    reply = named_json.encode(Methods.add, 12345)
    assert named_json.in_part(reply, Head("POST", "/add", b"", {b"range": b"bytes=0-1"}, 0, True)) is reply


def test_an_input_with_a_thousand_mistakes_is_not_answered_with_them_all():
    reply = answer("names", json.dumps([1] * 1000).encode())
    told = json.loads(reply.body)
    assert reply.status == 400
    assert told["error"] == "1000 validation error for listIODescriptor"
    assert len(told["detail"]) == 100
