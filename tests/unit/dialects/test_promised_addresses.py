from pathlib import Path

import pytest

from tiffin.dialects import read, routes
from tiffin.spec import Deployment, Route

SAMPLES = Path(__file__).parent / "samples"


def table(found: tuple[Route, ...]) -> set[tuple]:
    return {(route.path, route.hosts, route.exact, route.rewrite, route.shared) for route in found}


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
        ("kserve.yaml", "iris", OWN | MODEL),
        ("kserve_legacy.yaml", "sklearn-iris", OWN | MODEL),
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
