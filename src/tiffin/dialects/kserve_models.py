"""``model`` of a predictor: the runtime KServe would choose for it, and what runs then.

A saved model that Tiffin loads itself, or the container of a runtime that somebody wrote.
"""

from __future__ import annotations

import re
from functools import partial

import msgspec

from tiffin.dialects import (
    kserve_containers,
    kserve_pods,
    kserve_servers,
    kserve_storage,
    kubernetes,
    pods,
    runtimes,
)
from tiffin.dialects.documents import child
from tiffin.dialects.fields import LATER, NO_EFFECT, Fields, describe
from tiffin.dialects.kserve_component import Extension
from tiffin.dialects.kserve_context import FORMAT, Context
from tiffin.dialects.kserve_pods import OF_PROGRAMS, Overlay
from tiffin.dialects.kserve_servers import Told
from tiffin.dialects.kserve_storage import MOUNT
from tiffin.dialects.kubernetes import Container
from tiffin.dialects.runtimes import LOADED, MAIN, Runtime
from tiffin.spec import Artefact, Component, ModelSource, Pod
from tiffin.spec.deployment import Protocol

_ON_V2 = ("triton", "vLLM")
_LOADED_HERE = "has no effect: Tiffin loads the model itself"


def read(
    fields: Fields, component: Fields, legacy: str, extension: Extension, overlay: Overlay, context: Context
) -> tuple[Component, Protocol, Runtime, str]:
    """The component, the protocol it is called with, the runtime, and the model's format.

    ``legacy`` is the format where it is the name of the field itself.

    Raises:
        SpecError: KServe would refuse it, or nobody here can serve it.
    """
    version = ""
    if legacy:
        format, format_path = legacy, fields.path
    else:
        described = fields.section("modelFormat")
        format, format_path = described.text("name", required=True), described.at("name")
        version = described.text("version")
        described.finish()
    protocol = _protocol_version(fields, format, legacy)
    runtime = _runtime(fields, format, version, protocol, format_path, legacy, context)
    is_loaded = format in LOADED and runtime.is_replaced
    if not is_loaded and runtime.container is None:
        message = f"models of the format {describe(format)} are not served by this version of Tiffin"
        hint = f"it loads {', '.join(LOADED)} itself; others are served by a ServingRuntime with a container"
        raise fields.reader.error(format_path, message, hint)
    is_grpc = is_loaded and protocol == "grpc-v2"
    if protocol.startswith("grpc") and not is_grpc:
        raise fields.error("protocolVersion", f"{protocol} {LATER}", "write protocolVersion: v2")
    protocol = "v2" if is_grpc else protocol or runtime.first_protocol
    if protocol.startswith("grpc"):
        message = f"its runtime {runtime.name} speaks gRPC only, which {LATER}"
        raise fields.reader.error(format_path, message)
    artefacts, credentials = kserve_storage.of_model(fields, component, context)
    wire: Protocol = "open-inference" if protocol == "v2" else "kserve-v1"
    if fields.text("name") not in ("", MAIN):
        raise fields.error("name", "the 'name' field is not allowed in standard predictor")
    if is_loaded:
        found = _loaded(fields, format, version, artefacts, credentials, extension, context)
        laid_over = kserve_pods.laid_over(fields, runtime, partial(_filled, fields, format, runtime, context))
        found = msgspec.structs.replace(found, pod=kserve_pods.composed(laid_over, overlay, context, runtime))
        found = msgspec.structs.replace(found, grpc=found.grpc or is_grpc)
        if runtime.names_outputs_by_method and isinstance(found.source, ModelSource):
            source = msgspec.structs.replace(found.source, output=found.source.method)
            found = msgspec.structs.replace(found, source=source)
    else:
        told = kserve_servers.told(
            runtime, name=context.name, format=format, protocol=protocol, has_storage=bool(artefacts)
        )
        labelled = msgspec.structs.replace(context, labels=told.labels | context.labels)
        own = _told(kserve_containers.read(fields, context), told)
        found = _contained(fields, own, format, runtime, artefacts, credentials, extension, overlay, labelled)
    return found, wire, runtime, format


def _protocol_version(fields: Fields, format: str, legacy: str) -> str:
    protocol = fields.text("protocolVersion")
    fields.miss("protocolVersion")
    if protocol and protocol not in runtimes.RANKED:
        raise fields.error(
            "protocolVersion", f"invalid protocol {protocol}. Must be one of [v1, v2, grpc-v1, grpc-v2]"
        )
    if not protocol and (legacy in ("triton", "onnx", "huggingface") or format in _ON_V2):
        return "v2"
    return protocol


def _runtime(
    fields: Fields, format: str, version: str, protocol: str, format_path: str, legacy: str, context: Context
) -> Runtime:
    name = "" if legacy else fields.text("runtime")
    known = context.runtimes
    try:
        return runtimes.choose(
            known, namespace=context.namespace, format=format, version=version, protocol=protocol, runtime=name
        )
    except runtimes.NotFound as problem:
        at = fields.at("runtime") if name else format_path
        hint = runtimes.advice(known, context.namespace, format, version, protocol)
        if problem.reason == "RuntimeNotRecognized":
            near = [each.name for each in known if each.namespace in ("", context.namespace)]
            hint = "the runtimes are " + ", ".join(near)
        raise fields.reader.error(at, str(problem), hint) from None


def _loaded(
    fields: Fields,
    format: str,
    version: str,
    artefacts: dict[str, Artefact],
    credentials: dict[str, str],
    extension: Extension,
    context: Context,
) -> Component:
    """A saved model that Tiffin loads itself, whatever container the runtime has."""
    if not artefacts:
        raise fields.error("storageUri", "required, found nothing")
    if list(artefacts) != [MOUNT]:
        at = child(fields.path.rpartition(".")[0], "storageUris")
        message = f"a saved model is one artefact, at {MOUNT}; several {LATER}"
        raise fields.reader.error(at, message, "write model.storageUri instead")
    if format == "onnx" and not artefacts[MOUNT].uri.startswith(("http://", "https://")):
        _check_onnx(fields, artefacts[MOUNT].uri)
    workers = _arguments(fields)
    environment = kubernetes.environment(fields, namespace=context.namespace, objects=context.resources)
    if "PYTHONPATH" in environment:
        raise fields.error("env", "the variable PYTHONPATH may not be set here")
    probabilities = format == "sklearn" and environment.get("PREDICT_PROBA", "").lower() == "true"
    source = ModelSource(
        artefact=artefacts[MOUNT],
        format=format,
        format_version=version,
        method="predict_proba" if probabilities else "predict",
        credentials=credentials,
    )
    resources = kubernetes.resources(fields)
    fields.ignore(("image", "runtimeVersion"), _LOADED_HERE)
    grpc = _has_grpc_port(fields)
    read = ("args", "ports") if grpc else ("args",)
    ignored = [name for name in kubernetes.CONTAINER_FIELDS if name not in read]
    fields.ignore([name for name in ignored if name not in OF_PROGRAMS], NO_EFFECT, "local")
    fields.ignore_each([name for name in ignored if name in OF_PROGRAMS], _LOADED_HERE)
    secrets = kubernetes.secret_variables(fields)
    found = extension.component(
        "predictor", source, environment, resources, workers=workers, secrets=secrets, pod=Pod()
    )
    return msgspec.structs.replace(found, grpc=grpc)


def _has_grpc_port(fields: Fields) -> bool:
    """Whether a port is named as those are that KServe sends gRPC to; its number is Tiffin's to choose."""
    ports = fields.value.get("ports")
    names = [port.get("name") for port in ports if isinstance(port, dict)] if isinstance(ports, list) else []
    if not any(isinstance(name, str) and ("h2c" in name or "grpc" in name) for name in names):
        return False
    for port in fields.mappings("ports"):
        port.accept("name", "containerPort", "protocol", "hostPort", "hostIP")
    return True


def _check_onnx(fields: Fields, uri: str) -> None:
    suffix = re.search(r"\.[^./]*$", uri)
    if suffix and suffix[0] != ".onnx" and fields.has("storageUri"):
        message = f"expected storageUri file extension: '.onnx' but got '{suffix[0]}'"
        raise fields.error("storageUri", message)


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
            said = describe(arguments[index])
            fields.reader.warn_each(at, f"{said} {NO_EFFECT}", f"{said} {_LOADED_HERE}")
        elif not re.fullmatch(r"[1-9][0-9]{0,3}", value):
            raise fields.reader.error(at, f"expected --workers=N with N from 1 to 9999, found {describe(value)}")
        else:
            workers = int(value)
        index += 1
    return workers


def _told(own: Container, told: Told) -> Container:
    """The model's container with what KServe tells its server."""
    variables = [{"name": name, "value": value} for name, value in told.variables.items()]
    raw = pods.merged({"env": variables} if variables else {}, own.raw)
    if told.arguments:
        raw["args"] = [*told.arguments, *own.arguments]
    return msgspec.structs.replace(
        own,
        environment=told.variables | own.environment,
        arguments=told.arguments + own.arguments,
        raw=raw,
    )


def _filled(fields: Fields, format: str, runtime: Runtime, context: Context, container: Container) -> Container:
    """The container with what its templates name, as KServe knows it by then."""
    annotations = runtime.annotations | {FORMAT: format} | context.annotations
    labels = runtime.labels | context.labels
    known = msgspec.structs.replace(context, annotations=annotations, labels=labels)
    cannot = f"the container of the runtime {runtime.name} cannot be made: "
    return kserve_containers.filled(container, known, lambda message: fields.error("", cannot + message))


def _contained(
    fields: Fields,
    own: Container,
    format: str,
    runtime: Runtime,
    artefacts: dict[str, Artefact],
    credentials: dict[str, str],
    extension: Extension,
    overlay: Overlay,
    context: Context,
) -> Component:
    """A model in the container of a runtime somebody wrote."""
    assert runtime.container is not None
    version = fields.text("runtimeVersion")
    image = own.image or kserve_containers.with_version(runtime.container.image, version)
    container = kserve_containers.merged(runtime.container, msgspec.structs.replace(own, image=image))
    if not version:
        suited = kserve_servers.suited(container, runtime, context)
        container = msgspec.structs.replace(container, image=suited)
    container = _filled(fields, format, runtime, context, container)
    if not container.image:
        raise fields.error("image", f"the runtime {runtime.name} names no image")
    source, environment = kserve_containers.source(container, context, artefacts, credentials)
    secrets = container.secret_variables
    pod = kserve_pods.composed(kserve_pods.program(container, context), overlay, context, runtime)
    return extension.component("predictor", source, environment, container.resources, secrets=secrets, pod=pod)
