"""What an InferenceService says of its pods arrives on a cluster, and changes nothing on one machine."""

import copy

import pytest

from tiffin.dialects import Resources, parse, read_object, read_resource
from tiffin.dialects.documents import Document
from tiffin.dialects.kserve import deployment as as_read
from tiffin.errors import SpecError
from tiffin.spec import Pod

SECRET = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "hf"}}}
PROBE = {"httpGet": {"path": "/v1/models/iris", "port": 8080}, "periodSeconds": 3}


def service(predictor, *, annotations=None, labels=None, **more):
    metadata = {"name": "iris", "annotations": annotations or {}, "labels": labels or {}}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor, **more},
    }


def model(format="sklearn", **more):
    return {"modelFormat": {"name": format}, "storageUri": "s3://models/iris", **more}


def component(document, name="predictor", **more):
    found = read_object(document, **more)
    return next(one for one in found.components if one.name == name)


def own(part):
    (found,) = (one for one in part.pod.spec["containers"] if one["name"] == part.pod.main)
    return found


def runtime(**spec):
    written = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "own", "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}},
        "spec": {
            "supportedModelFormats": [{"name": "own", "version": "1", "autoSelect": True}],
            "protocolVersions": ["v2"],
            "containers": [{"name": "kserve-container", "image": "registry/own:1"}],
            **spec,
        },
    }
    return read_resource(written)


# ---- a model that Tiffin loads


def test_a_models_pod_has_what_is_written_and_neither_image_nor_arguments():
    written = model(env=[SECRET], livenessProbe=PROBE, image="theirs:1", args=["--nthread=2"], command=["run"],
                    volumeMounts=[{"name": "v", "mountPath": "/v"}])  # fmt: skip
    part = component(service({"model": written, "volumes": [{"name": "v", "emptyDir": {}}]}))
    usual = {"cpu": "1", "memory": "2Gi"}
    assert own(part) == {
        "name": "kserve-container",
        "env": [SECRET],
        "livenessProbe": PROBE,
        "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        "resources": {"requests": usual, "limits": usual},
    }
    assert part.pod.spec["volumes"] == [{"name": "v", "emptyDir": {}}]


def test_the_resources_of_a_runtime_count_where_the_model_says_nothing():
    resources = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "3Gi"}}
    container = {
        "name": "kserve-container",
        "image": "kserve/sklearnserver:9",
        "args": ["--x"],
        "resources": resources,
    }
    known = runtime(supportedModelFormats=[{"name": "sklearn", "autoSelect": True}], protocolVersions=["v1"],
                    containers=[container], nodeSelector={"disk": "ssd"})  # fmt: skip
    written = service({"model": model(resources={"limits": {"memory": "4Gi"}})})
    part = component(written, resources=known)
    expected = {"requests": {"cpu": "2", "memory": "1Gi"}, "limits": {"memory": "4Gi"}}
    assert own(part) == {"name": "kserve-container", "resources": expected}
    assert part.pod.spec["nodeSelector"] == {"disk": "ssd"}


# ---- a runtime somebody wrote


def test_a_runtimes_container_is_merged_with_the_models_and_filled_in():
    container = {
        "name": "kserve-container",
        "image": "registry/own:1",
        "command": ["serve"],
        "args": ["--name={{.Name}}", "--team={{.Labels.team}}", "--none={{.Annotations.none}}"],
        "env": [{"name": "A", "value": "{{.Namespace}}"}, {"name": "B", "value": "1"}],
        "readinessProbe": {"httpGet": {"path": "/{{.Name}}", "port": 8080}},
        "securityContext": {"runAsNonRoot": True},
    }
    known = runtime(containers=[container])
    written = model("own", protocolVersion="v2", runtimeVersion="2.0", args=["--more"],
                    env=[{"name": "B", "valueFrom": SECRET["valueFrom"]}])  # fmt: skip
    part = component(service({"model": written}, labels={"team": "garden"}), resources=known)
    assert own(part) == {
        "name": "kserve-container",
        "image": "registry/own:2.0",
        "command": ["serve"],
        "args": ["--name=iris", "--team=garden", "--none=<no value>", "--more"],
        "env": [
            {"name": "A", "value": "default"},
            {"name": "B", "valueFrom": SECRET["valueFrom"]},
            {"name": "INFERENCE_SERVICE_NAME", "value": "iris"},
        ],
        "readinessProbe": {"httpGet": {"path": "/iris", "port": 8080}},
        "securityContext": {"runAsNonRoot": True},
    }


def test_what_a_model_takes_from_a_runtime_is_filled_in():
    mount = {"name": "v", "mountPath": "/v", "subPath": "{{.Namespace}}/{{.Name}}"}
    container = {"name": "kserve-container", "image": "kserve/sklearnserver:9", "volumeMounts": [mount]}
    known = runtime(
        supportedModelFormats=[{"name": "sklearn", "autoSelect": True}],
        protocolVersions=["v1"],
        containers=[container],
    )
    part = component(service({"model": model()}), resources=known)
    assert own(part)["volumeMounts"] == [mount | {"subPath": "default/iris"}]


def test_the_pods_of_a_runtime_lie_below_those_of_the_predictor():
    side = {"name": "side", "image": "side:1"}
    known = runtime(
        containers=[{"name": "kserve-container", "image": "registry/own:1"}, side],
        volumes=[{"name": "a", "emptyDir": {}}, {"name": "b", "emptyDir": {}}],
        nodeSelector={"disk": "ssd", "zone": "a"},
        tolerations=[{"key": "runtime"}],
        imagePullSecrets=[{"name": "one"}],
    )
    predictor = {
        "model": model("own", protocolVersion="v2"),
        "volumes": [{"name": "b", "configMap": {"name": "c"}}],
        "nodeSelector": {"zone": "b"},
        "tolerations": [{"key": "own"}],
        "imagePullSecrets": [{"name": "two"}],
        "serviceAccountName": "reader",
        "containers": [{"name": "more", "image": "more:1"}],
        "initContainers": [{"name": "first", "image": "first:1"}],
    }
    spec = component(service(predictor), resources=known).pod.spec
    assert spec["volumes"] == [{"name": "a", "emptyDir": {}}, {"name": "b", "configMap": {"name": "c"}}]
    assert spec["nodeSelector"] == {"disk": "ssd", "zone": "b"}
    assert spec["tolerations"] == [{"key": "own"}]
    assert spec["imagePullSecrets"] == [{"name": "one"}, {"name": "two"}]
    assert spec["serviceAccountName"] == "reader"
    assert spec["initContainers"] == [{"name": "first", "image": "first:1"}]
    assert [one["name"] for one in spec["containers"]] == ["kserve-container", "side", "more"]
    for one in spec["containers"]:
        assert {"name": "INFERENCE_SERVICE_NAME", "value": "iris"} in one["env"]


def test_labels_of_the_component_count_before_the_services_and_these_before_the_runtimes():
    known = runtime(labels={"a": "runtime", "b": "runtime", "c": "runtime"},
                    annotations={"a": "runtime", "b": "runtime", "c": "runtime"})  # fmt: skip
    predictor = {"model": model("own", protocolVersion="v2"), "labels": {"a": "own"}, "annotations": {"a": "own"}}
    both = {"a": "service", "b": "service"}
    kept_out = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "autoscaling.knative.dev/min-scale": "1",
        "modelFormat": "own",
    }
    pod = component(service(predictor, labels=both, annotations=both | kept_out), resources=known).pod
    assert pod.labels == {"a": "own", "b": "service", "c": "runtime"}
    assert pod.annotations == {
        "a": "own", "b": "service", "c": "runtime", "serving.kserve.io/deploymentMode": "Standard",
    }  # fmt: skip


# ---- containers


def test_a_container_is_kept_with_its_references_and_gets_the_usual_resources():
    container = {"name": "mine", "image": "mine:1", "env": [SECRET, {"name": "STORAGE_URI", "value": "s3://a/b"}],
                 "envFrom": [{"configMapRef": {"name": "c"}}], "readinessProbe": PROBE}  # fmt: skip
    part = component(service({"containers": [container]}))
    usual = {"cpu": "1", "memory": "2Gi"}
    assert own(part) == {
        "name": "kserve-container",
        "image": "mine:1",
        "env": [
            SECRET,
            {"name": "STORAGE_URI", "value": "/mnt/models"},
            {"name": "INFERENCE_SERVICE_NAME", "value": "iris"},
        ],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "readinessProbe": PROBE,
        "resources": {"requests": usual, "limits": usual},
    }
    assert "TOKEN" not in part.environment


def test_a_transformer_gets_kserves_arguments_and_the_predictors_address_from_the_target():
    containers = [{"name": "mine", "image": "mine:1", "args": ["--predictor_host", "iris-predictor.default"]}]
    document = service({"model": model()}, transformer={"containers": containers, "nodeSelector": {"a": "b"}})
    part = component(document, "transformer")
    assert own(part)["args"] == [
        "--predictor_host", "$(PREDICTOR_HOST)", "--model_name", "iris", "--http_port", "8080",
    ]  # fmt: skip
    assert part.pod.spec["nodeSelector"] == {"a": "b"}


def test_a_collocated_transformer_has_pods_of_its_own_like_the_predictors():
    containers = [{"name": "transformer-container", "image": "mine:1"}, {"name": "side", "image": "side:1"}]
    document = service({"model": model(), "containers": containers, "nodeSelector": {"a": "b"}})
    part = component(document, "transformer")
    assert [one["name"] for one in part.pod.spec["containers"]] == ["kserve-container"]
    assert own(part)["image"] == "mine:1"
    assert part.pod.spec["nodeSelector"] == {"a": "b"}
    assert [one["name"] for one in component(document).pod.spec["containers"]] == ["kserve-container", "side"]
    (warning,) = read_object(document).warnings
    assert "pods of its own" in warning.message


def test_a_canary_has_pods_with_what_differs():
    predictor = {"model": model(env=[{"name": "A", "value": "1"}]), "nodeSelector": {"zone": "a", "disk": "ssd"}}
    overlay = {"name": "new", "model": model(storageUri="s3://models/new"), "nodeSelector": {"zone": "b"}}
    document = service(predictor, canary=[{"trafficPercent": 10, "predictor": overlay}])
    (variant,) = read_object(document).variants
    (part,) = variant.components
    assert part.pod.spec["nodeSelector"] == {"zone": "b", "disk": "ssd"}
    assert own(part)["env"] == [{"name": "A", "value": "1"}]


# ---- annotations


@pytest.mark.parametrize(("value", "is_read_only"), [("true", True), ("false", False), (None, True)])
def test_the_models_files_are_writable_when_an_annotation_says_so(value, is_read_only):
    annotations = {} if value is None else {"storage.kserve.io/readonly": value}
    part = component(service({"model": model()}, annotations=annotations))
    assert part.pod.is_read_only is is_read_only


def test_annotations_choose_nodes_and_let_prometheus_look():
    annotations = {
        "serving.kserve.io/gke-accelerator": "nvidia-l4",
        "serving.kserve.io/enable-prometheus-scraping": "true",
        "prometheus.kserve.io/port": "9000",
    }
    found = read_object(service({"model": model()}, annotations=annotations))
    pod = found.components[0].pod
    assert pod.spec["nodeSelector"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
    assert pod.annotations.items() >= {
        "prometheus.io/scrape": "true", "prometheus.io/port": "9000", "prometheus.io/path": "/metrics",
    }.items()  # fmt: skip
    assert found.warnings == ()


def test_a_strategy_is_the_deployments():
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}
    assert component(service({"model": model(), "deploymentStrategy": strategy})).pod.strategy == strategy
    with pytest.raises(SpecError, match="deploymentStrategy: expected a mapping"):
        component(service({"model": model(), "deploymentStrategy": "all"}))


# ---- one machine


FULL = service(
    {
        "model": model(env=[SECRET], livenessProbe=PROBE, resources={"limits": {"cpu": "2"}}),
        "tolerations": [{"key": "a"}],
        "labels": {"a": "b"},
        "annotations": {"c": "d"},
        "deploymentStrategy": {"type": "Recreate"},
    },
    annotations={"serving.kserve.io/autoscalerClass": "keda", "storage.kserve.io/readonly": "false"},
)


def on_machine(document):
    import json

    (found,) = parse(json.dumps(document))
    return found


def test_one_machine_warns_of_everything_that_only_pods_know_and_keeps_none_of_it():
    found = on_machine(FULL)
    assert found.components[0].pod == Pod()
    assert found.components[0].scaling.autoscaler == ""
    assert {warning.path for warning in found.warnings} == {
        'metadata.annotations["storage.kserve.io/readonly"]',
        "spec.predictor.model.env[0].valueFrom",
        "spec.predictor.model.livenessProbe",
        "spec.predictor.tolerations",
        "spec.predictor.labels",
        "spec.predictor.annotations.c",
        "spec.predictor.deploymentStrategy",
    }
    assert all("this machine" in warning.message for warning in found.warnings)


def test_a_cluster_honours_all_of_it_and_warns_of_nothing():
    found = read_object(FULL)
    assert found.warnings == ()
    assert found.components[0].scaling.autoscaler == "keda"


@pytest.mark.parametrize(
    ("predictor", "message"),
    [
        ({"model": model(storageUri="pvc://claim/path")}, "pvc:// belongs to a later version of Tiffin"),
        ({"model": model(), "containers": [{"name": "side", "image": "x"}]}, "further containers beside a model"),
    ],
)
def test_what_one_machine_cannot_do_is_refused_there_and_nowhere_else(predictor, message):
    with pytest.raises(SpecError) as refused:
        on_machine(service(predictor))
    assert message in refused.value.message
    assert read_object(service(predictor)).warnings == ()


# ---- live objects


def test_what_the_api_server_adds_is_accepted_and_what_a_newer_one_knows_is_warned_of():
    document = service({"model": model(), "futureKnob": {"a": 1}})
    document["metadata"] |= {"uid": "u", "resourceVersion": "7", "generation": 2, "managedFields": [{}],
                             "creationTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x"]}  # fmt: skip
    document["status"] = {"conditions": []}
    (warning,) = read_object(document).warnings
    assert warning.path == "spec.predictor.futureKnob"
    assert "not known to this version" in warning.message


def test_a_slip_of_the_pen_is_refused_on_a_cluster_too():
    with pytest.raises(SpecError, match='did you mean "minReplicas"'):
        read_object(service({"model": model(), "minReplcas": 2}))


@pytest.mark.parametrize(("default", "autoscaler", "most"), [("Standard", "", None), ("Knative", "knative", 0)])
def test_a_service_that_names_no_mode_has_the_clusters(default, autoscaler, most):
    scaling = component(service({"model": model()}), default_mode=default).scaling
    assert (scaling.autoscaler, scaling.max_replicas) == (autoscaler, most)


def test_reading_leaves_the_object_as_it_was():
    document = copy.deepcopy(FULL)
    read_object(document)
    assert document == FULL


def test_a_kind_that_nobody_reads_is_named():
    with pytest.raises(SpecError, match="v1 Pod is not a kind"):
        read_object({"apiVersion": "v1", "kind": "Pod"})
    with pytest.raises(SpecError, match="v1 Pod is not a kind"):
        read_resource({"apiVersion": "v1", "kind": "Pod"})


def test_a_file_that_is_read_for_no_target_yet_says_everything():
    found = as_read(Document(value=FULL), target="")
    assert {warning.target for warning in found.warnings} == {"local"}
    assert found.components[0].pod.strategy == {"type": "Recreate"}
    assert found.components[0].scaling.autoscaler == "keda"


def test_values_of_secrets_are_not_looked_up_for_a_cluster():
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "tokens"},
        "stringData": {"hf": "very-secret"},
    }
    found = read_object(FULL, resources=read_resource(secret) | Resources())
    assert "very-secret" not in repr(found)
