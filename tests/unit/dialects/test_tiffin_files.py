from pathlib import Path

import pytest

from tiffin.dialects import parse, read
from tiffin.errors import SpecError
from tiffin.spec import Artefact, Batching, ClassSource, ModelSource, Parameter, Resources, ServiceSource

SAMPLES = Path(__file__).parent / "samples"
HEAD = "apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {name: iris}\nspec:\n"


def one(spec: str):
    (found,) = parse(HEAD + "".join(f"  {line}\n" for line in spec.splitlines()), file="t.yaml", base="/base")
    return found


def refusal(spec: str) -> SpecError:
    with pytest.raises(SpecError) as caught:
        one(spec)
    return caught.value


def test_the_smallest_file_names_a_model():
    (found,) = read(SAMPLES / "tiffin.yaml")
    (component,) = found.components
    assert (found.key, found.protocol) == ("default/iris", "open-inference")
    assert component.source == ModelSource(artefact=Artefact("model.joblib", str(SAMPLES)))


def test_every_field_arrives():
    (found,) = read(SAMPLES / "tiffin_full.yaml")
    (component,) = found.components
    assert (found.key, found.labels, found.warnings) == ("flowers/iris", {"team": "garden"}, ())
    assert (component.source.format, component.source.method) == ("sklearn", "predict_proba")
    assert (component.replicas, component.workers, component.threads) == (2, 4, 2)
    assert (component.timeout_seconds, component.max_concurrency) == (2.5, 32)
    assert component.resources == Resources(cpu=0.5, memory_bytes=2**31, gpu=1.0)
    assert component.batching == Batching(enabled=True, max_rows=64, max_bytes=4096)
    assert component.environment == {"OMP_NUM_THREADS": "1"}


def test_a_class_has_parameters():
    (found,) = read(SAMPLES / "tiffin_class.yaml")
    (component,) = found.components
    assert found.protocol == "seldon"
    assert component.source == ClassSource(
        artefact=Artefact("./src", str(SAMPLES)),
        target="iris:Iris",
        parameters=(Parameter("threshold", 0.5), Parameter("title", "iris")),
        unit="Iris",
    )
    assert (component.workers, component.batching) == ("cpu", Batching(enabled=False))


@pytest.mark.parametrize(
    ("spec", "source"),
    [
        ("service: service:Iris", ServiceSource(artefact=Artefact(".", "/base"), target="service:Iris")),
        (
            "service: {target: 'a.b:Iris', directory: src}",
            ServiceSource(artefact=Artefact("src", "/base"), target="a.b:Iris"),
        ),
        ("service: {bundle: 'iris:v1'}", ServiceSource(artefact=Artefact("iris:v1", "/base"), target="")),
        ("class: iris:Iris", ClassSource(artefact=Artefact(".", "/base"), target="iris:Iris", unit="Iris")),
        ("class: {bundle: 'iris:v1'}", ClassSource(artefact=Artefact("iris:v1", "/base"))),
    ],
)
def test_a_service_and_a_class_can_be_written_short_or_long(spec, source):
    assert one(spec).components[0].source == source


@pytest.mark.parametrize(
    ("spec", "at", "message"),
    [
        ("replicas: 1", "spec", "expected one of model, service, class and container, found none"),
        ("model: a\nservice: b:C", "spec", "found model and service"),
        ("modelq: a", "spec.modelq", 'did you mean "model"?'),
        ("model: [a]", "spec.model", "expected a string or a mapping"),
        ("model: {format: sklearn}", "spec.model.uri", "required"),
        ("model: {uri: a, format: pickle}", "spec.model.format", 'expected "sklearn", "xgboost"'),
        ("model: {uri: a, method: fly}", "spec.model.method", "predict_proba"),
        ("model: {uri: a, trust: true}", "spec.model.trust", "unknown field"),
        ("service: Iris", "spec.service", 'expected "module:Name"'),
        ("service: {directory: .}", "spec.service", "expected target or bundle"),
        ("service: {target: 'a:B', directory: ., bundle: 'x:1'}", "spec.service.bundle", "found both"),
        ("service: {target: 'a:B', parameters: {}}", "spec.service.parameters", "unknown field"),
        ("class: {target: 'a:B', parameters: {x: [1]}}", "spec.class.parameters.x", "found a list"),
        ("class: {target: 'a:B', parameters: [1]}", "spec.class.parameters", "expected a mapping"),
        ("model: a\nreplicas: 0", "spec.replicas", "expected at least 1"),
        ("model: a\nworkers: many", "spec.workers", 'expected "cpu", found "many"'),
        ("model: a\ntimeout: 30 s", "spec.timeout", "expected a time such as 30s"),
        ("model: a\nenv: {A: 1}", "spec.env.A", "expected a string"),
        ("model: a\nresources: {memory: lots}", "spec.resources.memory", "expected an amount"),
        ("model: a\nresources: {disk: 1}", "spec.resources.disk", "unknown field"),
        ("model: a\nbatching: {maxRows: 0}", "spec.batching.maxRows", "expected at least 1"),
        ("model: a\nbatching: fast", "spec.batching", "expected true, false or a mapping"),
    ],
)
def test_a_slip_is_refused_by_its_path(spec, at, message):
    error = refusal(spec)
    assert (error.at, message in error.message) == (at, True), str(error)
