import copy
from pathlib import Path

import msgspec
import pytest
import yaml

from tiffin.dialects import native_status, parse, read
from tiffin.dialects.statuses import native_document
from tiffin.plan.state import Condition, DeploymentStatus, Problem, ReplicaStatus, RevisionStatus

SAMPLES = Path(__file__).parent / "samples"


def revision(number: int, phase: str = "Ready", **changes) -> RevisionStatus:
    given = {"name": f"iris-{number:05d}", "variant": "main", "number": number, "phase": phase, "weight": 100.0}
    return msgspec.convert(given | changes, RevisionStatus)


def observed(*revisions: RevisionStatus, ready: int = 0, rolled_out: int = 0, **changes) -> DeploymentStatus:
    latest = max(revisions, key=lambda each: each.number).name if revisions else ""
    return DeploymentStatus(
        observed_generation=3,
        conditions=(Condition(type="Ready", status="True", since=1_700_000_000.0),),
        url="http://iris.default.example.com:8080",
        revisions=revisions,
        latest={"main": latest} if latest else {},
        latest_ready={"main": f"iris-{ready:05d}"} if ready else {},
        rolled_out={"main": f"iris-{rolled_out:05d}"} if rolled_out else {},
        **changes,
    )


def iris():
    (found,) = read(SAMPLES / "kserve.yaml")
    return found


def states(rendered: dict) -> dict[str, str]:
    return {condition["type"]: condition["status"] for condition in rendered["conditions"]}


def test_a_deployment_that_serves_is_ready_in_all_of_kserves_words():
    rendered = native_status(iris(), observed(revision(1), ready=1, rolled_out=1))
    assert states(rendered) == dict.fromkeys(
        (
            "IngressReady",
            "LatestDeploymentReady",
            "PredictorConfigurationReady",
            "PredictorReady",
            "PredictorRouteReady",
            "Ready",
            "RoutesReady",
        ),
        "True",
    ) | {"Stopped": "False"}
    assert [each["type"] for each in rendered["conditions"]] == sorted(states(rendered))
    assert {each["lastTransitionTime"] for each in rendered["conditions"]} == {"2023-11-14T22:13:20Z"}
    assert rendered["url"] == "http://iris.default.example.com:8080"
    assert rendered["address"] == {"url": "http://iris.default.svc.cluster.local"}
    assert rendered["observedGeneration"] == 3
    assert rendered["clusterServingRuntimeName"] == "kserve-sklearnserver"
    assert rendered["modelStatus"]["transitionStatus"] == "UpToDate"
    assert rendered["modelStatus"]["states"] == {"activeModelState": "Loaded", "targetModelState": "Loaded"}
    assert rendered["components"]["predictor"] == {
        "latestCreatedRevision": "iris-00001",
        "latestReadyRevision": "iris-00001",
        "latestRolledoutRevision": "iris-00001",
        "traffic": [{"revisionName": "iris-00001", "latestRevision": True, "percent": 100}],
        "address": {"url": "http://iris-predictor.default.svc.cluster.local"},
        "url": "http://iris-predictor.default.example.com",
    }


def test_a_canary_shows_the_split_with_the_tag_prev():
    old = revision(1, weight=90.0, tags=("prev",))
    new = revision(2, weight=10.0, tags=("canary",))
    rendered = native_status(iris(), observed(old, new, ready=2, rolled_out=1))
    predictor = rendered["components"]["predictor"]
    assert predictor["latestRolledoutRevision"] == "iris-00001"
    assert [(each["revisionName"], each["percent"], each["tag"]) for each in predictor["traffic"]] == [
        ("iris-00002", 10, "latest"),
        ("iris-00001", 90, "prev"),
    ]
    assert predictor["traffic"][1]["url"] == "http://prev-iris-predictor.default.example.com"


def test_the_revision_rolled_out_before_is_named_once_there_is_one():
    rendered = native_status(iris(), observed(revision(1, weight=0.0), revision(2), ready=2, rolled_out=2))
    assert rendered["components"]["predictor"]["previousRolledoutRevision"] == "iris-00001"
    assert len(rendered["components"]["predictor"]["traffic"]) == 1


@pytest.mark.parametrize(
    ("phase", "transition", "target", "ready"),
    [
        ("Pending", "InProgress", "Pending", "Unknown"),
        ("Fetching", "InProgress", "Loading", "Unknown"),
        ("Starting", "InProgress", "Pending", "Unknown"),
        ("Ready", "UpToDate", "Loaded", "True"),
        ("Idle", "UpToDate", "Standby", "True"),
        ("Failed", "BlockedByFailedLoad", "FailedToLoad", "False"),
    ],
)
def test_the_model_goes_through_kserves_states(phase, transition, target, ready):
    rendered = native_status(iris(), observed(revision(1, phase), ready=int(ready == "True")))
    assert rendered["modelStatus"]["transitionStatus"] == transition
    assert rendered["modelStatus"]["states"]["targetModelState"] == target
    assert states(rendered)["PredictorReady"] == states(rendered)["Ready"] == ready
    assert ("url" in rendered) == (ready == "True")
    assert ("url" in rendered["components"]["predictor"]) == (ready == "True")


def test_a_new_revision_that_fails_leaves_the_old_model_active_and_says_why():
    problem = Problem(reason="LoadFailed", message="cannot be read", log=("Traceback", "ValueError: 0 bytes"))
    replica = ReplicaStatus(
        name="iris-00002-predictor-0",
        revision="iris-00002",
        component="predictor",
        phase="CrashLoopBackOff",
        started=1_700_000_000.0,
        problem=problem,
    )
    failed = revision(2, "Failed", weight=0.0, problem=problem)
    rendered = native_status(iris(), observed(revision(1), failed, ready=1, rolled_out=1, replicas=(replica,)))
    model = rendered["modelStatus"]
    assert model["states"] == {"activeModelState": "Loaded", "targetModelState": "FailedToLoad"}
    assert model["copies"] == {"failedCopies": 1, "totalCopies": 0}
    assert model["lastFailureInfo"] == {
        "reason": "ModelLoadFailed",
        "message": "cannot be read\nTraceback\nValueError: 0 bytes",
        "modelRevisionName": "iris-00002",
        "location": "iris-00002-predictor-0",
        "time": "2023-11-14T22:13:20Z",
    }
    assert rendered["components"]["predictor"]["traffic"][0]["revisionName"] == "iris-00001"


def test_what_is_known_to_be_wrong_is_said_before_anybody_gives_up():
    problem = Problem(reason="ImagePullError", message="no such image")
    shown = native_status(iris(), observed(revision(1, "Pending", problem=problem)))
    assert states(shown)["PredictorReady"] == states(shown)["Ready"] == "False"
    ready = next(one for one in shown["conditions"] if one["type"] == "Ready")
    assert (ready["reason"], ready["message"]) == ("ImagePullError", "no such image")
    assert states(native_status(iris(), observed(revision(1, "Pending"))))["Ready"] == "Unknown"


def test_a_transformer_that_is_not_ready_keeps_the_whole_from_being_ready():
    (found,) = read(SAMPLES / "kserve_collocated.yaml")
    part = revision(1, "Starting", wanted={"predictor": 1, "transformer": 1}, ready={"predictor": 1})
    rendered = native_status(found, observed(part))
    assert states(rendered)["PredictorReady"] == "True"
    assert states(rendered)["TransformerReady"] == states(rendered)["IngressReady"] == "Unknown"
    assert states(rendered)["Ready"] == "Unknown"
    assert set(rendered["components"]) == {"predictor", "transformer"}


def test_a_stopped_deployment_says_so_and_has_no_address():
    found = msgspec.structs.replace(iris(), stopped=True)
    rendered = native_status(found, observed())
    assert states(rendered) == {
        "IngressReady": "False",
        "PredictorReady": "False",
        "Ready": "False",
        "Stopped": "True",
    }
    assert "url" not in rendered
    assert "components" not in rendered


def test_nothing_known_yet_is_unknown():
    rendered = native_status(iris(), DeploymentStatus())
    assert states(rendered)["Ready"] == "Unknown"
    assert rendered["modelStatus"]["transitionStatus"] == "InProgress"


def test_canaries_have_statuses_of_their_own():
    (found,) = read(SAMPLES / "kserve_canary.yaml")
    one = revision(2, variant="v2")
    status = msgspec.structs.replace(
        observed(revision(1, variant="v1"), one),
        latest={"v1": "iris-00001", "v2": "iris-00002"},
        latest_ready={"v1": "iris-00001"},
    )
    rendered = native_status(found, status)
    assert [(each["name"], each["ready"], each["trafficPercent"]) for each in rendered["canaryStatuses"]] == [
        ("v2", True, 20),
        ("v3", False, 5),
    ]
    (condition,) = [each for each in rendered["conditions"] if each["type"] == "CanaryPredictorReady"]
    assert (condition["status"], condition["reason"]) == ("False", "CanariesNotReady")
    assert rendered["deploymentMode"] == "Standard"
    assert rendered["address"] == {"url": "http://iris-predictor.default.svc.cluster.local"}
    assert "RoutesReady" not in states(rendered)


def test_every_dialect_has_a_status():
    for file in ("kserve.yaml", "seldon.yaml", "tiffin.yaml"):
        (found,) = read(SAMPLES / file)
        assert msgspec.json.encode(native_status(found, DeploymentStatus(observed_generation=1)))


def test_a_service_for_the_cluster_only_has_a_url_of_the_cluster():
    text = (SAMPLES / "kserve.yaml").read_text()
    text = text.replace(
        '  name: "iris"', '  name: "iris"\n  labels: {networking.kserve.io/visibility: cluster-local}'
    )
    (found,) = parse(text)
    rendered = native_status(found, observed(revision(1), ready=1, rolled_out=1))
    assert rendered["url"] == "http://iris.default.svc.cluster.local"


def written(file: str) -> dict:
    return next(iter(yaml.safe_load_all((SAMPLES / file).read_text())))


def test_an_older_form_is_shown_as_kserve_keeps_it():
    shown = native_document(written("kserve_legacy.yaml"))
    model = shown["spec"]["predictor"]["model"]
    assert "sklearn" not in shown["spec"]["predictor"]
    assert model["modelFormat"] == {"name": "sklearn"}
    assert model["resources"] == {"requests": {"cpu": "0.1", "memory": "512Mi"}}  # a model takes its runtime's
    assert shown["metadata"]["annotations"] == {"modelFormat": "sklearn"}
    onnx = {"metadata": {}, "spec": {"predictor": {"onnx": {"storageUri": "m"}}}}
    shown = native_document({"apiVersion": "serving.kserve.io/v1beta1", "kind": "InferenceService", **onnx})
    assert shown["spec"]["predictor"]["model"]["protocolVersion"] == "v2"


def test_containers_get_kserves_name_and_resources():
    before = written("kserve_transformer.yaml")
    shown = native_document(copy.deepcopy(before))
    (container,) = shown["spec"]["transformer"]["containers"]
    assert container["name"] == "kserve-container"
    assert container["resources"] == {kind: {"cpu": "1", "memory": "2Gi"} for kind in ("limits", "requests")}
    (own,) = shown["spec"]["predictor"]["containers"]
    assert own["resources"]["limits"] == {"cpu": "250m", "memory": "512Mi"}


@pytest.mark.parametrize(
    "file", ["kserve_full.yaml", "kserve_transformer.yaml", "kserve_canary.yaml", "tiffin.yaml"]
)
def test_what_is_shown_is_read_as_the_same_thing_and_the_text_stays(file):
    before = written(file)
    kept = copy.deepcopy(before)
    shown = native_document(before)
    assert before == kept
    assert native_document(shown) == shown
    (one,), (other,) = parse(msgspec.json.encode(before).decode()), parse(msgspec.json.encode(shown).decode())
    assert [each.source for each in other.components] == [each.source for each in one.components]
    assert (other.protocol, other.annotations, other.variant) == (one.protocol, one.annotations, one.variant)
