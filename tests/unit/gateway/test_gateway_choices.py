"""Choices: weights as integers, branches in the order they are tried, and what each filter is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.errors import SpecError
from tiffin.gateway import regexes
from tiffin.gateway.choices import WHOLE, Destination, branches, split
from tiffin.gateway.clusters import ACTIVATOR, address, cluster, endpoints, has_replicas
from tiffin.gateway.resources import Resources, assignments, inline
from tiffin.gateway.router import Choice, Pool, Routed, Share, Snapshot
from tiffin.gateway.routes import render
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    Jwt,
    Match,
    ModelSource,
    Route,
    Scaling,
    Sticky,
    Traffic,
)

MODEL = Component(source=ModelSource(artefact=Artefact(uri="/m")))
CODE = Component(source=ClassSource(artefact=Artefact(uri="/c")))
TO_ZERO = Component(source=ModelSource(artefact=Artefact(uri="/m")), scaling=Scaling(min_replicas=0))
COOKIE = Traffic(sticky=Sticky(by="cookie", name="who", ttl_seconds=60))
weights = st.lists(st.floats(0, 100), min_size=1, max_size=5)


def shares(*found: float) -> list[Share]:
    return [Share(f"p{number}", weight) for number, weight in enumerate(found)]


def destination(
    *choices: Choice, held: str = "", traffic: Traffic | None = None, component: Component = MODEL, **settings: Any
) -> Destination:
    names = [share.pool for choice in choices for share in choice.shares]
    pools = {name: Pool(name, component, held=name == held) for name in names}
    deployment = Deployment(name="iris", components=(component,), traffic=traffic or Traffic())
    return Destination(deployment, pools, choices, activator="/act.sock", **settings)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ((100,), {"p0": WHOLE}),
        ((90, 10), {"p0": 90_000, "p1": 10_000}),
        ((100, 0), {"p0": WHOLE}),
        ((0, 0), {}),
        ((), {}),
        ((1, 1, 1), {"p0": 33_333, "p1": 33_334, "p2": 33_333}),
        ((99.95, 0.05), {"p0": 99_950, "p1": 50}),
        ((100, 0.0000001), {"p0": WHOLE}),
        ((10, 30), {"p0": 25_000, "p1": 75_000}),
    ],
)
def test_percentages_become_parts_of_a_whole(found: tuple[float, ...], expected: dict[str, int]) -> None:
    assert dict(split(shares(*found))) == expected


@given(weights)
def test_parts_always_make_a_whole_so_that_hashes_stay_in_place(found: list[float]) -> None:
    parts = split(shares(*found))
    assert sum(weight for _, weight in parts) == (WHOLE if sum(found) > 0 else 0)
    assert all(weight > 0 for _, weight in parts)


@given(st.floats(0, 100), st.floats(0, 100))
def test_a_higher_weight_of_the_last_takes_from_the_others_alone(one: float, two: float) -> None:
    less, more = sorted((one, two))

    def bound(weight: float) -> int:
        return dict(split(shares(100 - weight, weight))).get("p0", 0)

    assert bound(more) <= bound(less)


def test_an_ordinary_deployment_has_one_branch_that_tells_no_filter_anything() -> None:
    (branch,) = branches(destination(Choice(shares(100))))
    assert branch.match == {}
    assert set(branch.rest) == {"route"}
    assert branch.rest["route"]["cluster"] == "p0"
    assert "hash_policy" not in branch.rest["route"]


def test_rules_come_first_with_all_their_conditions() -> None:
    rule = Choice(
        [Share("a")],
        [Match(header="X-A", value="1"), Match(header="x-b", how="present"), Match(claim="r.s", value="t")],
    )
    first, last = branches(destination(rule, Choice([Share("b")])))
    assert [header["name"] for header in first.match["headers"]] == ["x-a", "x-b"]
    (claim,) = first.match["dynamic_metadata"]
    assert [part["key"] for part in claim["path"]] == ["claims", "r", "s"]
    assert first.rest["route"]["cluster"] == "a"
    assert last.match == {}


def test_nobody_left_to_answer_is_a_503() -> None:
    (branch,) = branches(destination(Choice(shares(0))))
    assert branch.rest["direct_response"]["status"] == 503


def test_a_held_pool_has_a_branch_for_streams_which_the_activator_gets() -> None:
    streams, calls = branches(destination(Choice(shares(90, 10)), held="p1"))
    assert streams.match["headers"][0]["name"] == "accept"
    assert [part["name"] for part in streams.rest["route"]["weighted_clusters"]["clusters"]] == ["p0", ACTIVATOR]
    first, second = calls.rest["route"]["weighted_clusters"]["clusters"]
    assert "typed_per_filter_config" not in first
    told = second["typed_per_filter_config"]["hold"]["check_settings"]["http_service"]
    added = {each["key"]: each["value"] for each in told["authorization_request"]["headers_to_add"]}
    assert added == {"x-tiffin-pool": "p1", "x-tiffin-hold": "check"}
    assert float(calls.rest["route"]["idle_timeout"][:-1]) > 600


@pytest.mark.parametrize(
    ("traffic", "rules"),
    [(COOKIE, ()), (Traffic(), (Choice([Share("p1")], [Match(claim="a", value="b")]),))],
)
def test_where_a_route_may_be_chosen_again_every_part_says_whether_it_holds(
    traffic: Traffic, rules: tuple[Choice, ...]
) -> None:
    for branch in branches(destination(*rules, Choice(shares(50, 50)), held="p1", traffic=traffic)):
        if any(header["name"] == "accept" for header in branch.match.get("headers", ())):
            continue
        if traffic is COOKIE and "cookies" not in branch.match:
            continue
        parts = branch.rest["route"].get("weighted_clusters", {}).get("clusters", [branch.rest])
        assert all("hold" in part["typed_per_filter_config"] for part in parts)


def test_a_new_caller_gets_a_cookie_and_one_split_only_is_hashed() -> None:
    new, known = branches(destination(Choice(shares(50, 50)), traffic=COOKIE))
    assert new.match["cookies"][0]["invert_match"]
    (cookie,) = new.rest["response_headers_to_add"]
    # Nothing but what the filter left: Envoy drops the header where the filter was never reached.
    assert cookie["header"]["value"] == "%FILTER_STATE(tiffin.cookie:PLAIN)%"
    assert not cookie.get("keep_empty_value")
    told = new.rest["typed_per_filter_config"]["sticky"]["config"]["on_request_headers"]
    texts = {each["object_key"]: each["format_string"]["text_format_source"]["inline_string"] for each in told}
    assert texts["tiffin.visitor"] == "%UNIQUE_ID%"
    assert texts["tiffin.cookie"].startswith("who=%FILTER_STATE(tiffin.visitor:PLAIN)%; Max-Age=60; ")
    assert known.rest["route"]["hash_policy"] == [{"cookie": {"name": "who"}}]
    assert "response_headers_to_add" not in known.rest
    (alone,) = branches(destination(Choice(shares(100, 0)), traffic=COOKIE))
    assert "hash_policy" not in alone.rest["route"]


def test_a_pool_that_may_be_empty_is_asked_again_and_others_are_not() -> None:
    for component, expected in ((MODEL, False), (TO_ZERO, True)):
        (branch,) = branches(destination(Choice(shares(100)), component=component))
        policy = branch.rest["route"]["retry_policy"]
        assert ("retriable-headers" in policy["retry_on"]) is expected
        assert ("request_body_buffer_limit" in branch.rest) is expected


@pytest.mark.parametrize(
    ("component", "setting", "expected"),
    [
        (MODEL, None, "reset"),
        (CODE, None, "reset-before-request"),
        (CODE, True, "reset"),
        (MODEL, False, "reset-before-request"),
    ],
)
def test_who_may_be_asked_again_after_a_reset(component: Component, setting: bool | None, expected: str) -> None:
    import msgspec

    part = msgspec.structs.replace(component, retry_reset=setting)
    (branch,) = branches(destination(Choice(shares(100)), component=part))
    assert branch.rest["route"]["retry_policy"]["retry_on"].split(",")[2] == expected


def test_a_shadow_gets_its_percentage_and_ids_are_added_only_where_asked() -> None:
    to = destination(Choice(shares(100)), mirrors=[Share("p0", 12.5), Share("p0", 0)], correlate=True)
    (branch,) = branches(to)
    (mirror,) = branch.rest["route"]["request_mirror_policies"]
    assert mirror["runtime_fraction"]["default_value"] == {"numerator": 125_000, "denominator": "MILLION"}
    assert branch.rest["request_headers_to_add"][0]["append_action"] == "ADD_IF_ABSENT"


@pytest.mark.parametrize(
    "match",
    [
        Match(header="", value="x"),
        Match(header="a b", value="x"),
        Match(header="a_b", value="x"),
        Match(header="x:\r\ny", value="x"),
        Match(header="x", value="(", how="regex"),
    ],
)
def test_a_condition_that_could_never_hold_is_refused(match: Match) -> None:
    with pytest.raises(SpecError):
        branches(destination(Choice([Share("a")], [match]), Choice([Share("a")])))


def test_a_cookies_name_cannot_carry_more_than_a_name() -> None:
    sticky = Traffic(sticky=Sticky(by="cookie", name="a; Domain=evil"))
    with pytest.raises(SpecError, match="name of a cookie"):
        branches(destination(Choice(shares(50, 50)), traffic=sticky))


@pytest.mark.parametrize(
    "pattern", [r"a+", r"[a-z]{2,5}", r"^v\d+$", r"\(x\)", r"a\\1", r"[(?=]", r"(?i)x", r"(?:a|b)"]
)
def test_patterns_that_match_in_linear_time_are_taken(pattern: str) -> None:
    assert regexes.checked(pattern) == pattern


@pytest.mark.parametrize(
    "pattern",
    [
        r"(?=a)",
        r"(?<!a)b",
        r"(a)\1",
        r"(?P<n>a)(?P=n)",
        r"a++",
        r"(?>a)",
        "(",
        "[",
        "",
        r"a{1001}",
        r"(a)(?(1)b|c)",
        r"a\Z",
    ],
)
def test_patterns_that_do_not_are_refused(pattern: str) -> None:
    with pytest.raises(SpecError):
        regexes.checked(pattern)


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("/r/a.sock", {"pipe": {"path": "/r/a.sock"}}),
        ("127.0.0.1:80", {"socket_address": {"address": "127.0.0.1", "port_value": 80}}),
        ("[::1]:80", {"socket_address": {"address": "::1", "port_value": 80}}),
    ],
)
def test_endpoints_are_sockets_or_addresses(endpoint: str, expected: dict[str, Any]) -> None:
    assert address(endpoint) == expected


@pytest.mark.parametrize("endpoint", ["localhost:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", ":80", ""])
def test_an_endpoint_that_would_have_to_be_looked_up_is_refused(endpoint: str) -> None:
    with pytest.raises(SpecError, match="found the endpoint"):
        address(endpoint)


def test_the_activator_stands_behind_the_replicas_of_what_may_be_empty() -> None:
    for pool, ranks in (
        (Pool("a", MODEL, ["/r"]), [0]),
        (Pool("a", MODEL, ["/r"], held=True), [0, 1]),
        (Pool("a", TO_ZERO, ["/r"]), [0, 1]),
        (Pool("a", TO_ZERO), [1]),
        (Pool("a", MODEL), []),
    ):
        found = endpoints(pool, "/act.sock")
        assert [rank.get("priority", 0) for rank in found["endpoints"]] == ranks
        assert has_replicas(found) is bool(pool.endpoints)
        assert [rank.get("priority", 0) for rank in endpoints(pool, "")["endpoints"]] == ranks[
            : len(pool.endpoints)
        ]


@pytest.mark.parametrize(("ready_path", "kind"), [("", "tcp_health_check"), ("/up", "http_health_check")])
def test_a_container_is_asked_what_it_says_it_answers(ready_path: str, kind: str) -> None:
    source = ContainerSource(image="x", ready_path=ready_path)
    (check,) = cluster(Pool("a", Component(source=source)))["health_checks"]
    assert kind in check


def test_a_tag_of_a_variant_without_replicas_answers_503_and_never_with_another_variant() -> None:
    deployment = Deployment(name="iris", components=(MODEL,), routes=(Route(path="/v", variant="b"),))
    pool = Pool("p", MODEL, ["/r"])
    routed = Routed(deployment, [pool], {"predictor": [Choice([Share("p")])]}, tags={"prev": ("prev-iris",)})
    hosts = {host["name"]: host for host in render(Snapshot((routed,))).routes["virtual_hosts"]}
    for name in ("prev-iris", "*"):
        found = [route for route in hosts[name]["routes"] if route.get("direct_response", {}).get("status") == 503]
        assert len(found) == 1


@pytest.mark.parametrize(
    "settings", [{"choices": {"predictor": [Choice([Share("q")])]}}, {"mirrors": {"predictor": [Share("q")]}}]
)
def test_a_share_of_a_pool_that_is_not_there_is_refused(settings: dict[str, Any]) -> None:
    deployment = Deployment(name="iris", components=(MODEL,))
    with pytest.raises(SpecError, match="the pool 'q', which it does not have"):
        render(Snapshot((Routed(deployment, [Pool("p", MODEL)], **settings),)))


def test_the_name_of_a_requirement_changes_with_its_content() -> None:
    def names(jwt: Jwt) -> set[str]:
        deployment = Deployment(name="iris", components=(MODEL,), traffic=Traffic(jwt=jwt))
        return set(render(Snapshot((Routed(deployment),))).tokens["requirement_map"])

    one = Jwt(issuer="me", jwks="{}")
    assert names(one) == names(Jwt(issuer="me", jwks="{}"))
    assert names(one).isdisjoint(names(Jwt(issuer="me", jwks="{ }")))
    assert names(one).isdisjoint(names(Jwt(issuer="me", jwks="{}", required=False)))


def test_endpoints_may_be_said_in_the_cluster_itself() -> None:
    deployment = Deployment(name="iris", components=(MODEL,))
    pools = [Pool("a", MODEL, ["/a"]), Pool("b", MODEL, ["/b"])]
    found: Resources = render(Snapshot((Routed(deployment, pools),), "/act.sock"))
    told = inline(found, {"b"})
    assert [entry["cluster_name"] for entry in told.endpoints] == ["a"]
    assert assignments(told) == assignments(found)
    assert {each["name"]: each["type"] for each in told.clusters} == {
        "a": "EDS",
        "b": "STATIC",
        ACTIVATOR: "STATIC",
    }
