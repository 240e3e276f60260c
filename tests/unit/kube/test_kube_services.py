"""Services: where callers go, and what answers while nobody can serve."""

from typing import Any

import msgspec
import pytest
import yaml

from tiffin.dialects import live
from tiffin.kube import names
from tiffin.kube.capabilities import Capabilities
from tiffin.kube.placement import Placement, Slot, fresh
from tiffin.kube.render import services
from tiffin.kube.settings import Settings
from tiffin.spec import Artefact, Component, ContainerSource, Deployment, ModelSource, Pod, Scaling, Windows

KNATIVE = """
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata: {name: iris, namespace: flowers, annotations: {serving.kserve.io/deploymentMode: Serverless}}
spec:
  predictor: {model: {modelFormat: {name: sklearn}, storageUri: gs://models/iris}}
"""
MODEL = Component(source=ModelSource(artefact=Artefact("s3://models/iris"), format="sklearn"))


def deployment_of(component: Component, dialect: Any = "kserve", **fields: Any) -> Deployment:
    return Deployment(name="iris", namespace="flowers", components=(component,), dialect=dialect, **fields)


def rendered(deployment: Deployment, placement: Placement, **capabilities: bool) -> list[dict[str, Any]]:
    return list(services.render(deployment, placement, Settings(), Capabilities(**capabilities)))


def ports_of(component: Component, dialect: Any = "kserve") -> list[tuple[str, int, int, str]]:
    (service,) = rendered(deployment_of(component, dialect), fresh((component,)))
    return [
        (one["name"], one["port"], one["targetPort"], one.get("appProtocol", ""))
        for one in service["spec"]["ports"]
    ]


def test_a_model_is_called_at_the_port_that_users_of_its_system_know() -> None:
    assert ports_of(MODEL) == [("http", 80, 8080, "")]
    assert ports_of(MODEL, "seldon") == [("http", 8000, 8080, "")]


def test_grpc_has_a_port_of_its_own_in_the_clear() -> None:
    grpc = msgspec.structs.replace(MODEL, grpc=True)
    assert ports_of(grpc)[1:] == [("grpc", 8081, 8081, "kubernetes.io/h2c")]
    assert ports_of(grpc, "seldon")[1:] == [("grpc", 5001, 8081, "kubernetes.io/h2c")]


def test_the_first_port_of_a_program_is_the_one_that_is_called_and_the_others_are_as_they_are() -> None:
    ports = [
        {"containerPort": 9000, "name": "h2c"},
        {"containerPort": 9090},
        {"containerPort": 53, "protocol": "UDP"},
    ]
    spec = {"containers": [{"name": "kserve-container", "image": "i:1", "ports": ports}]}
    program = Component(source=ContainerSource(image="i:1", port=9000), pod=Pod(spec=spec))
    assert ports_of(program) == [
        ("h2c", 80, 9000, "kubernetes.io/h2c"),
        ("port-9090", 9090, 9090, ""),
        ("port-53", 53, 53, ""),
    ]


def test_a_program_that_also_listens_on_80_is_still_called_at_its_first_port() -> None:
    ports = [{"containerPort": 8000}, {"containerPort": 80}]
    spec = {"containers": [{"name": "kserve-container", "image": "i:1", "ports": ports}]}
    program = Component(source=ContainerSource(image="i:1", port=8000), pod=Pod(spec=spec))
    assert ports_of(program) == [("http", 80, 8000, "")]


def test_while_nobody_can_serve_the_activator_answers_on_a_port_for_each_of_the_service() -> None:
    windows = Windows(activation_scale=3)
    component = msgspec.structs.replace(MODEL, grpc=True, scaling=Scaling(min_replicas=0, windows=windows))
    slot = Slot(variant="main", component=component, held=True, activator_port=20004)
    placement = Placement(slots=(slot,), activators=("10.0.0.9", "10.0.0.7", "10.0.0.9"))
    service, away = rendered(deployment_of(component), placement)
    assert service["metadata"]["annotations"] == {names.PORT: "20004", names.ACTIVATION: "3"}
    assert service["spec"]["selector"] == {"app": "isvc.iris-predictor"}
    assert (
        away["metadata"]["labels"].items()
        >= {
            "kubernetes.io/service-name": "iris-predictor",
            "endpointslice.kubernetes.io/managed-by": "tiffin",
        }.items()
    )
    assert [one["addresses"] for one in away["endpoints"]] == [["10.0.0.7"], ["10.0.0.9"]]
    assert [(one["name"], one["port"]) for one in away["ports"]] == [("http", 20004), ("grpc", 20005)]
    placement = msgspec.structs.replace(placement, slots=(msgspec.structs.replace(slot, held=False),))
    assert [one["kind"] for one in rendered(deployment_of(component), placement)] == ["Service"]


@pytest.mark.parametrize(("mode", "is_there"), [("Serverless", True), ("Knative", True), ("Standard", False)])
def test_the_address_of_knative_leads_to_the_entry_where_there_is_no_knative(mode: str, is_there: bool) -> None:
    deployment = live.read_object(yaml.safe_load(KNATIVE.replace("Serverless", mode)))
    placement = fresh(deployment.components)
    found = {one["metadata"]["name"]: one["spec"] for one in rendered(deployment, placement)}
    assert ("iris" in found) is is_there
    if is_there:
        assert found["iris"]["externalName"] == "iris-predictor.flowers.svc.cluster.local"


def test_knative_makes_its_own_services() -> None:
    component = msgspec.structs.replace(MODEL, scaling=Scaling(autoscaler="knative"))
    deployment = deployment_of(component, annotations={"serving.kserve.io/deploymentMode": "Knative"})
    assert rendered(deployment, fresh((component,)), knative=True) == []


def test_seldons_own_name_for_a_service_counts() -> None:
    deployment = deployment_of(MODEL, "seldon", annotations={"seldon.io/svc-name": "mine"})
    (service,) = rendered(deployment, fresh((MODEL,)))
    assert service["metadata"]["name"] == "mine"
