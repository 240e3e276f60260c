"""Names that are taken: nothing of anybody else's is changed, and whoever wrote the second is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kube.operator_world import Operator, apply, define, inference_service, until

SELDON: dict[str, Any] = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "iris"},
    "spec": {
        "predictors": [
            {"name": "default", "graph": {"name": "m", "implementation": "SKLEARN_SERVER", "modelUri": "gs://m/1"}}
        ]
    },
}


def reason(cluster: Any, kind: str, namespace: str) -> str:
    found = cluster.get(kind, "iris", "-n", namespace) or {}
    conditions = (found.get("status") or {}).get("conditions") or ()
    return next((one.get("reason", "") for one in conditions if one["type"] == "Ready"), "")


def test_one_name_belongs_to_one_deployment_whatever_its_kind(own_cluster: Any, tmp_path: Path) -> None:
    # Another test's cluster may have a controller of KServe's or Seldon's, whose these would be.
    cluster, namespace = own_cluster, "default"
    define(cluster)
    with Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "what it comes to")
        until(lambda: cluster.get("isvc", "iris", "-n", namespace).get("status"), "a word about it")
        apply(cluster, namespace, SELDON)
        until(lambda: reason(cluster, "sdep", namespace) == "NameTaken", "the word that it is taken")
        said = cluster.get("sdep", "iris", "-n", namespace)["status"]
        assert said["state"] == "Failed"
        assert "InferenceService iris" in said["description"]
        owners = cluster.get("deploy", "-n", namespace)["items"]
        assert [one["metadata"]["ownerReferences"][0]["kind"] for one in owners] == ["InferenceService"]
        cluster.kubectl("delete", "isvc", "iris", "-n", namespace)
        # It goes with its owner; this is sooner.
        cluster.kubectl("delete", "deploy,svc,controllerrevision,pdb,hpa", "--all", "-n", namespace)
        until(lambda: cluster.get("deploy", "iris-default-0-m", "-n", namespace), "the other one's turn")


def test_an_object_of_somebody_else_is_left_as_it_is(own_cluster: Any, tmp_path: Path) -> None:
    # Another test's cluster may have a controller of KServe's or Seldon's, whose these would be.
    cluster, namespace = own_cluster, "default"
    define(cluster)
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "iris-predictor"}}
    ports = {"selector": {"app": "theirs"}, "ports": [{"port": 80}]}
    cluster.kubectl("create", "-n", namespace, "-f", "-", given=json.dumps(theirs | {"spec": ports}))
    before = cluster.get("svc", "iris-predictor", "-n", namespace)
    with Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: reason(cluster, "isvc", namespace) == "NameTaken", "the word that it is taken")
        assert cluster.get("svc", "iris-predictor", "-n", namespace) == before
        cluster.kubectl("delete", "svc", "iris-predictor", "-n", namespace)
        own = ("svc", "-l", "tiffin.dev/deployment=iris", "-n", namespace)
        until(lambda: (cluster.get(*own) or {}).get("items"), "its own once the name is free")
