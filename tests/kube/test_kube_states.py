"""Updates, canaries and what goes wrong, with the operator and pods that are played on a real API server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kube.operator_world import Operator, apply, define, inference_service, until


@pytest.fixture
def world(nodes: Any, namespace: str, tmp_path: Path) -> Any:
    define(nodes)

    def start() -> Operator:
        return Operator(nodes, namespace, tmp_path / "operator.log", "--no-election")

    return start


def service(uri: str, **predictor: Any) -> dict[str, Any]:
    found = inference_service("iris")
    found["spec"]["predictor"] |= predictor
    found["spec"]["predictor"]["model"]["storageUri"] = f"gs://models/{uri}"
    return found


def status_of(cluster: Any, namespace: str) -> dict[str, Any]:
    return (cluster.get("isvc", "iris", "-n", namespace) or {}).get("status") or {}


def is_ready(cluster: Any, namespace: str) -> bool:
    """Whether the status says so of the newest spec."""
    found = cluster.get("isvc", "iris", "-n", namespace) or {}
    status = found.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    return conditions.get("Ready") == "True" and status["observedGeneration"] == found["metadata"]["generation"]


def revision_of(cluster: Any, namespace: str, name: str) -> str:
    found = cluster.get("deploy", name, "-n", namespace)
    return found["metadata"]["annotations"]["tiffin.dev/revision"] if found else ""


def traffic(cluster: Any, namespace: str) -> dict[str, int]:
    component = (status_of(cluster, namespace).get("components") or {}).get("predictor") or {}
    return {one["revisionName"]: one["percent"] for one in component.get("traffic") or ()}


def test_an_update_rolls_in_place_and_a_canary_beside(nodes, namespace, world):
    with world() as operator:
        operator.ready()
        apply(nodes, namespace, service("1"))
        until(lambda: is_ready(nodes, namespace), "the first revision")
        apply(nodes, namespace, service("2"))
        until(lambda: revision_of(nodes, namespace, "iris-predictor") == "iris-00002", "the update in place")

        def rolled_out() -> bool:
            component = status_of(nodes, namespace)["components"]["predictor"]
            return component.get("latestRolledoutRevision") == "iris-00002" and is_ready(nodes, namespace)

        until(rolled_out, "the second revision")

        apply(nodes, namespace, service("3", canaryTrafficPercent=20))
        until(
            lambda: traffic(nodes, namespace) == {"iris-00003": 20, "iris-00002": 80},
            f"the split\n{operator.log()[-2000:]}",
        )
        assert revision_of(nodes, namespace, "iris-predictor") == "iris-00002"
        assert revision_of(nodes, namespace, "iris-predictor-candidate") == "iris-00003"

    # Another operator goes on from what stands in the cluster.
    with world() as operator:
        operator.ready().settle()
        assert traffic(nodes, namespace) == {"iris-00003": 20, "iris-00002": 80}
        promoted = service("3")
        promoted["spec"]["predictor"]["canaryTrafficPercent"] = None
        nodes.kubectl(
            "patch", "isvc", "iris", "-n", namespace, "--type=merge", "-p", json.dumps({"spec": promoted["spec"]})
        )
        until(lambda: revision_of(nodes, namespace, "iris-predictor") == "iris-00003", "the promotion")
        until(lambda: traffic(nodes, namespace) == {"iris-00003": 100}, "all calls for the third revision")
        until(lambda: not nodes.get("deploy", "iris-predictor-candidate", "-n", namespace), "the candidate's end")
        until(lambda: is_ready(nodes, namespace), "the third revision")
        operator.settle()
        revisions = nodes.get("controllerrevisions", "-n", namespace)["items"]
        assert sorted(one["revision"] for one in revisions) == [1, 2, 3]
        events = {one["reason"] for one in nodes.get("events", "-n", namespace)["items"]}
        assert {"InferenceServiceReady", "TrafficChanged", "RevisionCreated"} <= events


def test_a_quota_says_why_no_pod_is_made(nodes, namespace, world):
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"pods": 0}},
    }
    with world() as operator:
        operator.ready()
        apply(nodes, namespace, quota)
        until(lambda: (nodes.get("quota", "none", "-n", namespace).get("status") or {}).get("hard"), "the quota")
        apply(nodes, namespace, service("1"))

        def told() -> str:
            conditions = status_of(nodes, namespace).get("conditions") or ()
            return next((str(one.get("message", "")) for one in conditions if one["type"] == "PredictorReady"), "")

        until(lambda: "exceeded quota" in told(), "the reason")
        operator.settle()
        writes = operator.writes
        operator.settle()
        assert operator.writes == writes, "a problem that stays is written once"


def test_a_pod_that_no_node_takes_says_so(nodes, namespace, world):
    with world() as operator:
        operator.ready()
        apply(nodes, namespace, service("1", nodeSelector={"disktype": "none-has-this"}))

        def told() -> str:
            conditions = status_of(nodes, namespace).get("conditions") or ()
            return next((str(one.get("reason", "")) for one in conditions if one["type"] == "PredictorReady"), "")

        until(lambda: told() == "Unschedulable", "the reason")
        operator.settle()
