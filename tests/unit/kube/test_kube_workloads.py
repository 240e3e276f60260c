"""Deployments and their pods, as users of each system expect them."""

from typing import Any

import pytest
import yaml

from tiffin.dialects import live
from tiffin.errors import SpecError
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot, fresh
from tiffin.kube.render import workloads
from tiffin.kube.settings import Settings
from tiffin.spec import Deployment

IRIS = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, namespace: flowers}
spec:
  predictor:
    model:
      modelFormat: {name: sklearn}
      storageUri: gs://models/iris
"""


def read(text: str) -> Deployment:
    return live.read_object(yaml.safe_load(text))


def workload_of(text: str, slot: Slot | None = None) -> dict[str, Any]:
    deployment = read(text)
    placement = fresh(deployment.components, deployment.variant)
    if slot is not None:
        placement = Placement(slots=(slot,))
    return workloads.render(deployment, placement, Settings(), Capabilities())[0]


def main_of(workload: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = workload["spec"]["template"]["spec"]["containers"][0]
    return found


def test_an_inference_service_has_the_names_and_the_selector_of_kserve() -> None:
    workload = workload_of(IRIS)
    assert workload["metadata"]["name"] == "iris-predictor"
    assert workload["spec"]["selector"]["matchLabels"] == {"app": "isvc.iris-predictor"}
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert labels["serving.kserve.io/inferenceservice"] == "iris"
    assert labels["component"] == "predictor"
    assert labels["app"] == "isvc.iris-predictor"


def test_a_number_of_replicas_that_belongs_to_others_is_not_written() -> None:
    assert "replicas" not in workload_of(IRIS)["spec"]
    component = read(IRIS).components[0]
    written = workload_of(IRIS, Slot(variant="main", component=component, replicas=0, revision="iris-00001"))
    assert written["spec"]["replicas"] == 0
    assert written["metadata"]["annotations"] == {names.REVISION: "iris-00001"}


def test_a_local_directory_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"predictor\.storageUri: .*\./iris") as raised:
        workload_of(IRIS.replace("gs://models/iris", "./iris"))
    assert "s3://" in str(raised.value.hint)
