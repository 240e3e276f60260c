"""An InferenceService written from a deployment says the same again; what it cannot say is listed."""

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiffin.dialects import kserve_writing, parse, read
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    ContainerSource,
    Deployment,
    ModelSource,
    Parameter,
    Recording,
    Rollout,
    ServiceSource,
    Step,
    Sticky,
    Traffic,
    Variant,
)

SAMPLES = Path(__file__).parent / "samples"


def plain(deployment: Deployment) -> Deployment:
    """Without where it was written, and with the number of replicas that no maximum means."""

    def settled(component: Component) -> Component:
        scaling = component.scaling
        if scaling.max_replicas is None:
            scaling = msgspec.structs.replace(scaling, max_replicas=max(1, scaling.min_replicas))
        if scaling.is_fixed:
            scaling = msgspec.structs.replace(scaling, measures=())
        return msgspec.structs.replace(component, scaling=scaling)

    variants = tuple(
        msgspec.structs.replace(each, components=tuple(map(settled, each.components)))
        for each in deployment.variants
    )
    return msgspec.structs.replace(
        deployment, file="", document=0, warnings=(), components=tuple(map(settled, deployment.components)),
        variants=variants,
    )  # fmt: skip


def again(deployment: Deployment) -> tuple[Deployment, list[str]]:
    document, losses = kserve_writing.write(deployment)
    (found,) = parse(json.dumps(document), base=str(SAMPLES))
    return found, losses


SAID = [
    pytest.param(file.name, index, id=f"{file.name}:{found.name}")
    for file in sorted(SAMPLES.glob("kserve*.yaml"))
    if file.name not in ("kserve_storage.yaml", "kserve_runtimes.yaml")
    for index, found in enumerate(read(file))
]


@pytest.mark.parametrize(("file", "index"), SAID)
def test_what_is_written_and_read_again_is_the_same_deployment(file, index):
    before = read(SAMPLES / file)[index]
    after, losses = again(before)
    assert losses == []
    assert plain(after) == plain(before)


def test_credentials_are_listed_by_name_and_never_shown():
    for found in read(SAMPLES / "kserve_storage.yaml"):
        document, losses = kserve_writing.write(found)
        (loss,) = losses
        assert "AWS_SECRET_ACCESS_KEY" in loss
        for value in found.components[0].source.credentials.values():
            if len(value) > 3:
                assert value not in loss
                assert value not in json.dumps(document)


def test_a_runtime_somebody_wrote_becomes_its_container():
    net, own = read(SAMPLES / "kserve_runtimes.yaml")
    document, losses = kserve_writing.write(net)
    (container,) = document["spec"]["predictor"]["containers"]
    assert container["image"] == "example.com/torch-runtime:1.3"
    assert losses == ['annotations["tiffin.dev/cluster-serving-runtime"]: "my-torch" cannot be said']
    assert kserve_writing.write(own)[0]["spec"]["predictor"]["model"]["modelFormat"] == {"name": "sklearn"}


def deployment(source, **changes) -> Deployment:
    component = Component(source=source, **changes.pop("component", {}))
    return Deployment(**({"name": "iris", "components": (component,)} | changes))


MODEL = ModelSource(artefact=Artefact(uri="s3://m/iris"), format="sklearn")


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (deployment(MODEL, component={"threads": 2}), "threads"),
        (deployment(MODEL, component={"workers": "cpu"}), "workers"),
        (deployment(MODEL, component={"timeout_seconds": 0.5}), "timeout_seconds"),
        (deployment(MODEL, rollout=Rollout(steps=(Step(weight=5),))), "rollout"),
        (deployment(MODEL, recording=Recording()), "recording"),
        (deployment(MODEL, traffic=Traffic(sticky=Sticky(by="cookie", name="c"))), "traffic.sticky"),
        (deployment(MODEL, protocol="seldon"), "protocol"),
        (deployment(MODEL, canary_percent=12.5), "canary_percent"),
        (deployment(msgspec.structs.replace(MODEL, trust=True)), "source.trust"),
        (deployment(msgspec.structs.replace(MODEL, method="decision_function")), "source.method"),
        (deployment(msgspec.structs.replace(MODEL, format="")), "source.format"),
        (
            deployment(
                MODEL, variants=(Variant(name="b", components=(Component(source=MODEL),), mirror_percent=5),)
            ),
            "variants.b",
        ),
        (deployment(ServiceSource(artefact=Artefact(uri="."), target="service:Iris")), "service:Iris"),
        (
            deployment(
                ClassSource(artefact=Artefact(uri="."), target="a:B", parameters=(Parameter(name="n", value=1),))
            ),
            "parameters: n",
        ),
    ],
)  # fmt: skip
def test_what_kserve_has_no_words_for_is_listed_by_name(given, named):
    losses = kserve_writing.write(given)[1]
    assert any(named in loss for loss in losses), losses


def test_grpc_becomes_a_port_that_kserve_sends_it_to():
    source = ModelSource(artefact=Artefact(uri="/m"), format="sklearn")
    found, losses = again(Deployment(name="iris", components=(Component(source=source, grpc=True),)))
    assert found.components[0].grpc
    assert not [loss for loss in losses if "grpc" in loss]


def test_a_dollar_sign_in_a_variable_reads_back_as_it_is():
    source = ContainerSource(image="x", arguments=("$(HOME)", "$$", "--predictor_host", "elsewhere"))
    environment = {"A": "$(B)", "B": "$", "INFERENCE_SERVICE_NAME": "iris"}
    given = deployment(source, component={"environment": environment}, protocol="kserve-v1", dialect="kserve")
    after, losses = again(given)
    assert after.components[0].source.arguments == source.arguments
    assert after.components[0].environment["A"] == "$(B)"
    assert losses == []


NUMBERS = st.integers(0, 5)
WINDOWS = {
    "window": st.integers(6, 3600).map("{}s".format),
    "panic-window-percentage": st.integers(1, 100).map(str),
    "targetBurstCapacity": st.integers(-1, 500).map(str),
    "scale-down-delay": st.sampled_from(["0", "90s", "1h", "1m30s"]),
    "initial-scale": st.integers(0, 4).map(str),
}


@st.composite
def services(draw):
    """InferenceServices that KServe would take."""
    mode = draw(st.sampled_from([None, "Standard", "RawDeployment", "Serverless", "Knative"]))
    annotations = {} if mode is None else {"serving.kserve.io/deploymentMode": mode}
    for name, values in WINDOWS.items():
        if draw(st.integers(0, 3)) == 0:
            annotations[f"autoscaling.knative.dev/{name}"] = draw(values)
    if draw(st.booleans()):
        annotations["serving.kserve.io/stop"] = draw(st.sampled_from(["true", "false"]))
    format, protocol = draw(
        st.sampled_from(
            [("sklearn", "v1"), ("sklearn", "v2"), ("xgboost", None), ("lightgbm", "v2"), ("onnx", "v2")]
        )
    )
    model = {"modelFormat": {"name": format}, "storageUri": draw(st.sampled_from(["/m", "s3://b/m", "m"]))}
    if protocol:
        model["protocolVersion"] = protocol
    if draw(st.booleans()):
        model["env"] = [{"name": "A", "value": draw(st.text("ab $()", max_size=6))}]
    if draw(st.booleans()):
        model["resources"] = {
            "requests": {
                "cpu": draw(st.sampled_from(["1", "250m", 2])),
                "memory": draw(st.sampled_from(["1Gi", "7"])),
            }
        }
    if draw(st.booleans()):
        model["args"] = [f"--workers={draw(st.integers(1, 4))}"]
    predictor = {"model": model}
    least, most = draw(NUMBERS), draw(NUMBERS)
    if draw(st.booleans()):
        predictor["minReplicas"] = least
        predictor["maxReplicas"] = most if most >= least else 0
    pods = ["cpu", "memory"] if mode in ("Standard", "RawDeployment") else ["concurrency", "rps"]
    if draw(st.booleans()):
        predictor["scaleMetric"] = draw(st.sampled_from(pods))
        predictor["scaleTarget"] = draw(st.integers(1, 100))
    for name, values in (
        ("timeout", st.integers(1, 99)),
        ("containerConcurrency", NUMBERS),
        ("canaryTrafficPercent", st.integers(0, 100)),
        ("batcher", st.just({"maxBatchSize": 7})),
        ("logger", st.just({"url": "http://x", "mode": "response", "metadataHeaders": ["a"]})),
    ):
        if draw(st.booleans()):
            predictor[name] = draw(values)
    metadata = {"name": "iris", "namespace": draw(st.sampled_from(["default", "ml"])), "annotations": annotations}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": {"predictor": predictor},
    }


@settings(max_examples=150, deadline=None)
@given(services())
def test_any_service_is_the_same_when_it_is_written_and_read_again(service):
    (before,) = parse(json.dumps(service), base=str(SAMPLES))
    after, losses = again(before)
    assert losses == []
    assert plain(after) == plain(before)
