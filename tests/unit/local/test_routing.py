"""What the gateway is told of one deployment."""

import msgspec
import pytest

from tiffin.gateway.router import Choice, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.local.routing import called_at, dependency_at, routed
from tiffin.plan.revision import Revision, digest
from tiffin.plan.share import Standing, aim, spread
from tiffin.spec import Artefact, Component, Deployment, Match, ModelSource, Route, Rule, Scaling, Traffic, Variant

PREDICTOR = Component(source=ModelSource(artefact=Artefact(uri="m")))
TRANSFORMER = Component(name="transformer", source=PREDICTOR.source, calls="predictor")


def revision(number: int, *components: Component, variant: str = "main") -> Revision:
    found = Variant(name=variant, components=components)
    return Revision(
        namespace="default",
        deployment="iris",
        number=number,
        variant=variant,
        protocol="open-inference",
        components=components,
        digest=digest(found, "open-inference"),
    )


def deployment(**more: object) -> Deployment:
    routes = (Route(path="/", hosts=("iris.default.example.com",)), Route(path="/default/iris", rewrite="/"))
    return Deployment(name="iris", components=(PREDICTOR,), routes=routes, **more)  # type: ignore[arg-type]


def canary() -> Standing:
    return Standing(current=2, rolled_out=1, serving={1: 90.0, 2: 10.0}, proven=(1, 2))


def test_a_canary_has_shares_tags_and_hosts_of_their_own() -> None:
    one = deployment(canary_percent=10)
    aims = {"main": aim(canary(), frozenset({1, 2}), canary_percent=10)}
    revisions = {number: revision(number, PREDICTOR) for number in (1, 2)}
    found = routed(one, revisions, aims, spread(one, aims), {(1, "predictor"): ["/s1"], (2, "predictor"): ["/s2"]})
    assert found is not None
    first, second = "default/iris-00001/predictor", "default/iris-00002/predictor"
    assert [(pool.name, pool.endpoints) for pool in found.pools] == [(first, ("/s1",)), (second, ("/s2",))]
    assert found.choices == {"predictor": (Choice((Share(first, 90.0), Share(second, 10.0))),)}
    assert found.variants["prev", "predictor"] == (Share(first, 100.0),)
    assert found.variants["canary", "predictor"] == (Share(second, 100.0),)
    assert found.tags["canary"] == ("canary-iris.default.example.com",)


def test_nothing_is_routed_before_anything_could_serve_and_what_served_is_not_forgotten() -> None:
    one = deployment()
    revisions = {1: revision(1, PREDICTOR)}
    never = {"main": aim(Standing(current=1), frozenset())}
    assert routed(one, revisions, never, spread(one, never), {}) is None
    down = {"main": aim(Standing(current=1, rolled_out=1, serving={1: 100.0}, proven=(1,)), frozenset())}
    found = routed(one, revisions, down, spread(one, down), {})
    assert found is not None
    assert found.choices["predictor"][-1].shares == (Share("default/iris-00001/predictor", 100.0),)
    assert found.pools[0].endpoints == ()


def test_rules_come_before_weights_and_a_rule_for_what_cannot_serve_is_left_out() -> None:
    beta = Variant(name="beta", components=(PREDICTOR,), weight=0.0)
    header = (Match(header="x-beta", value="1"),)
    rules = (Rule(matches=header, variant="beta"), Rule(matches=header, variant="canary"))
    one = deployment(variants=(beta,), traffic=Traffic(rules=rules))
    main = Standing(current=1, rolled_out=1, serving={1: 100.0}, proven=(1,))
    revisions = {1: revision(1, PREDICTOR), 2: revision(2, PREDICTOR, variant="beta")}
    aims = {"main": aim(main, frozenset({1})), "beta": aim(Standing(current=2), frozenset({2}))}
    found = routed(one, revisions, aims, spread(one, aims), {})
    assert found is not None
    # A canary that is none is the stable one.
    assert [choice.shares[0].pool.split("/")[1] for choice in found.choices["predictor"]] == [
        "iris-00002",
        "iris-00001",
        "iris-00001",
    ]
    aims["beta"] = aim(Standing(current=2), frozenset())
    without = routed(one, revisions, aims, spread(one, aims), {})
    assert without is not None
    assert [choice.matches for choice in without.choices["predictor"]] == [header, ()]


def test_a_revision_without_a_transformer_is_reached_at_its_predictor() -> None:
    one = Deployment(name="iris", components=(PREDICTOR, TRANSFORMER), canary_percent=10)
    revisions = {1: revision(1, PREDICTOR), 2: revision(2, PREDICTOR, TRANSFORMER)}
    aims = {"main": aim(canary(), frozenset({1, 2}), canary_percent=10)}
    found = routed(one, revisions, aims, spread(one, aims), {})
    assert found is not None
    assert [share.pool for share in found.choices["transformer"][-1].shares] == [
        "default/iris-00001/predictor",
        "default/iris-00002/transformer",
    ]


def test_a_shadow_is_mirrored_to_and_shares_no_calls() -> None:
    shadow = Variant(name="shadow", components=(PREDICTOR,), mirror_percent=25.0)
    one = deployment(variants=(shadow,))
    main = Standing(current=1, rolled_out=1, serving={1: 100.0}, proven=(1,))
    revisions = {1: revision(1, PREDICTOR), 2: revision(2, PREDICTOR, variant="shadow")}
    aims = {"main": aim(main, frozenset({1})), "shadow": aim(Standing(current=2), frozenset({2}))}
    found = routed(one, revisions, aims, spread(one, aims), {})
    assert found is not None
    assert found.mirrors == {"predictor": (Share("default/iris-00002/predictor", 25.0),)}
    assert [share.pool for share in found.choices["predictor"][-1].shares] == ["default/iris-00001/predictor"]
    assert found.correlate


@pytest.mark.parametrize("is_held", [True, False])
def test_a_place_whose_calls_wait_is_held_with_the_scaling_there_is_now(is_held: bool) -> None:
    scaled = Component(source=PREDICTOR.source, scaling=Scaling(min_replicas=0, max_replicas=3))
    one = Deployment(name="iris", components=(scaled,))
    aims = {"main": aim(Standing(current=1, rolled_out=1, proven=(1,), serving={1: 100.0}), frozenset({1}))}
    held = frozenset({(1, "predictor")} if is_held else ())
    found = routed(one, {1: revision(1, PREDICTOR)}, aims, spread(one, aims), {}, held)
    assert found is not None
    assert found.pools[0].held is is_held
    assert found.pools[0].component.scaling.max_replicas == 3


def test_a_transformer_reaches_the_predictor_of_its_own_revision_and_one_that_ends_whichever_there_is() -> None:
    one = deployment(canary_percent=10)
    one = msgspec.structs.replace(one, components=(PREDICTOR, TRANSFORMER))
    aims = {"main": aim(canary(), frozenset({1, 2}), canary_percent=10)}
    revisions = {number: revision(number, PREDICTOR, TRANSFORMER) for number in (1, 2)}
    revisions[3] = revision(3, PREDICTOR, TRANSFORMER)  # It was replaced: nobody is sent to it any more.
    found = routed(one, revisions, aims, spread(one, aims), {})
    assert found is not None
    inner = {route.path: found.variants[route.variant, route.component] for route in found.deployment.routes[2:]}
    first, second = "default/iris-00001/predictor", "default/iris-00002/predictor"
    assert inner == {
        "/default/iris/-/iris-00001/predictor": (Share(first, 100.0),),
        "/default/iris/-/iris-00002/predictor": (Share(second, 100.0),),
        "/default/iris/-/iris-00003/predictor": (Share(first, 90.0), Share(second, 10.0)),
    }
    matches = str(render(Snapshot((found,))).routes)
    assert all(path in matches for path in inner)


@pytest.mark.parametrize(
    ("dialect", "path"),
    [
        ("kserve", "/default/iris/-/predictor"),
        ("seldon", "/default/iris/-/iris-00002/predictor"),
        ("tiffin", "/default/iris/-/iris-00002/predictor"),
    ],
)
def test_kserve_splits_the_predictors_calls_whoever_sends_them(dialect: str, path: str) -> None:
    one = deployment(dialect=dialect)
    assert called_at(one, revision(2, PREDICTOR, TRANSFORMER), "predictor") == path


INNER = Component(name="inner", source=PREDICTOR.source, is_dependency=True)
OUTER = msgspec.structs.replace(PREDICTOR, dependencies={"Inner": "inner"})


def test_services_find_those_of_their_own_revision_by_addresses_nobody_can_guess() -> None:
    one = msgspec.structs.replace(deployment(canary_percent=10), components=(OUTER, INNER))
    aims = {"main": aim(canary(), frozenset({1, 2}), canary_percent=10)}
    revisions = {number: revision(number, OUTER, INNER) for number in (1, 2)}
    found = routed(one, revisions, aims, spread(one, aims), {}, key=b"k")
    assert found is not None
    paths = {route.variant: route.path for route in found.deployment.routes if route.component == "inner"}
    assert paths == {"iris-00001": dependency_at(revisions[1], "inner", b"k"),
                     "iris-00002": dependency_at(revisions[2], "inner", b"k")}  # fmt: skip
    assert found.variants["iris-00002", "inner"] == (Share("default/iris-00002/inner", 100.0),)
    assert dependency_at(revisions[1], "inner", b"other") != paths["iris-00001"]
    assert render(Snapshot(routed=[found]))


def test_services_reach_each_other_before_any_caller_reaches_them() -> None:
    one = msgspec.structs.replace(deployment(), components=(OUTER, INNER))
    revisions = {1: revision(1, OUTER, INNER)}
    never = {"main": aim(Standing(current=1), frozenset())}
    found = routed(one, revisions, never, spread(one, never), {(1, "inner"): ["/i"]}, starting=[1], key=b"k")
    assert found is not None
    assert [route.component for route in found.deployment.routes] == ["inner"]
    assert {pool.name: pool.endpoints for pool in found.pools}["default/iris-00001/inner"] == ("/i",)
    assert render(Snapshot(routed=[found]))
