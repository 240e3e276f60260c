import json
from pathlib import Path

import pytest

from tiffin.dialects import parse, read
from tiffin.errors import SpecError
from tiffin.spec import Parameter, Resources

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
    assert found.annotations["predictor_version"] == "v1"
    assert found.annotations["project_name"] == "Iris classification"
    assert (component.replicas, component.timeout_seconds) == (3, 10.0)
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
        "svcOrchSpec",
        "engineResources",
        "progressDeadlineSeconds",
        "componentSpecs[0].hpaSpec",
        "componentSpecs[0].metadata",
        f"{pod}.terminationGracePeriodSeconds",
        f"{pod}.nodeSelector",
        f"{pod}.volumes",
        f"{pod}.containers[0].imagePullPolicy",
        f"{pod}.containers[0].readinessProbe",
        f"{pod}.containers[0].volumeMounts",
        "graph.endpoint.service_port",
        "graph.logger",
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
        (NODE, {}, {"protocol": "tensorflow"}, "spec.protocol", "later version"),
        (NODE, {}, {"transport": "x"}, "spec.transport", "Invalid transport"),
        (NODE, {}, {"transport": "grpc"}, "spec.transport", "later version"),
        (NODE, {}, {"serverType": "x"}, "spec.serverType", "Invalid serverType"),
        (NODE, {}, {"serverType": "kafka"}, "spec.serverType", "later version"),
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
        (NODE, {"explainer": {"type": "AnchorTabular"}}, {}, "spec.predictors[0].explainer", "later version"),
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
        (({}, {}), "spec.predictors", "2 predictors found; more than one belongs to a later version"),
        (({}, {"shadow": True}), "spec.predictors", "2 predictors found"),
        (({"name": "a"}, {"name": "a"}), "spec.predictors[1].name", "Duplicate predictor name"),
    ],
)
def test_several_predictors_are_refused(changes, at, message):
    error = refusal(predictors(*changes))
    assert error.at == at
    assert message in error.message
