import inspect

import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import loading
from tiffin.service.function import service_of


def score(width: float, times: int = 2) -> float:
    """Width, so many times."""
    return width * times


async def later(text: str, /) -> str:
    return text.upper()


def each(n: int):
    yield from range(n)


async def each_later(n: int):
    for number in range(n):
        yield number


@pytest.mark.parametrize(
    ("function", "kind"),
    [(score, "plain"), (later, "async"), (each, "generator"), (each_later, "async-generator")],
)
def test_a_function_is_a_service_with_one_endpoint(function, kind):
    service = service_of(function)
    [endpoint] = service.apis.values()
    assert (service.name, endpoint.route, endpoint.kind) == (function.__name__, f"/{function.__name__}", kind)


def test_its_annotations_are_the_schema():
    schema = service_of(score).schema()["routes"][0]["input"]
    assert {name: p["type"] for name, p in schema["properties"].items()} == {"width": "number", "times": "integer"}
    assert schema["required"] == ["width"]


def test_the_methods_call_it():
    assert service_of(score)().score(1.5, times=4) == 6.0
    assert list(service_of(each)().each(2)) == [0, 1]
    assert inspect.iscoroutinefunction(service_of(later).apis["later"].func)


def test_it_is_loaded_by_its_name(tmp_path):
    (tmp_path / "plain_functions_here.py").write_text("def twice(x: int) -> int:\n    return x * 2\n")
    service = loading.load("plain_functions_here:twice", tmp_path)
    assert isinstance(service, tiffin.Service)
    assert service().twice(4) == 8


def test_a_function_without_a_name_is_refused():
    with pytest.raises(ServiceError, match="with a name"):
        service_of(lambda x: x)


@pytest.mark.parametrize("route", ["/metrics", "/readyz"])
def test_an_endpoint_on_a_replicas_own_route_is_refused(route):
    @tiffin.service
    class Shadow:
        @tiffin.api(route=route)
        def mine(self) -> int: ...

    with pytest.raises(ServiceError, match="every replica's own"):
        Shadow.check()


def test_a_service_may_be_a_program_without_methods():
    @tiffin.service(cmd=["python", "-m", "http.server"])
    class Program: ...

    Program.check()
    assert Program.has_program


def test_a_backlog_of_ones_own_is_warned_about_behind_the_gateway():
    @tiffin.service(backlog=16)
    class Small: ...

    @tiffin.service(backlog=2048)
    class Usual: ...

    assert any(warning.startswith("backlog: ") for warning in Small.describe("m:Small").warnings)
    assert not any(warning.startswith("backlog: ") for warning in Usual.describe("m:Usual").warnings)
