"""The definitions on a real API server: good files are taken, bad ones refused at ``kubectl apply``."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tiffin.kube import crds

SAMPLES = Path(__file__).parents[1] / "unit" / "dialects" / "samples"
ISVC = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\nmetadata: {name: iris}\nspec: "
SDEP = "apiVersion: machinelearning.seldon.io/v1\nkind: SeldonDeployment\nmetadata: {name: iris}\nspec: "
OWN = "apiVersion: tiffin.dev/v1\nkind: Deployment\nmetadata: {name: iris}\nspec: "
MODEL = "model: {modelFormat: {name: sklearn}, storageUri: 's3://models/iris'}"
NODE = "graph: {name: iris, implementation: SKLEARN_SERVER, modelUri: 's3://models/iris'}"


@pytest.fixture(scope="module", autouse=True)
def _defined(cluster: Any) -> None:
    listed = {"apiVersion": "v1", "kind": "List", "items": list(crds.manifests())}
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(listed))
    names = [f"crd/{one['metadata']['name']}" for one in crds.manifests()]
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)


def _apply(cluster: Any, namespace: str, text: str) -> Any:
    return cluster.kubectl(
        "apply", "--server-side", "--dry-run=server", "-n", namespace, "-f", "-", given=text, check=False
    )


def _documents() -> list[Any]:
    found = []
    for file in sorted(SAMPLES.glob("*.yaml")):
        for index, document in enumerate(yaml.safe_load_all(file.read_text())):
            if isinstance(document, dict) and "kind" in document and document["kind"] != "List":
                for name in ("namespace", "uid", "resourceVersion"):
                    document["metadata"].pop(name, None)
                found.append(pytest.param(document, id=f"{file.stem}-{index}"))
    return found


@pytest.mark.parametrize("document", _documents())
def test_the_server_takes_every_sample(document: dict[str, Any], cluster: Any, namespace: str) -> None:
    done = _apply(cluster, namespace, json.dumps(document))
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "spec",
    [
        # What KServe takes and never reads.
        f"{{predictor: {{scaleMetricType: Utilization, batcher: {{timeout: 5}}, {MODEL}}}}}",
        f"{{predictor: {{nodeSelector: {{zone: a}}, hostNetwork: true, {MODEL}}}}}",
        "{predictor: {containers: [{image: a, readinessProbe: {httpGet: {path: /ready}}}]}}",
        "{predictor: {sklearn: {storageUri: 's3://m', env: [{name: A, value: b}]}}}",
    ],
)
def test_an_inference_service_may_say_what_kserve_lets_it(spec: str, cluster: Any, namespace: str) -> None:
    done = _apply(cluster, namespace, ISVC + spec)
    assert done.returncode == 0, done.stderr


def canaries(*texts: str, stable: str = "") -> str:
    listed = ", ".join(texts)
    return f"{{predictor: {{{stable}{MODEL}}}, canary: [{listed}]}}"


def canary(name: str, percent: int, more: str = "") -> str:
    return f"{{predictor: {{name: {name}, {more}{MODEL}}}, trafficPercent: {percent}}}"


BAD = [
    (ISVC + "{}", "spec.predictor: Required value"),
    (ISVC + "{predictor: {}}", "exactly one of [model, sklearn, xgboost"),
    (ISVC + f"{{predictor: {{sklearn: {{storageUri: a}}, {MODEL}}}}}", "exactly one of [model, sklearn"),
    (ISVC + f"{{predictor: {{minReplicas: 3, maxReplicas: 2, {MODEL}}}}}", "cannot be greater than MaxReplicas"),
    (ISVC + f"{{predictor: {{minReplicas: -1, {MODEL}}}}}", "minReplicas"),
    (ISVC + f"{{predictor: {{containerConcurrency: -1, {MODEL}}}}}", "containerConcurrency"),
    (ISVC + f"{{predictor: {{canaryTrafficPercent: 101, {MODEL}}}}}", "canaryTrafficPercent"),
    (ISVC + f"{{predictor: {{scaleMetric: gpu, {MODEL}}}}}", 'Unsupported value: "gpu"'),
    (ISVC + f"{{predictor: {{logger: {{mode: some}}, {MODEL}}}}}", 'Unsupported value: "some"'),
    (ISVC + f"{{predictor: {{minReplica: 1, {MODEL}}}}}", "minReplica: field not declared"),
    (ISVC + "{predictor: {model: {storageUri: a}}}", "modelFormat: Required value"),
    (ISVC + f"{{predictor: {{storageUris: [{{uri: a}}], {MODEL}}}}}", "storageUri or storageUris, found both"),
    (ISVC + "{predictor: {containers: [{env: [{name: PYTHONPATH, value: a}]}]}}", "env[0].name"),
    (ISVC + "{predictor: {model: {modelFormat: {name: onnx}, protocolVersion: v3}}}", 'value: "v3"'),
    (ISVC.replace("iris", "1iris") + f"{{predictor: {{{MODEL}}}}}", "metadata.name"),
    (ISVC + canaries(canary("a", 60), canary("b", 50)), "must be <= 100"),
    (ISVC + canaries(canary("a", 10), canary("a", 10)), "is duplicated"),
    (ISVC + canaries(canary("a", 10), stable="name: a, "), "conflicts with stable predictor name"),
    (ISVC + canaries(canary("a", 10, "maxReplicas: 3, ")), "canary uses fixed replicas"),
    (ISVC + canaries(canary("a", 10, "minReplicas: 2, ")), "must not exceed stable predictor minReplicas"),
    (ISVC + canaries("{predictor: {name: a}, trafficPercent: 1}"), "exactly one of"),
    (ISVC + canaries(f"{{predictor: {{{MODEL}}}, trafficPercent: 1}}"), "name: Required value"),
    (SDEP + "{predictors: []}", "Graph contains no predictors"),
    (SDEP + f"{{protocol: http, predictors: [{{name: a, {NODE}}}]}}", "Invalid protocol"),
    (SDEP + f"{{transport: udp, predictors: [{{name: a, {NODE}}}]}}", "Invalid transport"),
    (SDEP + f"{{serverType: mq, predictors: [{{name: a, {NODE}}}]}}", "Invalid serverType"),
    (SDEP + f"{{predictors: [{{name: a, shadow: true, {NODE}}}]}}", "Shadow can not exist as only predictor"),
    (SDEP + f"{{predictors: [{{name: a, traffic: 50, {NODE}}}]}}", "Traffic must sum be 100 for a single"),
    (
        SDEP + f"{{predictors: [{{name: a, traffic: 50, {NODE}}}, {{name: a, traffic: 50, {NODE}}}]}}",
        "Duplicate predictor name",
    ),
    (
        SDEP + f"{{predictors: [{{name: a, traffic: 50, {NODE}}}, {{name: b, traffic: 40, {NODE}}}]}}",
        "Traffic must sum to 100 for multiple predictors",
    ),
    (
        SDEP + f"{{predictors: [{{name: a, {NODE}}}, {{name: b, shadow: true, {NODE}}},"
        f" {{name: c, shadow: true, {NODE}}}]}}",
        "Multiple shadows are not allowed",
    ),
    (
        SDEP + f"{{predictors: [{{name: a, {NODE}}}, {{name: b, shadow: true, traffic: 101, {NODE}}}]}}",
        "shadow traffic is illegal",
    ),
    (SDEP + "{predictors: [{name: a, graph: {name: b, logger: {url: a}}}]}", "logger.mode: Required value"),
    (SDEP + "{predictors: [{name: a, graph: {name: b, type: ROUTE}}]}", 'Unsupported value: "ROUTE"'),
    (SDEP + f"{{predictors: [{{name: a, trafic: 5, {NODE}}}]}}", "trafic: field not declared"),
    (OWN + "{}", "oneOf"),
    (OWN + "{model: a.joblib, service: 'a:B'}", "oneOf"),
    (OWN + "{model: a.joblib, canary: 101}", "canary"),
    (OWN + "{model: a.joblib, canary: true}", "canary"),
    (OWN + "{model: a.joblib, canary: 10%, rollout: {steps: [5]}}", "spec"),
    (OWN + "{model: a.joblib, workers: many}", "workers"),
    (OWN + "{model: a.joblib, timeout: soon}", "timeout"),
    (OWN + "{model: a.joblib, timeout: 0s}", "timeout"),
    (OWN + "{model: a.joblib, protocol: v4}", 'Unsupported value: "v4"'),
    (OWN + "{model: {format: sklearn}}", "uri: Required value"),
    (OWN + "{model: a, resources: {cpus: 1}}", "cpus: field not declared"),
    (OWN + "{model: a, replicas: {min: -1}}", "min"),
    (OWN + "{model: a, variants: {stable: {model: b, weight: 5}}}", "names of their own"),
    (OWN + "{model: a, variant: x, variants: {x: {model: b, weight: 5}}}", "names of their own"),
    (OWN + "{model: a, variants: {x: {model: b}}}", "oneOf"),
    (OWN + "{model: a, env: {'1 x': a}}", "expected keys that match"),
    (OWN.replace("iris", "a.b") + "{model: a}", "metadata.name"),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_a_bad_object_is_refused_without_a_webhook(text: str, message: str, cluster: Any, namespace: str) -> None:
    done = _apply(cluster, namespace, text)
    assert done.returncode != 0
    assert message in done.stderr


def test_a_predictor_gets_another_name_only_with_another_model(cluster: Any, namespace: str) -> None:
    def apply(name: str, uri: str) -> Any:
        spec = f"{{predictor: {{name: {name}, model: {{modelFormat: {{name: onnx}}, storageUri: {uri}}}}}}}"
        return cluster.kubectl(
            "apply", "--server-side", "-n", namespace, "-f", "-", given=ISVC + spec, check=False
        )

    assert apply("a", "s3://one").returncode == 0
    assert "requires changing storageUri" in apply("b", "s3://one").stderr
    assert apply("b", "s3://two").returncode == 0


def test_kubectl_knows_them_by_the_names_that_users_type(cluster: Any, namespace: str) -> None:
    for text in (
        ISVC + f"{{predictor: {{{MODEL}}}}}",
        OWN + "{model: a}",
        SDEP + f"{{predictors: [{{name: a, {NODE}}}]}}",
    ):
        cluster.kubectl("apply", "-n", namespace, "-f", "-", given=text)
    listed = cluster.kubectl("get", "isvc", "-n", namespace).stdout.splitlines()
    assert listed[0].split() == [
        "NAME", "URL", "READY", "PREV", "LATEST", "PREVROLLEDOUTREVISION", "LATESTREADYREVISION", "AGE"
    ]  # fmt: skip
    assert [cluster.get(kind, "iris", "-n", namespace)["kind"] for kind in ("tiffin", "sdep")] == [
        "Deployment",
        "SeldonDeployment",
    ]
    # `deployments` are still Kubernetes' own.
    assert cluster.kubectl("get", "deployments", "-n", namespace, "-o", "name").stdout == ""


def test_a_seldon_deployment_is_scaled_and_read_in_every_version(cluster: Any, namespace: str) -> None:
    cluster.kubectl("apply", "-n", namespace, "-f", "-", given=SDEP + f"{{predictors: [{{name: a, {NODE}}}]}}")
    cluster.kubectl("scale", "sdep/iris", "--replicas=3", "-n", namespace)
    for version in ("v1", "v1alpha2", "v1alpha3"):
        kind = f"seldondeployments.{version}.machinelearning.seldon.io"
        assert cluster.get(kind, "iris", "-n", namespace)["spec"]["replicas"] == 3
