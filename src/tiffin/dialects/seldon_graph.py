"""The node of a predictor's graph: what it runs, checked as Seldon's webhook checks it."""

from __future__ import annotations

import re

from tiffin.dialects import seldon_credentials
from tiffin.dialects.documents import child
from tiffin.dialects.fields import ELSEWHERE, LATER, NO_EFFECT, Fields, describe, one_of
from tiffin.dialects.seldon_credentials import Secrets
from tiffin.dialects.seldon_pods import Container
from tiffin.spec import Artefact, ClassSource, ContainerSource, Logger, ModelSource, Parameter

METHODS = ("predict_proba", "predict", "decision_function")
SERVERS = {"SKLEARN_SERVER": "sklearn", "XGBOOST_SERVER": "xgboost"}
_SERVERS_LATER = {
    "MLFLOW_SERVER": "convert the model to ONNX or save the scikit-learn or XGBoost model in it by itself",
    "TENSORFLOW_SERVER": "convert the model to ONNX and serve it by a tiffin.dev/v1 Deployment",
    "TRITON_SERVER": "serve an ONNX model by itself, by a tiffin.dev/v1 Deployment",
    "HUGGINGFACE_SERVER": "write a service or a class that loads the pipeline",
    "TEMPO_SERVER": "Tempo is no longer maintained; write a service or a class",
}
_NOT_TENSORFLOW = ("SKLEARN_SERVER", "XGBOOST_SERVER", "MLFLOW_SERVER", "HUGGINGFACE_SERVER")
_BUILT_IN = ("SIMPLE_MODEL", "SIMPLE_ROUTER", "RANDOM_ABTEST", "AVERAGE_COMBINER")
_TYPES = ("UNKNOWN_TYPE", "ROUTER", "COMBINER", "MODEL", "TRANSFORMER", "OUTPUT_TRANSFORMER")
_KNOWN_METHODS = ("TRANSFORM_INPUT", "TRANSFORM_OUTPUT", "ROUTE", "AGGREGATE", "SEND_FEEDBACK")
_GRAPHS = "serve each node as a deployment of its own, or call one from the other"


def check(graph: Fields, protocol: str) -> None:
    """Refuse what Seldon refuses, and what is not served.

    Raises:
        SpecError: in Seldon's words where they are Seldon's rules.
    """
    if graph.items("children"):
        raise graph.error("children", f"a graph of several nodes {LATER}", _GRAPHS)
    kind = graph.text("type", choices=("", *_TYPES))
    methods = graph.items("methods")
    for index, method in enumerate(methods):
        if method not in _KNOWN_METHODS:
            at = child(graph.at("methods"), index)
            raise graph.reader.error(at, f"expected {one_of(_KNOWN_METHODS)}, found {describe(method)}")
    implementation = graph.text("implementation")
    if implementation in _BUILT_IN:
        raise graph.error("implementation", f"{implementation} {LATER}")
    if protocol == "tensorflow" and implementation in _NOT_TENSORFLOW:
        message = f"Prepackaged server does not handle tensorflow protocol {implementation}"
        raise graph.error("implementation", message, "write protocol: seldon or v2")
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


def _check_endpoint(graph: Fields) -> None:
    endpoint = graph.mapping("endpoint")
    if endpoint is None:
        return
    if endpoint.text("type", choices=("", "REST", "GRPC")) == "GRPC":
        raise endpoint.error("type", f"gRPC {LATER}", "write type: REST, or leave it out")
    endpoint.ignore(
        ("service_host", "service_port", "httpPort", "grpcPort"), "has no effect: Tiffin chooses addresses"
    )


def logger(graph: Fields) -> Logger | None:
    """``logger`` of a node.

    Raises:
        SpecError: it names no mode.
    """
    fields = graph.mapping("logger")
    if fields is None:
        return None
    mode = fields.text("mode", choices=("", "all", "request", "response"))
    if not mode:
        raise fields.error("mode", "No logger mode specified", "write mode: all, request or response")
    url = fields.text("url")
    if not url:
        fields.warn("url", "required here, since there is no broker to send to by default; nothing is logged")
        return None
    if not re.match(r"https?://[^/]", url):
        raise fields.error("url", f"expected http:// or https:// and a host, found {describe(url)}")
    return Logger(url=url, mode=mode, style="seldon")  # type: ignore[arg-type]  # one of its words


def server(graph: Fields) -> str:
    """The prepackaged server, empty when a container of one's own is the model."""
    implementation = graph.text("implementation")
    if implementation in ("", "UNKNOWN_IMPLEMENTATION"):
        return ""
    if implementation in _SERVERS_LATER:
        hint = f"served now: {', '.join(SERVERS)}; {_SERVERS_LATER[implementation]}"
        raise graph.error("implementation", f"{implementation} {LATER}", hint)
    if implementation not in SERVERS:
        hint = f"served now: {', '.join(SERVERS)}"
        raise graph.error("implementation", f"No entry in predictors map for {implementation}", hint)
    return implementation


def model(
    graph: Fields, server: str, parameters: tuple[Parameter, ...], protocol: str, base: str, secrets: Secrets
) -> ModelSource:
    """The saved model of a prepackaged server."""
    uri = graph.text("modelUri")
    if not uri:
        graph.miss("modelUri")
        raise graph.error("modelUri", "Predictive unit modelUri required when using standalone servers")
    if uri.startswith("pvc://"):
        hint = "copy the model to a path, https://, s3:// or gs://"
        graph.reader.refuse_here(graph.at("modelUri"), f"pvc:// {LATER}", hint)
    format = SERVERS[server]
    # Seldon's own scikit-learn server answers probabilities; with the v2 protocol it is MLServer, which predicts.
    method = "predict_proba" if format == "sklearn" and protocol in ("", "seldon") else "predict"
    for index, parameter in enumerate(parameters):
        at = child(graph.at("parameters"), index)
        if parameter.name == "method" and format == "sklearn":
            if parameter.value not in METHODS:
                found = describe(parameter.value)
                raise graph.reader.error(f"{at}.value", f"expected {one_of(METHODS)}, found {found}")
            method = str(parameter.value)
        else:
            graph.reader.warn(at, f'{server} has no parameter "{parameter.name}"')
    uri, credentials = seldon_credentials.of(graph, uri, secrets)
    graph.ignore(("serviceAccountName",), NO_EFFECT, "local")
    graph.ignore_each(("storageInitializerImage",), ELSEWHERE)
    return ModelSource(
        artefact=Artefact(uri=uri, base=base), format=format, method=method, credentials=credentials
    )


def program(
    graph: Fields, container: Container, parameters: tuple[Parameter, ...], protocol: str, base: str
) -> ClassSource | ContainerSource:
    """The node's own image: a Python class inside, or any program when it speaks TensorFlow Serving's protocol."""
    if not container.image:
        raise container.fields.error("image", "required, found nothing", "name the image that holds the class")
    if protocol == "tensorflow":
        for index, _ in enumerate(parameters):
            graph.reader.warn(child(graph.at("parameters"), index), "is not read by a container of this protocol")
        return ContainerSource(
            image=container.image,
            command=container.command,
            arguments=container.arguments,
            port=container.port,
            ready_path=container.ready_path,
        )
    return ClassSource(
        artefact=Artefact(uri=container.image, base=base),
        target=_target(container),
        parameters=parameters,
        unit=graph.text("name"),
        image=container.image,
    )


def container_of(graph: Fields, unit: str, containers: list[Container]) -> Container:
    """The container that is the node; the only one there is will do under any name.

    Raises:
        SpecError: there is none.
    """
    container = next((found for found in containers if found.name == unit), None)
    if container is None and len(containers) == 1:
        container = containers[0]
        graph.warn("name", f'no container is named "{unit}"; the only one, "{container.name}", is taken')
    if container is None:
        names = ", ".join(f'"{found.name}"' for found in containers) or "none"
        hint = f"containers found: {names}; give one the name of the graph's node, or name an `implementation`"
        raise graph.error("name", f"Can't find container for Predictive Unit, found {describe(unit)}", hint)
    return container


def _target(container: Container) -> str:
    """The class, when the environment names it as Seldon's images do: ``Iris``, or ``package.module.Iris``."""
    name = container.environment.get("MODEL_NAME", "")
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", name):
        return ""
    module, _, attribute = name.rpartition(".")
    return f"{module or attribute}:{attribute}"


_TRUE = ("y", "yes", "t", "true", "on", "1")
_FALSE = ("n", "no", "f", "false", "off", "0")


def parameters(graph: Fields) -> tuple[Parameter, ...]:
    """``parameters[]``, each converted to the type it says.

    Raises:
        SpecError: a value is not of its type, or a name is written twice.
    """
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
