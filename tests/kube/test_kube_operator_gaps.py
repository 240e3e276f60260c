"""The operator against a real API server: it converges whatever happens, and nothing is there twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.kube.operator_world import Operator, apply, define, inference_service, until

from tiffin.kube import names


@pytest.fixture
def world(cluster: Any, namespace: str, tmp_path: Path) -> Any:
    define(cluster)

    def start(*arguments: str) -> Operator:
        return Operator(cluster, namespace, tmp_path / "operator.log", *(arguments or ("--no-election",)))

    return start


def children(cluster: Any, namespace: str) -> dict[str, list[str]]:
    """Names by kind of what carries Tiffin's label."""
    kinds = "deployments,services,controllerrevisions,poddisruptionbudgets,horizontalpodautoscalers"
    listed = cluster.get(kinds, "-n", namespace, "-l", f"{names.MANAGED}=tiffin")
    found: dict[str, list[str]] = {}
    for item in listed["items"] if listed else ():
        found.setdefault(item["kind"], []).append(item["metadata"]["name"])
    return {kind: sorted(members) for kind, members in found.items()}


def test_an_inference_service_becomes_what_users_of_kserve_expect(cluster, namespace, world):
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"))
        deployment = until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "a Deployment")
        service = until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "a Service")
        owner = cluster.get("isvc", "iris", "-n", namespace)
        for child in (deployment, service):
            (reference,) = child["metadata"]["ownerReferences"]
            assert (reference["kind"], reference["uid"]) == ("InferenceService", owner["metadata"]["uid"])
        template = deployment["spec"]["template"]
        assert service["spec"]["selector"].items() <= template["metadata"]["labels"].items()
        status = until(lambda: cluster.get("isvc", "iris", "-n", namespace).get("status"), "a status")
        assert {"Ready", "PredictorReady", "IngressReady"} <= {one["type"] for one in status["conditions"]}
        operator.settle()


def test_an_idle_cluster_is_not_written_to(cluster, namespace, world):
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, *(inference_service(f"m{number}") for number in range(5)))
        until(lambda: len(children(cluster, namespace).get("Deployment", ())) == 5, "five Deployments")
        operator.settle()
        writes, looks = operator.writes, operator.number("tiffin_operator_reconciliations_total")
        # Something that might matter to each of them: all are looked at again, and found to be right.
        runtime = {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": {"name": "other"},
            "spec": {
                "supportedModelFormats": [{"name": "quite-another"}],
                "containers": [{"name": "kserve-container", "image": "none"}],
            },
        }
        apply(cluster, namespace, runtime)
        until(lambda: operator.number("tiffin_operator_reconciliations_total") >= looks + 5, "looks at all")
        operator.settle()
        assert operator.writes == writes
    with world() as operator:
        operator.ready()
        until(lambda: operator.number("tiffin_operator_reconciliations_total") >= 5, "looks at all")
        operator.settle()
        assert operator.writes == 0, "one that starts anew finds everything as it should be"


def test_a_foreign_hand_is_undone(cluster, namespace, world):
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "a Service")
        operator.settle()
        deployment = cluster.get("deploy", "iris-predictor", "-n", namespace)
        image = deployment["spec"]["template"]["spec"]["containers"][0]["image"]
        patch = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil"}]
        cluster.kubectl(
            "patch", "deploy", "iris-predictor", "-n", namespace, "--type=json", "-p", json.dumps(patch)
        )
        uid = cluster.get("service", "iris-predictor", "-n", namespace)["metadata"]["uid"]
        cluster.kubectl("delete", "service", "iris-predictor", "-n", namespace)

        def restored() -> bool:
            found = cluster.get("deploy", "iris-predictor", "-n", namespace)
            service = cluster.get("service", "iris-predictor", "-n", namespace)
            return (
                found["spec"]["template"]["spec"]["containers"][0]["image"] == image
                and service is not None
                and service["metadata"]["uid"] != uid
            )

        until(restored, "the image and the Service to be as rendered")
        # What nobody rendered is nobody's business.
        cluster.kubectl("annotate", "deploy", "iris-predictor", "-n", namespace, "team=red")
        operator.settle()
        found = cluster.get("deploy", "iris-predictor", "-n", namespace)
        assert found["metadata"]["annotations"]["team"] == "red"


def test_what_happened_while_nobody_watched_is_made_good(cluster, namespace, world):
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"), inference_service("wine"))
        expected = {"iris-predictor", "wine-predictor"}
        until(lambda: expected <= set(children(cluster, namespace).get("Service", ())), "the Services")
        operator.settle()
        operator.kill()
    cluster.kubectl("delete", "service", "iris-predictor", "-n", namespace)
    cluster.kubectl("delete", "isvc", "wine", "-n", namespace)
    changed = inference_service("iris")
    changed["spec"]["predictor"]["model"]["storageUri"] = "gs://models/iris-2"
    apply(cluster, namespace, changed)
    with world() as operator:
        operator.ready()
        until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "the Service")
        until(
            lambda: "iris-2" in json.dumps(cluster.get("deploy", "iris-predictor", "-n", namespace)),
            "the new address in the Deployment",
        )
        operator.settle()


def test_one_that_is_killed_in_the_middle_leaves_nothing_twice(cluster, namespace, world):
    count = 12
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, *(inference_service(f"m{number:02}") for number in range(count)))
        until(lambda: children(cluster, namespace).get("Deployment"), "a first Deployment")
        operator.kill()
    with world() as operator:
        operator.ready()
        expected = [f"m{number:02}-predictor" for number in range(count)]
        until(lambda: children(cluster, namespace).get("Deployment") == expected, "all Deployments")
        until(lambda: set(expected) <= set(children(cluster, namespace).get("Service", ())), "all Services")
        operator.settle()
        assert children(cluster, namespace)["Deployment"] == expected
        assert len(children(cluster, namespace)["ControllerRevision"]) == count


def test_it_goes_on_when_the_api_server_comes_back(cluster, namespace, world):
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "a Service")
        operator.settle()
        cluster.stop_server()
        try:
            assert operator.page("/healthz") == "ok"
        finally:
            cluster.start_server()
        apply(cluster, namespace, inference_service("wine"))
        cluster.kubectl("delete", "deploy", "iris-predictor", "-n", namespace)
        until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "the Deployment again")
        until(lambda: cluster.get("deploy", "wine-predictor", "-n", namespace), "the new one's Deployment")
        operator.settle()
        assert operator.process.poll() is None


def test_a_spec_that_cannot_be_served_says_so_once(cluster, namespace, world):
    wrong = inference_service("iris")
    wrong["spec"]["predictor"]["model"]["modelFormat"]["name"] = "no-such-format"
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, wrong)

        def told() -> str:
            conditions = (cluster.get("isvc", "iris", "-n", namespace).get("status") or {}).get("conditions", [])
            return next((one["message"] for one in conditions if one["type"] == "Ready"), "")

        assert "No runtime found" in until(told, "a condition")
        operator.settle()
        assert children(cluster, namespace) == {}
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "a Deployment, once it is right")


def test_what_the_cluster_refuses_is_told_in_the_status(cluster, namespace, world):
    wrong = inference_service("iris")
    wrong["spec"]["predictor"]["nodeSelector"] = {"disk": "not a label's value!"}
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, wrong)

        def told() -> dict[str, str]:
            conditions = (cluster.get("isvc", "iris", "-n", namespace).get("status") or {}).get("conditions", [])
            found = {one["type"]: one for one in conditions}
            return found["Ready"] if found.get("Ready", {}).get("reason") == "RefusedByCluster" else {}

        assert "nodeSelector" in until(told, "a condition")["message"]
        apply(cluster, namespace, inference_service("iris"))
        until(lambda: cluster.get("service", "iris-predictor", "-n", namespace), "the Service")
        until(lambda: not told(), "the condition to go")
        operator.settle()


def test_an_object_of_another_system_is_left_alone(cluster, namespace, world):
    theirs = inference_service("theirs", finalizers=["inferenceservice.finalizers"])
    with world() as operator:
        operator.ready()
        apply(cluster, namespace, theirs, inference_service("ours"))
        until(lambda: cluster.get("deploy", "ours-predictor", "-n", namespace), "the other's Deployment")
        operator.settle()
        assert children(cluster, namespace)["Deployment"] == ["ours-predictor"]
        assert "status" not in cluster.get("isvc", "theirs", "-n", namespace)
        assert "tiffin.dev/takeover" in operator.log()
        cluster.kubectl("annotate", "isvc", "theirs", "-n", namespace, "tiffin.dev/takeover=true")
        until(
            lambda: cluster.get("deploy", "theirs-predictor", "-n", namespace), "the Deployment of one taken over"
        )
    nothing = json.dumps([{"op": "remove", "path": "/metadata/finalizers"}])
    cluster.kubectl("patch", "isvc", "theirs", "-n", namespace, "--type=json", "-p", nothing)


def test_one_of_two_leads_and_hands_over(cluster, namespace, world, tmp_path):
    with world("--host", "127.0.0.1") as first:
        first.ready()
        with Operator(cluster, namespace, tmp_path / "second.log") as second:
            until(lambda: second.page("/readyz") == "ok", "the second to answer")
            assert second.number("tiffin_operator_leader") == 0
            apply(cluster, namespace, inference_service("iris"))
            until(lambda: cluster.get("deploy", "iris-predictor", "-n", namespace), "a Deployment")
            assert second.number('tiffin_operator_api_requests_total{kind="write"}') == 0
            first.__exit__()
            assert first.process.returncode == 0, first.log()
            second.ready()
            apply(cluster, namespace, inference_service("wine"))
            until(lambda: cluster.get("deploy", "wine-predictor", "-n", namespace), "a Deployment by the second")
