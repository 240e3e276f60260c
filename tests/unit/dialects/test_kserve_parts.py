"""Transformers, explainers, canaries, scaling and credentials of an InferenceService."""

import json
from pathlib import Path

import pytest

from tiffin.dialects import Resources, convert, gather, parse, read
from tiffin.errors import SpecError
from tiffin.spec import Artefact, ContainerSource, Logger, Measure, ModelSource, Scaling, Stabilization, Windows

SAMPLES = Path(__file__).parent / "samples"
MODEL = {"model": {"modelFormat": {"name": "sklearn"}, "storageUri": "s3://m/iris"}}


def isvc(predictor: dict, annotations: dict | None = None, **spec) -> str:
    return json.dumps(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris", "annotations": annotations or {}},
            "spec": {"predictor": predictor, **spec},
        }
    )


def one(text: str, resources: Resources | None = None):
    (found,) = parse(text, file="isvc.yaml", base="/base", resources=resources)
    return found


def refusal(text: str, resources: Resources | None = None) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, file="isvc.yaml", resources=resources)
    return caught.value


# ---- containers


def test_a_custom_predictor_a_transformer_and_an_explainer_are_three_components():
    (found,) = read(SAMPLES / "kserve_transformer.yaml")
    predictor, transformer, explainer = found.components
    assert (found.entry, found.protocol) == ("transformer", "open-inference")
    assert [component.calls for component in found.components] == ["", "predictor", "predictor"]

    assert isinstance(predictor.source, ContainerSource)
    assert predictor.source.command == ("python", "-m", "model")
    assert predictor.source.arguments == ("--model_name=custom-model", "--workers", "2")
    assert (predictor.source.port, predictor.source.ready_path) == (9001, "/v2/health/ready")
    mounted = Artefact(uri="s3://models/custom", base=str(SAMPLES))
    assert predictor.source.mounts == {"/mnt/models": mounted}
    assert predictor.environment["STORAGE_URI"] == "/mnt/models"
    assert predictor.environment["INFERENCE_SERVICE_NAME"] == "torchserve-transformer"
    assert predictor.resources.memory_limit_bytes == 512 * 2**20

    assert transformer.source.arguments == (
        "--model_name", "mnist", "--predictor_host=$(PREDICTOR_HOST)", "--http_port", "8080", "--workers", "4",
    )  # fmt: skip
    assert (transformer.scaling.min_replicas, transformer.scaling.max_replicas) == (0, 3)
    assert (transformer.timeout_seconds, transformer.max_concurrency) == (20.0, 4)

    assert explainer.source.image == "kserve/art-explainer:v0.13.0"
    assert explainer.source.arguments == (
        "--model_name", "torchserve-transformer", "--predictor_host", "$(PREDICTOR_HOST)", "--http_port", "8080",
        "--storage_uri", "/mnt/models", "--adversary_type", "SquareAttack", "--eps", "0.3", "--nb_classes", "10",
    )  # fmt: skip
    assert explainer.source.mounts["/mnt/models"].uri == "s3://models/art"


def test_a_transformer_among_the_predictors_containers_is_a_component_of_its_own():
    (found,) = read(SAMPLES / "kserve_collocated.yaml")
    predictor, transformer = found.components
    assert isinstance(predictor.source, ModelSource)
    assert transformer.calls == "predictor"
    assert transformer.source.port == 8090
    assert "--predictor_host=$(PREDICTOR_HOST)" in transformer.source.arguments


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("iris-predictor", "$(PREDICTOR_HOST)"),
        ("iris-predictor.default:80", "$(PREDICTOR_HOST)"),
        ("iris-predictor.default.svc.cluster.local", "$(PREDICTOR_HOST)"),
        ("127.0.0.1:8080", "$(PREDICTOR_HOST)"),
        ("other-predictor.default", "other-predictor.default"),
        ("models.example.com:8080", "models.example.com:8080"),
    ],
)
def test_a_predictor_named_as_in_a_cluster_is_found_and_any_other_stays(host, expected):
    container = {"name": "t", "image": "x", "args": ["--predictor_host", host]}
    found = one(isvc(MODEL, transformer={"containers": [container]}))
    assert found.components[1].source.arguments[:2] == ("--predictor_host", expected)


@pytest.mark.parametrize(
    ("containers", "image"),
    [
        ([{"image": "x"}], "x"),
        ([{"name": "any", "image": "x"}], "x"),
        ([{"name": "kserve-container", "image": "x"}], "x"),
    ],
)
def test_the_only_container_is_the_predictor_whatever_its_name(containers, image):
    found = one(isvc({"containers": containers}))
    assert found.components[0].source.image == image
    assert found.protocol == "kserve-v1"


def test_several_artefacts_are_mounted_where_they_are_wanted():
    uris = [{"uri": "s3://a", "mountPath": "/mnt/a"}, {"uri": "/b", "mountPath": "/mnt/b"}, {"uri": "c"}]
    found = one(isvc({"containers": [{"image": "x"}], "storageUris": uris}))
    assert {path: artefact.uri for path, artefact in found.components[0].source.mounts.items()} == {
        "/mnt/a": "s3://a",
        "/mnt/b": "/b",
        "/mnt/models": "c",
    }


def test_two_transformers_are_one_too_many():
    predictor = MODEL | {"containers": [{"name": "transformer-container", "image": "x"}]}
    error = refusal(isvc(predictor, transformer={"containers": [{"image": "y"}]}))
    assert (error.at, "transformer-container already" in error.message) == ("spec.transformer", True)


# ---- canaries


def test_canaries_are_variants_with_what_differs_from_the_stable_predictor():
    (found,) = read(SAMPLES / "kserve_canary.yaml")
    assert (found.variant, found.main.weight) == ("v1", 75.0)
    second, third = found.variants
    assert (second.name, second.weight, third.name, third.weight) == ("v2", 20.0, "v3", 5.0)
    (stable,), (two,), (three,) = found.components, second.components, third.components
    assert [each.source.artefact.uri for each in (stable, two, three)] == [
        "s3://models/iris/1.0",
        "s3://models/iris/1.3",
        "s3://models/iris/1.4",
    ]
    assert {each.source.method for each in (stable, two, three)} == {
        "predict_proba"
    }  # the environment is inherited
    assert (two.timeout_seconds, stable.timeout_seconds, two.resources.cpu) == (5.0, None, 0.1)
    assert (two.source.format_version, three.source.format_version) == ("1", "")
    assert (two.replicas, three.replicas) == (1, 2)  # 20 % of three replicas, rounded up; and as written


STANDARD = {"serving.kserve.io/deploymentMode": "Standard"}


def canary(percent=10, **predictor) -> dict:
    return {"trafficPercent": percent, "predictor": {"name": "b", **MODEL} | predictor}


@pytest.mark.parametrize(
    ("canaries", "at", "message"),
    [
        ([canary(name=None)], "spec.canary[0].predictor.name", "canary[0] predictor.name is required"),
        ([canary(), canary()], "spec.canary[1].predictor.name", 'canary predictor.name "b" is duplicated'),
        ([canary(name="a")], "spec.canary[0].predictor.name", '"a" conflicts with stable predictor name'),
        ([canary(101)], "spec.canary[0].trafficPercent", "must be between 0 and 100, got 101"),
        (
            [canary(60), canary(50, name="c")],
            "spec.canary",
            "sum of canary trafficPercent values (110) must be <= 100",
        ),
        ([canary(maxReplicas=2)], "spec.canary[0].predictor.maxReplicas", "(canary uses fixed replicas)"),
        ([canary(scaleMetric="cpu")], "spec.canary[0].predictor.scaleMetric", "must not set scaleMetric"),
        ([canary(workerSpec={"a": 1})], "spec.canary[0].predictor.workerSpec", "multi-node is not yet supported"),
        (
            [canary(minReplicas=3)],
            "spec.canary[0].predictor.minReplicas",
            'canary "b" minReplicas (3) must not exceed stable predictor minReplicas (1)',
        ),
        ([canary(model=None)], "spec.canary[0].predictor", "exactly one of"),
    ],
)
def test_canaries_kserve_refuses_are_refused_with_its_words(canaries, at, message):
    error = refusal(isvc({"name": "a", **MODEL}, STANDARD, canary=canaries))
    assert (error.at, message in error.message) == (at, True), str(error)


def test_canaries_are_for_the_standard_mode_and_for_models():
    error = refusal(isvc(MODEL, {"serving.kserve.io/deploymentMode": "Knative"}, canary=[canary()]))
    assert error.message == "canary is only supported in Standard deployment mode"
    error = refusal(isvc({"containers": [{"image": "x"}]}, STANDARD, canary=[canary()]))
    assert "canary requires a stable predictor with a model" in error.message


# ---- scaling


def test_knatives_annotations_are_honoured():
    flowers, busy = read(SAMPLES / "kserve_autoscaling.yaml")
    (component,) = flowers.components
    assert component.scaling == Scaling(
        min_replicas=0,
        max_replicas=0,
        measures=(Measure(metric="rps", target=100.0),),
        windows=Windows(
            stable_seconds=90.0,
            panic_percent=20.0,
            panic_threshold_percent=150.0,
            utilization_percent=80.0,
            burst_capacity=-1.0,
            scale_down_delay_seconds=900.0,
            zero_retention_seconds=65.0,
            initial_scale=2,
            activation_scale=3,
        ),
    )
    (warning,) = flowers.warnings
    assert warning.path == 'metadata.annotations["autoscaling.knative.dev/target-burst-capacity"]'
    assert "has no effect on this machine" in warning.message
    assert (flowers.canary_percent, flowers.stopped) == (10.0, False)
    assert component.logger == Logger(
        url="http://broker.default.svc.cluster.local", mode="request", metadata_headers=("x-tenant",)
    )
    assert flowers.annotations["serving.kserve.io/deploymentMode"] == "Knative"
    assert not any(host.endswith("example.com") for route in flowers.routes for host in route.hosts)
    assert busy.components[0].scaling == Scaling(
        min_replicas=1,
        max_replicas=4,
        measures=(
            Measure(metric="cpu", target=60.0),
            Measure(metric="memory", target=512.0 * 2**20, is_value=True),
        ),
        stabilization=Stabilization(up_seconds=10.0, down_seconds=60.0),
    )


@pytest.mark.parametrize(
    ("annotations", "predictor", "most", "metric"),
    [
        ({}, {}, 0, "concurrency"),
        ({"serving.kserve.io/deploymentMode": "Knative"}, {}, 0, "concurrency"),
        (STANDARD, {}, None, "cpu"),
        (STANDARD, {"maxReplicas": 3}, 3, "cpu"),
        (STANDARD | {"serving.kserve.io/autoscalerClass": "none"}, {"maxReplicas": 3}, None, "cpu"),
        ({"autoscaling.knative.dev/class": "hpa.autoscaling.knative.dev"}, {}, None, "cpu"),
        ({"autoscaling.knative.dev/max-scale": "5"}, {}, 5, "concurrency"),
        ({"autoscaling.knative.dev/maxScale": "5"}, {"maxReplicas": 2}, 2, "concurrency"),
    ],
)
def test_how_far_and_by_what_a_service_scales_depends_on_its_mode(annotations, predictor, most, metric):
    scaling = one(isvc(MODEL | predictor, annotations)).components[0].scaling
    assert (scaling.max_replicas, scaling.measures[0].metric) == (most, metric)


KNATIVE = {"serving.kserve.io/deploymentMode": "Knative"}
HPA = STANDARD | {"serving.kserve.io/autoscalerClass": "hpa"}


@pytest.mark.parametrize(
    ("annotations", "predictor", "at", "message"),
    [
        (KNATIVE, {"scaleMetric": "cpu"}, "scaleMetric", "[cpu] is not a supported metric"),
        (KNATIVE, {"deploymentStrategy": {"type": "Recreate"}}, "deploymentStrategy", "only supported for raw"),
        (HPA, {"scaleMetric": "rps"}, "scaleMetric", "[rps] is not a supported metric"),
        (
            HPA,
            {"scaleTarget": 101},
            "scaleTarget",
            "the target utilization percentage should be a [1-100] integer",
        ),
        (HPA, {"scaleMetric": "memory", "scaleTarget": 0}, "scaleTarget", "greater than 1 MiB"),
        (
            STANDARD | {"serving.kserve.io/autoscalerClass": "keda"},
            {"scaleMetric": "cpu"},
            "scaleMetric",
            "ScaleMetric is not supported for KEDA",
        ),
        (
            {},
            {"scaleMetric": "rps", "scaleTarget": 0},
            "scaleTarget",
            "the target for rps should be greater than 1",
        ),
        ({}, {"scaleMetric": "latency"}, "scaleMetric", "expected"),
        ({}, {"autoScaling": {"metrics": [{"type": "Pods"}]}}, "autoScaling.metrics[0].type", "[Pods]"),
        ({}, {"autoScaling": {"metrics": [{"type": "Resource"}]}}, "autoScaling.metrics[0].resource", "not set"),
        (
            {},
            {"autoScaling": {"metrics": [{"type": "Resource", "resource": {"name": "disk"}}]}},
            "autoScaling.metrics[0].resource.name",
            "resource type disk is not supported",
        ),
    ],
)
def test_scaling_kserve_refuses_is_refused_with_its_words(annotations, predictor, at, message):
    error = refusal(isvc(MODEL | predictor, annotations))
    assert (error.at, message in error.message) == (f"spec.predictor.{at}", True), str(error)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("window", "5s"),
        ("window", "90"),
        ("window", "2h"),
        ("target", "0"),
        ("target", "many"),
        ("metric", "latency"),
        ("min-scale", "1.5"),
        ("min-scale", "-1"),
        ("panic-window-percentage", "0"),
        ("panic-threshold-percentage", "100"),
        ("target-burst-capacity", "-2"),
        ("target-utilization-percentage", "101"),
        ("activation-scale", "0"),
    ],
)
def test_an_annotation_beyond_knatives_bounds_is_refused_by_its_path(name, value):
    key = f"autoscaling.knative.dev/{name}"
    assert refusal(isvc(MODEL, {key: value})).at == f'metadata.annotations["{key}"]'


def test_a_metric_of_another_system_and_an_unknown_annotation_are_listed():
    external = {"type": "External", "external": {"metric": {"backend": "prometheus", "query": "up"}}}
    found = one(
        isvc(
            MODEL | {"autoScaling": {"metrics": [external]}, "annotations": {"other": "x"}},
            {"autoscaling.knative.dev/colour": "red"},
        )
    )
    assert [warning.path for warning in found.warnings] == [
        'metadata.annotations["autoscaling.knative.dev/colour"]',
        "spec.predictor.annotations.other",
        "spec.predictor.autoScaling.metrics[0].external",
    ]


@pytest.mark.parametrize(("written", "stopped"), [("true", True), ("True", True), ("false", False), ("", False)])
def test_stop_keeps_the_deployment_with_nothing_running(written, stopped):
    assert one(isvc(MODEL, {"serving.kserve.io/stop": written})).stopped is stopped


# ---- credentials


def test_storage_names_the_address_and_the_keys():
    by_storage, by_account = read(SAMPLES / "kserve_storage.yaml")
    source = by_storage.components[0].source
    assert source.artefact.uri == "s3://example-models/sklearn/model.joblib"
    assert source.credentials == {
        "AWS_ENDPOINT_URL": "http://minio:9000",
        "AWS_ACCESS_KEY_ID": "minio",
        "AWS_SECRET_ACCESS_KEY": "minio123",
        "AWS_DEFAULT_REGION": "us-south",
        "awsAnonymousCredential": "False",
    }
    assert by_account.components[0].source.credentials == {
        "AWS_ACCESS_KEY_ID": "AKIA",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "S3_USE_HTTPS": "0",
        "S3_ENDPOINT": "s3.example.com",
        "AWS_ENDPOINT_URL": "http://s3.example.com",
        "S3_VERIFY_SSL": "0",
        "AWS_DEFAULT_REGION": "us-east-2",
    }
    assert by_storage.warnings == by_account.warnings == ()


def secrets(data: dict, annotations=None, *, account=None, config=None) -> Resources:
    """A secret ``s``, the default service account that has it, and KServe's config map."""

    def named(kind: str, name: str, notes: dict | None, **rest) -> dict:
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "annotations": notes or {}}, **rest}

    documents = [
        named("Secret", "s", annotations, stringData=data),
        named("ServiceAccount", "default", account, secrets=[{"name": "s"}]),
    ]
    if config is not None:
        metadata = {"name": "inferenceservice-config", "namespace": "kserve"}
        data = {"credentials": json.dumps(config)}
        documents.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data})
    return gather("\n---\n".join(json.dumps(document) for document in documents))


AWS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (AWS, AWS),
        ({"awsAccessKeyID": "id", "awsSecretAccessKey": "key"}, AWS),
        ({"gcloud-application-credentials.json": "{}"}, {"GOOGLE_APPLICATION_CREDENTIALS": "{}"}),
        (
            {"AZ_CLIENT_ID": "a", "AZ_CLIENT_SECRET": "b", "AZ_TENANT_ID": "c"},
            {"AZURE_CLIENT_ID": "a", "AZURE_CLIENT_SECRET": "b", "AZURE_TENANT_ID": "c"},
        ),
        ({"AZURE_STORAGE_ACCESS_KEY": "k"}, {"AZURE_STORAGE_ACCESS_KEY": "k"}),
        (
            {"https-host": "example.com", "headers": "A: b\nC: d:e\n"},
            {"example.com-headers": '{"A": "b", "C": "d:e"}'},
        ),
        ({"https-host": "example.com", "headers": '{"A": "b"}'}, {"example.com-headers": '{"A": "b"}'}),
        ({"HF_TOKEN": "t"}, {"HF_TOKEN": "t"}),
        (AWS | {"HF_TOKEN": "t"}, AWS),  # the first kind that is recognised counts
        ({"OTHER": "x"}, {}),
    ],
)
def test_the_kind_of_a_secret_is_seen_by_its_keys(data, expected):
    assert one(isvc(MODEL), secrets(data)).components[0].source.credentials == expected


@pytest.mark.parametrize(
    ("annotation", "data", "config", "region"),
    [("a", "b", "c", "a"), ("", "b", "c", "b"), ("", "", "c", "c"), ("", "", "", None)],
)
def test_an_annotation_counts_before_the_secret_and_that_before_the_config(annotation, data, config, region):
    resources = secrets(
        AWS | ({"AWS_DEFAULT_REGION": data} if data else {}),
        {"serving.kserve.io/s3-region": annotation} if annotation else {},
        config={"s3": {"s3Region": config}},
    )
    assert one(isvc(MODEL), resources).components[0].source.credentials.get("AWS_DEFAULT_REGION") == region


def test_the_annotation_of_the_service_names_the_only_secret():
    resources = secrets(AWS) | gather(
        "apiVersion: v1\nkind: Secret\nmetadata: {name: other}\nstringData: {HF_TOKEN: t}"
    )
    found = one(isvc(MODEL, {"serving.kserve.io/storageSecretName": "other"}), resources)
    assert found.components[0].source.credentials == {"HF_TOKEN": "t"}


def test_a_secret_that_is_not_there_is_refused_and_an_unknown_account_is_listed():
    error = refusal(isvc(MODEL, {"serving.kserve.io/storageSecretName": "none"}), secrets(AWS))
    assert '"none" that holds credentials is not there' in error.message
    found = one(isvc(MODEL | {"serviceAccountName": "nobody"}), secrets(AWS))
    assert [warning.path for warning in found.warnings] == ["spec.predictor.serviceAccountName"]
    assert found.components[0].source.credentials == {}


def test_an_account_with_a_role_brings_its_settings():
    account = {"eks.amazonaws.com/role-arn": "arn", "serving.kserve.io/s3-endpoint": "s3.x.org"}
    found = one(isvc(MODEL), secrets({"OTHER": "x"}, account=account))
    assert found.components[0].source.credentials == {
        "S3_ENDPOINT": "s3.x.org",
        "AWS_ENDPOINT_URL": "https://s3.x.org",
    }


def test_a_storage_key_that_the_secret_does_not_have_is_refused_with_kserves_words():
    resources = gather("apiVersion: v1\nkind: Secret\nmetadata: {name: storage-config}\nstringData: {a: '[]'}")
    model = {"modelFormat": {"name": "sklearn"}}
    error = refusal(isvc({"model": model | {"storage": {"key": "b", "path": "x"}}}), resources)
    assert error.message == "specified storage key b not found in storage secret storage-config"
    error = refusal(isvc({"model": model | {"storage": {"key": "a", "path": "x"}}}), resources)
    assert "invalid json encountered in key a" in error.message


def test_no_message_shows_what_a_secret_holds():
    entry = json.dumps({"type": "ftp", "secret_access_key": "topsecret"})
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "storage-config"},
        "stringData": {"a": entry},
    }
    resources = gather(json.dumps(document))
    error = refusal(isvc({"model": {"modelFormat": {"name": "sklearn"}, "storage": {"key": "a"}}}), resources)
    assert "storage type [ftp] is not supported" in error.message
    assert "topsecret" not in str(error) + (error.hint or "") + repr(resources.secrets[0])


def test_a_variable_of_a_container_may_come_from_a_secret():
    variable = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "HF_TOKEN"}}}
    found = one(isvc({"containers": [{"image": "x", "env": [variable]}]}), secrets({"HF_TOKEN": "t"}))
    assert found.components[0].environment["TOKEN"] == "t"
    assert found.components[0].secret_variables == ("TOKEN",)
    assert found.warnings == ()


def test_what_came_from_a_secret_is_written_to_no_file():
    token = {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "HF_TOKEN"}}}
    made = {"name": "URL", "value": "http://u:$(TOKEN)@h"}
    found = one(isvc({"containers": [{"image": "x", "env": [token, made]}]}), secrets({"HF_TOKEN": "tsecret"}))
    assert found.components[0].environment["URL"] == "http://u:tsecret@h"
    for to in ("kserve", "tiffin"):
        converted = convert(found, to)
        assert "tsecret" not in converted.text + "".join(converted.losses)
        assert [loss for loss in converted.losses if "came from a secret" in loss] == [
            f"components.predictor.environment.{name}: came from a secret, and is not written"
            for name in ("TOKEN", "URL")
        ]


def test_a_model_of_the_local_store_is_named_by_its_tag():
    model = {"modelFormat": {"name": "sklearn"}, "storageUri": "model://iris:v1"}
    (component,) = one(isvc({"model": model})).components
    assert component.source.artefact.uri == "model://iris:v1"
