import json
from pathlib import Path

import pytest

from tiffin.dialects import parse, read
from tiffin.dialects.seldon_status import render as native_status
from tiffin.plan.state import Condition, DeploymentStatus, Problem, RevisionStatus

SAMPLES = Path(__file__).parent / "samples"


def revision(variant: str, number: int, phase="Ready", wanted=1, ready=1, **more) -> RevisionStatus:
    return RevisionStatus(
        name=f"income-{number:05d}",
        variant=variant,
        number=number,
        phase=phase,
        wanted={"predictor": wanted} | more.pop("wanted_also", {}),
        ready={"predictor": ready} | more.pop("ready_also", {}),
        **more,
    )


def income():
    (found,) = read(SAMPLES / "seldon_traffic.yaml")
    return found


def status(ready: str, message: str = "", *revisions: RevisionStatus, url: str = "") -> DeploymentStatus:
    conditions = tuple(
        Condition(type=type, status=ready, reason="Why", message=message, since=1.0)
        for type in ("Ready", "LatestReady", "Routed")
    )
    return DeploymentStatus(conditions=conditions, revisions=revisions, url=url)


def test_what_serves_is_available():
    revisions = (
        revision("stable", 1, wanted=2, ready=2, wanted_also={"explainer": 2}, ready_also={"explainer": 2}),
        revision("candidate", 2, phase="Idle", wanted=0, ready=0),
        revision("trial", 3, wanted=3, ready=3),
    )
    found = native_status(income(), status("True", "", *revisions, url="http://127.0.0.1:8080/seldon/income"))
    json.dumps(found)
    assert (found["state"], found["description"], found["replicas"]) == ("Available", "", 5)
    assert found["address"] == {"url": "http://127.0.0.1:8080/seldon/seldon/income/v2/models/classifier/infer"}
    assert found["deploymentStatus"] == {
        "income-stable-0-classifier": {
            "name": "income-stable-0-classifier",
            "status": "Available",
            "replicas": 2,
            "availableReplicas": 2,
        },
        "income-stable-explainer": {
            "name": "income-stable-explainer",
            "status": "Available",
            "replicas": 2,
            "availableReplicas": 2,
            "explainerFor": "income-svc",
        },
        "income-candidate-0-classifier": {
            "name": "income-candidate-0-classifier",
            "status": "Available",
            "replicas": 0,
            "availableReplicas": 0,
        },
        "income-trial-0-classifier": {
            "name": "income-trial-0-classifier",
            "status": "Available",
            "replicas": 3,
            "availableReplicas": 3,
        },
    }
    assert found["serviceStatus"]["income-svc"] == {
        "svcName": "income-svc",
        "httpEndpoint": "income-svc.seldon:8000",
    }
    assert found["serviceStatus"]["income-svc-explainer"]["explainerFor"] == "income-svc"
    assert [condition["type"] for condition in found["conditions"]] == [
        "DeploymentsReady",
        "HpasReady",
        "Ready",
        "ServicesReady",
        "istioVirtualServicesReady",
    ]
    assert found["conditions"][0] == {
        "type": "DeploymentsReady",
        "status": "True",
        "lastTransitionTime": "1970-01-01T00:00:01Z",
    }


def test_what_has_just_been_applied_is_creating():
    found = native_status(income(), DeploymentStatus())
    assert found["state"] == "Creating"
    assert {one["status"] for one in found["deploymentStatus"].values()} == {"Creating"}
    assert found["address"]["url"] == (
        "http://income-svc.seldon.svc.cluster.local:8000/v2/models/classifier/infer"
    )
    assert {condition["status"] for condition in found["conditions"]} == {"Unknown"}


def test_what_failed_says_why():
    problem = Problem(reason="Crashed", message="it ended with code 1")
    found = native_status(
        income(), status("False", "it ended with code 1", revision("trial", 3, "Failed", 3, 0, problem=problem))
    )
    assert (found["state"], found["description"]) == ("Failed", "it ended with code 1")
    trial = found["deploymentStatus"]["income-trial-0-classifier"]
    assert (trial["status"], trial["description"]) == ("Failed", "it ended with code 1")
    (ready,) = (condition for condition in found["conditions"] if condition["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "Why")


def test_the_newest_revision_counts():
    revisions = (revision("trial", 3, "Failed", 3, 0), revision("trial", 4, wanted=3, ready=3))
    found = native_status(income(), status("True", "", *revisions))
    assert found["deploymentStatus"]["income-trial-0-classifier"]["status"] == "Available"


@pytest.mark.parametrize(
    ("protocol", "path"),
    [
        ("seldon", "/api/v1.0/predictions"),
        ("v2", "/v2/models/clf/infer"),
        ("tensorflow", "/v1/models/clf:predict"),
    ],
)
def test_the_address_is_that_of_the_protocol(protocol, path):
    found = native_status(sdep("iris", protocol), DeploymentStatus(url="http://localhost:8080/default/iris"))
    assert found["address"]["url"] == f"http://localhost:8080/seldon/default/iris{path}"


def test_a_stopped_deployment_is_no_failure_and_a_long_name_is_shortened():
    found = native_status(sdep("i" * 60, "seldon", replicas=0), status("False", "it is kept"))
    assert (found["state"], found["replicas"]) == ("Available", 0)
    (name,) = found["deploymentStatus"]
    assert len(name) == len("seldon-") + 32


def sdep(name: str, protocol: str, **spec):
    container = {"name": "clf", "image": "iris:1"}
    pods = [{"spec": {"containers": [container]}}]
    predictor = {"name": "default", "graph": {"name": "clf"}, "componentSpecs": pods}
    document = {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": name},
        "spec": {"protocol": protocol, "predictors": [predictor], **spec},
    }
    (found,) = parse(json.dumps(document))
    return found
