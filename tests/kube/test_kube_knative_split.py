"""A canary in mode Knative on the real API server, with the definitions of Knative; its controller is played here.

What is proved is the operator's side: that the server takes each split, that changes of the Service reach the
operator, and that nothing of the status is dropped by the definition of the InferenceService.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.kube.operator_world import Operator, apply, define, inference_service, until

SERVICE = "services.serving.knative.dev"
FIRST, SECOND = "iris-predictor-00001", "iris-predictor-00002"
URL = "http://iris-predictor.{}.example.com"


def written(uri: str, percent: int | None = None) -> dict[str, Any]:
    found = inference_service(
        "iris",
        annotations={
            "serving.kserve.io/deploymentMode": "Knative",
            "serving.kserve.io/enable-tag-routing": "true",
        },
    )
    found["spec"]["predictor"]["model"]["storageUri"] = uri
    if percent is not None:
        found["spec"]["predictor"]["canaryTrafficPercent"] = percent
    return found


def split(service: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one.get("revisionName", "latest"), one["percent"]) for one in service["spec"]["traffic"]]


def say(cluster: Any, namespace: str, newest: str) -> None:
    """As Knative's controller, once its newest revision runs."""
    service = cluster.get(SERVICE, "iris-predictor", "-n", namespace)
    traffic = [
        {"revisionName": newest, **one, "url": f"http://{one['tag']}-iris-predictor.{namespace}.example.com"}
        for one in service["spec"]["traffic"]
    ]
    status = {
        "observedGeneration": service["metadata"]["generation"],
        "latestCreatedRevisionName": newest,
        "latestReadyRevisionName": newest,
        "url": URL.format(namespace),
        "address": {"url": f"http://iris-predictor.{namespace}.svc.cluster.local"},
        "conditions": [
            {"type": kind, "status": "True"} for kind in ("ConfigurationsReady", "Ready", "RoutesReady")
        ],
        "traffic": traffic,
    }
    patch = json.dumps({"status": status})
    arguments = ("--subresource=status", "--type=merge", "-p", patch)
    cluster.kubectl("patch", SERVICE, "iris-predictor", "-n", namespace, *arguments)


def test_the_server_and_the_operator_take_a_canary_through_its_life(
    kinds_of_others: Any, namespace: str, tmp_path: Path
) -> None:
    cluster = kinds_of_others
    define(cluster)

    def asked(*wanted: tuple[str, int]) -> None:
        def found() -> bool:
            service = cluster.get(SERVICE, "iris-predictor", "-n", namespace)
            return bool(service) and split(service) == [*wanted]

        until(found, f"the split {wanted}")

    def predictor(rolled_out: str, *wanted: tuple[str, int]) -> dict[str, Any]:
        def found() -> dict[str, Any]:
            status = (cluster.get("isvc", "iris", "-n", namespace) or {}).get("status") or {}
            one: dict[str, Any] = (status.get("components") or {}).get("predictor") or {}
            shares = [(part["revisionName"], part["percent"]) for part in one.get("traffic") or ()]
            is_so = shares == [*wanted] and one.get("latestRolledoutRevision") == rolled_out
            return status if is_so else {}

        return until(found, f"a status of {rolled_out} and {wanted}")

    log = tmp_path / "operator.log"
    with Operator(cluster, namespace, log, "--no-election") as operator:
        operator.ready()
        apply(cluster, namespace, written("gs://models/1"))
        asked(("latest", 100))
        say(cluster, namespace, FIRST)
        status = predictor(FIRST, (FIRST, 100))
        assert status["url"] == URL.format(namespace)
        assert {one["type"]: one["status"] for one in status["conditions"]}["Ready"] == "True"

        apply(cluster, namespace, written("gs://models/2", 10))
        asked(("latest", 10), (FIRST, 90))
        say(cluster, namespace, SECOND)
        told = predictor(FIRST, (SECOND, 10), (FIRST, 90))["components"]["predictor"]
        assert told["latestReadyRevision"] == SECOND
        assert [one["tag"] for one in told["traffic"]] == ["latest", "prev"]
        assert told["traffic"][1]["url"] == f"http://prev-iris-predictor.{namespace}.example.com"

        apply(cluster, namespace, written("gs://models/2"))
        asked(("latest", 100))
        say(cluster, namespace, SECOND)
        told = predictor(SECOND, (SECOND, 100))["components"]["predictor"]
        assert told["previousRolledoutRevision"] == FIRST

        apply(cluster, namespace, written("gs://models/2", 0))
        asked(("latest", 0), (FIRST, 100))
        say(cluster, namespace, SECOND)
        predictor(FIRST, (SECOND, 0), (FIRST, 100))
