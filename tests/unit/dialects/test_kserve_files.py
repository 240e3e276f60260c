import json
from pathlib import Path

import pytest

from tiffin.dialects import parse, read
from tiffin.dialects.runtimes import RUNTIMES
from tiffin.errors import SpecError
from tiffin.spec import Batching, Logger, Measure, Resources

SAMPLES = Path(__file__).parent / "samples"


def isvc(predictor: dict, **changes) -> str:
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", **changes.pop("metadata", {})},
        "spec": {"predictor": predictor, **changes},
    }
    return json.dumps(document)


def model(format: str = "sklearn", **fields) -> dict:
    version = fields.pop("version", None)
    described = {"name": format} | ({"version": version} if version else {})
    return {"model": {"modelFormat": described, "storageUri": "/m", **fields}}


def one(text: str):
    (found,) = parse(text, file="isvc.yaml", base="/base")
    return found


def refusal(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, file="isvc.yaml", base="/base")
    return caught.value


def test_the_file_of_the_getting_started_guide_becomes_a_deployment():
    (found,) = read(SAMPLES / "kserve.yaml")
    (component,) = found.components
    assert (found.key, found.protocol, found.derived_name, found.warnings) == (
        "default/iris",
        "open-inference",
        False,
        (),
    )
    assert component.source.artefact.uri == "file:///models/iris"
    assert component.source.artefact.base == str(SAMPLES)
    assert (component.source.format, component.source.method, component.replicas) == ("sklearn", "predict", 1)


def test_every_honoured_field_arrives():
    (found,) = read(SAMPLES / "kserve_full.yaml")
    (component,) = found.components
    assert found.key == "lending/credit-risk"
    assert found.labels == {"team": "risk"}
    assert found.annotations["sidecar.istio.io/inject"] == "true"
    assert (component.replicas, component.scaling.max_replicas, component.workers) == (2, 4, 2)
    assert (component.timeout_seconds, component.max_concurrency) == (30.0, 10)
    assert component.resources == Resources(cpu=0.5, memory_bytes=2**30, memory_limit_bytes=2**30, gpu=1.0)
    assert component.batching == Batching(enabled=True, max_rows=64)
    assert component.environment == {"PREDICT_PROBA": "true", "OMP_NUM_THREADS": "1", "GREETING": "1 thread"}
    assert component.source.method == "predict_proba"
    assert component.source.format_version == "1"
    assert (found.variant, found.canary_percent) == ("risk", 20.0)
    assert component.logger == Logger(url="http://message-dumper.default/")
    assert component.scaling.measures == (Measure(metric="cpu", target=70.0),)


def test_every_field_that_is_not_honoured_is_listed():
    (found,) = read(SAMPLES / "kserve_full.yaml")
    predictor = {warning.path.removeprefix("spec.predictor.") for warning in found.warnings}
    assert predictor == {
        "batcher.maxLatency",
        "model.args[1]",
        "model.env[3].valueFrom",
        "model.ports",
        "model.readinessProbe",
        "model.resources.limits.cpu",
        "model.resources.limits.ephemeral-storage",
        "model.runtimeVersion",
        "nodeSelector",
        "serviceAccountName",
        "tolerations",
    }


@pytest.mark.parametrize(
    ("predictor", "protocol"),
    [
        (model(), "kserve-v1"),
        (model(protocolVersion="v1"), "kserve-v1"),
        (model(protocolVersion="v2"), "open-inference"),
        (model(runtime="kserve-sklearnserver"), "kserve-v1"),
        (model(runtime="kserve-mlserver"), "open-inference"),
        (model(runtime="kserve-predictiveserver"), "kserve-v1"),
        (model("onnx", protocolVersion="v2"), "open-inference"),
        (model("onnx", runtime="kserve-tritonserver"), "open-inference"),
        ({"onnx": {"storageUri": "/m"}}, "open-inference"),
        ({"sklearn": {"storageUri": "/m"}}, "kserve-v1"),
        ({"xgboost": {"storageUri": "/m", "protocolVersion": "v2"}}, "open-inference"),
        ({"lightgbm": {"storageUri": "/m"}}, "kserve-v1"),
    ],
)
def test_the_protocol_is_the_one_kserve_would_choose(predictor, protocol):
    assert one(isvc(predictor)).protocol == protocol


@pytest.mark.parametrize(
    ("fields", "at", "message"),
    [
        ({"runtime": "nope"}, "runtime", "No ServingRuntimes or ClusterServingRuntimes with the name: nope"),
        (
            {"runtime": "kserve-mlserver", "protocolVersion": "v1"},
            "runtime",
            "Specified runtime does not support specified protocol version",
        ),
        (
            {"runtime": "kserve-xgbserver"},
            "runtime",
            "Specified runtime does not support specified framework/version",
        ),
        (
            {"runtime": "kserve-sklearnserver", "version": "1.0"},
            "runtime",
            "Specified runtime does not support specified framework/version",
        ),
        ({"version": "1.5"}, "modelFormat.name", "No runtime found to support specified framework/version"),
        ({"version": "0"}, "modelFormat.name", "No runtime found to support specified framework/version"),
        (
            {"format": "onnx"},
            "modelFormat.name",
            "No runtime found to support specified framework/version",
        ),
        (
            {"protocolVersion": "v3"},
            "protocolVersion",
            "invalid protocol v3. Must be one of [v1, v2, grpc-v1, grpc-v2]",
        ),
        (
            {"format": "tensorflow", "protocolVersion": "grpc-v1"},
            "modelFormat.name",
            'models of the format "tensorflow" are not served',
        ),
    ],
)
def test_a_runtime_that_kserve_would_not_find_is_refused_with_its_words(fields, at, message):
    error = refusal(isvc(model(**fields)))
    assert message in error.message
    assert error.at == f"spec.predictor.model.{at}"


def test_grpc_is_answered_where_the_protocol_or_the_name_of_a_port_asks_for_it():
    asked = one(isvc(model("onnx", protocolVersion="grpc-v2")))
    assert (asked.components[0].grpc, asked.protocol) == (True, "open-inference")
    for name in ("h2c", "grpc", "grpc-port"):
        ports = [{"name": name, "containerPort": 9000, "protocol": "TCP"}]
        found = one(isvc(model(ports=ports)))
        assert found.components[0].grpc
        assert not [warning for warning in found.warnings if "ports" in warning.path]
    plain = one(isvc(model(ports=[{"name": "http1", "containerPort": 8080}])))
    assert not plain.components[0].grpc
    assert [warning.path for warning in plain.warnings] == ["spec.predictor.model.ports"]


def test_a_version_that_only_mlserver_lists_needs_its_protocol():
    assert one(isvc(model(version="0", protocolVersion="v2"))).protocol == "open-inference"


def test_onnx_without_a_protocol_is_advised_to_name_v2():
    assert "protocolVersion: v2" in refusal(isvc(model("onnx"))).hint


@pytest.mark.parametrize("format", sorted({entry.name for found in RUNTIMES.values() for entry in found.formats}))
def test_a_format_is_served_or_refused_by_name(format):
    if format in ("sklearn", "xgboost", "lightgbm", "onnx"):
        assert one(isvc(model(format, protocolVersion="v2"))).components[0].source.format == format
    else:
        error = refusal(isvc(model(format, protocolVersion="v2")))
        assert f'models of the format "{format}" are not served' in error.message


@pytest.mark.parametrize("format", ["tensorflow", "pytorch", "triton", "huggingface", "pmml", "paddle"])
def test_an_older_form_of_another_format_is_refused_at_its_field(format):
    assert refusal(isvc({format: {"storageUri": "/m"}})).at == f"spec.predictor.{format}"


@pytest.mark.parametrize(
    ("predictor", "spec", "at", "message"),
    [
        (model(), {"transformer": {"containers": [{}]}}, "spec.transformer.containers[0].image", "required"),
        (model(), {"transformer": {"minReplicas": 1}}, "spec.transformer.containers", "exactly one of"),
        (model(), {"explainer": {"art": {}}}, "spec.explainer.art.type", "required"),
        (model(), {"explainer": {"alibi": {"type": "x"}}}, "spec.explainer.alibi", "no explainer of KServe"),
        (model(), {"explainer": {"timeout": 1}}, "spec.explainer", "exactly one of [art, containers]"),
        (model(), {"canary": [{"trafficPercent": 1}]}, "spec.canary[0].predictor", "required"),
        ({"containers": [{"name": "x"}]}, {}, "spec.predictor.containers[0].image", "required"),
        (
            {"containers": [{"image": "x"}, {"image": "y", "name": "y"}]},
            {},
            "spec.predictor.containers",
            "further containers beside the component's own",
        ),
        (
            {"containers": [{"image": "x", "env": [{"name": "PROTOCOL", "value": "v3"}]}]},
            {},
            "spec.predictor.containers[0].env",
            "invalid protocol v3. Must be one of [v1, v2]",
        ),
        (
            model()
            | {
                "containers": [
                    {"name": "transformer-container", "image": "x", "env": [{"name": "STORAGE_URI", "value": "y"}]}
                ]
            },
            {},
            "spec.predictor.containers[0].env",
            "storage uri should not be specified in transformer container",
        ),
        (model() | {"containers": [{"image": "x"}]}, {}, "spec.predictor.containers", "further containers"),
        (model() | {"workerSpec": {"size": 2}}, {}, "spec.predictor.workerSpec", "later version"),
        (
            model() | {"storageUris": [{"uri": "x"}]},
            {},
            "spec.predictor.storageUris",
            "Setting both StorageURI and StorageURIs is not supported.",
        ),
        (
            model(storageUri=None) | {"storageUris": [{"uri": "x", "mountPath": "/mnt/other"}]},
            {},
            "spec.predictor.storageUris",
            "later version",
        ),
        (
            model(storageUri=None) | {"storageUris": [{"uri": "x", "mountPath": "models"}]},
            {},
            "spec.predictor.storageUris[0].mountPath",
            "storage path must be absolute: models",
        ),
        (
            model(storageUri=None) | {"storageUris": [{"uri": "x", "mountPath": "/a/../b"}]},
            {},
            "spec.predictor.storageUris[0].mountPath",
            "cannot contain '..'",
        ),
        (
            {
                "containers": [{"image": "x"}],
                "storageUris": [{"uri": "x", "mountPath": "/a"}, {"uri": "y", "mountPath": "/b"}],
            },
            {},
            "spec.predictor.storageUris",
            "storage paths must have a common parent directory. Current paths: [/a /b]",
        ),
        (model() | {"canaryTrafficPercent": 101}, {}, "spec.predictor.canaryTrafficPercent", "0 to 100"),
        (model() | {"logger": {"mode": "none"}}, {}, "spec.predictor.logger.mode", "invalid logger type"),
        (
            model() | {"logger": {"storage": {"path": "x"}}},
            {},
            "spec.predictor.logger.storage",
            "invalid logger storage configuration",
        ),
        (model(name="other"), {}, "spec.predictor.model.name", "not allowed in standard predictor"),
        (
            model("onnx", protocolVersion="v2", storageUri="m.pkl"),
            {},
            "spec.predictor.model.storageUri",
            "'.onnx'",
        ),
        (model() | {"sklearn": {}}, {}, "spec.predictor", "exactly one of"),
        ({}, {}, "spec.predictor", "exactly one of"),
        ({"sklern": {"storageUri": "x"}}, {}, "spec.predictor.sklern", 'did you mean "sklearn"?'),
        (model() | {"minReplicas": -1}, {}, "spec.predictor.minReplicas", "'MinReplicas' cannot be less than 0"),
        (model() | {"maxReplicas": -1}, {}, "spec.predictor.maxReplicas", "'MaxReplicas' cannot be less than 0"),
        (
            model() | {"minReplicas": 3, "maxReplicas": 2},
            {},
            "spec.predictor.minReplicas",
            "'MinReplicas' cannot be greater than MaxReplicas",
        ),
        (
            model() | {"containerConcurrency": -1},
            {},
            "spec.predictor.containerConcurrency",
            "parallelism cannot be less than 0",
        ),
        (model() | {"timeout": 0}, {}, "spec.predictor.timeout", "expected more than 0"),
        (model() | {"name": "A"}, {}, "spec.predictor.name", "expected a name"),
        (
            model(storage={"key": "x"}),
            {},
            "spec.predictor.model.storage",
            "is not supported",
        ),
        (
            model(storageUri=None, storage={"key": "x"}),
            {},
            "spec.predictor.model.storage.key",
            "can't read storage secret storage-config",
        ),
        (
            model(storageUri=None, storage={"path": "x"}),
            {},
            "spec.predictor.model.storage",
            "unable to determine storage type",
        ),
        (
            model(storageUri=None, storage={"path": "x", "parameters": {"type": "ftp"}}),
            {},
            "spec.predictor.model.storage.parameters",
            "storage.spec.type [ftp] is not supported",
        ),
        (
            model(storageUri=None, storage={"path": "x", "parameters": {"type": "s3"}}),
            {},
            "spec.predictor.model.storage.parameters",
            "format [s3] requires a bucket but one wasn't found in storage data or parameters",
        ),
        (model(confidential={"enabled": True}), {}, "spec.predictor.model.confidential", "later version"),
        (
            model(storageUri=None, confidential={"enabled": True}),
            {},
            "spec.predictor.model.confidential",
            "confidential model serving requires storageUri to be set",
        ),
        (model(storageUri=None), {}, "spec.predictor.model.storageUri", "required"),
        (
            model(storageUri="pvc://c/m"),
            {},
            "spec.predictor.model.storageUri",
            "pvc:// belongs to a later version",
        ),
        (
            model(storageUri="ftp://h/m"),
            {},
            "spec.predictor.model.storageUri",
            "StorageUri [ftp://h/m] is not supported",
        ),
        (model(env=[{"name": "PYTHONPATH", "value": "x"}]), {}, "spec.predictor.model.env", "PYTHONPATH"),
        (model(env=[{"name": "A", "value": 1}]), {}, "spec.predictor.model.env[0].value", "expected a string"),
        (model(args=["--workers=0"]), {}, "spec.predictor.model.args[0]", "--workers=N"),
        (
            model(resources={"requests": {"cpu": "lots"}}),
            {},
            "spec.predictor.model.resources.requests.cpu",
            "an amount",
        ),
        (model(modelFormt=1), {}, "spec.predictor.model.modelFormt", 'did you mean "modelFormat"?'),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_path(predictor, spec, at, message):
    error = refusal(isvc(predictor, **spec))
    assert (error.at, message in error.message) == (at, True), str(error)


def test_a_misspelt_required_field_is_named_with_its_line():
    text = (SAMPLES / "kserve.yaml").read_text().replace("modelFormat", "modelFormt")
    assert str(refusal(text)) == (
        'isvc.yaml:8: spec.predictor.model.modelFormt: unknown field; did you mean "modelFormat"?'
    )


@pytest.mark.parametrize("name", ["1iris", "Iris", "iris_1", "a.b"])
def test_a_name_kserve_refuses_is_refused(name):
    assert refusal(isvc(model(), metadata={"name": name})).at == "metadata.name"


def test_the_message_for_a_name_is_that_of_kserve():
    message = refusal(isvc(model(), metadata={"name": "1iris"})).message
    assert message.startswith(
        'the InferenceService "1iris" is invalid: a InferenceService name must consist of lower'
    )


def test_an_autoscaler_kserve_does_not_know_is_refused():
    error = refusal(isvc(model(), metadata={"annotations": {"serving.kserve.io/autoscalerClass": "magic"}}))
    assert error.at == 'metadata.annotations["serving.kserve.io/autoscalerClass"]'


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        (model(env=[{"name": "PREDICT_PROBA", "value": "true"}]), "predict_proba"),
        (model(env=[{"name": "PREDICT_PROBA", "value": "True"}]), "predict_proba"),
        (model(env=[{"name": "PREDICT_PROBA", "value": "false"}]), "predict"),
        (model("xgboost", env=[{"name": "PREDICT_PROBA", "value": "true"}]), "predict"),
        (model(), "predict"),
    ],
)
def test_probabilities_are_answered_when_the_environment_asks_for_them(fields, method):
    assert one(isvc(fields)).components[0].source.method == method


@pytest.mark.parametrize(
    ("args", "workers"), [(["--workers=3"], 3), (["--workers", "3"], 3), (["--nthread=3"], 1), ([], 1)]
)
def test_workers_come_from_the_arguments(args, workers):
    assert one(isvc(model(args=args))).components[0].workers == workers


def test_scaling_to_zero_means_zero():
    found = one(isvc(model() | {"minReplicas": 0, "maxReplicas": 1}))
    assert (found.components[0].scaling.min_replicas, found.components[0].scaling.max_replicas) == (0, 1)
    assert found.warnings == ()


def test_limits_alone_are_what_a_replica_asks_for():
    found = one(isvc(model(resources={"limits": {"cpu": 2, "memory": "512Mi"}})))
    assert found.components[0].resources == Resources(
        cpu=2.0, memory_bytes=512 * 2**20, memory_limit_bytes=512 * 2**20
    )
    assert found.warnings == ()


def test_a_deployment_knows_its_file_and_document():
    text = isvc(model(), metadata={"name": "first"}) + "\n---\n" + isvc(model(), metadata={"name": "second"})
    found = parse(text, file="isvc.yaml")
    assert [(each.name, each.file, each.document) for each in found] == [
        ("first", "isvc.yaml", 0),
        ("second", "isvc.yaml", 1),
    ]
