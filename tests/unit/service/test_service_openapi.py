import dataclasses
from collections.abc import AsyncGenerator, Generator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import numpy as np
import pandas as pd
import pytest
from openapi_spec_validator import validate
from PIL import Image
from pydantic import BaseModel, Field

import tiffin
from tiffin.service.openapi import document
from tiffin.validators import ContentType, DataframeSchema, DType, Shape


class Colour(Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(9, description="left", examples=[7])


class Dog(BaseModel):
    kind: Literal["dog"]
    friend: "Dog | None" = None


class Struct(msgspec.Struct):
    x: int


@dataclasses.dataclass
class Point:
    at: np.ndarray


class Named(NamedTuple):
    x: int


def other_cat() -> type[BaseModel]:
    class Cat(BaseModel):
        name: str

    return Cat


Other = other_cat()


@tiffin.service(description="All kinds of things.")
class Zoo:
    @tiffin.api
    def pet(self, animal: Annotated[Cat | Dog, Field(discriminator="kind")], n: int | None = None) -> Cat | None:
        """Pet it.

        It may bite.
        """

    @tiffin.api
    def other(self, one: Other, colour: Colour = Colour.RED) -> list[Other]: ...

    @tiffin.api
    def whole(self, cat: Cat, /) -> Struct: ...

    @tiffin.api
    def array(self, x: Annotated[np.ndarray, Shape((2, -1)), DType("int32")], y: np.ndarray) -> np.ndarray: ...

    @tiffin.api
    def frame(self, df: pd.DataFrame) -> Annotated[pd.DataFrame, DataframeSchema(orient="columns")]: ...

    @tiffin.api
    def files(
        self, sound: Annotated[Path, ContentType("audio/wav")], pictures: list[Image.Image], note: str = ""
    ) -> list[Path]: ...

    @tiffin.api
    def picture(self, image: Image.Image, /) -> Image.Image: ...

    @tiffin.api
    def records(self, p: Point, n: Named, s: Struct) -> dict[str, Point]: ...

    @tiffin.api
    def stream(self) -> Generator[str, None, None]:
        yield ""

    @tiffin.api
    async def objects(self) -> AsyncGenerator[Cat, None]:
        yield Cat(kind="cat")

    @tiffin.api
    def anything(self, x, **more) -> Any: ...

    @tiffin.task
    def later(self, n: int) -> int: ...


@pytest.fixture(scope="module")
def found():
    return document(Zoo)


def resolved(found, schema):
    return found["components"]["schemas"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def body(found, path):
    [(media_type, content)] = found["paths"][path]["post"]["requestBody"]["content"].items()
    return media_type, content


def test_it_is_valid_openapi_of_version_3_1(found):
    assert found["openapi"] == "3.1.0"
    validate(found)


def test_docstrings_are_in_it(found):
    call = found["paths"]["/pet"]["post"]
    assert (call["summary"], call["description"]) == ("Pet it.", "Pet it.\n\nIt may bite.")
    assert found["info"]["description"] == "All kinds of things."


def test_null_and_alternatives_are_kept(found):
    schema = resolved(found, body(found, "/pet")[1]["schema"])
    assert {"type": "null"} in schema["properties"]["n"]["anyOf"]
    assert schema["properties"]["animal"]["discriminator"]["propertyName"] == "kind"
    cat = resolved(found, {"$ref": schema["properties"]["animal"]["discriminator"]["mapping"]["cat"]})
    assert cat["properties"]["lives"]["examples"] == [7]


def test_models_of_one_name_are_kept_apart(found):
    schema = resolved(found, body(found, "/other")[1]["schema"])
    assert list(resolved(found, schema["properties"]["one"])["properties"]) == ["name"]
    answer = found["paths"]["/other"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert list(resolved(found, answer["items"])["properties"]) == ["name"]
    pet = resolved(found, body(found, "/pet")[1]["schema"])["properties"]["animal"]
    assert [sorted(resolved(found, one)["properties"]) for one in pet["oneOf"]] == [
        ["kind", "lives"],
        ["friend", "kind"],
    ]


def test_arrays_are_the_json_they_are(found):
    schema = resolved(found, body(found, "/array")[1]["schema"])["properties"]
    assert schema["x"]["items"]["items"] == {"type": "integer"}
    assert schema["x"]["x-tiffin-type"]["shape"] == [2, -1]
    assert "array" in schema["y"]["type"]


def test_files_are_parts_with_their_types(found):
    media_type, content = body(found, "/files")
    assert media_type == "multipart/form-data"
    assert content["encoding"] == {
        "sound": {"contentType": "audio/wav"},
        "pictures": {"contentType": "image/*"},
    }
    assert list(found["paths"]["/files"]["post"]["responses"]["200"]["content"]) == ["multipart/mixed"]
    assert body(found, "/picture")[0] == "image/*"


def test_streams_say_what_their_items_are(found):
    content = found["paths"]["/objects"]["post"]["responses"]["200"]["content"]["text/event-stream"]
    assert "lives" in resolved(found, content["x-tiffin-items"])["properties"]


def test_tasks_have_their_paths(found):
    assert {path for path in found["paths"] if path.startswith("/later")} == {
        "/later",
        *(f"/later/{verb}" for verb in ("submit", "status", "get", "retry", "cancel")),
    }


def test_every_call_says_how_it_can_fail(found):
    for path, item in found["paths"].items():
        if "post" in item:
            assert {"400", "500", "503", "504"} <= item["post"]["responses"].keys(), path


def test_what_clients_read_stays_as_it_was():
    schema = {route["name"]: route for route in Zoo.schema()["routes"]}
    assert schema["array"]["input"]["properties"]["x"] == {
        "type": "tensor",
        "format": "numpy-array",
        "dtype": "int32",
        "shape": [2, -1],
        "dim": -2,
        "title": "X",
    }
    assert schema["files"]["output"] == {"type": "array", "items": {"type": "file", "format": "binary"}}
