from pathlib import Path

import pytest

from tiffin.dialects import parse, read
from tiffin.errors import SpecError
from tiffin.spec import (
    Artefact,
    Batching,
    ClassSource,
    ContainerSource,
    Gate,
    Jwt,
    Logger,
    Match,
    Measure,
    ModelSource,
    Parameter,
    Recording,
    Resources,
    Rollout,
    Rule,
    Scaling,
    ServiceSource,
    Stabilization,
    Step,
    Sticky,
    Traffic,
    Windows,
)

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


def test_everything_that_a_deployment_can_be_arrives():
    (found,) = read(SAMPLES / "tiffin_everything.yaml")
    base = str(SAMPLES)
    assert (found.key, found.protocol, found.variant) == ("lending/income", "kserve-v1", "control")
    predictor, transformer, explainer = found.components
    assert predictor.source == ModelSource(artefact=Artefact("models/income", base), format="xgboost")
    assert predictor.scaling == Scaling(
        min_replicas=0,
        max_replicas=10,
        measures=(
            Measure(metric="concurrency", target=50.0),
            Measure(metric="cpu", target=60.0),
            Measure(metric="memory", target=float(2**29), is_value=True),
        ),
        windows=Windows(
            stable_seconds=90.0,
            panic_percent=20.0,
            panic_threshold_percent=150.0,
            utilization_percent=80.0,
            burst_capacity=-1.0,
            scale_down_delay_seconds=60.0,
            zero_grace_seconds=10.0,
            zero_retention_seconds=7200.0,
            activation_scale=3,
            initial_scale=2,
            max_up_rate=10.0,
            max_down_rate=4.0,
        ),
        stabilization=Stabilization(up_seconds=5.0, down_seconds=60.0, tolerance=0.2),
    )
    assert (predictor.retry_reset, predictor.timeout_seconds) == (False, 90.0)
    assert predictor.model_name == "earnings"
    assert "/v2/models/earnings" in [route.path for route in found.routes]
    assert predictor.resources == Resources(cpu=0.5, memory_bytes=2**30, memory_limit_bytes=2**31)
    assert predictor.logger == Logger(
        url="http://log.example.com", mode="response", metadata_headers=("x-user",), style="seldon"
    )
    assert [warning.path for warning in found.warnings] == ["spec.scale.burst", "spec.scale.zeroGrace"]
    assert (transformer.name, transformer.calls, transformer.replicas) == ("transformer", "predictor", 2)
    assert transformer.source == ClassSource(
        artefact=Artefact("src", base),
        target="features:Features",
        parameters=(Parameter("depth", 3),),
        unit="Features",
    )
    assert (explainer.name, explainer.calls, explainer.timeout_seconds) == ("explainer", "predictor", 0.25)
    assert explainer.source == ContainerSource(
        image="why:1",
        command=("python",),
        arguments=("-m", "why"),
        port=9000,
        ready_path="/ok",
        mounts={"/mnt/models": Artefact("models/why", base)},
    )
    candidate, trial = found.variants
    assert (candidate.name, candidate.weight, candidate.mirror_percent) == ("candidate", 12.5, None)
    assert (candidate.labels, candidate.components[0].workers) == ({"arm": "b"}, 2)
    assert (trial.weight, trial.mirror_percent, found.main.weight) == (0.0, 5.0, 87.5)
    assert found.traffic == Traffic(
        sticky=Sticky(by="cookie", name="session", ttl_seconds=3600.0),
        rules=(
            Rule(
                matches=(
                    Match(header="x-team", value="beta"),
                    Match(header="x-debug", how="present"),
                    Match(header="x-region", value="eu-", how="prefix"),
                    Match(claim="plan.name", value="pro|team", how="regex"),
                ),
                variant="candidate",
            ),
            Rule(matches=(Match(header="x-team", value="alpha"),), variant="control"),
            Rule(matches=(Match(header="x-new", value="1"),), variant="canary"),
        ),
        jwt=Jwt(issuer="me", audiences=("income",), jwks_file=f"{base}/keys.json", required=False),
        tags=False,
        max_body_bytes=10 * 2**20,
    )
    assert found.rollout == Rollout(
        steps=(
            Step(weight=5.0),
            Step(weight=25.0),
            Step(weight=50.0, seconds=120.0),
            Step(weight=75.0, pause=True),
        ),
        gates=(
            Gate(kind="error-rate", margin=0.02),
            Gate(kind="latency", quantile=0.95, ratio=1.2),
            Gate(kind="latency", quantile=0.999, ratio=2.0),
            Gate(kind="agreement", least=0.99, tolerance=0.01),
            Gate(kind="query", query="drift", server="http://prometheus:9090", least=-1.0, most=0.2),
        ),
        false_alarm=0.01,
        min_calls=200,
        mirror_percent=10.0,
        automatic_rollback=False,
    )
    assert found.recording == Recording(percent=10.0, max_bytes=2**30, max_body_bytes=2**16)


@pytest.mark.parametrize(
    ("spec", "field", "value"),
    [
        ("model: a", "canary_percent", None),
        ("model: a\ncanary: 0", "canary_percent", 0.0),
        ("model: a\ncanary: 10%", "canary_percent", 10.0),
        ("model: a\nstopped: true", "stopped", True),
        ("model: a\nrecord: true", "recording", Recording()),
        ("model: a\nrecord: false", "recording", None),
        ("model: a\nrollout: {steps: [50]}", "rollout", Rollout(steps=(Step(weight=50.0),))),
        ("model: a\nrollout: {steps: [50], gates: {}}", "rollout", Rollout(steps=(Step(weight=50.0),), gates=())),
        ("model: a", "protocol", "open-inference"),
        ("class: a:B\nprotocol: v2", "protocol", "open-inference"),
        ("container: a", "protocol", "open-inference"),
        ("service: a:B", "protocol", "named-json"),
    ],
)
def test_what_is_left_out_has_a_meaning(spec, field, value):
    assert getattr(one(spec), field) == value


@pytest.mark.parametrize(
    ("spec", "scaling"),
    [
        ("replicas: 3", Scaling(min_replicas=3)),
        ("replicas: {max: 3}", Scaling(max_replicas=3)),
        ("replicas: {min: 0}", Scaling(min_replicas=0)),
        ("replicas: {min: 2, max: 0}", Scaling(min_replicas=2, max_replicas=0)),
        ("scale: cpu", Scaling(measures=(Measure(metric="cpu"),))),
        ("scale: {cpu: 1500m}", Scaling(measures=(Measure(metric="cpu", target=1.5, is_value=True),))),
        ("scale: {window: 30s}", Scaling(windows=Windows(stable_seconds=30.0))),
    ],
)
def test_replicas_and_what_they_follow(spec, scaling):
    assert one(f"model: a\n{spec}").components[0].scaling == scaling


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2.0), ("0.5", 0.5), ("500ms", 0.5), ("30s", 30.0), ("2m", 120.0), ("1h30m", 5400.0), ("1d", 86400.0)],
)
def test_a_time_is_a_number_or_has_units(text, seconds):
    assert one(f"model: a\ntimeout: {text}").components[0].timeout_seconds == seconds


def test_components_and_variants_can_be_called_by_themselves():
    (found,) = read(SAMPLES / "tiffin_everything.yaml")
    by_path = {route.path: route for route in found.routes if not route.hosts}
    assert by_path["/lending/income/-/predictor"].component == "predictor"
    assert by_path["/lending/income/-/variant/candidate"].variant == "candidate"
