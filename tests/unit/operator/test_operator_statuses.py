"""Statuses as users of each system read them, from what a cluster says."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from tests.unit.operator.kubernetes_model import CANDIDATE, STABLE, World, deployment, model, pods_of, served

from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.settings import Settings
from tiffin.operator.observing import Observed
from tiffin.operator.standing import Outcome, stand
from tiffin.spec import Pod, Scaling, Variant


def crashed(world: World, **status: Any) -> Outcome:
    """The stable Deployment's pod says something; everything else as it is."""
    world.deployments[STABLE]["status"] |= {"replicas": 1, "updatedReplicas": 1}
    (pod,) = pods_of(world.deployments[STABLE])
    pod["status"] = status
    pod["metadata"]["labels"] = {
        **world.deployments[STABLE]["metadata"]["labels"],
        names.REVISION: world.deployments[STABLE]["metadata"]["annotations"][names.REVISION],
    }
    return world.reconcile(pods=(pod,))


def conditions(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one.get("reason", "")) for one in status["conditions"]}


def test_a_model_that_cannot_be_fetched_is_told_as_kserve_tells_it() -> None:
    world = World()
    world.apply(deployment())
    ended = {"terminated": {"exitCode": 2, "reason": "Error", "message": "looking\nno such bucket"}}
    init = {"name": "storage-initializer", "ready": False, "restartCount": 1, "state": ended}
    crashed(world, initContainerStatuses=[init])
    status = world.object["status"]
    assert status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert status["modelStatus"]["states"]["targetModelState"] == "FailedToLoad"
    assert status["modelStatus"]["copies"] == {"failedCopies": 1, "totalCopies": 0}
    failure = status["modelStatus"]["lastFailureInfo"]
    assert (failure["reason"], failure["exitCode"]) == ("ModelLoadFailed", 2)
    assert "no such bucket" in failure["message"]
    assert conditions(status)["PredictorReady"] == ("False", "ModelLoadFailed")
    assert conditions(status)["Ready"][0] == "False"
    assert "url" not in status


def test_a_model_on_its_way_is_loading() -> None:
    world = World()
    world.apply(deployment())
    init = {"name": "storage-initializer", "ready": False, "restartCount": 0, "state": {"running": {}}}
    crashed(world, initContainerStatuses=[init])
    assert world.object["status"]["modelStatus"]["states"]["targetModelState"] == "Loading"
    assert conditions(world.object["status"])["Ready"][0] == "Unknown"


def test_a_ready_one_has_its_addresses() -> None:
    world = served(World())
    status = world.object["status"]
    inside = "http://iris-predictor.default.svc.cluster.local"
    assert status["address"] == {"url": inside}
    assert status["url"] == inside, "this cluster has no way in"
    assert status["components"]["predictor"]["url"] == inside
    assert status["modelStatus"]["transitionStatus"] == "UpToDate"
    outcome = stand(
        world.spec,
        world.observed(),
        Settings(domain="models.example"),
        Capabilities(http_route=True),
        world.now,
    )
    assert outcome.native_status is not None
    assert outcome.native_status["url"] == "http://iris-default.models.example"
    assert outcome.native_status["address"] == {"url": inside}
    told = outcome.native_status["components"]["predictor"]
    assert told["url"] == "http://iris-predictor-default.models.example"


def test_a_split_is_told_by_revision() -> None:
    world = served(World())
    world.apply(deployment("2", canary_percent=10))
    world.roll(CANDIDATE)
    component = world.object["status"]["components"]["predictor"]
    assert [(one["revisionName"], one["percent"]) for one in component["traffic"]] == [
        ("iris-00002", 10),
        ("iris-00001", 90),
    ]
    assert component["latestRolledoutRevision"] == "iris-00001"
    assert component["latestReadyRevision"] == "iris-00002"


def test_canaries_have_statuses_of_their_own() -> None:
    world = World()
    variant = Variant(name="v2", weight=20, components=(model("v2"),))
    world.apply(deployment(variants=(variant,)))
    world.roll()
    (canary,) = world.object["status"]["canaryStatuses"]
    assert (canary["name"], canary["ready"], canary["trafficPercent"]) == ("v2", False, 20)
    world.roll("iris-v2-predictor")
    (canary,) = world.object["status"]["canaryStatuses"]
    assert canary["ready"]
    assert conditions(world.object["status"])["CanaryPredictorReady"] == ("True", "AllCanariesReady")


def test_conditions_keep_their_time_while_they_stay() -> None:
    world = served(World())
    before = {one["type"]: one["lastTransitionTime"] for one in world.object["status"]["conditions"]}
    world.now += 100
    world.fail()
    after = {one["type"]: one["lastTransitionTime"] for one in world.object["status"]["conditions"]}
    assert after["Stopped"] == before["Stopped"]
    assert after["Ready"] > before["Ready"]


def test_a_route_that_is_refused_keeps_the_way_in_from_being_ready() -> None:
    world = served(World())
    refused = {"type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "no"}
    route = {
        "kind": "HTTPRoute",
        "metadata": {"name": "iris"},
        "status": {"parents": [{"conditions": [refused]}]},
    }
    world.reconcile(routes=(route,))
    assert conditions(world.object["status"])["IngressReady"] == ("False", "NotAllowedByListeners")
    assert conditions(world.object["status"])["Ready"][0] == "False"
    # What the gateway said of an older route is no word on this one.
    refused["observedGeneration"] = 1
    route["metadata"] = {"name": "iris", "generation": 2}
    world.reconcile(routes=(route,))
    assert conditions(world.object["status"])["Ready"][0] == "True"


def test_tiffins_own_status_is_one_that_kubectl_waits_for() -> None:
    world = World()
    world.apply(deployment(dialect="tiffin"))
    world.roll()
    status = world.object["status"]
    assert conditions(status)["Ready"] == ("True", "Serving")
    assert all(one["lastTransitionTime"].endswith("Z") for one in status["conditions"])
    assert "replicas" not in status
    assert status["url"]
    json.dumps(status)


def test_a_deployment_of_seldon_with_other_containers_serves_until_the_new_one_can() -> None:
    def named(container: str) -> Any:
        pod = Pod(main=container, spec={"containers": [{"name": container}]})
        return deployment(dialect="seldon", variant="p", components=(model(container, pod=pod),))

    world = World()
    world.apply(named("a"))
    (first,) = world.deployments
    world.roll(first)
    assert world.ready() == "True"
    assert world.object["status"]["state"] == "Available"
    world.apply(named("b"))
    (second,) = world.deployments.keys() - {first}
    assert first in world.deployments
    assert [share.weight for share in world.outcome.placement.shares] == [100.0]
    world.reconcile()
    assert first in world.deployments, "it is the only one that answers"
    world.roll(second)
    assert world.deployments.keys() == {second}
    assert world.ready() == "True"


@pytest.mark.parametrize("replicas", [0, 2])
def test_what_nobody_calls_is_idle_and_ready(replicas: int) -> None:
    scaling = Scaling(min_replicas=0, max_replicas=3)
    world = World()
    world.apply(deployment(components=(model("1", scaling=scaling),)))
    world.roll()
    world.deployments[STABLE]["spec"]["replicas"] = replicas
    world.roll()
    (slot,) = world.outcome.placement.slots
    assert (slot.replicas, slot.held) == (replicas, replicas == 0)
    assert world.ready() == "True"
    state = world.object["status"]["modelStatus"]["states"]["activeModelState"]
    assert state == ("Standby" if replicas == 0 else "Loaded")


def test_one_that_never_was_ready_is_not_scaled_to_nothing() -> None:
    world = World()
    world.apply(deployment(components=(model("1", scaling=Scaling(min_replicas=0, max_replicas=3)),)))
    world.deployments[STABLE]["spec"]["replicas"] = 0
    world.reconcile()
    assert world.deployments[STABLE]["spec"]["replicas"] == 1


def test_a_service_of_knative_is_ready_when_it_says_so() -> None:
    scaling = Scaling(autoscaler="knative")
    world = World()
    world.spec = deployment(components=(model("1", scaling=scaling),), canary_percent=10.0)
    world.object["metadata"]["generation"] = 1

    def looked(**service: Any) -> Outcome:
        base: Observed = world.observed(knative=(service,) if service else ())
        return stand(world.spec, base, Settings(), Capabilities(knative=True), world.now)

    first = looked()
    assert [slot.replicas for slot in first.placement.slots] == [None]
    world.revisions = {one["metadata"]["name"]: one for one in first.revisions_to_write}
    metadata = {
        "name": "iris-predictor",
        "generation": 1,
        "annotations": {names.REVISION: "iris-00001"},
        "labels": {},
    }
    ready = {
        "observedGeneration": 1,
        "latestReadyRevisionName": "x",
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    found = looked(metadata=metadata, status=ready)
    assert [share.weight for share in found.placement.shares] == [100.0]
    assert found.status.rolled_out == {"main": "iris-00001"}
    assert msgspec.json.encode(found.native_status)


def test_a_status_has_no_nulls_since_the_api_server_keeps_none_and_it_would_be_written_at_each_look() -> None:
    world = served(World(), dialect="tiffin")
    told = json.dumps(world.object["status"])
    assert "iris-00001" in told
    assert "null" not in told
