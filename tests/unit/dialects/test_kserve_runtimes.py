"""Runtimes are chosen as KServe chooses them."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tiffin.dialects import gather, parse, read, runtimes
from tiffin.dialects.kserve import CLUSTER_RUNTIME, RUNTIME
from tiffin.dialects.runtimes import Format, NotFound, Runtime, choose
from tiffin.errors import SpecError
from tiffin.spec import ContainerSource, ModelSource

SAMPLES = Path(__file__).parent / "samples"
INSTALLED = tuple(runtimes.RUNTIMES.values())


@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        ({"format": "sklearn"}, "kserve-sklearnserver"),
        ({"format": "sklearn", "protocol": "v2"}, "kserve-mlserver"),
        ({"format": "sklearn", "version": "1", "protocol": "v2"}, "kserve-mlserver"),
        ({"format": "sklearn", "version": "1"}, "kserve-sklearnserver"),
        ({"format": "xgboost"}, "kserve-xgbserver"),
        ({"format": "xgboost", "protocol": "v2"}, "kserve-mlserver"),
        ({"format": "xgboost", "version": "2"}, "kserve-xgbserver"),
        ({"format": "lightgbm"}, "kserve-lgbserver"),
        ({"format": "lightgbm", "version": "3", "protocol": "v2"}, "kserve-mlserver"),
        ({"format": "onnx", "protocol": "v2"}, "kserve-tritonserver"),
        ({"format": "onnx", "protocol": "grpc-v2"}, "kserve-tritonserver"),
        ({"format": "tensorflow"}, "kserve-tensorflow-serving"),
        ({"format": "tensorflow", "protocol": "v2"}, "kserve-tritonserver"),
        ({"format": "pytorch"}, "kserve-torchserve"),
        ({"format": "mlflow", "protocol": "v2"}, "kserve-mlserver"),
        ({"format": "huggingface"}, "kserve-huggingfaceserver"),
        ({"format": "huggingface", "has_workers": True}, "kserve-huggingfaceserver-multinode"),
        ({"format": "vLLM", "protocol": "v2"}, "kserve-vllmserver"),
        ({"format": "sklearn", "runtime": "kserve-predictiveserver"}, "kserve-predictiveserver"),
        ({"format": "onnx", "runtime": "kserve-tritonserver"}, "kserve-tritonserver"),
    ],
)
def test_the_runtimes_kserve_installs_are_found_by_its_rules(wanted, name):
    assert choose(INSTALLED, namespace="ml", **wanted).name == name


@pytest.mark.parametrize(
    ("wanted", "reason", "message"),
    [
        ({"format": "onnx"}, "NoSupportingRuntime", "No runtime found to support specified framework/version"),
        ({"format": "mlflow"}, "NoSupportingRuntime", "No runtime found to support specified framework/version"),
        ({"format": "sklearn", "version": "1.0"}, "NoSupportingRuntime", "No runtime found"),
        ({"format": "sklearn", "runtime": "own"}, "RuntimeNotRecognized", "with the name: own"),
        ({"format": "xgboost", "runtime": "kserve-sklearnserver"}, "NoSupportingRuntime", "framework/version"),
        (
            {"format": "sklearn", "runtime": "kserve-mlserver", "protocol": "v1"},
            "NoSupportingRuntime",
            "Specified runtime does not support specified protocol version",
        ),
    ],
)
def test_what_no_runtime_serves_is_refused_with_kserves_reason(wanted, reason, message):
    with pytest.raises(NotFound, match=message) as caught:
        choose(INSTALLED, namespace="ml", **wanted)
    assert caught.value.reason == reason


def runtime(name: str, **changes) -> Runtime:
    return Runtime(**({"name": name, "formats": (Format("f", "1", True),), "protocols": ("v1",)} | changes))


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (runtime("z", namespace="ml", protocols=("v1", "v2")), runtime("a", formats=(Format("f", "", True, 9),))),
        (runtime("z", formats=(Format("f", "", True, 1),)), runtime("a")),
        (runtime("z", formats=(Format("f", "", True, 2),)), runtime("a", formats=(Format("f", "", True, 1),))),
        (runtime("z", protocols=("v2", "v1")), runtime("a", protocols=())),
        (runtime("z", created="2024-01-02T00:00:00Z"), runtime("a", created="2024-01-01T00:00:00Z")),
        (runtime("a"), runtime("z")),
    ],
)
def test_each_rule_of_the_order_decides(better, worse):
    for both in ((better, worse), (worse, better)):
        assert choose(both, namespace="ml", format="f") is better


@pytest.mark.parametrize(
    "unfit",
    [
        runtime("a", disabled=True),
        runtime("a", multi_model=True),
        runtime("a", has_workers=True),
        runtime("a", protocols=("v2",)),
        runtime("a", formats=(Format("f", "1", False),)),
        runtime("a", formats=(Format("g", "1", True),)),
        runtime("a", namespace="other"),
    ],
)
def test_what_does_not_fit_is_passed_over(unfit):
    fit = runtime("z")
    assert choose((unfit, fit), namespace="ml", format="f") is fit
    with pytest.raises(NotFound):
        choose((unfit,), namespace="ml", format="f")


def test_a_named_runtime_may_be_one_that_is_not_found_by_itself_but_not_a_disabled_one():
    hidden = runtime("a", formats=(Format("f", "1", False),), protocols=("v2",))
    assert choose((hidden,), namespace="ml", format="f", runtime="a") is hidden
    with pytest.raises(NotFound, match="Specified runtime is disabled"):
        choose((runtime("a", disabled=True),), namespace="ml", format="f", runtime="a")


def test_a_named_runtime_of_the_namespace_comes_before_that_of_the_cluster():
    own, cluster = runtime("a", namespace="ml"), runtime("a")
    assert choose((cluster, own), namespace="ml", format="f", runtime="a") is own


PRIORITIES = st.none() | st.integers(1, 3)
FORMATS = st.builds(Format, st.sampled_from("fg"), st.sampled_from(["", "1", "2"]), st.booleans(), PRIORITIES)
RUNTIMES = st.builds(
    Runtime,
    name=st.sampled_from("abcdef"),
    namespace=st.sampled_from(["", "ml", "other"]),
    protocols=st.lists(st.sampled_from(runtimes.RANKED), unique=True, max_size=3).map(tuple),
    created=st.sampled_from(["", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"]),
    disabled=st.booleans(),
    formats=st.tuples(FORMATS),
)


@given(st.lists(RUNTIMES, max_size=7), st.sampled_from(["", "1"]), st.sampled_from(["", "v1", "v2", "grpc-v2"]))
def test_the_chosen_runtime_is_the_least_by_the_whole_order(found, version, protocol):
    ages = {"2024-01-02T00:00:00Z": 0, "2024-01-01T00:00:00Z": 1, "": 2}

    def order(each: Runtime) -> tuple:
        priority = next((entry.priority for entry in each.formats if entry.name == "f"), None)
        ranks = [runtimes.RANKED.index(name) for name in each.protocols]
        return (
            each.namespace == "",
            priority is None,
            -(priority or 0),
            min(ranks, default=4),
            ages[each.created],
            each.name,
        )

    fit = [
        each
        for each in found
        if each.namespace in ("", "ml")
        and not each.disabled
        and (not each.protocols or (protocol or "v1") in each.protocols)
        and any(e.name == "f" and e.automatic and version in ("", e.version) for e in each.formats)
    ]
    try:
        chosen = choose(found, namespace="ml", format="f", version=version, protocol=protocol)
    except NotFound:
        assert fit == []
        return
    assert order(chosen) == min(map(order, fit))


# ---- runtimes that users write


def test_a_runtime_somebody_wrote_serves_its_format_in_its_own_container():
    net, own = read(SAMPLES / "kserve_runtimes.yaml")
    (component,) = net.components
    source = component.source
    assert isinstance(source, ContainerSource)
    assert source.image == "example.com/torch-runtime:1.3"  # runtimeVersion takes the place of the tag
    assert source.arguments == ("--model_name=net", "--model_dir=/mnt/models", "--format=pytorch", "--nthread=2")
    assert source.port == 8085
    assert source.mounts["/mnt/models"].uri == "https://example.com/net.tar.gz"
    assert component.environment == {"TEAM": "<no value>", "THREADS": "2", "INFERENCE_SERVICE_NAME": "net"}
    assert (component.resources.cpu, component.resources.memory_bytes) == (2.0, 2 * 2**30)
    assert net.protocol == "open-inference"
    assert net.annotations[CLUSTER_RUNTIME] == "my-torch"
    # An image whose work Tiffin does itself is not needed.
    assert isinstance(own.components[0].source, ModelSource)
    assert own.annotations[RUNTIME] == "own-sklearn"


def runtime_text(**container) -> str:
    document = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ServingRuntime",
        "metadata": {"name": "own", "namespace": "default"},
        "spec": {
            "supportedModelFormats": [{"name": "any", "version": "1", "autoSelect": True}],
            "containers": [{"name": "kserve-container", "image": "x.org/y:1"} | container],
        },
    }
    return msgspec.json.encode(document).decode()


def service(**model) -> str:
    described = {"modelFormat": {"name": "any"}, "storageUri": "/m"} | model
    document = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "labels": {"a": "b"}},
        "spec": {"predictor": {"model": described}},
    }
    return msgspec.json.encode(document).decode()


def contained(runtime: dict, **model):
    (found,) = parse(service(**model), resources=gather(runtime_text(**runtime)))
    return found.components[0]


def test_arguments_follow_and_variables_of_the_model_count():
    found = contained(
        {"args": ["--a"], "command": ["run"], "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
        args=["--b", "$(B)"],
        env=[{"name": "B", "value": "{{.Name}}"}],
    )
    assert found.source.command == ("run",)
    assert found.source.arguments == ("--a", "--b", "iris")
    assert (found.environment["A"], found.environment["B"]) == ("1", "iris")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{{.Name}}.{{ .Namespace }}", "iris.default"),
        ("{{.Labels.a}}", "b"),
        ("{{.Labels.none}}", "<no value>"),
        ('{{index .Labels "a"}}', "b"),
        ("{{.Annotations.modelFormat}}", "any"),
    ],
)
def test_templates_are_filled_from_the_service(written, expected):
    assert contained({"args": [written]}).source.arguments == (expected,)


@pytest.mark.parametrize("written", ["{{.Nope}}", "{{", "{{.Spec.x}}", "{{ template }}", "a {{.Name"])
def test_a_template_nobody_can_fill_is_refused(written):
    with pytest.raises(SpecError, match="the container of the runtime own cannot be made"):
        contained({"args": [written]})


@pytest.mark.parametrize(
    ("image", "version", "expected"),
    [
        ("a/b:1", "2", "a/b:2"),
        ("a/b", "2", "a/b:2"),
        ("host:5000/b", "2", "host:5000/b:2"),
        ("a/b@sha256:00", "2", "a/b@sha256:00"),
        ("a/b:1", "", "a/b:1"),
    ],
)
def test_a_version_takes_the_place_of_the_tag(image, version, expected):
    assert contained({"image": image}, runtimeVersion=version).source.image == expected


@pytest.mark.parametrize(
    ("spec", "at", "message"),
    [
        ({"containers": []}, "spec.containers", "kserve-container"),
        ({"containers": [{"name": "a"}, {"name": "b"}]}, "spec.containers", "kserve-container"),
        (
            {
                "containers": [{"name": "kserve-container"}],
                "supportedModelFormats": [
                    {"name": "a", "version": "1", "priority": 1},
                    {"name": "a", "version": "2", "priority": 2},
                ],
            },
            "spec.supportedModelFormats",
            "different priorities",
        ),
        (
            {"containers": [{"name": "kserve-container"}], "supportedModelFormats": [{"nam": "a"}]},
            "spec.supportedModelFormats[0].nam",
            "unknown field",
        ),
    ],
)
def test_a_runtime_that_kserve_refuses_is_refused(spec, at, message):
    document = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "own"},
        "spec": spec,
    }
    with pytest.raises(SpecError, match=message) as caught:
        gather(msgspec.json.encode(document).decode())
    assert caught.value.at == at


def test_resources_are_read_back_as_they_were_stored():
    found = gather((SAMPLES / "kserve_runtimes.yaml").read_text()) | gather(
        (SAMPLES / "kserve_storage.yaml").read_text()
    )
    assert msgspec.convert(msgspec.to_builtins(found), type(found)) == found


@pytest.mark.parametrize(
    ("model", "output"),
    [
        ({"modelFormat": {"name": "sklearn"}}, ""),
        ({"modelFormat": {"name": "sklearn"}, "protocolVersion": "v2"}, "predict"),
        ({"modelFormat": {"name": "sklearn"}, "runtime": "kserve-mlserver"}, "predict"),
        ({"modelFormat": {"name": "sklearn"}, "protocolVersion": "v2", "runtime": "kserve-sklearnserver"}, ""),
        ({"modelFormat": {"name": "onnx"}, "protocolVersion": "v2"}, ""),
        (
            {
                "modelFormat": {"name": "sklearn"},
                "protocolVersion": "v2",
                "env": [{"name": "PREDICT_PROBA", "value": "true"}],
            },
            "predict_proba",
        ),
    ],
)
def test_where_kserve_would_take_mlserver_the_output_has_its_name(model, output):
    (found,) = parse(service(**model))
    assert found.components[0].source.output == output
