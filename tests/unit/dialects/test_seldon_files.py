import json
from pathlib import Path

import pytest

from tiffin.dialects import parse, read, seldon_credentials
from tiffin.errors import SpecError
from tiffin.spec import (
    Artefact,
    ContainerSource,
    Logger,
    Measure,
    ModelSource,
    Parameter,
    Resources,
    Route,
    Scaling,
    Windows,
)

SAMPLES = Path(__file__).parent / "samples"
VERSIONS = ["v1", "v1alpha2", "v1alpha3"]
CONTAINER = {"name": "clf", "image": "iris-image:v0.1"}


def sdep(graph=None, *containers, predictor=None, version="v1", **spec) -> str:
    pods = [{"spec": {"containers": list(containers)}}] if containers else []
    first = {"name": "default", "graph": graph or {"name": "clf"}, "componentSpecs": pods} | (predictor or {})
    return json.dumps(
        {
            "apiVersion": f"machinelearning.seldon.io/{version}",
            "kind": "SeldonDeployment",
            "metadata": {"name": "iris", **spec.pop("metadata", {})},
            "spec": {"predictors": [first], **spec},
        }
    )


def one(text: str):
    (found,) = parse(text, file="sdep.yaml", base="/base")
    return found


def refusal(text: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parse(text, file="sdep.yaml", base="/base")
    return caught.value


def test_the_file_whose_node_and_container_differ_is_read_with_a_warning():
    (found,) = read(SAMPLES / "seldon.yaml")
    (component,) = found.components
    assert (found.key, found.protocol) == ("default/iris-model", "seldon")
    assert (component.source.unit, component.source.image) == ("iris-graph", "iris-image:v0.1")
    assert component.source.artefact.uri == "iris-image:v0.1"
    assert component.source.target == ""
    assert [str(warning) for warning in found.warnings] == [
        'spec.name: is not used, as in Seldon: metadata.name says that this is "iris-model"',
        'spec.predictors[0].graph.name: no container is named "iris-graph"; '
        'the only one, "iris-container", is taken',
    ]


def test_every_honoured_field_arrives():
    (found,) = read(SAMPLES / "seldon_full.yaml")
    (component,) = found.components
    assert found.key == "seldon/seldon-model"
    assert found.labels == {"app": "seldon", "version": "v1"}
    assert component.logger == Logger(url="http://logger/", style="seldon")
    assert found.annotations["predictor_version"] == "v1"
    assert found.annotations["project_name"] == "Iris classification"
    assert component.scaling == Scaling(
        min_replicas=1, max_replicas=3, measures=(Measure(metric="cpu", target=70.0),)
    )
    assert component.timeout_seconds == 10.0
    assert component.resources == Resources(cpu=1.0, memory_bytes=2**20)
    assert component.environment == {"MODEL_NAME": "Iris", "SERVICE_TYPE": "MODEL"}
    assert (component.source.target, component.source.unit) == ("Iris:Iris", "classifier")
    assert component.source.parameters == (
        Parameter("threshold", 0.5),
        Parameter("rounds", 3),
        Parameter("verbose", True),
        Parameter("title", "iris"),
    )


def test_every_field_that_is_not_honoured_is_listed():
    (found,) = read(SAMPLES / "seldon_full.yaml")
    pod = "componentSpecs[0].spec"
    assert {warning.path.removeprefix("spec.predictors[0].") for warning in found.warnings} == {
        "spec.oauth_key",
        "spec.oauth_secret",
        'spec.annotations["seldon.io/grpc-timeout"]',
        "svcOrchSpec.resources",
        "svcOrchSpec.env[0]",
        "engineResources",
        "progressDeadlineSeconds",
        "componentSpecs[0].metadata",
        f"{pod}.terminationGracePeriodSeconds",
        f"{pod}.nodeSelector",
        f"{pod}.volumes",
        f"{pod}.containers[0].imagePullPolicy",
        f"{pod}.containers[0].readinessProbe",
        f"{pod}.containers[0].volumeMounts",
        "graph.endpoint.service_port",
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_the_kind_is_read(version):
    assert one(sdep(None, CONTAINER, version=version)).components[0].source.image == "iris-image:v0.1"


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [("", "seldon"), ("seldon", "seldon"), ("v2", "open-inference"), ("kfserving", "open-inference")],
)
def test_the_protocol_is_read(protocol, expected):
    assert one(sdep(None, CONTAINER, protocol=protocol)).protocol == expected


@pytest.mark.parametrize(
    ("graph", "protocol", "format", "method"),
    [
        ({"implementation": "SKLEARN_SERVER"}, "seldon", "sklearn", "predict_proba"),
        ({"implementation": "SKLEARN_SERVER"}, "v2", "sklearn", "predict"),
        ({"implementation": "SKLEARN_SERVER", "type": "ROUTER"}, "seldon", "sklearn", "predict_proba"),
        (
            {"implementation": "SKLEARN_SERVER", "parameters": [{"name": "method", "value": "decision_function"}]},
            "seldon",
            "sklearn",
            "decision_function",
        ),
        ({"implementation": "XGBOOST_SERVER"}, "seldon", "xgboost", "predict"),
    ],
)
def test_a_prepackaged_server_becomes_a_saved_model(graph, protocol, format, method):
    found = one(sdep({"name": "clf", "modelUri": "./m", **graph}, protocol=protocol))
    source = found.components[0].source
    assert (source.artefact.uri, source.artefact.base) == ("./m", "/base")
    assert (source.format, source.method) == (format, method)


def test_a_container_of_the_same_name_gives_a_prepackaged_server_its_environment():
    container = {"name": "clf", "env": [{"name": "A", "value": "b"}], "resources": {"requests": {"cpu": 1}}}
    found = one(sdep({"name": "clf", "implementation": "SKLEARN_SERVER", "modelUri": "/m"}, container))
    assert found.components[0].environment == {"A": "b"}
    assert found.components[0].resources == Resources(cpu=1.0)
    assert found.warnings == ()


def test_containers_beside_the_model_are_listed():
    found = one(sdep(None, CONTAINER, {"name": "proxy", "image": "proxy:1"}))
    assert [warning.path for warning in found.warnings] == [
        "spec.predictors[0].componentSpecs[0].spec.containers[1]"
    ]


def test_unknown_fields_of_a_pod_are_listed_and_do_not_stop_the_file():
    found = one(sdep(None, CONTAINER | {"resourcess": {"x": 1}, "futureField": 1}))
    messages = {warning.path.rpartition(".")[2]: warning.message for warning in found.warnings}
    assert messages.keys() == {"resourcess", "futureField"}
    assert 'did you mean "resources"?' in messages["resourcess"]


@pytest.mark.parametrize(
    ("component", "predictor", "spec", "expected"),
    [(3, 2, 1, 3), (None, 2, 1, 2), (None, None, 4, 4), (None, None, None, 1), (0, 2, 1, 1)],
)
def test_the_innermost_number_of_replicas_counts(component, predictor, spec, expected):
    pods = {
        "componentSpecs": [{"replicas": component, "spec": {"containers": [CONTAINER]}}],
        "replicas": predictor,
    }
    assert one(sdep(None, predictor=pods, replicas=spec)).components[0].replicas == expected


@pytest.mark.parametrize(
    ("name", "target"),
    [("Iris", "Iris:Iris"), ("pkg.mod.Iris", "pkg.mod:Iris"), ("", ""), ("/x", ""), ("a..b", "")],
)
def test_the_class_comes_from_the_environment_of_the_image(name, target):
    found = one(sdep(None, CONTAINER | {"env": [{"name": "MODEL_NAME", "value": name}]}))
    assert found.components[0].source.target == target


@pytest.mark.parametrize(
    ("where", "seconds"),
    [("metadata", 5.0), ("spec", 6.0), ("predictor", 7.0)],
)
def test_the_time_out_comes_from_the_innermost_annotation(where, seconds):
    key = "seldon.io/rest-timeout"
    spec = {"metadata": {"annotations": {key: "5000"}}}
    if where != "metadata":
        spec["annotations"] = {key: "6000"}
    predictor = {"annotations": {key: "7000"}} if where == "predictor" else {}
    predictor["componentSpecs"] = [{"spec": {"containers": [CONTAINER]}}]
    assert one(sdep(None, predictor=predictor, **spec)).components[0].timeout_seconds == seconds


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("INT", "-3", -3),
        ("FLOAT", "1e-3", 0.001),
        ("DOUBLE", "2", 2.0),
        ("BOOL", "True", True),
        ("BOOL", "off", False),
        ("BOOL", "0", False),
        ("STRING", "3", "3"),
        ("STRING", "", ""),
    ],
)
def test_a_parameter_has_the_type_it_says(kind, text, value):
    graph = {"name": "clf", "parameters": [{"name": "p", "value": text, "type": kind}]}
    (parameter,) = one(sdep(graph, CONTAINER)).components[0].source.parameters
    assert parameter.value == value
    assert type(parameter.value) is type(value)


@pytest.mark.parametrize(
    ("kind", "text"), [("INT", "1.5"), ("FLOAT", "x"), ("BOOL", "maybe"), ("INT", "9" * 5000)]
)
def test_a_parameter_that_is_not_its_type_is_refused(kind, text):
    graph = {"name": "clf", "parameters": [{"name": "p", "value": text, "type": kind}]}
    assert refusal(sdep(graph, CONTAINER)).at == "spec.predictors[0].graph.parameters[0].value"


NODE = {"name": "clf"}
MODEL = NODE | {"implementation": "SKLEARN_SERVER", "modelUri": "/m"}


@pytest.mark.parametrize(
    ("graph", "predictor", "spec", "at", "message"),
    [
        (NODE, {}, {"protocol": "x"}, "spec.protocol", "Invalid protocol"),
        (NODE, {}, {"transport": "x"}, "spec.transport", "Invalid transport"),
        (NODE, {}, {"transport": "grpc"}, "spec.transport", "later version"),
        (NODE, {}, {"serverType": "x"}, "spec.serverType", "Invalid serverType"),
        (
            NODE,
            {},
            {"serverType": "kafka"},
            "spec.predictors[0].svcOrchSpec",
            "For kafka please supply svcOrchSpec envs KAFKA_BROKER, KAFKA_INPUT_TOPIC, KAFKA_OUTPUT_TOPIC",
        ),
        (
            NODE,
            {
                "svcOrchSpec": {
                    "env": [{"name": f"KAFKA_{name}"} for name in ("BROKER", "INPUT_TOPIC", "OUTPUT_TOPIC")]
                }
            },
            {"serverType": "kafka"},
            "spec.serverType",
            "serving from Kafka belongs to a later version",
        ),
        (NODE, {}, {"predictors": []}, "spec.predictors", "Graph contains no predictors"),
        (NODE, {}, {"predictors": None}, "spec.predictors", "required"),
        (NODE, {"shadow": True}, {}, "spec.predictors[0].shadow", "Shadow can not exist as only predictor"),
        (
            NODE,
            {"traffic": 50},
            {},
            "spec.predictors[0].traffic",
            "Traffic must sum be 100 for a single predictor when set",
        ),
        (
            NODE,
            {"explainer": {"type": "AnchorTabular"}},
            {},
            "spec.predictors[0].explainer.type",
            "AnchorTabular: explainers by type come",
        ),
        (
            NODE | {"name": "other"},
            {"componentSpecs": [{"spec": {"containers": [CONTAINER, CONTAINER | {"name": "b"}]}}]},
            {},
            "spec.predictors[0].graph.name",
            "Can't find container for Predictive Unit",
        ),
        (
            NODE,
            {"componentSpecs": []},
            {},
            "spec.predictors[0].graph.name",
            "Can't find container for Predictive Unit",
        ),
        (
            NODE | {"type": "UNKNOWN_TYPE"},
            {},
            {},
            "spec.predictors[0].graph.type",
            "Predictive Unit has no implementation methods defined. Change to a known type or add what methods it "
            "defines",
        ),
        (NODE | {"type": "ROUTER"}, {}, {}, "spec.predictors[0].graph.type", "later version"),
        (NODE | {"methods": ["ROUTE"]}, {}, {}, "spec.predictors[0].graph.methods", "later version"),
        (NODE | {"children": [NODE]}, {}, {}, "spec.predictors[0].graph.children", "later version"),
        (NODE | {"endpoint": {"type": "GRPC"}}, {}, {}, "spec.predictors[0].graph.endpoint.type", "later version"),
        (
            NODE | {"implementation": "SKLEARN_SERVER"},
            {},
            {},
            "spec.predictors[0].graph.modelUri",
            "Predictive unit modelUri required when using standalone servers",
        ),
        (
            NODE | {"implementation": "MY_SERVER", "modelUri": "/m"},
            {},
            {},
            "spec.predictors[0].graph.implementation",
            "No entry in predictors map for MY_SERVER",
        ),
        (
            NODE | {"implementation": "MLFLOW_SERVER", "modelUri": "/m"},
            {},
            {},
            "spec.predictors[0].graph.implementation",
            "MLFLOW_SERVER belongs to a later version",
        ),
        (
            NODE | {"implementation": "RANDOM_ABTEST"},
            {},
            {},
            "spec.predictors[0].graph.implementation",
            "RANDOM_ABTEST belongs to a later version",
        ),
        (
            MODEL | {"parameters": [{"name": "method", "value": "fly"}]},
            {},
            {},
            "spec.predictors[0].graph.parameters[0].value",
            'expected "predict_proba", "predict" or "decision_function", found "fly"',
        ),
        (MODEL | {"modelUri": "pvc://c/m"}, {}, {}, "spec.predictors[0].graph.modelUri", "pvc:// belongs"),
        (MODEL | {"modelUrl": "x", "modelUri": None}, {}, {}, "spec.predictors[0].graph.modelUrl", "modelUri"),
        (
            NODE,
            {"componentSpecs": [{"spec": {"containers": [{"name": "clf", "imge": "x"}]}}]},
            {},
            "spec.predictors[0].componentSpecs[0].spec.containers[0].imge",
            'did you mean "image"?',
        ),
        (NODE, {}, {"protocolq": "x"}, "spec.protocolq", 'did you mean "protocol"?'),
        (
            NODE,
            {"annotations": {"seldon.io/rest-timeout": "soon"}},
            {},
            'spec.predictors[0].annotations["seldon.io/rest-timeout"]',
            "expected milliseconds",
        ),
    ],
)
def test_what_cannot_be_served_is_refused_by_its_path(graph, predictor, spec, at, message):
    error = refusal(sdep(graph, CONTAINER, predictor=predictor, **spec))
    assert (error.at, message in error.message) == (at, True), str(error)


def predictors(*changes: dict) -> str:
    pod = {"componentSpecs": [{"spec": {"containers": [CONTAINER]}}], "graph": NODE}
    return sdep(predictors=[pod | {"name": f"p{index}"} | change for index, change in enumerate(changes)])


@pytest.mark.parametrize(
    ("changes", "at", "message"),
    [
        (({"name": "a"}, {"name": "a"}), "spec.predictors[1].name", "Duplicate predictor name"),
        (({"name": "A"},), "spec.predictors[0].name", "expected lower case"),
        (({}, {}), "spec.predictors", "Traffic must sum to 100 for multiple predictors, found 0"),
        (({"traffic": 50}, {"traffic": 49}), "spec.predictors", "Traffic must sum to 100 for multiple predictors"),
        (
            ({"traffic": 99}, {}, {"shadow": True, "traffic": 1}),
            "spec.predictors",
            "Traffic must sum to 100 for multiple predictors, found 99",
        ),
        (({"traffic": 150}, {"traffic": -50}), "spec.predictors[0].traffic", "expected 0 to 100, found 150"),
        (({"traffic": -1},), "spec.predictors[0].traffic", "expected 0 to 100, found -1"),
        (({"traffic": 1},), "spec.predictors[0].traffic", "Traffic must sum be 100 for a single predictor when"),
        (({"traffic": "1"},), "spec.predictors[0].traffic", "expected an integer"),
        (({"shadow": True},), "spec.predictors[0].shadow", "Shadow can not exist as only predictor"),
        (({"shadow": True}, {"shadow": True}), "spec.predictors[1].shadow", "Multiple shadows are not allowed"),
        (
            ({}, {"shadow": True, "traffic": 101}),
            "spec.predictors[1].traffic",
            "shadow traffic is illegal, the traffic number should be between [0, 100]",
        ),
        (
            (
                {"traffic": 50, "annotations": {"seldon.io/svc-name": "x"}},
                {"traffic": 50, "annotations": {"seldon.io/svc-name": "x"}},
            ),
            'spec.predictors[1].annotations["seldon.io/svc-name"]',
            "Found duplicate service name in seldon.io/svc-name with value x",
        ),
        (
            ({"traffic": 50, "graph": NODE | {"endpoint": {"type": "GRPC"}}},
             {"traffic": 50, "graph": NODE | {"endpoint": {"type": "REST"}}}),
            "spec.predictors",
            "Multiple endpoint.types found - can only have 1 type in graph. Please use spec.transport",
        ),
    ],
)  # fmt: skip
def test_predictors_that_do_not_fit_together_are_refused(changes, at, message):
    error = refusal(predictors(*changes))
    assert (error.at, message in error.message) == (at, True), str(error)


def test_transport_and_endpoint_must_agree():
    text = sdep(NODE | {"endpoint": {"type": "GRPC"}}, CONTAINER, transport="rest")
    error = refusal(text)
    assert error.at == "spec.transport"
    assert "Mixed transport types found. Remove graph endpoint.types if transport set" in error.message


def test_predictors_share_the_calls():
    found = one(predictors({"traffic": 25}, {"traffic": 75}))
    assert [(variant.name, variant.weight, variant.mirror_percent) for variant in found.all_variants] == [
        ("p0", 25.0, None),
        ("p1", 75.0, None),
    ]


@pytest.mark.parametrize(("traffic", "mirror"), [({}, 100.0), ({"traffic": 0}, 100.0), ({"traffic": 7}, 7.0)])
def test_a_shadow_gets_copies_wherever_it_stands(traffic, mirror):
    found = one(predictors({"shadow": True} | traffic, {}))
    assert (found.variant, found.main.weight) == ("p1", 100.0)
    (shadow,) = found.variants
    assert (shadow.name, shadow.weight, shadow.mirror_percent) == ("p0", 0.0, mirror)
    assert shadow.labels == {"version": "p0"}


def test_beside_a_shadow_one_predictor_takes_every_call():
    found = one(predictors({"traffic": 50}, {"shadow": True}))
    assert found.main.weight == 100.0
    assert [warning.path for warning in found.warnings] == ["spec.predictors[0].traffic"]


def test_no_replicas_at_all_stop_the_deployment():
    assert one(predictors({"replicas": 0})).stopped
    found = one(predictors({"replicas": 0, "traffic": 50}, {"traffic": 50}))
    assert not found.stopped
    assert [warning.path for warning in found.warnings] == ["spec.predictors[0]"]


def test_traffic_scaling_and_an_explainer_arrive():
    (found,) = read(SAMPLES / "seldon_traffic.yaml")
    stable, candidate, trial = found.all_variants
    assert [(variant.name, variant.weight, variant.mirror_percent) for variant in found.all_variants] == [
        ("stable", 80.0, None),
        ("candidate", 20.0, None),
        ("trial", 0.0, 10.0),
    ]
    model, explainer = stable.components
    assert model.scaling == Scaling(
        min_replicas=2,
        max_replicas=5,
        measures=(
            Measure(metric="cpu", target=60.0),
            Measure(metric="memory", target=float(2**30), is_value=True),
        ),
    )
    assert model.logger == Logger(url="http://logger.default", mode="request", style="seldon")
    assert [part.timeout_seconds for part in (model, *candidate.components, *trial.components)] == [5.0] * 3
    assert candidate.components[0].scaling == Scaling(
        min_replicas=0,
        max_replicas=4,
        measures=(Measure(metric="cpu", target=50.0),),
        windows=Windows(zero_retention_seconds=60.0),
    )
    assert trial.components[0].replicas == 3
    assert candidate.labels == {"version": "candidate", "arm": "b"}
    assert (explainer.name, explainer.calls, explainer.replicas) == ("explainer", "predictor", 2)
    assert explainer.source == ContainerSource(
        image="registry.example.com/alibi:1",
        arguments=(
            "--verbose",
            "--model_name=income",
            "--predictor_host=$(PREDICTOR_HOST)",
            "--protocol=seldon.http",
            "--http_port=8000",
            "--storage_uri=/mnt/models",
            "AnchorTabular",
            "--batch=4",
        ),
        port=8000,
        mounts={"/mnt/models": Artefact("/models/explainer", str(SAMPLES))},
    )
    assert explainer.environment == {"LEVEL": "debug"}
    assert {warning.path.removeprefix("spec.predictors[0].") for warning in found.warnings} == {
        'spec.annotations["seldon.io/istio-retries"]',
        "svcOrchSpec.env[0]",
        "componentSpecs[0].pdbSpec",
    }


def test_predictors_and_explainers_have_addresses_of_their_own():
    (found,) = read(SAMPLES / "seldon_traffic.yaml")
    explainer = Route(
        path="/seldon/seldon/income-explainer/stable", rewrite="/", component="explainer", variant="stable"
    )
    assert explainer in found.routes
    services = {route.variant: route.hosts[0] for route in found.routes if route.path == "/" and route.shared}
    assert services == {
        "stable": "income-svc.seldon",
        "candidate": "income-candidate.seldon",
        "trial": "income-trial.seldon",
    }


@pytest.mark.parametrize(
    ("protocol", "path", "rewrite"),
    [
        ("v2", "/v2/models/clf", None),
        ("v2", "/v2/models/infer", "/v2/models/clf/infer"),
        ("tensorflow", "/v1/models/clf:predict", None),
        ("tensorflow", "/seldon/default/iris/v1/models:predict", "/v1/models/clf:predict"),
    ],
)
def test_a_model_is_called_by_the_name_of_its_node(protocol, path, rewrite):
    found = one(sdep(None, CONTAINER, protocol=protocol))
    assert rewrite in [route.rewrite for route in found.routes if route.path == path]
    assert found.components[0].model_name == "clf"


def test_several_predictors_answer_by_the_names_of_all_nodes():
    text = predictors({"traffic": 50}, {"traffic": 50, "graph": MODEL | {"name": "other"}})
    found = one(text.replace('"spec": {"predictors"', '"spec": {"protocol": "v2", "predictors"'))
    assert [variant.components[0].model_name for variant in found.all_variants] == ["clf", "clf"]
    moved = {route.path: route.rewrite for route in found.routes if route.rewrite not in (None, "/")}
    assert moved["/v2/models/other"] == moved["/seldon/default/iris/v2/models/other"] == "/v2/models/clf"
    assert moved["/v1/models/other:predict"] == "/v1/models/clf:predict"


def test_the_tensorflow_protocol_is_that_of_a_container():
    container = CONTAINER | {
        "args": ["--x"],
        "ports": [{"containerPort": 1}, {"name": "http", "containerPort": 8501}],
    }
    found = one(sdep(None, container, protocol="tensorflow"))
    assert found.protocol == "kserve-v1"
    assert found.components[0].source == ContainerSource(image="iris-image:v0.1", arguments=("--x",), port=8501)
    error = refusal(sdep(MODEL, CONTAINER, protocol="tensorflow"))
    assert error.message == "Prepackaged server does not handle tensorflow protocol SKLEARN_SERVER"


def with_pods(**component) -> str:
    return sdep(predictor={"componentSpecs": [{"spec": {"containers": [CONTAINER]}} | component]})


@pytest.mark.parametrize(
    ("component", "scaling"),
    [
        (
            {"hpaSpec": {"maxReplicas": 3}},
            Scaling(max_replicas=3, measures=(Measure(metric="cpu", target=80.0),)),
        ),
        ({"hpaSpec": {"maxReplicas": 3, "metrics": [{"type": "Pods", "pods": {"x": 1}}]}}, Scaling()),
        (
            {"kedaSpec": {"triggers": [{"type": "prometheus", "metadata": {"query": "x"}}]}},
            Scaling(min_replicas=0, max_replicas=100, windows=Windows(zero_retention_seconds=300.0)),
        ),
    ],
)
def test_scaling_by_load_keeps_its_bounds(component, scaling):
    assert one(with_pods(**component)).components[0].scaling == scaling


def test_keda_counts_before_the_autoscaler_and_both_before_replicas():
    keda = {"minReplicaCount": 1, "triggers": [{"type": "cpu", "metadata": {"type": "Utilization", "value": "5"}}]}
    found = one(with_pods(kedaSpec=keda, hpaSpec={"maxReplicas": 3}, replicas=7))
    assert found.components[0].scaling.max_replicas == 100
    assert [warning.path.rpartition(".")[2] for warning in found.warnings] == ["hpaSpec"]
    assert one(with_pods(hpaSpec={"maxReplicas": 3}, replicas=7)).components[0].scaling.max_replicas == 3


@pytest.mark.parametrize(
    ("component", "at"),
    [
        ({"hpaSpec": {}}, "hpaSpec.maxReplicas"),
        ({"hpaSpec": {"minReplicas": 4, "maxReplicas": 3}}, "hpaSpec.maxReplicas"),
        ({"hpaSpec": {"maxReplicas": 3, "metrics": [{"type": "Resource"}]}}, "hpaSpec.metrics[0].resource"),
        ({"kedaSpec": {}}, "kedaSpec.triggers"),
        ({"kedaSpec": {"triggers": [{"type": "cpu"}]}}, "kedaSpec.triggers[0].metadata"),
    ],
)
def test_bounds_that_contradict_each_other_are_refused(component, at):
    assert refusal(with_pods(**component)).at == f"spec.predictors[0].componentSpecs[0].{at}"


SECRET = {
    "apiVersion": "v1",
    "kind": "Secret",
    "metadata": {"name": "creds"},
    "stringData": {
        "RCLONE_CONFIG_MINIO_TYPE": "s3",
        "RCLONE_CONFIG_MINIO_PROVIDER": "minio",
        "RCLONE_CONFIG_MINIO_ACCESS_KEY_ID": "key",
        "RCLONE_CONFIG_MINIO_SECRET_ACCESS_KEY": "s3cret",
        "RCLONE_CONFIG_MINIO_ENDPOINT": "minio.example.com",
        "RCLONE_CONFIG_MINIO_CHUNK_SIZE": "1",
    },
}


def test_a_secret_of_rclone_says_how_to_fetch_the_model():
    graph = MODEL | {"modelUri": "minio://bucket/m", "envSecretRefName": "creds"}
    found = one(json.dumps(SECRET) + "\n---\n" + sdep(graph))
    assert found.components[0].source == ModelSource(
        artefact=Artefact("s3://bucket/m", "/base"),
        format="sklearn",
        method="predict_proba",
        credentials={
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "s3cret",
            "AWS_ENDPOINT_URL": "https://minio.example.com",
        },
    )
    (warning,) = found.warnings
    assert "RCLONE_CONFIG_MINIO_CHUNK_SIZE" in warning.message
    assert "s3cret" not in warning.message


def test_a_secret_that_is_not_there_is_named():
    (warning,) = one(sdep(MODEL | {"envSecretRefName": "creds"})).warnings
    assert warning.path == "spec.predictors[0].graph.envSecretRefName"
    assert '"creds" is not among the files read' in warning.message


ANONYMOUS = {"awsAnonymousCredential": "true"}


@pytest.mark.parametrize(
    ("uri", "values", "expected"),
    [
        ("s3://b/m", {}, ("s3://b/m", ANONYMOUS, [])),
        ("s3://b/m", {"RCLONE_CONFIG_S3_ENV_AUTH": "true"}, ("s3://b/m", {}, [])),
        ("s3://b/m", {"RCLONE_CONFIG_GS_TYPE": "x"}, ("s3://b/m", ANONYMOUS, ["RCLONE_CONFIG_GS_TYPE"])),
        (
            "gs://b/m",
            {"RCLONE_CONFIG_GS_SERVICE_ACCOUNT_FILE": "/k"},
            ("gs://b/m", {"GOOGLE_APPLICATION_CREDENTIALS": "/k"}, []),
        ),
        ("azure://b", {"RCLONE_CONFIG_AZURE_TYPE": "azureblob"}, ("azure://b", {}, ["RCLONE_CONFIG_AZURE_TYPE"])),
        ("/m", {"A": "b"}, ("/m", {}, ["A"])),
    ],
)
def test_variables_of_rclone_become_those_of_the_store(uri, values, expected):
    assert seldon_credentials.convert(uri, values) == expected


@pytest.mark.parametrize(
    ("logger", "at", "message"),
    [
        ({"url": "http://x"}, "logger.mode", "No logger mode specified"),
        ({"url": "ftp://x", "mode": "all"}, "logger.url", "expected http://"),
        ({"url": "http://x", "mode": "some"}, "logger.mode", 'found "some"'),
    ],
)
def test_a_logger_says_what_it_logs_and_where_to(logger, at, message):
    error = refusal(sdep(NODE | {"logger": logger}, CONTAINER))
    assert (error.at, message in error.message) == (f"spec.predictors[0].graph.{at}", True), str(error)


@pytest.mark.parametrize(
    ("explainer", "at"),
    [
        ({"modelUri": "/m"}, "modelUri"),
        ({"type": "AnchorText", "containerSpec": {"name": "x"}}, "type"),
        ({"containerSpec": {"image": "x"}, "initParameters": "{"}, "initParameters"),
        ({"containerSpec": {"image": "x"}, "endpoint": {"type": "GRPC"}}, "endpoint.type"),
        ({"tybe": "AnchorText"}, "tybe"),
    ],
)
def test_an_explainer_that_cannot_be_served_is_refused(explainer, at):
    error = refusal(sdep(NODE, CONTAINER, predictor={"explainer": explainer}))
    assert error.at == f"spec.predictors[0].explainer.{at}", str(error)


def test_the_secret_of_an_explainer_fetches_what_it_mounts():
    explainer = {"containerSpec": {"image": "x"}, "modelUri": "minio://b/m", "envSecretRefName": "creds"}
    found = one(json.dumps(SECRET) + "\n---\n" + sdep(NODE, CONTAINER, predictor={"explainer": explainer}))
    source = found.components[1].source
    assert source.mounts == {"/mnt/models": Artefact("s3://b/m", "/base")}
    assert source.credentials["AWS_ACCESS_KEY_ID"] == "key"


def test_an_explainer_that_says_nothing_is_none():
    empty = {"type": "", "containerSpec": {"name": "", "resources": {}}}
    assert len(one(sdep(NODE, CONTAINER, predictor={"explainer": empty})).components) == 1
