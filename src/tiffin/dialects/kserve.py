"""KServe's InferenceService (``serving.kserve.io/v1beta1``) as a deployment.

Honoured: one predictor with a saved model, written as ``model:`` or the older ``sklearn:``, ``xgboost:``,
``lightgbm:`` and ``onnx:``. The table in docs/reference/dialects.md says what becomes of every other field.
"""

from __future__ import annotations

import re

import msgspec

from tiffin.dialects import kubernetes, routes, runtimes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import LATER, NO_EFFECT, Fields, Reader, describe, one_of
from tiffin.dialects.resources import Resources
from tiffin.spec import Artefact, Batching, Component, Deployment, ModelSource, Scaling
from tiffin.spec.deployment import Protocol

API_VERSIONS = ("serving.kserve.io/v1beta1",)
KIND = "InferenceService"

FORMATS = ("sklearn", "xgboost", "lightgbm", "onnx")
_LEGACY = ("sklearn", "xgboost", "tensorflow", "pytorch", "triton", "onnx", "huggingface", "pmml", "lightgbm",
           "paddle")  # fmt: skip
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SCHEMES = ("gs", "s3", "pvc", "file", "https", "http", "hdfs", "webhdfs", "oci", "oci+native", "oci+fetch", "hf")
_SCHEMES_LATER = ("pvc", "oci", "oci+native", "oci+fetch", "hf", "modelscope")
_AUTOSCALERS = ("hpa", "external", "keda", "none")

_ACTIVE = frozenset(
    (
        *("serving.kserve.io/" + name for name in (
            "stop", "enable-tag-routing", "disable-auto-update", "storageSecretName", "storage-initializer-uid",
            "enable-metric-aggregation", "enable-prometheus-scraping", "gke-accelerator", "gpu-resource-types",
            "nodegroup", "disable-localmodel", "autoscalerClass", "metrics", "targetUtilizationPercentage",
        )),
        "storage.kserve.io/readonly",
        "prometheus.kserve.io/port",
        "prometheus.kserve.io/path",
        "networking.kserve.io/visibility",
        "networking.knative.dev/visibility",
        "serving.knative.dev/rollout-duration",
    )
)  # fmt: skip

_SCALING = ("scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling", "deploymentStrategy", "labels",
            "annotations")  # fmt: skip


def deployment(
    document: Document, *, base: str = "", domain: str = routes.DOMAIN, resources: Resources | None = None
) -> Deployment:
    """An InferenceService document as a deployment; relative paths start from ``base``.

    Raises:
        SpecError: KServe would refuse it, or it asks for what this version does not serve.
    """
    reader = Reader(document)
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    metadata = kubernetes.metadata(root, _ACTIVE)
    _check_metadata(root, metadata)
    spec = root.section("spec")
    predictor = spec.section("predictor")
    spec.refuse("transformer", f"a transformer {LATER}")
    spec.refuse("explainer", f"an explainer {LATER}")
    spec.refuse("canary", f"a split of the traffic {LATER}")
    component, protocol = _predictor(predictor, base)
    return Deployment(
        name=metadata.name,
        namespace=metadata.namespace,
        protocol=protocol,
        dialect="kserve",
        components=(component,),
        routes=routes.own(metadata.name, metadata.namespace, domain) + routes.open_inference(metadata.name),
        labels=metadata.labels,
        annotations=metadata.annotations,
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _check_metadata(root: Fields, metadata: kubernetes.Metadata) -> None:
    path = root.at("metadata")
    if not _NAME.fullmatch(metadata.name):
        raise root.reader.error(
            child(path, "name"),
            f'the InferenceService "{metadata.name}" is invalid: a InferenceService name must consist of lower '
            "case alphanumeric characters or '-', and must start with alphabetical character. (e.g. \"my-name\" "
            f"or \"abc-123\", regex used for validation is '{_NAME.pattern}')",
        )
    scaler = metadata.annotations.get("serving.kserve.io/autoscalerClass")
    if scaler is not None and scaler not in _AUTOSCALERS:
        at = child(child(path, "annotations"), "serving.kserve.io/autoscalerClass")
        raise root.reader.error(at, f"expected {one_of(_AUTOSCALERS)}, found {describe(scaler)}")


def _predictor(fields: Fields, base: str) -> tuple[Component, Protocol]:
    name = fields.text("name")
    if name and not _NAME.fullmatch(name):
        raise fields.error("name", f"expected a name that matches {_NAME.pattern}, found {describe(name)}")
    replicas, max_replicas = _replicas(fields)
    concurrency = fields.integer("containerConcurrency")
    if concurrency is not None and concurrency < 0:
        raise fields.error("containerConcurrency", "parallelism cannot be less than 0")
    timeout = fields.number("timeout", above=0)
    batching = _batching(fields)
    fields.ignore(("canaryTrafficPercent",), "there is no earlier revision here, so this one takes every call")
    fields.ignore(("logger",), f"payload logging {LATER}; nothing is logged")
    fields.ignore(_SCALING, NO_EFFECT)
    fields.refuse("workerSpec", f"a model over several machines {LATER}")
    fields.refuse("storageUris", f"several artefacts for one model {LATER}", "write model.storageUri instead")
    fields.ignore(("storageContainerName",), NO_EFFECT)
    kind = _implementation(fields)
    fields.refuse("containers", f"further containers beside a model {LATER}")
    fields.ignore(kubernetes.POD_FIELDS, NO_EFFECT)
    fields.finish()
    model = fields.section(kind)
    source, protocol, workers = _model(model, "" if kind == "model" else kind, base)
    component = Component(
        source=source,
        scaling=Scaling(min_replicas=replicas, max_replicas=max_replicas),
        workers=workers,
        timeout_seconds=timeout,
        max_concurrency=concurrency or None,
        resources=kubernetes.resources(model),
        batching=batching,
        environment=kubernetes.environment(model),
    )
    component = _honour_environment(component, model)
    return component, protocol


def _replicas(fields: Fields) -> tuple[int, int | None]:
    least, most = fields.integer("minReplicas"), fields.integer("maxReplicas")
    if least is not None and least < 0:
        raise fields.error("minReplicas", "'MinReplicas' cannot be less than 0")
    if most is not None and most < 0:
        raise fields.error("maxReplicas", "'MaxReplicas' cannot be less than 0")
    if most and (1 if least is None else least) > most:
        raise fields.error("minReplicas", "'MinReplicas' cannot be greater than MaxReplicas")
    if least == 0:
        fields.warn("minReplicas", f"scaling to zero {LATER}; one replica runs")
    replicas = least or 1
    if most and most > replicas:
        fields.warn("maxReplicas", f"scaling by load {LATER}; the number of replicas stays {replicas}")
    return replicas, most or None


def _batching(fields: Fields) -> Batching:
    batcher = fields.mapping("batcher")
    if batcher is None:
        return Batching()
    rows = batcher.integer("maxBatchSize", minimum=1)
    batcher.ignore(("maxLatency",), "is not needed: Tiffin's batcher never lets a lone call wait for company")
    batcher.ignore(("timeout",), "is not read, as in KServe")
    return Batching(enabled=True, max_rows=rows or 32)


def _implementation(fields: Fields) -> str:
    """The one field that says what the predictor is: ``model``, or the name of a format."""
    names = ("model", *_LEGACY)
    fields.known.update(names)
    found = [name for name in names if fields.value.get(name) is not None]
    if len(found) == 1:
        return found[0]
    if not found and "containers" in fields.value:
        raise fields.error("containers", f"a custom predictor container {LATER}")
    fields.known.add("containers")
    fields.known.update(kubernetes.POD_FIELDS)
    fields.finish()  # a misspelt implementation is better news than a missing one
    beside = f", found {' and '.join(found)}" if found else ""
    raise fields.error("", f"exactly one of [{', '.join(names)}] must be specified in PredictorSpec{beside}")


def _model(fields: Fields, legacy: str, base: str) -> tuple[ModelSource, Protocol, int]:
    reader, version = fields.reader, ""
    if legacy:
        format, format_path = legacy, fields.path
    else:
        described = fields.section("modelFormat")
        format, format_path = described.text("name", required=True), described.at("name")
        version = described.text("version")
    protocol = fields.text("protocolVersion")
    runtime = "" if legacy else fields.text("runtime")
    if format not in FORMATS:
        message = f"models of the format {describe(format)} are not served by this version of Tiffin"
        raise reader.error(format_path, message, f"it serves {', '.join(FORMATS)}")
    if protocol and protocol not in runtimes.RANKED:
        raise fields.error(
            "protocolVersion", f"invalid protocol {protocol}. Must be one of [v1, v2, grpc-v1, grpc-v2]"
        )
    if legacy == "onnx":
        protocol = protocol or "v2"
    known = tuple(runtimes.RUNTIMES.values())
    try:
        chosen = runtimes.choose(
            known, namespace="", format=format, version=version, protocol=protocol, runtime=runtime
        )
    except runtimes.NotFound as problem:
        at = fields.at("runtime") if runtime else format_path
        hint = runtimes.advice(known, "", format, version, protocol)
        if problem.reason == "RuntimeNotRecognized":
            hint = "the runtimes are " + ", ".join(runtimes.RUNTIMES)
        raise reader.error(at, str(problem), hint) from None
    if protocol.startswith("grpc"):
        raise fields.error("protocolVersion", f"gRPC {LATER}", "write protocolVersion: v2 to serve it over HTTP")
    protocol = protocol or chosen.first_protocol
    source = ModelSource(
        artefact=Artefact(uri=_storage_uri(fields), base=base), format=format, format_version=version
    )
    workers = _arguments(fields)
    _container(fields)
    return source, "open-inference" if protocol == "v2" else "kserve-v1", workers


def _storage_uri(fields: Fields) -> str:
    fields.refuse(
        "storage", f"credentials by `storage` {LATER}", "write storageUri; credentials come from the shell"
    )
    fields.refuse("confidential", f"encrypted models {LATER}")
    uri = fields.text("storageUri", required=True)
    scheme, separator, _ = uri.partition("://")
    if not separator:
        return uri
    if scheme in _SCHEMES_LATER:
        raise fields.error(
            "storageUri", f"{scheme}:// {LATER}", "copy the model to a path, https://, s3:// or gs://"
        )
    if scheme not in _SCHEMES:
        prefixes = ", ".join(f"{known}://" for known in _SCHEMES)
        raise fields.error(
            "storageUri",
            f"storageUri, must be one of: [{prefixes}] or match https://{{}}.blob.core.windows.net/{{}}/{{}} or "
            f"be an absolute or relative local path. StorageUri [{uri}] is not supported",
        )
    return uri


def _arguments(fields: Fields) -> int:
    """``args``: ``--workers`` is honoured; any other argument was meant for the runtime's own program."""
    arguments = list(fields.texts("args"))
    workers = 1
    index = 0
    while index < len(arguments):
        at = child(fields.at("args"), index)
        name, separator, value = arguments[index].partition("=")
        if name == "--workers" and not separator and index + 1 < len(arguments):
            index += 1
            value = arguments[index]
        if name != "--workers":
            fields.reader.warn(at, f"{describe(arguments[index])} {NO_EFFECT}")
        elif not re.fullmatch(r"[1-9][0-9]{0,3}", value):
            raise fields.reader.error(at, f"expected --workers=N with N from 1 to 9999, found {describe(value)}")
        else:
            workers = int(value)
        index += 1
    return workers


def _container(fields: Fields) -> None:
    """What is left of the model's container: the image and all that concerns a cluster."""
    if fields.text("name") not in ("", "kserve-container"):
        fields.warn("name", NO_EFFECT)
    fields.ignore(("image", "runtimeVersion"), "has no effect: Tiffin loads the model itself")
    fields.ignore([name for name in kubernetes.CONTAINER_FIELDS if name != "args"], NO_EFFECT)


def _honour_environment(component: Component, model: Fields) -> Component:
    environment = component.environment
    if "PYTHONPATH" in environment:
        raise model.error("env", "the variable PYTHONPATH may not be set here")
    wants_probabilities = environment.get("PREDICT_PROBA", "").lower() == "true"
    if wants_probabilities and isinstance(component.source, ModelSource) and component.source.format == "sklearn":
        source = msgspec.structs.replace(component.source, method="predict_proba")
        return msgspec.structs.replace(component, source=source)
    return component
