"""The page's description and document, without a browser."""

import re
from typing import Annotated, Any

import msgspec
import numpy as np
import pytest
from pydantic import BaseModel, JsonValue

import tiffin
from tiffin.runtime.page import page
from tiffin.runtime.page.description import PageField, field_of, tensor_field
from tiffin.runtime.page.of_model import describe_class
from tiffin.runtime.page.of_service import describe, plain
from tiffin.service import validators as v
from tiffin.types import TensorSpec


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer", "minimum": 1}, {"kind": "integer", "hint": "integer from 1", "minimum": 1}),
        ({"type": "number", "exclusiveMaximum": 2.5}, {"kind": "number", "hint": "number below 2.5"}),
        ({"type": "boolean"}, {"kind": "boolean"}),
        ({"type": "string", "enum": ["a", "b"]}, {"kind": "choice", "choices": ["a", "b"]}),
        ({"type": "string", "format": "date"}, {"kind": "text", "hint": "date"}),
        ({"type": "object"}, {"kind": "json", "hint": "JSON"}),
        ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"kind": "json", "hint": "JSON"}),
        ({"type": "file", "format": "image"}, {"kind": "file", "accept": "image/*", "hint": "image"}),
        ({"type": "file", "content_type": "a/b"}, {"kind": "file", "accept": "a/b", "hint": "a/b"}),
        (
            {"type": "array", "items": {"type": "file", "format": "binary"}},
            {"kind": "file", "many": True, "hint": "files"},
        ),
        ({"type": "tensor"}, {"kind": "table", "form": "matrix", "hint": "array"}),
        (
            {"type": "tensor", "shape": [-1, 4], "dtype": "float32"},
            {"kind": "table", "form": "matrix", "width": 4, "hint": "float32 [any, 4]", "dtype": "float32"},
        ),
        ({"type": "tensor", "shape": [3]}, {"kind": "table", "form": "vector", "width": 3, "hint": "[3]"}),
        ({"type": "tensor", "shape": [-1, 8, 8]}, {"kind": "json", "hint": "[any, 8, 8]"}),
        ({"type": "dataframe", "columns": ["a"]}, {"kind": "table", "form": "records", "columns": ["a"]}),
        ({"type": "dataframe", "orient": "columns"}, {"kind": "table", "form": "columns"}),
    ],
)
def test_a_schema_becomes_a_field(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    found = field_of("x", schema, required=True)
    for name, value in expected.items():
        assert getattr(found, name) == value, name


def test_a_table_does_not_start_from_what_it_cannot_hold() -> None:
    found = field_of("x", {"type": "tensor", "default": [1, 2]}, required=False, sample=[[0]])
    assert found.default is msgspec.UNSET
    assert found.sample == [[0]]


def test_an_optional_is_what_it_is_of_and_a_reference_what_it_leads_to() -> None:
    definitions = {"P": {"type": "object", "properties": {}}}
    assert plain({"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None}, {}) == {
        "type": "integer",
        "default": None,
    }
    assert plain({"$ref": "#/$defs/P", "description": "who"}, definitions) == {
        "type": "object",
        "properties": {},
        "description": "who",
    }


class Tree(BaseModel):
    children: list["Tree"] = []


def test_a_type_that_contains_itself_ends() -> None:
    @tiffin.service
    class Trees:
        @tiffin.api
        def count(self, tree: Tree) -> int:
            return len(tree.children)

        @tiffin.api
        def depth(self, value: JsonValue) -> int:
            return 0

    found = describe(Trees)
    assert [[field.kind for field in e.fields] for e in found.endpoints] == [["json"], ["json"]]


def test_text_and_numbers_of_a_model_are_tables() -> None:
    text = tensor_field(TensorSpec("names", "BYTES", (-1, 2)), [["a", "b"]])
    assert (text.kind, text.dtype, text.width) == ("table", "text", 2)
    number = tensor_field(TensorSpec("x", "FP32", (-1, -1)), [[0.0]])
    assert (number.kind, number.dtype, number.width) == ("table", "", msgspec.UNSET)


def test_nothing_in_a_description_can_end_its_script() -> None:
    reply = page(describe_class("</script><b>", "<!-- ", {"x": "</SCRIPT>"}))
    text = reply.body.decode()
    assert text.count("</script>") == 2
    assert "<b>" not in text.split("<style>")[0]
    embedded = re.search(r'id="description">(.*?)</script>', text)
    assert embedded is not None
    assert msgspec.json.decode(embedded[1])["name"] == "</script><b>"


def test_the_policy_names_the_script_and_nobody_else() -> None:
    headers = dict(page(describe_class("x", "", None)).headers)
    policy = headers[b"content-security-policy"].decode()
    assert "default-src 'none'" in policy
    assert re.search(r"script-src 'sha256-[\w+/=]+';", policy)
    assert "unsafe" not in policy
    assert "http" not in policy


def test_every_way_to_fill_a_body_is_described() -> None:
    @tiffin.service
    class All:
        @tiffin.api
        def a_json(self, n: int = 1) -> int:
            return n

        @tiffin.api
        def b_root(self, xs: list[int], /) -> int:
            return len(xs)

        @tiffin.api
        def c_text(self, text: str, /) -> str:
            return text

        @tiffin.api(batchable=True)
        def d_tensor(self, x: Annotated[np.ndarray, v.Shape((-1, 2))]) -> np.ndarray:  # type: ignore[type-arg]
            return x

    found = {e.name: e for e in describe(All).endpoints}
    assert {name: e.encoding for name, e in found.items()} == {
        "a_json": "json",
        "b_root": "root",
        "c_text": "text",
        "d_tensor": "json",
    }
    assert found["d_tensor"].batchable
    assert found["d_tensor"].fields == [
        PageField(
            name="x", kind="table", required=True, hint="[any, 2]", form="matrix", width=2, sample=[[0.0, 0.0]]
        )
    ]
    assert found["b_root"].fields[0].name == "xs"
