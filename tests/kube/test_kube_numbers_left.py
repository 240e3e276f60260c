"""A number of replicas that becomes somebody else's to change stays as it is until they change it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kube.operator_world import Operator, apply, define, inference_service, until


def test_a_fixed_number_that_becomes_a_range_stays_until_the_autoscaler_looks(
    cluster: Any, namespace: str, tmp_path: Path
) -> None:
    define(cluster)

    def service(least: int, most: int) -> dict[str, Any]:
        found = inference_service("iris")
        found["spec"]["predictor"] |= {"minReplicas": least, "maxReplicas": most}
        return found

    def deployment() -> dict[str, Any]:
        return dict(cluster.get("deploy", "iris-predictor", "-n", namespace) or {"spec": {}, "metadata": {}})

    def owners() -> set[str]:
        words = ("get", "deploy", "iris-predictor", "-n", namespace, "-o", "jsonpath={.metadata.managedFields}")

        listed = json.loads(cluster.kubectl(*words, "--show-managed-fields").stdout)
        return {one["manager"] for one in listed if "f:replicas" in (one["fieldsV1"].get("f:spec") or {})}

    with Operator(cluster, namespace, tmp_path / "operator.log", "--no-election") as operator:
        operator.ready()
        apply(cluster, namespace, service(3, 3))
        until(lambda: deployment()["spec"].get("replicas") == 3, "three")
        assert owners() == {"tiffin"}
        apply(cluster, namespace, service(2, 5))
        until(lambda: owners() and "tiffin" not in owners(), "the number to be let go")
        assert deployment()["spec"]["replicas"] == 3, "no controller manager runs here: nobody else changed it"
        # And back: the number is Tiffin's again.
        apply(cluster, namespace, service(4, 4))
        until(lambda: deployment()["spec"].get("replicas") == 4, "four")
