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
        graph.connect(top, {})


@pytest.mark.parametrize("address", ["ftp://a", "http://", "http://a:99999", "http://a b:1", "x"])
def test_an_address_that_cannot_be_called_is_refused(address: str):
    top, *_ = diamond()
    with pytest.raises(ServiceError, match="expected http"):
        graph.connect(top, {"Bottom": address})


def test_what_is_no_endpoint_cannot_be_reached_elsewhere():
    top, *_ = diamond()
    graph.connect(top, {"Bottom": "unix:/nowhere.sock"})
    with pytest.raises(AttributeError, match="only its endpoints"):
        top().left.bottom.weights  # noqa: B018


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ({"cluster": "c"}, r"depends\(cluster=...\) is not part"),
        ({"url": "http://a", "deployment": "b"}, "found both"),
        ({"url": "ftp://a"}, "expected http"),
        ({"deployment": "a/b/c"}, "expected the name of a deployment"),
        ({"deployment": "A b"}, "expected the name of a deployment"),
        ({}, "expects a class decorated"),
    ],
)
def test_places_that_cannot_be_read_are_refused_where_they_are_written(place, says):
    with pytest.raises(ServiceError, match=says):
        tiffin.depends(**place)


def test_another_deployment_is_reached_through_the_gateway(monkeypatch):
    @tiffin.service
    class Uses:
        other = tiffin.depends(deployment="team/words")
        near = tiffin.depends(deployment="words")

    assert graph.calls_others(Uses)
    assert graph.services_here(Uses) == [Uses]
    assert list(Uses.all_services()) == ["Uses"]
    monkeypatch.delenv("TIFFIN_GATEWAY", raising=False)
    with pytest.raises(ServiceError, match="there is none here"):
        Uses().other  # noqa: B018
    monkeypatch.setenv("TIFFIN_GATEWAY", "http://127.0.0.1:8080")
    assert Uses().other.name == "http://127.0.0.1:8080/team/words"
    assert Uses().near.name == "http://127.0.0.1:8080/default/words"


def test_on_a_cluster_another_deployment_is_reached_at_its_service(monkeypatch):
    @tiffin.service
    class Uses:
        other = tiffin.depends(deployment="team/words")
        near = tiffin.depends(deployment="words")

    monkeypatch.delenv("TIFFIN_GATEWAY", raising=False)
    monkeypatch.setenv("TIFFIN_DEPLOYMENTS", "http://{name}-predictor.{namespace}.svc.cluster.local")
    assert Uses().other.name == "http://words-predictor.team.svc.cluster.local"
    assert Uses().near.name == "http://words-predictor.default.svc.cluster.local"


def test_a_task_elsewhere_is_called_and_not_submitted():
    @tiffin.service
    class Works:
        @tiffin.task
        def work(self) -> int:
            return 1

    @tiffin.service
    class Uses:
        works = tiffin.depends(Works)

    graph.connect(Uses, {"Works": "unix:/nowhere.sock"})
    with pytest.raises(ServiceError, match=r"Works\.work\.submit is not part"):
        Uses().works.work.submit()
