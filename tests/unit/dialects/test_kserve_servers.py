"""What KServe tells the servers it knows, and which of their images it takes."""

import json

import pytest

from tiffin.dialects import parse, read_object, read_resource
from tiffin.spec import ContainerSource

GPU = {"limits": {"nvidia.com/gpu": 1}}


def runtime(name, *, format="own", image="registry/own:1", annotations=None, **container):
    return read_resource(
        {
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ClusterServingRuntime",
            "metadata": {"name": name},
            "spec": {
                "supportedModelFormats": [{"name": format, "version": "1", "autoSelect": True}],
                "protocolVersions": ["v2"],
                "annotations": annotations or {},
                "containers": [{"name": "kserve-container", "image": image, **container}],
            },
        }
    )


def service(format="own", *, annotations=None, **model):
    written = {"modelFormat": {"name": format}, "protocolVersion": "v2", **model}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "annotations": annotations or {}},
        "spec": {"predictor": {"model": written}},
    }


def predictor(document, known):
    (found,) = read_object(document, resources=known).components
    return found


@pytest.mark.parametrize(
    ("name", "image", "model", "found"),
    [
        ("kserve-torchserve", "pytorch/torchserve-kfs:0.9.0", {}, "pytorch/torchserve-kfs:0.9.0"),
        ("kserve-torchserve", "torchserve-kfs:0.9.0", {"resources": GPU}, "torchserve-kfs:0.9.0-gpu"),
        ("kserve-torchserve", "a/b:0.9-gpu", {"resources": GPU}, "a/b:0.9-gpu"),
        ("kserve-torchserve", "a/b:0.9", {"resources": GPU, "runtimeVersion": "1.0"}, "a/b:1.0"),
        ("kserve-torchserve", "a/b@sha256:" + "0" * 64, {"resources": GPU, "runtimeVersion": "1.0"},
         "a/b@sha256:" + "0" * 64),
        ("own", "a/b:1", {"resources": GPU}, "a/b:1"),
        ("kserve-vllmserver", "vllm/vllm-openai:latest", {}, "vllm/vllm-openai-cpu:latest"),
        ("kserve-vllmserver", "vllm/vllm-openai:latest", {"resources": GPU}, "vllm/vllm-openai:latest"),
        ("kserve-huggingfaceserver", "host:5000/hf", {"runtimeVersion": "2"}, "host:5000/hf:2"),
    ],
)  # fmt: skip
def test_the_image_is_the_one_for_the_version_and_the_devices(name, image, model, found):
    part = predictor(service(storageUri="s3://a/b", **model), runtime(name, image=image))
    assert isinstance(part.source, ContainerSource)
    (own,) = part.pod.spec["containers"]
    assert part.source.image == own["image"] == found


def test_an_annotation_says_what_else_is_a_gpu():
    document = service(
        storageUri="s3://a/b",
        annotations={"serving.kserve.io/gpu-resource-types": '["gpu.example.com/one"]'},
        resources={"limits": {"gpu.example.com/one": 1}},
    )
    part = predictor(document, runtime("kserve-torchserve", image="a/b:1"))
    assert part.pod.spec["containers"][0]["image"] == "a/b:1-gpu"


@pytest.mark.parametrize(
    ("name", "annotations"), [("kserve-mlserver", {}), ("team", {"serving.kserve.io/server-type": "mlserver"})]
)
def test_mlserver_hears_the_models_name_its_class_and_where_it_is(name, annotations):
    implementation = {"name": "MLSERVER_MODEL_IMPLEMENTATION", "value": "{{.Labels.modelClass}}"}
    known = runtime(name, format="mlflow", annotations=annotations, env=[implementation])
    part = predictor(service("mlflow", storageUri="s3://a/b", runtime=name), known)
    (own,) = part.pod.spec["containers"]
    told = {one["name"]: one["value"] for one in own["env"]}
    assert told == {
        "MLSERVER_MODEL_IMPLEMENTATION": "mlserver_mlflow.MLflowRuntime",
        "MLSERVER_MODEL_NAME": "iris",
        "MLSERVER_MODEL_URI": "/mnt/models",
        "INFERENCE_SERVICE_NAME": "iris",
    }
    assert part.pod.labels == {"modelClass": "mlserver_mlflow.MLflowRuntime"}
    assert part.environment.items() >= {"MLSERVER_MODEL_NAME": "iris"}.items()


def test_what_the_file_says_counts_before_what_a_server_is_told():
    own = [{"name": "MLSERVER_MODEL_NAME", "value": "mine"}]
    part = predictor(service(storageUri="s3://a/b", env=own), runtime("kserve-mlserver"))
    (container,) = part.pod.spec["containers"]
    assert {"name": "MLSERVER_MODEL_NAME", "value": "mine"} in container["env"]
    assert part.environment["MLSERVER_MODEL_NAME"] == "mine"


def test_servers_without_a_model_are_told_to_wait_for_one():
    (triton,) = predictor(service(), runtime("kserve-tritonserver")).pod.spec["containers"]
    assert triton["args"] == ["--model-control-mode=explicit"]
    (mlserver,) = predictor(service(), runtime("kserve-mlserver")).pod.spec["containers"]
    assert {"name": "MLSERVER_LOAD_MODELS_AT_STARTUP", "value": "false"} in mlserver["env"]


def test_torchserve_is_told_the_protocol():
    part = predictor(service(storageUri="s3://a/b"), runtime("kserve-torchserve"))
    assert part.environment["PROTOCOL_VERSION"] == "v2"
    assert part.pod.labels == {"serviceEnvelope": "kservev2"}


# ---- who scales


def scaled(predictor=None, *, scaler="", mode="Standard", target="kubernetes"):
    annotations = {"serving.kserve.io/deploymentMode": mode}
    if scaler:
        annotations["serving.kserve.io/autoscalerClass"] = scaler
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://a/b"}
    document = service(annotations=annotations)
    document["spec"]["predictor"] = {"model": model, **(predictor or {})}
    if target == "kubernetes":
        return read_object(document)
    (found,) = parse(json.dumps(document), target=target)
    return found


@pytest.mark.parametrize(
    ("predictor", "scaler", "mode", "autoscaler"),
    [
        ({}, "", "Standard", ""),
        ({}, "hpa", "Standard", "hpa"),
        ({}, "keda", "Standard", "keda"),
        ({}, "none", "Standard", "none"),
        ({}, "external", "Standard", "external"),
        ({}, "", "Knative", "knative"),
        ({}, "", "Serverless", "knative"),
        ({"minReplicas": 0}, "", "Standard", ""),
        ({"minReplicas": 0}, "hpa", "Standard", ""),
        ({"minReplicas": 0}, "keda", "Standard", "keda"),
        ({"scaleMetric": "rps"}, "", "Standard", ""),
    ],
)
def test_the_class_and_the_mode_say_who_scales(predictor, scaler, mode, autoscaler):
    found = scaled(predictor, scaler=scaler, mode=mode)
    assert found.components[0].scaling.autoscaler == autoscaler
    told = [warning for warning in found.warnings if "HorizontalPodAutoscaler" in warning.message]
    assert bool(told) is (scaler == "hpa" and autoscaler == "")


BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 60, "policies": [{"type": "Pods", "value": 1}]}}
PROMETHEUS = {
    "type": "External",
    "external": {
        "metric": {"backend": "prometheus", "serverAddress": "http://p:9090", "query": "sum(q)", "namespace": "n"},
        "target": {"type": "Value", "value": "7500m"},
        "authenticationRef": {"authModes": "basic", "authenticationRef": {"name": "login"}},
    },
}
CPU = {
    "type": "Resource",
    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}},
}


def test_an_hpa_gets_the_behavior_as_it_is_written():
    found = scaled({"autoScaling": {"metrics": [CPU], "behavior": BEHAVIOR}})
    assert found.components[0].scaling.autoscaler_spec == {"behavior": BEHAVIOR}
    assert found.warnings == ()
    here = scaled({"autoScaling": {"metrics": [CPU], "behavior": BEHAVIOR}}, target="local")
    assert [warning.path for warning in here.warnings] == [
        "spec.predictor.autoScaling.behavior.scaleDown.policies"
    ]


def test_keda_gets_triggers_for_all_metrics_in_their_order():
    found = scaled({"autoScaling": {"metrics": [CPU, PROMETHEUS], "behavior": BEHAVIOR}}, scaler="keda")
    assert found.warnings == ()
    assert found.components[0].scaling.autoscaler_spec == {
        "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
        "triggers": [
            {"type": "cpu", "metricType": "Utilization", "metadata": {"value": "60"}},
            {
                "type": "prometheus",
                "metadata": {
                    "serverAddress": "http://p:9090",
                    "query": "sum(q)",
                    "threshold": "7.5",
                    "namespace": "n",
                    "authModes": "basic",
                },
                "authenticationRef": {"name": "login"},
            },
        ],
    }


def test_metrics_that_only_keda_knows_are_warned_of_without_it():
    (warning,) = scaled({"autoScaling": {"metrics": [CPU, PROMETHEUS]}}).warnings
    assert "autoscalerClass: keda" in warning.message
    (here,) = scaled({"autoScaling": {"metrics": [CPU, PROMETHEUS]}}, scaler="keda", target="local").warnings
    assert "this machine" in here.message


def test_a_metric_of_pods_is_asked_of_the_scaler_for_opentelemetry():
    metric = {
        "backend": "opentelemetry",
        "metricNames": ["vllm"],
        "query": "vllm_waiting",
        "operationOverTime": "avg",
    }
    podmetric = {"type": "PodMetric", "podmetric": {"metric": metric, "target": {"type": "Value", "value": "4"}}}
    found = scaled({"autoScaling": {"metrics": [podmetric]}}, scaler="keda")
    (trigger,) = found.components[0].scaling.autoscaler_spec["triggers"]
    assert trigger["type"] == "external"
    assert trigger["metadata"] == {
        "scalerAddress": "keda-otel-scaler.keda.svc:4318",
        "metricQuery": 'sum(vllm_waiting{namespace="default", deployment="iris-predictor"})',
        "targetValue": "4",
        "operationOverTime": "avg",
    }
    (warning,) = found.warnings
    assert "collector" in warning.message
