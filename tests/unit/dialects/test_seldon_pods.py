"""What a SeldonDeployment says of its pods arrives on a cluster, and changes nothing on one machine."""

import json

import pytest

from tiffin.dialects import parse, read_object
from tiffin.dialects.seldon_scaling import current
from tiffin.spec import ContainerSource, Pod

SECRET = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hf"}}}


def deployment(component, *, graph=None, spec=None, **predictor):
    graph = graph or {"name": "clf", "type": "MODEL"}
    return {
        "apiVersion": "machinelearning.seldon.io/v1",
        "kind": "SeldonDeployment",
        "metadata": {"name": "iris"},
        "spec": {"predictors": [{"name": "main", "graph": graph, "componentSpecs": [component], **predictor}],
                 **(spec or {})},
    }  # fmt: skip


SERVER = {"name": "clf", "implementation": "SKLEARN_SERVER", "modelUri": "s3://models/iris"}
OWN = {"name": "clf", "image": "team/iris:1"}


def first(document):
    return read_object(document).components[0]


def on_machine(document):
    (found,) = parse(json.dumps(document))
    return found


def test_a_nodes_container_is_whole_and_told_what_seldon_tells_it():
    container = {**OWN, "env": [SECRET, {"name": "PREDICTOR_ID", "value": "mine"}], "lifecycle": {"preStop": {}}}
    graph = {"name": "clf", "type": "MODEL", "parameters": [{"name": "x", "value": "1", "type": "INT"}]}
    part = first(deployment({"spec": {"containers": [container]}}, graph=graph))
    (own,) = part.pod.spec["containers"]
    told = {one["name"]: one.get("value", one.get("valueFrom")) for one in own["env"]}
    assert part.pod.main == own["name"] == "clf"
    assert own["image"] == "team/iris:1"
    assert own["lifecycle"] == {"preStop": {}}
    assert own["ports"] == [{"name": "http", "containerPort": 9000}]
    assert told["TOKEN"] == SECRET["valueFrom"]
    assert told["PREDICTOR_ID"] == "mine"
    assert told["PREDICTIVE_UNIT_ID"] == "clf"
    assert told["PREDICTIVE_UNIT_SERVICE_PORT"] == "9000"
    assert json.loads(told["PREDICTIVE_UNIT_PARAMETERS"]) == [{"name": "x", "value": "1", "type": "INT"}]
    assert json.loads(told["PREDICTOR_LABELS"]) == {"version": "main"}
    assert told["SELDON_DEPLOYMENT_ID"] == "iris"
    assert "MLSERVER_MODEL_NAME" not in told


def test_an_image_runs_as_it_is_at_the_port_called_http():
    ports = [{"name": "grpc", "containerPort": 9700}, {"name": "http", "containerPort": 9600}]
    part = first(deployment({"spec": {"containers": [{**OWN, "ports": ports}]}}, spec={"protocol": "v2"}))
    (own,) = part.pod.spec["containers"]
    told = {one["name"]: one.get("value") for one in own["env"]}
    assert part.source == ContainerSource(image="team/iris:1", port=9600)
    assert own["ports"] == ports
    assert (told["MLSERVER_HTTP_PORT"], told["MLSERVER_GRPC_PORT"]) == ("9600", "9700")


def test_a_server_has_what_is_written_laid_over_its_container():
    container = {"name": "clf", "image": "theirs:1", "env": [SECRET], "resources": {"limits": {"cpu": "1"}},
                 "args": ["--x"], "volumeMounts": [{"name": "v", "mountPath": "/v"}]}  # fmt: skip
    component = {"spec": {"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]}}
    part = first(deployment(component, graph={**SERVER, "serviceAccountName": "reader"}))
    assert part.pod.spec == {
        "serviceAccountName": "reader",
        "volumes": [{"name": "v", "emptyDir": {}}],
        "containers": [
            {
                "name": "clf",
                "env": [SECRET],
                "resources": {"limits": {"cpu": "1"}},
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            }
        ],
    }


def test_pods_have_the_labels_of_predictor_and_componentspec():
    component = {
        "metadata": {"labels": {"a": "pod"}, "annotations": {"c": "pod"}, "creationTimestamp": None},
        "spec": {"tolerations": [{"key": "gpu"}], "initContainers": [{"name": "i", "image": "i"}]},
        "pdbSpec": {"maxUnavailable": "10%"},
    }
    spec = {"annotations": {"c": "spec", "d": "spec"}}
    document = deployment(component, graph=SERVER, labels={"a": "own", "b": "own"}, annotations={"d": "own"},
                          progressDeadlineSeconds=90, spec=spec)  # fmt: skip
    pod = first(document).pod
    assert pod.labels == {"version": "main", "a": "pod", "b": "own"}
    assert pod.annotations == {"c": "pod", "d": "own"}
    assert pod.disruption == {"maxUnavailable": "10%"}
    assert pod.progress_deadline_seconds == 90
    assert pod.spec["tolerations"] == [{"key": "gpu"}]
    assert pod.spec["initContainers"] == [{"name": "i", "image": "i"}]
    assert read_object(document).warnings == ()


def test_one_machine_warns_of_everything_that_only_pods_know_and_keeps_none_of_it():
    containers = [{**OWN, "env": [SECRET], "lifecycle": {"preStop": {}}}, {"name": "s", "image": "s"}]
    component = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": containers, "tolerations": [{"key": "gpu"}]},
        "pdbSpec": {"minAvailable": 1},
    }
    found = on_machine(deployment(component, progressDeadlineSeconds=90))
    at = "spec.predictors[0].componentSpecs[0]."
    assert found.components[0].pod == Pod()
    assert {warning.path for warning in found.warnings} == {
        "spec.predictors[0].progressDeadlineSeconds",
        at + "metadata",
        at + "pdbSpec",
        at + "spec.tolerations",
        at + "spec.containers[0].env[0].valueFrom",
        at + "spec.containers[0].lifecycle",
        at + "spec.containers[1]",
    }


def test_a_container_beside_the_model_runs_in_its_pods_and_one_of_another_pod_does_not():
    side = {"name": "side", "image": "side:1"}
    together = deployment({"spec": {"containers": [OWN, side]}})
    assert first(together).pod.spec["containers"][1] == side
    apart = deployment({"spec": {"containers": [OWN]}})
    apart["spec"]["predictors"][0]["componentSpecs"].append({"spec": {"containers": [side]}})
    found = read_object(apart)
    assert [one["name"] for one in found.components[0].pod.spec["containers"]] == ["clf"]
    (warning,) = found.warnings
    assert "pod of its own" in warning.message


def test_a_volume_claim_holds_the_model_on_a_cluster():
    document = deployment({"spec": {}}, graph={**SERVER, "modelUri": "pvc://claim/iris"})
    assert first(document).source.artefact.uri == "pvc://claim/iris"


def test_an_explainer_of_ones_own_has_its_container():
    written = {"type": "AnchorTabular", "serviceAccountName": "reader",
               "containerSpec": {"name": "why", "image": "why:1", "env": [SECRET]}}  # fmt: skip
    found = read_object(deployment({"spec": {}}, graph=SERVER, explainer=written))
    part = found.components[1]
    (own,) = part.pod.spec["containers"]
    assert (part.pod.main, own["image"], own["env"]) == ("why", "why:1", [SECRET])
    assert "--predictor_host=$(PREDICTOR_HOST)" in own["args"]
    assert part.pod.spec["serviceAccountName"] == "reader"


# ---- how many


CPU = {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}}
CPU_V2 = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}},
}
SELECTOR = {"matchLabels": {"a": "b"}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(CPU, CPU_V2, id="cpu"),
        pytest.param(CPU_V2, CPU_V2, id="of today"),
        pytest.param(
            {"type": "ContainerResource",
             "containerResource": {"name": "memory", "container": "clf", "targetAverageValue": "1Gi"}},
            {"type": "ContainerResource",
             "containerResource": {"name": "memory", "container": "clf",
                                   "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            id="memory of a container",
        ),
        pytest.param(
            {"type": "Pods", "pods": {"metricName": "hits", "selector": SELECTOR, "targetAverageValue": "5"}},
            {"type": "Pods", "pods": {"metric": {"name": "hits", "selector": SELECTOR},
                                      "target": {"type": "AverageValue", "averageValue": "5"}}},
            id="pods",
        ),
        pytest.param(
            {"type": "Object", "object": {"metricName": "hits", "target": {"kind": "Ingress", "name": "i"},
                                          "targetValue": "5"}},
            {"type": "Object", "object": {"metric": {"name": "hits"}, "target": {"type": "Value", "value": "5"},
                                          "describedObject": {"kind": "Ingress", "name": "i"}}},
            id="an object",
        ),
        pytest.param(
            {"type": "External", "external": {"metricName": "queue", "metricSelector": SELECTOR,
                                              "targetAverageValue": "5"}},
            {"type": "External", "external": {"metric": {"name": "queue", "selector": SELECTOR},
                                              "target": {"type": "AverageValue", "averageValue": "5"}}},
            id="external",
        ),
        pytest.param({"type": "Odd"}, {"type": "Odd"}, id="nothing known"),
    ],
)  # fmt: skip
def test_metrics_of_the_older_autoscaling_are_said_in_the_words_of_the_newer(old, new):
    assert current(old) == new


def test_an_autoscaler_gets_every_metric_and_one_machine_those_it_can_measure():
    pods = {"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "5"}}
    hpa = {"minReplicas": 2, "maxReplicas": 5, "metrics": [CPU, pods]}
    document = deployment({"hpaSpec": hpa, "spec": {}}, graph=SERVER)
    scaling = first(document).scaling
    assert (scaling.autoscaler, scaling.min_replicas, scaling.max_replicas) == ("hpa", 2, 5)
    assert [metric["type"] for metric in scaling.autoscaler_spec["metrics"]] == ["Resource", "Pods"]
    assert read_object(document).warnings == ()
    here = on_machine(document)
    assert here.components[0].scaling.autoscaler_spec == {}
    assert [measure.metric for measure in here.components[0].scaling.measures] == ["cpu"]
    assert len(here.warnings) == 1


def test_an_autoscaler_keeps_its_bounds_where_one_machine_can_measure_nothing():
    pods = {"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "5"}}
    document = deployment({"hpaSpec": {"maxReplicas": 5, "metrics": [pods]}, "spec": {}}, graph=SERVER)
    assert first(document).scaling.max_replicas == 5
    assert on_machine(document).components[0].scaling.max_replicas is None


def test_keda_gets_what_was_written_for_it():
    trigger = {"type": "prometheus", "metadata": {"serverAddress": "http://p", "query": "q", "threshold": "5"}}
    keda = {"minReplicaCount": 1, "maxReplicaCount": 4, "pollingInterval": 5, "triggers": [trigger],
            "fallback": {"replicas": 2, "failureThreshold": 3}}  # fmt: skip
    document = deployment({"kedaSpec": keda, "spec": {}}, graph=SERVER)
    scaling = first(document).scaling
    assert (scaling.autoscaler, scaling.min_replicas, scaling.max_replicas) == ("keda", 1, 4)
    assert scaling.autoscaler_spec == {
        "pollingInterval": 5, "fallback": {"replicas": 2, "failureThreshold": 3}, "triggers": [trigger],
    }  # fmt: skip
    assert read_object(document).warnings == ()
