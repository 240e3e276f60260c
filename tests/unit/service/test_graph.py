import pytest

import tiffin
from tiffin.errors import ServiceError
from tiffin.service import graph
from tiffin.service.remote import RemoteService


def diamond():
    @tiffin.service
    class Bottom:
        @tiffin.api
        def one(self) -> int:
            return 1

    @tiffin.service
    class Left:
        bottom = tiffin.depends(Bottom)

    @tiffin.service
    class Right:
        bottom = tiffin.depends(Bottom)

    @tiffin.service
    class Top:
        left = tiffin.depends(Left)
        right = tiffin.depends(Right)

    return Top, Left, Right, Bottom


def test_a_service_that_two_depend_on_is_made_once():
    top, _, _, bottom = diamond()
    instance = top()
    assert instance.left.bottom is instance.right.bottom
    assert [service.name for service in graph.services_here(top)].count(bottom.name) == 1


def test_what_runs_apart_is_not_made_here_wherever_it_is_used():
    top, _, _, _ = diamond()
    graph.connect(top, {"Bottom": "unix:/nowhere.sock"})
    assert graph.calls_others(top)
    assert [service.name for service in graph.services_here(top)] == ["Top", "Left", "Right"]
    instance = top()
    assert isinstance(instance.left.bottom, RemoteService)
    assert instance.left.bottom is instance.right.bottom


def test_what_is_behind_a_service_that_runs_apart_is_its_own_business():
    top, _, _, _ = diamond()
    graph.connect(top, {"Left": "unix:/l.sock", "Right": "unix:/r.sock", "Bottom": "unix:/b.sock"})
    assert [service.name for service in graph.services_here(top)] == ["Top"]


def test_without_addresses_everything_is_here():
    top, *_ = diamond()
    graph.connect(top, {})
    assert not graph.calls_others(top)


def test_a_service_that_depends_on_itself_is_refused_by_its_way():
    top, left, _, bottom = diamond()
    bottom.dependencies["again"] = left.dependencies["bottom"].__class__(left)
    with pytest.raises(ServiceError, match="Left -> Bottom -> Left"):
        graph.check(top)


@pytest.mark.parametrize("address", ["ftp://a", "https://a:1", "http://", "http://a:99999", "http://a b:1", "x"])
def test_an_address_that_cannot_be_called_is_refused(address: str):
    top, *_ = diamond()
    with pytest.raises(ServiceError, match="expected http"):
        graph.connect(top, {"Bottom": address})


def test_what_is_no_endpoint_cannot_be_reached_elsewhere():
    top, *_ = diamond()
    graph.connect(top, {"Bottom": "unix:/nowhere.sock"})
    with pytest.raises(AttributeError, match="only its endpoints"):
        top().left.bottom.weights  # noqa: B018
