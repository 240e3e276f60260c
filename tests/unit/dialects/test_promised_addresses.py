from pathlib import Path

import pytest

from tiffin.dialects import combine, read, routes
from tiffin.spec import Deployment, Route

SAMPLES = Path(__file__).parent / "samples"


def table(found: tuple[Route, ...]) -> set[tuple]:
    return {
        (route.path, route.hosts, route.exact, route.rewrite, route.shared)
        + ((route.component,) if route.component else ())
        for route in found
    }


OWN = {
    ("/default/{name}", (), False, "/", False),
    ("/", ("{name}.default.example.com", "{name}.default.localhost"), False, None, False),
}
MODEL = {
    ("/v2/models/{name}", (), False, None, True),
    ("/v1/models/{name}", (), True, None, True),
    ("/v1/models/{name}:predict", (), True, None, True),
    ("/v1/models/{name}:explain", (), True, None, True),
    ("/v2", (), True, None, True),
    ("/v2/health/live", (), True, None, True),
    ("/v2/health/ready", (), True, None, True),
}
KSERVE = {
    ("/", ("{name}.default", "{name}.default.svc", "{name}.default.svc.cluster.local"), False, None, False),
    ("/", ("{name}-default.example.com", "{name}-default.localhost"), False, None, True),
    (
        "/",
        (
            "{name}-predictor.default",
            "{name}-predictor.default.svc",
            "{name}-predictor.default.svc.cluster.local",
            "{name}-predictor.default.example.com",
            "{name}-predictor.default.localhost",
            "{name}-predictor-default.example.com",
            "{name}-predictor-default.localhost",
        ),
        False,
        None,
        True,
        "predictor",
    ),
    ("/default/{name}/-/predictor", (), False, "/", False, "predictor"),
}
SELDON = {
    ("/seldon/default/{name}", (), False, "/", False),
    ("/api/v1.0/predictions", (), True, None, True),
    ("/api/v0.1/predictions", (), True, None, True),
    (
        "/",
        (
            "{name}-default.default",
            "{name}-default.default.svc.cluster.local",
            "{name}-default.default.example.com",
            "{name}-default.default.localhost",
        ),
        False,
        None,
        True,
    ),
}


@pytest.mark.parametrize(
    ("file", "name", "expected"),
    [
        ("kserve.yaml", "iris", OWN | MODEL | KSERVE),
        ("kserve_legacy.yaml", "sklearn-iris", OWN | MODEL | KSERVE),
        ("seldon.yaml", "iris-model", OWN | SELDON),
        ("tiffin.yaml", "iris", OWN | MODEL),
        ("tiffin_class.yaml", "iris-class", OWN),
    ],
)
def test_each_kind_has_the_addresses_its_users_type(file, name, expected):
    filled = {
        (path.format(name=name), tuple(host.format(name=name) for host in hosts), *rest)
        for path, hosts, *rest in expected
    }
    assert table(read(SAMPLES / file)[0].routes) == filled


def test_another_name_moves_the_addresses_that_hold_it():
    before = Deployment(
        name="iris_v1",
        namespace="ml",
        components=(),
        routes=routes.own("iris_v1", "ml") + routes.service([("/predict", False)]),
        derived_name=True,
    )
    after = routes.renamed(before, "iris_v1-bento")
    assert (after.name, after.derived_name) == ("iris_v1-bento", False)
    assert after.routes == routes.own("iris_v1-bento", "ml") + routes.service([("/predict", False)])


def test_an_explainer_answers_explain_and_every_component_has_its_address():
    found = routes.kserve("iris", "ml", ["predictor", "explainer"])
    explain = [route for route in found if route.path.endswith(":explain")]
    assert {route.component for route in explain} == {"explainer"}
    assert {route.hosts for route in explain} == {
        (),
        ("iris.ml", "iris.ml.svc", "iris.ml.svc.cluster.local"),
        ("iris.ml.example.com", "iris.ml.localhost"),
        ("iris-ml.example.com", "iris-ml.localhost"),
    }
    (below,) = [route for route in explain if route.path.startswith("/ml/iris")]
    assert (below.rewrite, below.exact) == ("/v1/models/iris:explain", True)
    assert {route.path for route in found if route.path.startswith("/ml/iris/-/")} == {
        "/ml/iris/-/predictor",
        "/ml/iris/-/explainer",
    }


def test_what_is_for_the_cluster_only_has_no_address_outside():
    found = routes.kserve("iris", "ml", ["predictor", "explainer"], is_internal=True)
    outside = [host for route in found for host in route.hosts if not host.split(":")[0].startswith("iris")]
    assert outside == []
    assert not any(host.endswith(("example.com", "localhost")) for route in found for host in route.hosts)
    assert all(route.path.startswith("/ml/iris") for route in found if not route.hosts)


def test_a_deployment_called_like_the_service_of_another_keeps_its_own_hosts():
    first, second = (
        Deployment(name=name, components=(), routes=routes.kserve(name, "default", ["predictor"]))
        for name in ("iris", "iris-predictor")
    )
    (iris, other), warnings = combine([first, second])
    owned = {host for route in other.routes for host in route.hosts if route.component == ""}
    lost = {host for route in iris.routes for host in route.hosts}
    assert "iris-predictor.default.svc" in owned
    assert not owned & lost
    assert len(warnings) >= 1


def test_a_tag_stands_before_the_hosts_of_a_deployment():
    deployment = Deployment(name="iris", namespace="ml", components=(), routes=routes.own("iris", "ml", "x.org"))
    assert routes.tag_hosts(deployment, "prev") == ("prev-iris.ml.x.org", "prev-iris.ml.localhost")
    assert routes.tag_hosts(Deployment(name="iris", components=()), "prev") == ()


def test_a_tag_of_kserve_stands_before_the_predictors_service_too():
    (found,) = read(SAMPLES / "kserve.yaml")
    hosts = routes.tag_hosts(found, "prev")
    assert {"prev-iris-predictor.default.example.com", "prev-iris.default.example.com"} <= set(hosts)
    assert len(set(hosts)) == len(hosts)
    assert not set(hosts) & set(routes.tag_hosts(found, "latest"))
