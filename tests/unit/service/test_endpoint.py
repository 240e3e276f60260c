from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pytest
from pydantic import BaseModel, Field

import tiffin
from tiffin.errors import ServiceError
from tiffin.service.context import Context
from tiffin.service.endpoint import Endpoint, api, flatten
from tiffin.service.validators import Shape

if TYPE_CHECKING:
    from nowhere import Hidden  # type: ignore[import-not-found]


class Node(BaseModel):
    name: str
    children: list[Node] = []


class Methods:
    @api
    def plain(self, x: np.ndarray, n: int = 2) -> np.ndarray:
        """Twice."""
        return x * n

    @api(route="/else/where")
    async def elsewhere(self, ctx: Context) -> str:
        return "x"

    @api
    def context_without_annotation(self, a: int, context): ...

    @api
    def not_a_context(self, ctx: str) -> str:
        return ctx

    @api
    def dotted_context(self, ctx: tiffin.Context) -> None: ...

    @api
    def stream(self) -> Generator[str, None, None]:
        yield "a"

    @api
    async def astream(self) -> AsyncGenerator[str, None]:
        yield "a"

    @api
    def shaped(self, x: Annotated[np.ndarray, Shape((2, 2))], /) -> None: ...

    @api
    def hidden(self, x: Hidden) -> None: ...

    @api
    def odd(self, x: asyncio.Queue) -> None: ...

    @api
    def with_field(self, x: int = Field(default=3), y: int = 1) -> int:
        return x + y

    @api(batchable=True, max_batch_size=8, batch_dim=1)
    def batch(self, xs: list[str], ctx: Context) -> list[str]:
        return xs

    @api(batchable=True)
    def two(self, a: list, b: list) -> list:
        return a

    @api
    def tree(self, node: Node) -> Node:
        return node


@pytest.mark.parametrize(
    ("name", "kind", "context", "parameters"),
    [
        ("plain", "plain", None, ["x", "n"]),
        ("elsewhere", "async", "ctx", []),
        ("context_without_annotation", "plain", "context", ["a"]),
        ("not_a_context", "plain", None, ["ctx"]),
        ("dotted_context", "plain", "ctx", []),
        ("stream", "generator", None, []),
        ("astream", "async-generator", None, []),
        ("shaped", "plain", None, ["x"]),
        ("batch", "plain", "ctx", ["xs"]),
    ],
)
def test_a_signature_is_read(name, kind, context, parameters):
    endpoint = getattr(Methods, name)
    assert isinstance(endpoint, Endpoint)
    assert endpoint.kind == kind
    assert endpoint.context_name == context
    assert [p.name for p in endpoint.parameters] == parameters


def test_the_route_is_the_name_unless_written():
    assert Methods.plain.route == "/plain"
    assert Methods.elsewhere.route == "/else/where"


def test_string_annotations_are_read_in_their_module():
    assert Methods.plain.parameters[0].annotation is np.ndarray


def test_an_instance_has_the_plain_method():
    methods = Methods()
    assert methods.plain(np.array([1])).tolist() == [2]
    assert methods.plain.local(np.array([1]), n=3).tolist() == [3]
    assert methods.plain.__doc__ == "Twice."
    assert inspect.iscoroutinefunction(methods.elsewhere)


@pytest.mark.parametrize(
    ("args", "kwargs", "sum_"), [((), {}, 4), ((5,), {}, 6), ((), {"x": 7}, 8), ((1, 1), {}, 2)]
)
def test_direct_calls_get_the_value_of_a_field_default(args, kwargs, sum_):
    assert Methods().with_field(*args, **kwargs) == sum_


def test_an_annotation_that_is_only_there_for_type_checkers_is_named():
    with pytest.raises(ServiceError, match="'Hidden' of parameter 'x'") as caught:
        Methods.hidden.input  # noqa: B018
    assert caught.value.at == "Methods.hidden"


def test_a_type_nobody_can_send_is_refused():
    with pytest.raises(ServiceError, match=r"cannot serve the parameters: .*Queue"):
        Methods.odd.input  # noqa: B018


def test_a_batch_is_one_parameter():
    assert Methods.batch.input.model.model_fields.keys() == {"xs"}
    assert Methods.batch.batch_dim == (1, 1)
    with pytest.raises(ServiceError, match="one parameter, the batch"):
        Methods.two.input  # noqa: B018


def _generator(self):
    yield 1


def __dunder(self): ...


@pytest.mark.parametrize(
    ("func", "options"),
    [
        (lambda self: 1, {"route": "x"}),
        (lambda self: 1, {"max_batch_size": 1}),
        (lambda self: 1, {"max_latency_ms": 0}),
        (_generator, {"batchable": True}),
        (__dunder, {}),
    ],
    ids=["route without slash", "batch of one", "no latency", "batched generator", "dunder"],
)
def test_options_out_of_range_are_refused(func, options):
    with pytest.raises(ServiceError):
        Endpoint(func, **options)


def test_the_schema_is_what_clients_read():
    assert Methods.plain.schema() == {
        "name": "plain",
        "route": "/plain",
        "batchable": False,
        "input": {
            "properties": {
                "x": {"format": "numpy-array", "title": "X", "type": "tensor"},
                "n": {"default": 2, "title": "N", "type": "integer"},
            },
            "required": ["x"],
            "title": "Input",
            "type": "object",
        },
        "output": {"format": "numpy-array", "type": "tensor"},
        "is_task": False,
    }


def test_a_model_that_contains_itself_has_a_finite_schema():
    node = Methods.tree.schema()["input"]["properties"]["node"]
    assert node["properties"]["name"]["type"] == "string"
    assert node["properties"]["children"]["items"]["type"] == "object"


def test_flattening_keeps_the_first_alternative():
    class Maybe(BaseModel):
        x: int | None = None

    assert flatten(Maybe.model_json_schema())["properties"]["x"]["type"] == "integer"


def test_a_model_may_stand_for_the_parameters():
    class Given(BaseModel):
        a: int

    def method(self, **params: Any) -> int:
        return params["a"]

    assert Endpoint(method, input_spec=Given).input.model.__name__ == "GivenIODescriptor"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cost": len}, "cost and max_batch_cost together"),
        ({"max_batch_cost": 5, "batchable": True}, "cost and max_batch_cost together"),
        ({"cost": len, "max_batch_cost": 5}, "expected batchable=True"),
        ({"cost": 3, "max_batch_cost": 5, "batchable": True}, "cost as a function of an item, found 3"),
        ({"cost": len, "max_batch_cost": 0, "batchable": True}, "max_batch_cost above 0, found 0"),
    ],
)
def test_costs_that_make_no_sense_are_refused(options, message):
    def method(self, xs: list[str]) -> list[str]:
        return xs

    with pytest.raises(ServiceError, match=message):
        api(**options)(method)


def test_parameters_without_annotation_are_warned_about_by_name():
    @tiffin.service
    class Bare:
        @tiffin.api
        def f(self, x, y: int, ctx): ...

    [warning] = Bare.describe("m:Bare").warnings
    assert "Bare.f: x has no annotation" in warning


def test_a_type_that_cannot_be_read_is_named():
    @tiffin.service
    class Odd:
        @tiffin.api
        def f(self, x: threading.Lock().__class__): ...

    with pytest.raises(ServiceError) as caught:
        Odd.check()
    assert "lock" in str(caught.value)
    assert "arbitrary_types_allowed" not in str(caught.value)
