"""Calls of gRPC in Envoy's terms: which routes lead them, and to which clusters."""

from __future__ import annotations

from typing import Any

from tiffin.gateway import clusters
from tiffin.gateway.admin import parse_samples
from tiffin.gateway.grpc import ENDLESS
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.spec import Artefact, Component, Deployment, ModelSource, Route, Sticky, Traffic

SOURCE = ModelSource(artefact=Artefact(uri="/m"))
BOTH = Component(source=SOURCE, grpc=True)
HTTP = Component(source=SOURCE)
HOST = "iris.default.example.com"


def routed(
    *parts: tuple[str, Component, float], name: str = "iris", traffic: Traffic | None = None, **settings: Any
) -> Routed:
    routes = (Route(path=f"/default/{name}", rewrite="/"), Route(path="/", hosts=(f"{name}.default.example.com",)))
    deployment = Deployment(name=name, components=(BOTH,), routes=routes, traffic=traffic or Traffic(), **settings)
    pools = [Pool(pool, part, (f"/{pool}",), grpc=(f"/{pool}g",) if part.grpc else ()) for pool, part, _ in parts]
    choice = Choice([Share(pool, weight) for pool, _, weight in parts])
    return Routed(deployment, pools, {"predictor": (choice,)})


def hosts(*found: Routed) -> dict[str, list[dict[str, Any]]]:
    resources = render(Snapshot(found))
    return {host["name"]: host["routes"] for host in resources.routes["virtual_hosts"]}


def grpc_of(routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [route for route in routes if "application/grpc" in str(route["match"].get("headers"))]


def to(route: dict[str, Any]) -> Any:
    action = route["route"]
    if "cluster" in action:
        return action["cluster"]
    return {entry["name"]: entry["weight"] for entry in action["weighted_clusters"]["clusters"]}


def metadata(route: dict[str, Any]) -> dict[str, str]:
    headers = route["match"]["headers"]
    return {h["name"]: h["string_match"].get("exact", "") for h in headers if h["name"] != "content-type"}


def test_calls_to_a_host_go_to_its_cluster_of_http2_before_anything_else() -> None:
    found = hosts(routed(("p", BOTH, 100)))[HOST]
    grpc = grpc_of(found)
    assert [to(route) for route in grpc] == ["p/grpc"] * 3
    assert [route["match"].get("path") for route in grpc] == [*ENDLESS, None]
    assert [route["route"]["timeout"] for route in grpc] == ["0.000s", "0.000s", "60.500s"]
    others = [route for route in found if "route" in route and route not in grpc]
    assert found.index(grpc[-1]) < min(map(found.index, others))


def test_the_cluster_speaks_http2_and_is_asked_for_its_health_over_it() -> None:
    resources = render(Snapshot([routed(("p", BOTH, 100), ("q", HTTP, 0))]))
    made = {cluster["name"]: cluster for cluster in resources.clusters}
    assert set(made) == {"p", "q", "p/grpc"}
    options = made["p/grpc"]["typed_extension_protocol_options"][clusters.PROTOCOL_OPTIONS]
    assert options["explicit_http_config"] == {"http2_protocol_options": {}}
    assert "grpc_health_check" in made["p/grpc"]["health_checks"][0]
    assert "http_health_check" not in made["p/grpc"]["health_checks"][0]
    (endpoints,) = [entry for entry in resources.endpoints if entry["cluster_name"] == "p/grpc"]
    assert endpoints["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] == {"pipe": {"path": "/pg"}}


def test_metadata_names_the_deployment_and_without_it_the_first_one_answers() -> None:
    other = routed(("q", BOTH, 100), name="other", dialect="seldon")
    common = grpc_of(hosts(routed(("p", BOTH, 100)), other)["*"])
    plain = [route for route in common if "prefix" in route["match"]]
    assert [(metadata(route), to(route)) for route in plain] == [
        ({"x-tiffin-deployment": "default/iris"}, "p/grpc"),
        ({"x-tiffin-deployment": "iris"}, "p/grpc"),
        ({"x-tiffin-deployment": "default/other"}, "q/grpc"),
        ({"x-tiffin-deployment": "other"}, "q/grpc"),
        ({"seldon": "other", "namespace": "default"}, "q/grpc"),
        ({}, "p/grpc"),
    ]


def test_weights_are_those_of_the_pools_that_answer_grpc() -> None:
    sticky = Traffic(sticky=Sticky(by="header", name="user"))
    (_, _, route) = grpc_of(hosts(routed(("p", BOTH, 80), ("q", BOTH, 20), traffic=sticky))[HOST])
    assert to(route) == {"p/grpc": 80_000, "q/grpc": 20_000}
    assert route["route"]["hash_policy"]
    (_, _, route) = grpc_of(hosts(routed(("p", BOTH, 80), ("q", HTTP, 20)))[HOST])
    assert to(route) == "p/grpc"


def test_a_shadow_gets_copies_over_the_same_protocol() -> None:
    one = routed(("p", BOTH, 100), ("q", BOTH, 0), ("r", HTTP, 0))
    mirrors = {"predictor": (Share("q", 50), Share("r", 50))}
    (_, _, route) = grpc_of(hosts(Routed(one.deployment, one.pools, one.choices, mirrors=mirrors))[HOST])
    assert [policy["cluster"] for policy in route["route"]["request_mirror_policies"]] == ["q/grpc"]


def test_without_grpc_nothing_is_added() -> None:
    one = routed(("p", HTTP, 100))
    found = hosts(one)
    assert not grpc_of(found["*"])
    assert not grpc_of(found[HOST])


def test_the_counters_of_a_pool_are_those_of_both_clusters() -> None:
    from tiffin.gateway.admin import _sum

    found = parse_samples(
        "cluster.p.upstream_rq_active: 2\ncluster.p.upstream_rq_completed: 5\n"
        "cluster.p.upstream_rq_time: B1(0,2) B5(0,5)\n"
        "cluster.p/grpc.upstream_rq_active: 1\ncluster.p/grpc.upstream_rq_completed: 3\n"
        "cluster.p/grpc.upstream_rq_time: B1(0,3) B5(0,3)\n"
    )
    sample = _sum(found["p"], found["p/grpc"])
    assert (sample.active, sample.calls, sample.latency) == (3, 8, ((1.0, 5), (5.0, 8)))
    assert _sum(None, found["p/grpc"]).calls == 3
    assert _sum(None, None).calls == 0
