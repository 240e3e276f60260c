"""Routes: which request reaches which cluster, decided without Envoy by reading the resources the way it does."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import SpecError
from tiffin.gateway import routes
from tiffin.gateway.resources import Resources, merge
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.spec import Artefact, ClassSource, Component, Deployment, ModelSource, Route

MODEL = ModelSource(artefact=Artefact(uri="/m"))
CLASS = ClassSource(artefact=Artefact(uri="/c"))


def plain(
    deployments: Sequence[Deployment] = (), backends: Mapping[tuple[str, str], Sequence[str]] | None = None
) -> Snapshot:
    """Deployments without variants; endpoints by their key and the name of a component."""
    found = []
    for one in deployments:
        pools = [
            Pool(f"{one.key}/{part.name}", part, (backends or {}).get((one.key, part.name), ()))
            for part in one.components
        ]
        found.append(Routed(one, pools, {pool.component.name: (Choice((Share(pool.name),)),) for pool in pools}))
    return Snapshot(tuple(found))


def deployment(name: str, *found: Route, source: Any = MODEL, **settings: Any) -> Deployment:
    component = Component(source=source, **settings)
    return Deployment(name=name, components=(component,), routes=found, file=f"{name}.yaml")


def lead(resources: Resources, host: str, path: str) -> tuple[str, str] | None:
    """The cluster and the rewritten path, by Envoy's rules: first match in the virtual host, text replaced."""
    hosts = {entry["name"]: entry for entry in resources.routes["virtual_hosts"]}
    chosen = hosts.get(host.partition(":")[0].lower(), hosts["*"])
    for route in chosen["routes"]:
        match = route["match"]
        if any("range_match" in header for header in match.get("headers", ())):
            continue
        if "path" in match:
            matched = match["path"] if path == match["path"] else None
        elif "prefix" in match:
            matched = match["prefix"] if path.startswith(match["prefix"]) else None
        else:
            prefix = match["path_separated_prefix"]
            matched = prefix if path == prefix or path.startswith(prefix + "/") else None
        if matched is None:
            continue
        if "direct_response" in route:
            return None
        rewrite = route["route"].get("prefix_rewrite")
        return route["route"]["cluster"], path if rewrite is None else rewrite + path[len(matched) :]
    raise AssertionError("no route at all, not even the one for nothing")


THREE = plain(
    (
        deployment(
            "kiris",
            Route(path="/", hosts=("iris.default.Example.com",)),
            Route(path="/default/kiris", rewrite="/"),
        ),
        deployment(
            "siris", Route(path="/seldon/default/siris", rewrite="/"), Route(path="/default/siris", rewrite="/")
        ),
        deployment(
            "biris",
            Route(path="/predict", exact=True, shared=True),
            Route(path="/default/biris", rewrite="/"),
            Route(path="/models/a", rewrite="/inner"),
            Route(path="/models/a/b", exact=True, rewrite="/elsewhere"),
            Route(path="/only", hosts=("b.example.com",)),
        ),
    )
)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        pytest.param(
            "iris.default.example.com", "/v2/models/iris/infer", ("default/kiris/predictor", None), id="a host"
        ),
        pytest.param(
            "IRIS.default.example.com:8080", "/x", ("default/kiris/predictor", None), id="host-with-port"
        ),
        pytest.param(
            "x", "/default/kiris", ("default/kiris/predictor", "/"), id="a prefix alone becomes the root"
        ),
        pytest.param("x", "/default/kiris/v2", ("default/kiris/predictor", "/v2"), id="a prefix is cut"),
        pytest.param("x", "/default/kirisch", None, id="a prefix ends at a segment"),
        pytest.param(
            "x",
            "/seldon/default/siris/api/v1.0/predictions",
            ("default/siris/predictor", "/api/v1.0/predictions"),
            id="s",
        ),
        pytest.param("x", "/predict", ("default/biris/predictor", None), id="exact"),
        pytest.param("x", "/predict/", None, id="exact-is-exact"),
        pytest.param("x", "/models/a", ("default/biris/predictor", "/inner"), id="rewritten"),
        pytest.param("x", "/models/a/c", ("default/biris/predictor", "/inner/c"), id="rewritten-below"),
        pytest.param("x", "/models/a/b", ("default/biris/predictor", "/elsewhere"), id="the-longer-path-first"),
        pytest.param("x", "/models/ab", None, id="not-a-segment"),
        pytest.param("b.example.com", "/only", ("default/biris/predictor", None), id="own"),
        pytest.param(
            "b.example.com", "/default/siris/a", ("default/siris/predictor", "/a"), id="common-under-a-host"
        ),
        pytest.param("x", "/only", None, id="other-host"),
        pytest.param("x", "/", None, id="root"),
    ],
)
def test_a_request_reaches_its_component(host: str, path: str, expected: tuple[str, str | None] | None) -> None:
    if expected is not None and expected[1] is None:
        expected = (expected[0], path)
    assert lead(routes.render(THREE), host, path) == expected


def test_the_order_of_routes_in_a_file_does_not_matter() -> None:
    wide, narrow, exact = Route(path="/a"), Route(path="/a/b"), Route(path="/a/b", exact=True)
    for order in ((wide, narrow, exact), (exact, narrow, wide), (narrow, wide, exact)):
        snapshot = plain([deployment(f"d{route.path.count('/')}{route.exact:d}", route) for route in order])
        resources = routes.render(snapshot)
        assert lead(resources, "x", "/a/b") == ("default/d21/predictor", "/a/b")
        assert lead(resources, "x", "/a/b/c") == ("default/d20/predictor", "/a/b/c")
        assert lead(resources, "x", "/a/c") == ("default/d10/predictor", "/a/c")


def test_the_first_gets_a_shared_address_and_the_other_keeps_the_rest() -> None:
    shared = Route(path="/predict", exact=True, shared=True)
    snapshot = plain(
        (deployment("one", shared), deployment("two", shared, Route(path="/default/two", rewrite="/")))
    )
    resources = routes.render(snapshot)
    assert lead(resources, "x", "/predict") == ("default/one/predictor", "/predict")
    assert lead(resources, "x", "/default/two/predict") == ("default/two/predictor", "/predict")


def test_an_address_wanted_twice_is_refused_naming_both() -> None:
    snapshot = plain((deployment("one", Route(path="/p")), deployment("two", Route(path="/p/"))))
    with pytest.raises(SpecError, match=r"default/one and default/two both want the address /p"):
        routes.render(snapshot)


def test_two_deployments_of_one_name_are_refused() -> None:
    with pytest.raises(SpecError, match="two deployments are called default/one"):
        routes.render(plain((deployment("one"), deployment("one"))))


def test_a_route_to_a_component_that_is_not_there_is_refused() -> None:
    with pytest.raises(SpecError, match="'transformer'; there is predictor"):
        routes.render(plain((deployment("one", Route(path="/a", component="transformer")),)))


@pytest.mark.parametrize("path", ["a", "", "/a?b", "/a#b", "//a"])
def test_a_path_that_could_never_match_is_refused(path: str) -> None:
    with pytest.raises(SpecError, match="expected a path such as"):
        routes.render(plain((deployment("one", Route(path=path)),)))


def only_route(resources: Resources) -> dict[str, Any]:
    return resources.routes["virtual_hosts"][0]["routes"][1]["route"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(("seconds", "expected"), [(None, "60.500s"), (30, "30.500s"), (0.25, "0.750s")])
def test_the_time_out_is_the_components_and_a_margin(seconds: float | None, expected: str) -> None:
    route = only_route(routes.render(plain((deployment("one", Route(path="/a"), timeout_seconds=seconds),))))
    assert route["timeout"] == expected


def test_only_a_saved_model_is_asked_again_after_it_may_have_computed() -> None:
    model = only_route(routes.render(plain((deployment("one", Route(path="/a")),))))
    authored = only_route(routes.render(plain((deployment("one", Route(path="/a"), source=CLASS),))))
    assert model["retry_policy"]["retry_on"].split(",")[-1] == "reset"
    assert authored["retry_policy"]["retry_on"].split(",")[-1] == "reset-before-request"


def test_backends_become_pipes_and_a_component_without_any_has_no_endpoints() -> None:
    one, two = deployment("one"), deployment("two")
    found = routes.render(plain((one, two), {("default/one", "predictor"): ["/r/1.sock", "/r/2.sock"]})).endpoints
    hosts = found[0]["endpoints"][0]["lb_endpoints"]
    assert [host["endpoint"]["address"]["pipe"]["path"] for host in hosts] == ["/r/1.sock", "/r/2.sock"]
    assert found[1] == {
        "@type": "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": "default/two/predictor",
        "endpoints": [],
    }


def test_between_two_snapshots_no_cluster_is_missing_that_an_old_route_leads_to() -> None:
    before = routes.render(plain((deployment("one", Route(path="/1")), deployment("two", Route(path="/2")))))
    after = routes.render(plain((deployment("two", Route(path="/2")), deployment("three", Route(path="/3")))))
    both = merge(before, after)
    assert {cluster["name"] for cluster in both.clusters} == {
        f"default/{n}/predictor" for n in ("one", "two", "three")
    }
    assert {entry["cluster_name"] for entry in both.endpoints} == {cluster["name"] for cluster in both.clusters}
    assert both.routes == after.routes


segments = st.lists(st.sampled_from(["a", "b", "ab", "v2", "default"]), max_size=3)
paths = segments.map(lambda parts: "/" + "/".join(parts))
any_route = st.builds(
    Route,
    path=paths,
    hosts=st.sampled_from([(), ("h1",), ("h1", "h2")]),
    exact=st.booleans(),
    rewrite=st.none() | paths,
    shared=st.just(True),
)


@given(
    st.lists(st.lists(any_route, max_size=4), min_size=1, max_size=3), st.sampled_from(["h1", "h2", "x"]), paths
)
def test_no_route_leads_to_an_unknown_cluster_or_makes_a_path_with_two_slashes(
    found: list[list[Route]], host: str, path: str
) -> None:
    resources = routes.render(plain([deployment(f"d{n}", *each) for n, each in enumerate(found)]))
    answer = lead(resources, host, path)
    if answer is None:
        assert not any(_matches(route, host, path) for each in found for route in each)
        return
    cluster, rewritten = answer
    assert cluster in {entry["name"] for entry in resources.clusters}
    assert rewritten.startswith("/")
    assert "//" not in rewritten
    number = int(cluster.split("/")[1][1:])
    assert any(_matches(route, host, path) for route in found[number])


def _matches(route: Route, host: str, path: str) -> bool:
    if route.hosts and host not in route.hosts:
        return False
    base = route.path.rstrip("/")
    return path == (base or "/") or (not route.exact and path.startswith(base + "/"))
