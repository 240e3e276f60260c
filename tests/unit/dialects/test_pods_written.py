"""What pods say is written again in each dialect; what a dialect cannot say of them is listed."""

import contextlib
import json

import pytest

from tiffin.dialects import comparing, convert, parse, read
from tiffin.errors import SpecError

SECRET = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hf"}}}
SIDE = {"name": "side", "image": "side:1"}
PROBE = {"exec": {"command": ["true"]}, "periodSeconds": 3}
BEHAVIOR = {"scaleDown": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]}}
PROMETHEUS = {"backend": "prometheus", "serverAddress": "http://p:9090", "query": "sum(q)"}
LOGIN = {"authModes": "basic", "authenticationRef": {"name": "login"}}
VOLUMES = [{"name": "v", "emptyDir": {}}]

KSERVE = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {
        "name": "iris",
        "labels": {"team": "garden"},
        "annotations": {
            "serving.kserve.io/autoscalerClass": "keda",
            "serving.kserve.io/deploymentMode": "Standard",
            "storage.kserve.io/readonly": "false",
        },
    },
    "spec": {
        "predictor": {
            "model": {
                "modelFormat": {"name": "sklearn"},
                "storageUri": "pvc://claim/iris",
                "env": [SECRET, {"name": "A", "value": "1"}],
                "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "4Gi"}},
                "livenessProbe": PROBE,
                "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            },
            "maxReplicas": 4,
            "autoScaling": {
                "metrics": [
                    {
                        "type": "Resource",
                        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
                    },
                    {
                        "type": "External",
                        "external": {
                            "metric": PROMETHEUS,
                            "target": {"type": "Value", "value": "7"},
                            "authenticationRef": LOGIN,
                        },
                    },
                ],
                "behavior": BEHAVIOR,
            },
            "labels": {"team": "model"},
            "annotations": {"own": "yes"},
            "deploymentStrategy": {"type": "Recreate"},
            "serviceAccountName": "reader",
            "tolerations": [{"key": "gpu"}],
            "volumes": VOLUMES,
            "containers": [SIDE],
        },
        "transformer": {
            "containers": [{"name": "mine", "image": "mine:1", "env": [SECRET], "readinessProbe": PROBE}, SIDE],
            "nodeSelector": {"disk": "ssd"},
        },
    },
}

SELDON = {
    "apiVersion": "machinelearning.seldon.io/v1",
    "kind": "SeldonDeployment",
    "metadata": {"name": "iris", "namespace": "default"},
    "spec": {
        "predictors": [
            {
                "name": "main",
                "labels": {"team": "garden"},
                "annotations": {"own": "yes"},
                "progressDeadlineSeconds": 90,
                "graph": {"name": "clf", "type": "MODEL"},
                "componentSpecs": [
                    {
                        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
                        "pdbSpec": {"minAvailable": 1},
                        "hpaSpec": {
                            "minReplicas": 2,
                            "maxReplicas": 5,
                            "metrics": [
                                {"type": "Pods", "pods": {"metricName": "hits", "targetAverageValue": "5"}},
                                {"type": "Resource", "resource": {"name": "cpu", "targetAverageUtilization": 70}},
                            ],
                        },
                        "spec": {
                            "containers": [{"name": "clf", "image": "team/iris:1", "env": [SECRET]}, SIDE],
                            "volumes": VOLUMES,
                            "tolerations": [{"key": "gpu"}],
                        },
                    }
                ],
            }
        ]
    },
}

TIFFIN = {
    "apiVersion": "tiffin.dev/v1",
    "kind": "Deployment",
    "metadata": {"name": "iris"},
    "spec": {
        "container": {"image": "mine:1", "port": 9000},
        "replicas": {"min": 1, "max": 4},
        "scale": {"cpu": "70%", "autoscaler": "hpa", "autoscalerSpec": {"behavior": BEHAVIOR}},
        "pod": {
            "container": "server",
            "labels": {"a": "b"},
            "spec": {
                "containers": [{"name": "server", "env": [SECRET], "livenessProbe": PROBE}, SIDE],
                "volumes": VOLUMES,
            },
            "strategy": {"type": "Recreate"},
            "disruption": {"minAvailable": 1},
            "progressDeadline": "90s",
            "readOnly": False,
        },
    },
}
DIALECTS = {"kserve": KSERVE, "seldon": SELDON, "tiffin": TIFFIN}


def of(text):
    (found,) = parse(text, target="")
    return found


@pytest.mark.parametrize("name", DIALECTS)
def test_what_is_written_in_its_own_dialect_says_the_same(name):
    before = of(json.dumps(DIALECTS[name]))
    written = convert(before, name)
    assert written.losses == ()
    after = of(written.text)
    assert comparing.differences(before, after) == comparing.differences(after, before) == []
    assert convert(after, name) == written


@pytest.mark.parametrize("name", DIALECTS)
def test_tiffins_own_file_says_everything_that_pods_say(name):
    before = of(json.dumps(DIALECTS[name]))
    written = convert(before, "tiffin")
    assert [loss for loss in written.losses if ".pod" in loss] == []
    after = of(written.text)
    assert [one for one in comparing.differences(before, after) if ".pod" in one] == []


@pytest.mark.parametrize(
    ("name", "to", "lost"),
    [
        ("tiffin", "kserve", ["disruption", "progress_deadline_seconds"]),
        ("seldon", "kserve", ["disruption", "progress_deadline_seconds"]),
        ("kserve", "seldon", ["is_read_only", "strategy"]),
    ],
)
def test_what_a_dialect_cannot_say_of_pods_is_listed(name, to, lost):
    losses = convert(of(json.dumps(DIALECTS[name])), to).losses
    of_pods = [loss.partition(":")[0].partition(".predictor.pod.")[2] for loss in losses]
    found = {path.partition(".")[0] for path in of_pods if path}
    assert found == set(lost), losses


@pytest.mark.parametrize("name", DIALECTS)
@pytest.mark.parametrize("to", DIALECTS)
def test_a_reference_to_a_secret_is_written_as_one(name, to):
    written = convert(of(json.dumps(DIALECTS[name])), to)
    assert "secretKeyRef" in written.text
    assert not any("TOKEN" in loss for loss in written.losses)


def test_the_value_of_a_secret_is_not_written_where_it_is_known():
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "tokens"}, "stringData": {"hf": "hidden"}}
    text = "---\n".join(json.dumps(one) + "\n" for one in (KSERVE, secret))
    for to in DIALECTS:
        assert "hidden" not in convert(of(text), to).text


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize(
    "pod",
    [
        {"spec": {"containers": "odd"}},
        {"spec": {"containers": ["odd", 1]}},
        {"spec": {"containers": [{"name": "main", "env": "odd", "ports": [1], "resources": {"limits": 1}}]}},
        {"spec": {"initContainers": [None]}, "disruption": {"minAvailable": {}}},
        {"spec": {"volumes": [{"name": []}, {"name": {}}]}},
    ],
)
def test_odd_pods_are_written_or_refused_and_never_crash(pod, to):
    for source in ({"model": "s3://a/iris.joblib"}, {"container": "mine:1"}):
        document = {**TIFFIN, "spec": {**source, "pod": pod}}
        with contextlib.suppress(SpecError):
            convert(of(json.dumps(document)), to)


def test_the_command_reads_for_no_target(tmp_path):
    file = tmp_path / "iris.json"
    file.write_text(json.dumps(KSERVE))
    (found,) = read(file, target="")
    assert found.components[0].pod.spec["tolerations"] == [{"key": "gpu"}]
