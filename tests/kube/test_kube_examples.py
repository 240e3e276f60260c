"""The examples as their users apply them: the real kubectl, an operator's process, nodes that play the kubelet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube import operator_world as world

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def operated(nodes: Any, namespace: str, tmp_path: Path) -> Iterator[Any]:
    world.define(nodes)
    with world.Operator(nodes, namespace, tmp_path / "operator.log", "--no-election"):
        yield nodes


def owned(cluster: Any, namespace: str, kind: str) -> set[str]:
    return {each["metadata"]["name"] for each in (cluster.get(kind, "-n", namespace) or {"items": []})["items"]}


def test_the_inference_service_becomes_ready_and_goes(operated: Any, namespace: str) -> None:
    # A path of one machine is nothing a pod could fetch.
    text = (EXAMPLES / "01-kserve-iris" / "iris.yaml").read_text().replace("./model", "gs://models/iris")
    operated.kubectl("apply", "-n", namespace, "-f", "-", given=text)
    operated.kubectl("wait", "--for=condition=Ready", "isvc/iris", "-n", namespace, "--timeout=60s")
    assert owned(operated, namespace, "deployments") == {"iris-predictor"}
    assert "iris-predictor" in owned(operated, namespace, "services")
    operated.kubectl("delete", "isvc/iris", "-n", namespace)
    world.until(lambda: not owned(operated, namespace, "deployments"), "the Deployment to go")
    world.until(lambda: not owned(operated, namespace, "services"), "the Services to go")


def test_a_path_of_one_machine_is_refused_by_name(operated: Any, namespace: str) -> None:
    text = (EXAMPLES / "01-kserve-iris" / "iris.yaml").read_text()
    done = operated.kubectl("apply", "-n", namespace, "-f", "-", given=text, check=False)
    said = done.stderr
    if not done.returncode:

        def problem() -> str:
            status = (operated.get("isvc", "iris", "-n", namespace) or {}).get("status", {})
            return next(
                (each["message"] for each in status.get("conditions", []) if "./model" in each.get("message", "")),
                "",
            )

        said = world.until(problem, "a condition that names ./model")
    assert "./model" in said


def test_the_seldon_deployment_becomes_available(operated: Any, namespace: str) -> None:
    text = (EXAMPLES / "02-seldon-iris" / "iris-deployment.yaml").read_text()
    text = text.replace("namespace: seldon", f"namespace: {namespace}")
    operated.kubectl("apply", "-f", "-", given=text)

    def state() -> bool:
        found = operated.get("sdep", "iris-model", "-n", namespace) or {}
        return found.get("status", {}).get("state") == "Available"

    world.until(state, "state Available")
    (deployment,) = owned(operated, namespace, "deployments")
    assert deployment == "iris-model-default-0-iris-container"
    told = operated.get("sdep", "iris-model", "-n", namespace)["status"]["deploymentStatus"]
    assert {name: one["name"] for name, one in told.items()} == {deployment: deployment}
    assert owned(operated, namespace, "services")
