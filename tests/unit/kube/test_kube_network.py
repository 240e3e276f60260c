"""Routes, autoscalers and what else leads to a deployment: a table in ``golden_network/``, and what always holds.

``TIFFIN_GOLDEN=write python -m pytest tests/unit/kube/test_kube_network.py`` writes the table anew.
"""

import os
import re
from pathlib import Path

import msgspec
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tiffin.dialects import live
from tiffin.errors import SpecError
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Share, Slot, Split, fresh
from tiffin.kube.render import hosts, ingress, knative, monitors, render, routes, scalers, unsupported
from tiffin.kube.settings import Gateway, Settings
from tiffin.spec import (
    Artefact,
    Component,
    Deployment,
    Jwt,
    Match,
    Measure,
    ModelSource,
    Pod,
    Recording,
    Rollout,
    Rule,
    Scaling,
    Stabilization,
    Step,
    Traffic,
    Variant,
)

HERE = Path(__file__).parent
GATEWAY = Capabilities(http_route=True, grpc_route=True)
EVERYTHING = Capabilities(
    http_route=True, grpc_route=True, keda=True, knative=True, pod_monitor=True, service_monitor=True
)
INGRESS = Settings(ingress_class="nginx")

PROMETHEUS = {"backend": "prometheus", "serverAddress": "http://p:9090", "query": "q"}
ISVC = {"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService"}
SDEP = {"apiVersion": "machinelearning.seldon.io/v1", "kind": "SeldonDeployment"}
SKLEARN = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://b/m"}


def isvc(predictor=None, *, name="iris", annotations=None, labels=None, **spec):
    metadata = {
        "name": name,
        "namespace": "ml",
        "uid": "u",
        "annotations": annotations or {},
        "labels": labels or {},
    }
    return {**ISVC, "metadata": metadata, "spec": {"predictor": {"model": SKLEARN, **(predictor or {})}, **spec}}


def custom(port="http"):
    return {
        "containers": [
            {"name": "kserve-container", "image": "own:1", "ports": [{"name": port, "containerPort": 8080}]}
        ]
    }


def sdep(*predictors):
    return {
        **SDEP,
        "metadata": {"name": "iris", "namespace": "ml", "uid": "u"},
        "spec": {"predictors": list(predictors)},
    }


def arm(name, **fields):
    graph = {"name": "clf", "implementation": "SKLEARN_SERVER", "modelUri": f"s3://b/{name}"}
    return {"name": name, "graph": graph, **fields}


def raw(**annotations):
    return {f"serving.kserve.io/{key}": value for key, value in annotations.items()}


RULED = {
    "apiVersion": "tiffin.dev/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris", "namespace": "ml", "uid": "u"},
    "spec": {
        "model": {"uri": "s3://b/m", "format": "sklearn"},
        "timeout": "120000s",
        "variants": {"small": {"weight": 0, "model": {"uri": "s3://b/s", "format": "sklearn"}}},
        "traffic": {
            "rules": [
                {"header": {"x-plan": "free", "x-user": {"prefix": "a.b"}}, "to": "small"},
                {"header": {"x-debug": True}, "to": "small"},
            ]
        },
    },
}

CASES = {
    "kserve": (isvc(), Settings(), GATEWAY, {}),
    "kserve-ingress": (isvc(), INGRESS, Capabilities(), {}),
    "kserve-internal": (
        isvc(labels={"networking.kserve.io/visibility": "cluster-local"}), Settings(), GATEWAY, {}
    ),
    "kserve-canary": (
        isvc({"canaryTrafficPercent": 10}),
        Settings(), GATEWAY, {("main", "stable"): 90, ("main", "candidate"): 10},
    ),
    "kserve-transformer": (isvc(transformer=custom(), explainer=custom()), Settings(), GATEWAY, {}),
    "kserve-transformer-ingress": (isvc(transformer=custom(), explainer=custom()), INGRESS, Capabilities(), {}),
    "kserve-grpc": (isvc(transformer=custom("h2c")), Settings(), GATEWAY, {}),
    "kserve-hpa": (
        isvc({"minReplicas": 2, "maxReplicas": 5, "scaleMetric": "memory", "scaleTarget": 70}),
        Settings(), GATEWAY, {},
    ),
    "kserve-keda": (
        isvc(
            {
                "minReplicas": 0,
                "maxReplicas": 5,
                "autoScaling": {
                    "metrics": [
                        {
                            "type": "External",
                            "external": {
                                "metric": PROMETHEUS,
                                "target": {"type": "Value", "value": "4"},
                            },
                        }
                    ]
                },
            },
            annotations=raw(autoscalerClass="keda"),
        ),
        Settings(), EVERYTHING, {},
    ),
    "kserve-knative": (
        isvc(
            {"minReplicas": 0, "containerConcurrency": 4, "timeout": 30}, annotations=raw(deploymentMode="Knative")
        ),
        Settings(), EVERYTHING, {},
    ),
    "kserve-knative-canary": (
        isvc(
            {"canaryTrafficPercent": 10},
            annotations=raw(**{"deploymentMode": "Knative", "enable-tag-routing": "true"}),
        ),
        Settings(), EVERYTHING, {("main", "stable"): Split(percent=10, rest="iris-predictor-00001")},
    ),
    "kserve-monitored": (isvc(), Settings(gateway=Gateway(name="g", section="https")), EVERYTHING, {}),
    "tiffin-rules": (RULED, Settings(), GATEWAY, {("main", "stable"): 100.0, ("small", "stable"): 0.0}),
    "seldon-arms": (
        sdep(arm("a", traffic=75), arm("b", traffic=25), arm("c", shadow=True)),
        Settings(), GATEWAY, {("a", "stable"): 75, ("b", "stable"): 25, ("c", "stable"): "mirror"},
    ),
}  # fmt: skip


def placed(document, weights):
    """The deployment, and each of its variants with the weights that the case says."""
    deployment = live.read_object(document)
    slots, shares = [], []
    for (variant, role), weight in (weights or {(deployment.variant, "stable"): 100}).items():
        found = next(one for one in deployment.all_variants if one.name == variant)
        split = weight if isinstance(weight, Split) else None
        slots += [
            Slot(variant=variant, component=part, role=role, revision="iris-00001", split=split)
            for part in found.components
        ]
        if split is not None:
            continue
        mirrored = {"mirror_percent": 50.0} if weight == "mirror" else {"weight": float(weight)}
        shares.append(Share(variant=variant, role=role, **mirrored))
    owner = (document["apiVersion"], document["kind"])
    return deployment, Placement(uid="u", owner=owner, slots=tuple(slots), shares=tuple(shares))


def network(case):
    document, settings, capabilities, weights = CASES[case]
    deployment, placement = placed(document, weights)
    parts = (knative, scalers, monitors, routes, ingress)
    return [one for part in parts for one in part.render(deployment, placement, settings, capabilities)]


@pytest.mark.parametrize("case", CASES)
def test_it_is_rendered_as_it_was_reviewed(case):
    path = HERE / "golden_network" / f"{case}.yaml"
    found = yaml.safe_dump_all(msgspec.to_builtins(network(case)), sort_keys=False)
    if os.environ.get("TIFFIN_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(found)
    assert list(yaml.safe_load_all(path.read_text())) == list(yaml.safe_load_all(found)), (
        f"{path.name} is not what is rendered; look at the difference, then TIFFIN_GOLDEN=write writes it anew"
    )


@pytest.mark.parametrize("case", CASES)
def test_every_backend_is_a_service_that_is_rendered(case):
    document, settings, capabilities, weights = CASES[case]
    deployment, placement = placed(document, weights)
    rendered = render(deployment, placement, settings, capabilities)
    services = {
        (one["metadata"]["name"], port["port"])
        for one in rendered
        if one["kind"] == "Service" and one["apiVersion"] == "v1"
        for port in one["spec"]["ports"]
    }
    for one in rendered:
        for rule in one["spec"].get("rules", ()) if one["kind"] == "HTTPRoute" else ():
            for backend in rule["backendRefs"]:
                assert (backend["name"], backend["port"]) in services


@given(st.lists(st.floats(0, 100), min_size=2, max_size=2), st.sampled_from([0.5, 1.0, 33.3, 100.0]))
def test_weights_keep_their_proportions(weights, mirror):
    document = sdep(arm("a", traffic=50), arm("b", traffic=50), arm("c", shadow=True))
    deployment, placement = placed(document, {("a", "stable"): weights[0], ("b", "stable"): weights[1]})
    shadow = Share(variant="c", mirror_percent=mirror)
    component = deployment.all_variants[2].components[0]
    slot = Slot(variant="c", component=component)
    placement = msgspec.structs.replace(
        placement, shares=(*placement.shares, shadow), slots=(*placement.slots, slot)
    )
    found = routes.render(deployment, placement, Settings(), GATEWAY)
    for route in found:
        assert len(route["spec"]["rules"]) <= routes.MOST_RULES
        for rule in route["spec"]["rules"]:
            assert len(rule["matches"]) <= routes.MOST_MATCHES
            given_weights = {one["name"]: one["weight"] for one in rule["backendRefs"]}
            wanted = {f"iris-{name}": weight for name, weight in zip("ab", weights, strict=True) if weight > 0}
            assert given_weights.keys() == wanted.keys()
            total, all_given = sum(wanted.values()), sum(given_weights.values())
            for name, weight in wanted.items():
                assert abs(given_weights[name] / all_given - weight / total) < 0.02
            mirrors = [one["requestMirror"] for one in rule["filters"] if one["type"] == "RequestMirror"]
            assert [one["backendRef"]["name"] for one in mirrors] == ["iris-c"]
    assert bool(found) == (sum(weights) > 0)


@pytest.mark.parametrize(
    ("document", "capabilities", "wanted"),
    [
        (isvc(), GATEWAY, "none"),
        (isvc({"minReplicas": 1, "maxReplicas": 3}), GATEWAY, "hpa"),
        (isvc({"minReplicas": 0}), GATEWAY, "tiffin"),
        (isvc({"maxReplicas": 3, "scaleMetric": "rps", "scaleTarget": 5}), GATEWAY, "tiffin"),
        (isvc({"maxReplicas": 3}, annotations=raw(autoscalerClass="keda")), EVERYTHING, "keda"),
        (isvc({"maxReplicas": 3}, annotations=raw(autoscalerClass="keda")), GATEWAY, "hpa"),
        (isvc({"minReplicas": 0}, annotations=raw(autoscalerClass="keda")), GATEWAY, "tiffin"),
        (isvc({"maxReplicas": 3}, annotations=raw(autoscalerClass="external")), GATEWAY, "external"),
        (isvc({"maxReplicas": 3}, annotations=raw(autoscalerClass="none")), GATEWAY, "none"),
        (isvc(annotations=raw(deploymentMode="Serverless")), EVERYTHING, "knative"),
        (isvc({"minReplicas": 0}, annotations=raw(deploymentMode="Serverless")), GATEWAY, "tiffin"),
    ],
)  # fmt: skip
def test_the_number_of_replicas_has_one_owner(document, capabilities, wanted):
    deployment = live.read_object(document)
    assert scalers.scaler_of(deployment.components[0].scaling, capabilities) == wanted


def test_what_a_cluster_does_not_have_is_said_by_name():
    keda = live.read_object(isvc({"maxReplicas": 3}, annotations=raw(autoscalerClass="keda")))
    assert "KEDA is not in this cluster" in str(unsupported(keda, Settings(), GATEWAY)[0])
    assert not unsupported(keda, Settings(), EVERYTHING)
    canary = live.read_object(isvc({"canaryTrafficPercent": 10}))
    assert "split by the Gateway API only" in str(unsupported(canary, INGRESS, Capabilities())[0])
    knative = live.read_object(isvc({"canaryTrafficPercent": 10}, annotations=raw(deploymentMode="Knative")))
    assert not unsupported(knative, Settings(), EVERYTHING)
    arms = msgspec.structs.replace(
        knative, variants=(Variant(name="b", components=knative.components, weight=5.0),)
    )
    assert "are not called in mode Knative" in str(unsupported(arms, Settings(), EVERYTHING)[0])
    judged = msgspec.structs.replace(
        knative, canary_percent=None, rollout=Rollout(steps=(Step(weight=50.0, seconds=1.0),))
    )
    assert "give canaryTrafficPercent by hand" in str(unsupported(judged, Settings(), EVERYTHING)[0])


names_of_headers = st.sampled_from(["x-a", "X-A", "x-b", "x-c", "x_d", "seldon"])
matches = st.builds(
    Match,
    header=names_of_headers,
    value=st.text(max_size=5),
    how=st.sampled_from(["exact", "prefix", "present"]),
)
rules = st.builds(
    Rule,
    matches=st.lists(matches, min_size=1, max_size=20).map(tuple),
    variant=st.sampled_from(["main", "b", "stable", "canary"]),
)


def component(name="predictor", **fields):
    return Component(name=name, source=ModelSource(artefact=Artefact("s3://b/m"), format="sklearn"), **fields)


@given(
    st.lists(rules, max_size=20),
    st.booleans(),
    st.one_of(st.none(), st.floats(0.0001, 1_000_000)),
    st.sampled_from(["kserve", "seldon", "tiffin"]),
    st.booleans(),
)
def test_routes_stay_within_the_bounds_of_the_gateway_api(rules, grpc, seconds, dialect, has_candidate):
    part = component(grpc=grpc, timeout_seconds=seconds)
    deployment = Deployment(
        name="iris",
        namespace="ml",
        components=(part,),
        variants=(Variant(name="b", components=(part,), weight=0.0),),
        traffic=Traffic(rules=tuple(rules)),
        dialect=dialect,
    )
    slots = [Slot(variant=name, component=part) for name in ("main", "b")]
    if has_candidate:
        slots.append(Slot(variant="main", component=part, role="candidate"))
    placement = Placement(slots=tuple(slots), shares=(Share(variant="main", weight=100.0),))
    rendered = render(deployment, placement, Settings(), GATEWAY)
    backends = {(one["metadata"]["name"], port["port"]) for one in rendered if one["kind"] == "Service"
                for port in one["spec"]["ports"]}  # fmt: skip
    said = " ".join(map(str, unsupported(deployment, Settings(), GATEWAY)))
    taken = set()
    for one in (one for one in rendered if one["kind"] == "HTTPRoute"):
        assert 1 <= len(one["spec"]["rules"]) <= 16
        for hostname in one["spec"].get("hostnames", ()):
            assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+", hostname)
        for rule in one["spec"]["rules"]:
            assert re.fullmatch(r"([0-9]{1,5}(h|m|s|ms)){1,4}", rule["timeouts"]["request"])
            assert {(to["name"], to["port"]) for to in rule["backendRefs"]} <= backends
            assert sum(to["weight"] for to in rule["backendRefs"]) in (100, 10_000)
            for match in rule["matches"]:
                headers = match.get("headers", [])
                called = [header["name"].lower() for header in headers]
                assert len(called) == len(set(called)) <= 16
                assert all(1 <= len(header["value"]) <= 4096 for header in headers)
                taken.update(called)
    for index, rule in enumerate(rules):
        # Each is there, or somebody is told that it is not.
        wanted = {match.header.lower() for match in rule.matches}
        assert wanted <= taken or f"traffic.rules[{index}]: is left out" in said


def test_rules_lead_to_variants_that_have_none_of_the_calls_for_grpc_too():
    part = component(grpc=True)
    rule = Rule(matches=(Match(header="x-plan", value="free"),), variant="b")
    deployment = Deployment(
        name="iris",
        components=(part,),
        variants=(Variant(name="b", components=(part,)),),
        traffic=Traffic(rules=(rule,)),
    )
    slots = tuple(Slot(variant=name, component=part) for name in ("main", "b"))
    placement = Placement(slots=slots, shares=(Share(variant="main", weight=100.0),))
    first = routes.render(deployment, placement, Settings(), GATEWAY)[0]["spec"]["rules"]
    found = [
        ({header["name"] for header in rule["matches"][0].get("headers", ())}, rule["backendRefs"][0]["name"])
        for rule in first
    ]
    assert found == [
        ({"content-type", "x-plan"}, "iris-b-predictor"),
        ({"x-plan"}, "iris-b-predictor"),
        ({"content-type"}, "iris-predictor"),
        (set(), "iris-predictor"),
    ]


def test_rules_that_gateways_take_in_another_order_are_named():
    def warned(*rules):
        deployment = Deployment(name="iris", components=(component(),), traffic=Traffic(rules=rules))
        return [one.path for one in unsupported(deployment, Settings(), GATEWAY)]

    one = Rule(matches=(Match(header="a", value="1"),), variant="stable")
    two = Rule(matches=(Match(header="a", value="1"), Match(header="b", value="2")), variant="canary")
    other = Rule(matches=(Match(header="a", value="2"), Match(header="b", value="2")), variant="canary")
    assert warned(one, two) == ["traffic.rules[1]"]
    assert warned(two, one) == []
    assert warned(one, other) == []
    assert warned(Rule(matches=(Match(claim="plan", value="1"),), variant="canary")) == ["traffic.rules[0]"]


@pytest.mark.parametrize("match", [Match(header="a b"), Match(header="a", how="regex", value="(?=x)")])
def test_headers_that_no_gateway_takes_are_refused(match):
    rule = Rule(matches=(match,), variant="stable")
    deployment = Deployment(name="iris", components=(component(),), traffic=Traffic(rules=(rule,)))
    with pytest.raises(SpecError):
        routes.render(deployment, fresh(deployment.components), Settings(), GATEWAY)


def test_whoever_wants_tokens_is_not_open_to_callers_without():
    deployment = Deployment(
        name="iris", components=(component(),), traffic=Traffic(jwt=Jwt(issuer="i", jwks="{}", required=True))
    )
    for settings, capabilities in ((Settings(), GATEWAY), (INGRESS, Capabilities())):
        rendered = render(deployment, fresh(deployment.components), settings, capabilities)
        assert not [one for one in rendered if one["kind"] in ("HTTPRoute", "Ingress")]
        assert "no way in from outside" in str(unsupported(deployment, settings, capabilities)[0])
        found = hosts.addresses(deployment, settings, capabilities)
        assert found.url == found.inside


def test_a_call_that_waits_for_a_replica_may_take_longer():
    part = component(scaling=Scaling(min_replicas=0))
    deployment = Deployment(name="iris", components=(part,))
    slot = Slot(variant="main", component=part, activator_port=20000)
    placement = Placement(slots=(slot,), shares=(Share(variant="main", weight=100.0),))
    found = routes.render(deployment, placement, Settings(), GATEWAY)
    assert found[0]["spec"]["rules"][0]["timeouts"] == {"request": "180s"}


def test_addresses_are_those_of_the_system_a_file_was_written_for():
    deployment = live.read_object(isvc(transformer=custom()))
    found = hosts.addresses(deployment, Settings(domain="ml.org", url_scheme="https"), GATEWAY)
    assert found.url == "https://iris-ml.ml.org"
    assert found.inside == "http://iris-transformer.ml.svc.cluster.local"
    assert found.components["predictor"] == "https://iris-predictor-ml.ml.org"
    assert hosts.addresses(deployment, Settings(), Capabilities()).url == found.inside
    seldon = live.read_object(sdep(arm("a")))
    assert hosts.addresses(seldon, Settings(), GATEWAY).inside == "http://iris-a.ml.svc.cluster.local:8000"


def test_what_knative_runs_has_the_address_that_knative_gives():
    annotations = raw(deploymentMode="Knative")
    open_one = live.read_object(isvc(annotations=annotations))
    found = hosts.addresses(open_one, Settings(), EVERYTHING)
    assert found.url == "http://iris-predictor.ml.example.com"
    closed = live.read_object(
        isvc(annotations=annotations, labels={"networking.kserve.io/visibility": "cluster-local"})
    )
    assert hosts.addresses(closed, Settings(), EVERYTHING).url == "http://iris-predictor.ml.svc.cluster.local"
    service = knative.render(closed, fresh(closed.components), Settings(), EVERYTHING)[0]
    assert service["metadata"]["labels"]["networking.knative.dev/visibility"] == "cluster-local"


def test_autoscalers_are_asked_for_what_they_take():
    windows = Stabilization(up_seconds=10_000, down_seconds=1.5)
    measures = (Measure(metric="cpu", target=0.2),)
    scaling = Scaling(max_replicas=3, measures=measures, stabilization=windows)
    deployment = Deployment(name="iris", components=(component(scaling=scaling),))
    hpa = scalers.render(deployment, fresh(deployment.components), Settings(), GATEWAY)[0]["spec"]
    assert hpa["metrics"][0]["resource"]["target"] == {"type": "Utilization", "averageUtilization": 1}
    assert hpa["behavior"]["scaleUp"]["stabilizationWindowSeconds"] == 3600
    scaling = Scaling(min_replicas=0, max_replicas=3, autoscaler="keda")
    deployment = Deployment(name="iris", components=(component(scaling=scaling),))
    keda = scalers.render(deployment, fresh(deployment.components), Settings(), EVERYTHING)[0]["spec"]
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (1, 3)
    assert [one["type"] for one in keda["triggers"]] == ["cpu"]


@pytest.mark.parametrize(
    ("changes", "path", "word"),
    [
        ({"recording": Recording()}, "record", "on one machine only"),
        ({"components": (component(retry_reset=True),)}, "retries", "not repeated"),
        (
            {
                "components": (component(scaling=Scaling(min_replicas=0)),),
                "annotations": {"seldon.io/headless-svc": "true"},
            },
            "metadata.annotations.seldon.io/headless-svc",
            "cannot be held",
        ),
    ],
)
@pytest.mark.parametrize("labels", [{}, {"networking.kserve.io/visibility": "cluster-local"}])
def test_what_no_cluster_does_is_said_wherever_callers_are(changes, path, word, labels):
    usual = {"name": "iris", "namespace": "ml", "components": (component(),), "labels": labels}
    deployment = Deployment(**usual | changes)
    (warning,) = unsupported(deployment, Settings(), GATEWAY)
    assert (warning.path, warning.target) == (path, "kubernetes")
    assert word in warning.message


@pytest.mark.parametrize(
    ("name", "domain"),
    [("a" * 60, "example.com"), ("a" * 20, ".".join(["b" * 60] * 4))],
    ids=["a label", "all of it"],
)
def test_a_host_name_that_no_name_system_takes_is_refused_by_name(name, domain):
    deployment = Deployment(name=name, namespace="ml", components=(component(),))
    with pytest.raises(SpecError, match="host name") as caught:
        hosts.addresses(deployment, Settings(domain=domain), GATEWAY)
    assert "hostTemplate" in str(caught.value.hint)
    assert hosts.addresses(deployment, Settings(gateway=None, domain=domain), Capabilities()).url


def test_what_somebody_says_a_deployment_is_a_part_of_stays():
    mine = {"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/managed-by": "me"}
    deployment = Deployment(name="iris", namespace="ml", components=(component(pod=Pod(labels=mine)),))
    slot = Slot(variant="main", component=deployment.components[0])
    placement = Placement(slots=(slot,), shares=(Share(variant="main", weight=100.0),))
    for one in render(deployment, placement, Settings(), GATEWAY):
        if one["kind"] in ("Deployment", "Service"):
            labels = one["metadata"]["labels"]
            assert labels["app.kubernetes.io/part-of"] == "shop"
            assert labels["app.kubernetes.io/managed-by"] == "tiffin", "the operator finds it by that"
