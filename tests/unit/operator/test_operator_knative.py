"""InferenceServices that Knative runs: who gets which share of the calls, and what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.operator.knative_model import KnativeWorld
from tests.unit.operator.kubernetes_model import deployment, model

from tiffin.operator import knative
from tiffin.operator.knative import Rolled
from tiffin.spec import Deployment, Scaling

FIRST, SECOND, THIRD = (f"iris-predictor-{number:05}" for number in (1, 2, 3))


def served_by_knative(uri: str = "1", percent: float | None = None) -> Deployment:
    component = model(uri, scaling=Scaling(autoscaler="knative"))
    annotations = {"serving.kserve.io/deploymentMode": "Knative"}
    return deployment(components=(component,), canary_percent=percent, annotations=annotations)


def rolled_out(world: KnativeWorld) -> tuple[Any, Any]:
    return world.predictor.get("latestRolledoutRevision"), world.predictor.get("previousRolledoutRevision")


def conditions(world: KnativeWorld) -> dict[str, tuple[str, str]]:
    return {one["type"]: (one["status"], one.get("reason", "")) for one in world.status["conditions"]}


@pytest.fixture
def world() -> KnativeWorld:
    """One revision, which has all calls."""
    found = KnativeWorld(served_by_knative())
    found.apply(served_by_knative())
    found.knative()
    return found


def test_nothing_is_known_before_knative_has_looked() -> None:
    world = KnativeWorld(served_by_knative())
    world.apply(served_by_knative())
    assert conditions(world)["Ready"][0] == "Unknown"
    assert "url" not in world.status
    assert world.split() == [("latest", 100)]


def test_the_status_is_what_the_service_says(world: KnativeWorld) -> None:
    assert {kind: state for kind, (state, _) in conditions(world).items()} == {
        "Ready": "True",
        "PredictorReady": "True",
        "PredictorRouteReady": "True",
        "PredictorConfigurationReady": "True",
        "RoutesReady": "True",
        "LatestDeploymentReady": "True",
        "IngressReady": "True",
        "Stopped": "False",
    }
    assert world.status["url"] == "http://iris-predictor.default.example.com"
    assert world.status["address"] == {"url": "http://iris-predictor.default.svc.cluster.local"}
    assert world.predictor == {
        "latestCreatedRevision": FIRST,
        "latestReadyRevision": FIRST,
        "latestRolledoutRevision": FIRST,
        "traffic": [{"revisionName": FIRST, "latestRevision": True, "percent": 100}],
        "url": "http://iris-predictor.default.example.com",
        "address": {"url": "http://iris-predictor.default.svc.cluster.local"},
    }
    assert world.status["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}


def test_an_update_counts_once_it_has_all_calls(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2"))
    assert rolled_out(world) == (FIRST, None)
    assert conditions(world)["Ready"][0] == "Unknown"
    world.knative()
    assert rolled_out(world) == (SECOND, FIRST)


def test_a_canary_gets_its_share_beside_the_revision_that_had_all_calls(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2", 10))
    assert world.split() == [("latest", 10), (FIRST, 90)]
    world.knative()
    assert world.split() == [("latest", 10), (FIRST, 90)]
    assert rolled_out(world) == (FIRST, None)
    assert world.predictor["traffic"][0]["revisionName"] == SECOND
    world.apply(served_by_knative("2", 60))
    world.knative()
    assert world.split() == [("latest", 60), (FIRST, 40)]
    assert rolled_out(world) == (FIRST, None)


@pytest.mark.parametrize("promoted", [None, 100])
def test_a_canary_is_promoted(world: KnativeWorld, promoted: float | None) -> None:
    world.apply(served_by_knative("2", 10))
    world.knative()
    world.apply(served_by_knative("2", promoted))
    assert world.split() == [("latest", 100)]
    world.knative()
    assert rolled_out(world) == (SECOND, FIRST)


def test_a_revision_is_pinned_by_nothing_for_the_newest(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2", 0))
    world.knative()
    world.apply(served_by_knative("3", 0))
    world.knative()
    assert world.split() == [("latest", 0), (FIRST, 100)]
    assert world.predictor["latestReadyRevision"] == THIRD


def test_what_was_rolled_out_is_taken_back_and_tried_again(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2"))
    world.knative()
    world.apply(served_by_knative("2", 0))
    assert world.split() == [("latest", 0), (FIRST, 100)]
    world.reconcile()
    assert world.split() == [("latest", 0), (FIRST, 100)], "it stays so until Knative has looked"
    world.knative()
    assert rolled_out(world) == (FIRST, FIRST)
    assert world.split() == [("latest", 0), (FIRST, 100)]
    world.apply(served_by_knative("3", 20))
    world.knative()
    assert world.split() == [("latest", 20), (FIRST, 80)], "the revision that was taken back gets nothing"
    world.apply(served_by_knative("3"))
    world.knative()
    assert rolled_out(world) == (THIRD, FIRST)


def test_a_canary_of_the_next_template_is_never_beside_the_one_before_the_last(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2"))
    world.knative()
    world.apply(served_by_knative("3", 10))
    assert world.split() == [("latest", 10), (SECOND, 90)]
    world.reconcile()
    assert world.split() == [("latest", 10), (SECOND, 90)]


def test_a_revision_that_fails_leaves_the_calls_where_they_were_and_says_why(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2", 10))
    world.knative(works=False)
    assert conditions(world)["PredictorReady"] == ("False", "RevisionFailed")
    assert conditions(world)["PredictorConfigurationReady"] == ("False", "RevisionFailed")
    assert conditions(world)["RoutesReady"][0] == "True"
    assert conditions(world)["IngressReady"] == ("False", "Predictor ingress not created")
    assert world.split() == [("latest", 10), (FIRST, 90)]
    assert rolled_out(world) == (FIRST, None)
    assert world.status["modelStatus"]["transitionStatus"] == "BlockedByFailedLoad"
    assert world.status["modelStatus"]["states"] == {
        "activeModelState": "Loaded",
        "targetModelState": "FailedToLoad",
    }


def test_a_split_outlives_a_status_that_was_lost(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2", 10))
    world.knative()
    del world.base.object["status"]
    world.reconcile()
    assert world.split() == [("latest", 10), (FIRST, 90)]
    assert rolled_out(world) == (FIRST, None)


def test_what_does_not_change_is_written_once(world: KnativeWorld) -> None:
    world.apply(served_by_knative("2", 10))
    world.knative()
    assert world.reconcile().native_status is None


SERVICE = {
    "metadata": {"name": "iris-predictor", "generation": 2},
    "spec": {"traffic": []},
    "status": {
        "observedGeneration": 2,
        "latestReadyRevisionName": SECOND,
        "conditions": [{"type": "RoutesReady", "status": "True"}],
        "traffic": [{"revisionName": SECOND, "latestRevision": True, "percent": 100}],
    },
}


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ({}, Rolled(latest=SECOND)),
        ({"latestRolledoutRevision": FIRST}, Rolled(latest=SECOND, previous=FIRST)),
        ({"latestRolledoutRevision": "iris-00001"}, Rolled(latest=SECOND)),
        ({"latestRolledoutRevision": 7}, Rolled(latest=SECOND)),
    ],
)  # fmt: skip
def test_what_kserve_wrote_is_gone_on_from_and_what_is_no_revision_of_the_service_is_not(
    written: dict[str, Any], wanted: Rolled
) -> None:
    assert knative.rolled(SERVICE, "predictor", {"components": {"predictor": written}}) == wanted
