"""Seldon's SeldonDeployment (``machinelearning.seldon.io/v1``, ``v1alpha2``, ``v1alpha3``) as a deployment.

Honoured: one predictor whose graph is one model, either a container image with a Python class inside or one of
the prepackaged servers for scikit-learn and XGBoost. What Seldon's webhook refuses is refused with its words.
"""

from __future__ import annotations

import re

import msgspec

from tiffin.dialects import kubernetes, routes
from tiffin.dialects.documents import Document, child
from tiffin.dialects.fields import LATER, NO_EFFECT, Fields, Reader, describe, one_of
from tiffin.spec import (
    Artefact,
    ClassSource,
    Component,
    Deployment,
    ModelSource,
    Parameter,
    Resources,
    Route,
    Scaling,
)
from tiffin.spec.deployment import Protocol

API_VERSIONS = (
    "machinelearning.seldon.io/v1",
    "machinelearning.seldon.io/v1alpha2",
    "machinelearning.seldon.io/v1alpha3",
)
KIND = "SeldonDeployment"

METHODS = ("predict_proba", "predict", "decision_function")
_SERVERS = {"SKLEARN_SERVER": "sklearn", "XGBOOST_SERVER": "xgboost"}
_SERVERS_LATER = ("MLFLOW_SERVER", "TENSORFLOW_SERVER", "TRITON_SERVER", "HUGGINGFACE_SERVER", "TEMPO_SERVER")
_BUILT_IN = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
_TYPES = ("UNKNOWN_TYPE", "ROUTER", "COMBINER", "MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")
_PROTOCOLS: dict[str, Protocol] = {
    "": "seldon", "seldon": "seldon", "v2": "open-inference", "kfserving": "open-inference"
}  # fmt: skip

_ACTIVE = frozenset(
    "seldon.io/" + name
    for name in (
        "svc-name", "engine-separate-pod", "headless-svc", "no-engine", "executor-logger-queue-size",
        "executor-logger-write-timeout-ms", "grpc-timeout", "grpc-max-message-size", "no-storage-initializer",
        "istio-host", "istio-gateway", "istio-retries", "istio-retries-timeout", "ambassador-config",
        "ambassador-service-name", "ambassador-header", "ambassador-regex-header", "ambassador-id",
        "ambassador-retries", "controller-id",
    )
)  # fmt: skip
_TIMEOUT = "seldon.io/rest-timeout"


class _Container(msgspec.Struct, frozen=True):
    """What is read of a container, before the graph says whether it is the model."""

    name: str
    fields: Fields
    image: str
    environment: dict[str, str]
    resources: Resources
    replicas: int | None


def deployment(document: Document, *, base: str = "", domain: str = routes.DOMAIN) -> Deployment:
    """A SeldonDeployment document as a deployment; relative model paths start from ``base``.

    Raises:
        SpecError: Seldon would refuse it, or it asks for what this version does not serve.
    """
    reader = Reader(document)
    root = reader.root()
    root.accept("apiVersion", "kind", "status")
    metadata = kubernetes.metadata(root, _ACTIVE)
    spec = root.section("spec")
    protocol = _settings(spec, metadata.name)
    predictor = _only_predictor(spec)
    spec_annotations = _annotations(spec)
    replicas = spec.integer("replicas", minimum=0)
    labels = metadata.labels | predictor.text_map("labels")
    annotations = metadata.annotations | spec_annotations | _annotations(predictor)
    component = _component(predictor, spec, protocol, replicas, base)
    if timeout := _timeout(spec, predictor, annotations):
        component = msgspec.structs.replace(component, timeout_seconds=timeout)
    return Deployment(
        name=metadata.name,
        namespace=metadata.namespace,
        protocol=protocol,
        dialect="seldon",
        components=(component,),
        routes=_routes(metadata, protocol, domain),
        labels=labels,
        annotations=annotations,
        file=document.file,
        document=document.index,
        warnings=reader.finish(),
    )


def _routes(metadata: kubernetes.Metadata, protocol: Protocol, domain: str) -> tuple[Route, ...]:
    found = routes.own(metadata.name, metadata.namespace, domain) + routes.seldon(
        metadata.name, metadata.namespace
    )
    return found + routes.open_inference(metadata.name) if protocol == "open-inference" else found


def _settings(spec: Fields, name: str) -> Protocol:
    """The fields of ``spec`` beside the predictors."""
    protocol = spec.text("protocol")
    if protocol == "tensorflow":
        raise spec.error("protocol", f"the tensorflow protocol {LATER}", "write seldon or v2")
    if protocol not in _PROTOCOLS:
        raise spec.error("protocol", f"Invalid protocol, found {describe(protocol)}", "write seldon or v2")
    transport = spec.text("transport")
    if transport == "grpc":
        raise spec.error("transport", f"gRPC {LATER}", "write transport: rest, or leave it out")
    if transport not in ("", "rest"):
        raise spec.error("transport", f"Invalid transport, found {describe(transport)}")
    server = spec.text("serverType")
    if server == "kafka":
        raise spec.error("serverType", f"serving from Kafka {LATER}")
    if server not in ("", "rpc"):
        raise spec.error("serverType", f"Invalid serverType, found {describe(server)}")
    if spec.text("name") not in ("", name):
        spec.warn("name", f'is not used, as in Seldon: metadata.name says that this is "{name}"')
    spec.ignore(("oauth_key", "oauth_secret"), "is not used, as in Seldon since 1.5")
    return _PROTOCOLS[protocol]


def _only_predictor(spec: Fields) -> Fields:
    predictors = spec.mappings("predictors", required=True)
    if not predictors:
        raise spec.error("predictors", "Graph contains no predictors")
    names = [predictor.text("name", required=True) for predictor in predictors]
    shadows = [predictor.flag("shadow") for predictor in predictors]
    traffic = [predictor.integer("traffic") or 0 for predictor in predictors]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise predictors[index].error("name", f"Duplicate predictor name, found {describe(name)}")
    if all(shadows):
        raise predictors[0].error("shadow", "Shadow can not exist as only predictor")
    if len(predictors) > 1:
        raise spec.error("predictors", f"{len(predictors)} predictors found; more than one {LATER}")
    if not 0 <= traffic[0] <= 100:
        raise predictors[0].error("traffic", f"expected 0 to 100, found {traffic[0]}")
    if 0 < traffic[0] < 100:
        raise predictors[0].error("traffic", "Traffic must sum be 100 for a single predictor when set")
    return predictors[0]


def _annotations(fields: Fields) -> dict[str, str]:
    found = fields.text_map("annotations")
    for name in sorted(_ACTIVE & found.keys()):
        fields.reader.warn(child(fields.at("annotations"), name), f"is kept, but {NO_EFFECT}")
    return found


def _timeout(spec: Fields, predictor: Fields, annotations: dict[str, str]) -> float | None:
    """``seldon.io/rest-timeout`` is in milliseconds; the innermost place that sets it counts."""
    value = annotations.get(_TIMEOUT)
    if value is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,11}", value):
        places = [place for place in (predictor, spec) if _TIMEOUT in (place.value.get("annotations") or {})]
        own = child(child(spec.reader.document.path, "metadata"), "annotations")
        at = child(places[0].at("annotations") if places else own, _TIMEOUT)
        raise spec.reader.error(at, f"expected milliseconds above zero, found {describe(value)}")
    return int(value) / 1000


def _component(predictor: Fields, spec: Fields, protocol: Protocol, replicas: int | None, base: str) -> Component:
    predictor.refuse("explainer", f"an explainer {LATER}")
    predictor.ignore(("svcOrchSpec", "engineResources"), "has no effect: Tiffin needs no orchestrator")
    predictor.ignore(("ssl", "progressDeadlineSeconds"), NO_EFFECT)
    at_predictor = predictor.integer("replicas", minimum=0)
    containers = _containers(predictor)
    graph = predictor.section("graph")
    predictor.finish()  # a misspelt field is better news than a container that cannot be found
    unit = graph.text("name", required=True)
    _check_node(graph)
    server = _server(graph)
    parameters = _parameters(graph)
    graph.ignore(("serviceAccountName", "envSecretRefName", "storageInitializerImage"), NO_EFFECT)
    if server:
        container = next((found for found in containers if found.name == unit), None)
        source: ModelSource | ClassSource = _model(graph, server, parameters, protocol, base)
        if container is not None and container.image:
            container.fields.warn("image", "has no effect: Tiffin loads the model itself")
    else:
        graph.ignore(("modelUri",), "is read by prepackaged servers only; name one in `implementation`")
        graph.finish()
        container = _container_of(graph, unit, containers)
        source = _class(container, unit, parameters, base)
    for other in containers:
        if other is not container:
            other.fields.reader.warn(
                other.fields.path, f'the container "{other.name}" beside the model {NO_EFFECT}'
            )
    chosen = [(container.fields, container.replicas)] if container else []
    chosen += [(predictor, at_predictor), (spec, replicas)]
    return Component(
        source=source,
        scaling=Scaling(min_replicas=_replicas(chosen)),
        resources=container.resources if container else Resources(),
        environment=container.environment if container else {},
    )


def _replicas(wishes: list[tuple[Fields, int | None]]) -> int:
    """The innermost wish counts: componentSpec, then predictor, then spec."""
    for fields, wish in wishes:
        if wish == 0:
            fields.reader.warn(fields.path, "0 replicas would serve nothing; one replica runs")
        if wish is not None:
            return max(wish, 1)
    return 1


# ---- containers


def _containers(predictor: Fields) -> list[_Container]:
    found = []
    for component in predictor.mappings("componentSpecs"):
        replicas = component.integer("replicas", minimum=0)
        component.ignore(("hpaSpec", "kedaSpec"), f"scaling by load {LATER}; the number of replicas stays")
        component.ignore(("pdbSpec",), NO_EFFECT)
        meta = component.raw("metadata")
        if isinstance(meta, dict) and any(value for key, value in meta.items() if key != "creationTimestamp"):
            component.warn("metadata", NO_EFFECT)
        pod = component.mapping("spec")
        component.finish()
        if pod is None:
            continue
        pod.miss("containers")
        found += [_container(fields, replicas) for fields in pod.mappings("containers")]
        pod.ignore_unknown(kubernetes.POD_FIELDS, NO_EFFECT)
    return found


def _container(fields: Fields, replicas: int | None) -> _Container:
    found = _Container(
        name=fields.text("name"),
        fields=fields,
        image=fields.text("image"),
        environment=kubernetes.environment(fields),
        resources=kubernetes.resources(fields),
        replicas=replicas,
    )
    if not found.image:
        fields.miss("image")
    fields.ignore_unknown(kubernetes.CONTAINER_FIELDS, NO_EFFECT)
    return found


def _container_of(graph: Fields, unit: str, containers: list[_Container]) -> _Container:
    container = next((found for found in containers if found.name == unit), None)
    if container is None and len(containers) == 1:
        container = containers[0]
        graph.warn("name", f'no container is named "{unit}"; the only one, "{container.name}", is taken')
    if container is None:
        names = ", ".join(f'"{found.name}"' for found in containers) or "none"
        hint = f"containers found: {names}; give one the name of the graph's node, or name an `implementation`"
        raise graph.error("name", f"Can't find container for Predictive Unit, found {describe(unit)}", hint)
    return container


# ---- the graph's node


def _check_node(graph: Fields) -> None:
    if graph.items("children"):
        raise graph.error("children", f"a graph of several nodes {LATER}")
    kind = graph.text("type", choices=("", *_TYPES))
    methods = graph.items("methods")
    implementation = graph.text("implementation")
    if implementation in _BUILT_IN:
        raise graph.error("implementation", f"{implementation} {LATER}")
    if implementation in ("", "UNKNOWN_IMPLEMENTATION"):
        if kind == "UNKNOWN_TYPE" and not methods:
            message = "Predictive Unit has no implementation methods defined. Change to a known type or add what "
            raise graph.error("type", message + "methods it defines")
        if kind not in ("", "MODEL", "UNKNOWN_TYPE"):
            raise graph.error("type", f"a graph's node of type {kind} {LATER}")
        if methods and kind != "MODEL":
            raise graph.error("methods", f"a node with methods of its own {LATER}", "write type: MODEL instead")
    if methods:
        graph.warn("methods", "has no effect beside the type MODEL")
    _check_endpoint(graph)
    graph.ignore(("logger",), f"payload logging {LATER}; nothing is logged")


def _check_endpoint(graph: Fields) -> None:
    endpoint = graph.mapping("endpoint")
    if endpoint is None:
        return
    if endpoint.text("type", choices=("", "REST", "GRPC")) == "GRPC":
        raise endpoint.error("type", f"gRPC {LATER}", "write type: REST, or leave it out")
    endpoint.ignore(
        ("service_host", "service_port", "httpPort", "grpcPort"), "has no effect: Tiffin chooses addresses"
    )


def _server(graph: Fields) -> str:
    implementation = graph.text("implementation")
    if implementation in ("", "UNKNOWN_IMPLEMENTATION"):
        return ""
    if implementation in _SERVERS_LATER:
        raise graph.error("implementation", f"{implementation} {LATER}", f"served now: {', '.join(_SERVERS)}")
    if implementation not in _SERVERS:
        hint = f"served now: {', '.join(_SERVERS)}"
        raise graph.error("implementation", f"No entry in predictors map for {implementation}", hint)
    return implementation


def _model(
    graph: Fields, server: str, parameters: tuple[Parameter, ...], protocol: Protocol, base: str
) -> ModelSource:
    uri = graph.text("modelUri")
    if not uri:
        graph.miss("modelUri")
        raise graph.error("modelUri", "Predictive unit modelUri required when using standalone servers")
    if uri.startswith("pvc://"):
        raise graph.error("modelUri", f"pvc:// {LATER}", "copy the model to a path, https://, s3:// or gs://")
    format = _SERVERS[server]
    # Seldon's own scikit-learn server answers probabilities; with the v2 protocol it is MLServer, which predicts.
    method = "predict_proba" if format == "sklearn" and protocol == "seldon" else "predict"
    for index, parameter in enumerate(parameters):
        at = child(graph.at("parameters"), index)
        if parameter.name == "method" and format == "sklearn":
            if parameter.value not in METHODS:
                found = describe(parameter.value)
                raise graph.reader.error(f"{at}.value", f"expected {one_of(METHODS)}, found {found}")
            method = str(parameter.value)
        else:
            graph.reader.warn(at, f'{server} has no parameter "{parameter.name}"')
    return ModelSource(artefact=Artefact(uri=uri, base=base), format=format, method=method)


def _class(container: _Container, unit: str, parameters: tuple[Parameter, ...], base: str) -> ClassSource:
    if not container.image:
        raise container.fields.error("image", "required, found nothing", "name the image that holds the class")
    return ClassSource(
        artefact=Artefact(uri=container.image, base=base),
        target=_target(container),
        parameters=parameters,
        unit=unit,
        image=container.image,
    )


def _target(container: _Container) -> str:
    """The class, when the environment names it as Seldon's images do: ``Iris``, or ``package.module.Iris``."""
    name = container.environment.get("MODEL_NAME", "")
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        return ""
    module, _, attribute = name.rpartition(".")
    return f"{module or attribute}:{attribute}"


_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def _parameters(graph: Fields) -> tuple[Parameter, ...]:
    found: list[Parameter] = []
    for fields in graph.mappings("parameters"):
        name = fields.text("name", required=True)
        if any(name == other.name for other in found):
            raise fields.error("name", f"the parameter {describe(name)} is written twice")
        fields.require("value")
        text = fields.text("value")
        kind = fields.text("type", "STRING", choices=("INT", "FLOAT", "DOUBLE", "STRING", "BOOL"))
        found.append(Parameter(name, _convert(fields, kind, text)))
    return tuple(found)


def _convert(fields: Fields, kind: str, text: str) -> str | int | float | bool:
    if kind == "STRING":
        return text
    if kind == "BOOL":
        if text.lower() in _TRUE or text.lower() in _FALSE:
            return text.lower() in _TRUE
    else:
        try:
            return int(text) if kind == "INT" else float(text)
        except ValueError:
            pass
    raise fields.error("value", f"expected a text that is {kind}, found {describe(text)}")
